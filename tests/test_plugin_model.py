"""Models that an installed package brings, from a recipe to its export and what is tuned on it."""

import json

import pytest
import yaml

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


def test_a_model_that_timm_does_not_know_when_it_is_loaded_is_told(monkeypatch, capsys):
    from importlib.metadata import EntryPoint, EntryPoints

    from fastpt import models, registry

    points = [EntryPoint("nowhere", "collections:OrderedDict", "fastpt.models")]
    monkeypatch.setattr(registry, "entry_points", EntryPoints(points).select)
    monkeypatch.setattr(models, "MODELS", registry.Registry("model", {}, "fastpt.models"))
    assert models._register_installed() == {}
    told = capsys.readouterr().err
    assert told.startswith("warning: model 'nowhere' of package unknown is not known to timm when it is loaded. Put")
