"""Encoders that an installed package brings, from --encoder to what the results record."""

import json

import pytest
import torch
from torchvision.models import get_model

from tests.conftest import made_up, prepared


@pytest.fixture
def weights(tmp_path) -> str:
    torch.save(get_model("resnet18").state_dict(), tmp_path / "resnet18.pth")
    return "torchvision:resnet18:resnet18.pth"


def test_a_packages_encoder_makes_features_and_is_recorded(plugin_fastpt, weights, tmp_path):
    prepared(tmp_path / "pets", made_up(8))
    prepared(tmp_path / "pets", made_up(8, name="test"))
    ran = plugin_fastpt("tune", "--suite", "pets", "--encoder", weights, "--ridge", "--epochs", "1", "--out", "r.json")
    assert ran.returncode == 0, ran.stderr
    encoder = json.loads((tmp_path / "r.json").read_text())["encoder"]
    assert encoder["name"] == "torchvision:resnet18"
    assert encoder["origin"] == {"name": "torchvision", "distribution": "fastpt-plugin", "version": "0.1"}
    assert encoder["features"] == 512


def test_its_form_is_told_with_the_others(plugin_fastpt, tmp_path):
    prepared(tmp_path / "pets", made_up(8))
    prepared(tmp_path / "pets", made_up(8, name="test"))
    ran = plugin_fastpt("tune", "--suite", "pets", "--encoder", "torchvison:resnet18")
    assert ran.returncode == 1
    assert "onnx:FILE, torchvision:NAME or a YAML file" in ran.stderr
