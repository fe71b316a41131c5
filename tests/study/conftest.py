"""A study that is declared and not run: two recipes, a suite, and a claim about slight noise."""

import json
import shutil
from pathlib import Path

import pytest
import yaml

from fastpt.study import preregistration
from fastpt.study.declaration import load_study
from fastpt.study.grid import StudyGrid

RECIPE = {
    "task": "supervised",
    "model": {"name": "resnet10_half", "args": {"channels": [8, 8, 16, 16]}},
    "optim": {"name": "adamw", "lr": 0.01},
    "schedule": {"epochs": 1},
    "batch_size": 8,
    "data": {"train": "data/train", "val": "data/train", "size": 32},
}
ID = [{"name": "pictures", "train": "data/train", "test": "data/train"}]
SLIGHT = {
    "name": "C1",
    "estimand": "mean - clean",
    "setting": "id",
    "method": "lp",
    "rates": [0.1],
    "side": "> 0",
    "margin": 0.5,
}
ENTRY = {"recipe": "tiny.yaml", "rates": [0, 0.1, 0.3], "seeds": [0, 1], "suites": ["suite.yaml"]}


@pytest.fixture
def here(captioned, tmp_path, monkeypatch):
    """A folder with the split, the recipes and the suite."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(captioned.path, tmp_path / "data" / "train")
    Path("tiny.yaml").write_text(yaml.safe_dump(RECIPE))
    Path("other.yaml").write_text(yaml.safe_dump(RECIPE))
    Path("suite.yaml").write_text(yaml.safe_dump({"name": "suite", "id": ID}))


def study(pretrain=(ENTRY,), claims=(SLIGHT,), **more):
    """study.yaml, written and read."""
    values = {"name": "s", "pretrain": [*pretrain], "claims": [*claims], "tune": {"methods": ["mlp"]}, **more}
    Path("study.yaml").write_text(yaml.safe_dump(values))
    return load_study(Path("study.yaml"))


def register(**changes) -> list[dict]:
    """The entries of a study's record, once it is declared."""
    grid = StudyGrid(study(**changes))
    preregistration.record(grid, Path("page.html"))
    return json.loads((grid.folder / preregistration.FILE).read_bytes())
