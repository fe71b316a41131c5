"""Models that an installed package brings, from a recipe to its export and what is tuned on it."""

import json
from importlib.metadata import EntryPoint, EntryPoints

import pytest
import yaml

from fastpt import models, registry
from fastpt.registry import Registry
from tests.conftest import made_up, prepared

RECIPE = {
    "task": "supervised",
    "data": {"train": "pets/train", "size": 32},
    "model": {"name": "plain_resnet"},
    "optim": {"name": "adamw", "lr": 1e-3},
    "schedule": {"steps": 2},
    "batch_size": 8,
}


@pytest.fixture
def pets(tmp_path):
    prepared(tmp_path / "pets", made_up(16))
    prepared(tmp_path / "pets", made_up(8, name="test"))
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(RECIPE))


@pytest.mark.long
def test_a_packages_model_is_trained_exported_and_tuned(plugin_fastpt, pets, tmp_path):
    ran = plugin_fastpt("train", "recipe.yaml", "--run-dir", "run")
    assert ran.returncode == 0, ran.stderr
    assert json.loads((tmp_path / "run/provenance.json").read_text())["versions"]["fastpt-plugin"] == "0.1"
    card = (tmp_path / "run/export/README.md").read_text()
    assert "import fastpt_plugin.plain_resnet  # registers the architecture\nimport timm\n" in card
    ran = plugin_fastpt("tune", "--run", "run", "--suite", "pets", "--ridge", "--epochs", "1")
    assert ran.returncode == 0, ran.stderr


def test_a_model_whose_package_was_imported_before_is_no_other_of_its_name(monkeypatch, capsys):
    points = EntryPoints([EntryPoint("resnet18_half", "fastpt.models:resnet18_half", "fastpt.models")])
    monkeypatch.setattr(registry, "entry_points", points.select)
    monkeypatch.setattr(models, "MODELS", Registry("model", {}, "fastpt.models"))
    assert models._register_installed() == {"unknown": "unknown"}
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("nowhere", "is not known to timm once it is loaded. Put register_model on it."),
        ("resnet50", "is left out: there is one of that name. Rename it."),
    ],
)
def test_a_model_that_is_not_registered_or_takes_a_name_is_told(monkeypatch, capsys, name, told):
    points = EntryPoints([EntryPoint(name, "collections:OrderedDict", "fastpt.models")])
    monkeypatch.setattr(registry, "entry_points", points.select)
    monkeypatch.setattr(models, "MODELS", Registry("model", {}, "fastpt.models"))
    assert models._register_installed() == {}
    assert capsys.readouterr().err == f"warning: model '{name}' of package unknown {told}\n"
