"""A finished run as `fastpt train` leaves it, without the training; suites; and one thread for each small product."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import yaml
from timm.models import save_for_hf

import fastpt.models  # noqa: F401
from fastpt.files import seal_folder
from fastpt.runs.folder import EXPORT_FORMAT
from fastpt.runs.records import write_records
from tests.conftest import made_up, prepared

NOISE = {
    "plan": "symmetric-0.05-seed0",
    "kind": "symmetric",
    "rate": 0.05,
    "realised_rate": 0.0501,
    "array_sha256": "0",
}


@pytest.fixture(autouse=True)
def one_thread():
    """Threads that share small products wait for each other for most of the time, on busy cores for seconds."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def finished_run(runs: Path, name: str = "tiny-clean-s0", suite: str | None = None, noise: dict | None = None) -> Path:
    """A run folder with recipe, provenance, and the export of an untrained resnet10_half."""
    run = runs / name
    torch.manual_seed(0)
    save_for_hf(timm.create_model("resnet10_half", num_classes=7), run / "export", safe_serialization=True)
    seal_folder(run / "export", EXPORT_FORMAT)
    recipe = {
        "task": "supervised",
        "data": {
            "train": "data/none",
            "size": 48,
            "eval_size": 40,
            "crop_fraction": 0.9,
            "eval_interpolation": "bilinear",
        },
        "model": {"name": "resnet10_half"},
        "optim": {"name": "adamw", "lr": 0.001},
        "schedule": {"epochs": 1},
        "batch_size": 8,
    } | ({"tune": {"suite": suite}} if suite else {})
    write_records(run, recipe, {"recipe": "tiny", "noise": noise})
    return run


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with a run, two prepared splits and a suite that the run's recipe names."""
    monkeypatch.chdir(tmp_path)
    prepared(tmp_path / "data" / "pets", made_up(40))
    prepared(tmp_path / "data" / "pets", made_up(24, name="test", is_train=False))
    suite = {
        "name": "small",
        "id": [
            {"name": "pets", "train": "data/pets/train", "test": "data/pets/test", "metric": "mean_per_class"},
            {"name": "gone", "train": "data/gone/train", "test": "data/gone/test", "prep": "fastpt prep gone"},
        ],
        "ood": [{"name": "pets", "train": "data/pets/train", "tests": {"again": "data/pets/test"}}],
    }
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(suite))
    finished_run(tmp_path / "runs", "tiny-s0", suite="small.yaml", noise=NOISE)
    return tmp_path


@pytest.fixture
def features(workplace):
    """A suite of features `texts.yaml`: a good set, and whichever others a test writes beside it."""
    rng = np.random.default_rng(0)
    good = np.arange(60) % 3

    def write(**others):
        sets = []
        for name, (values, labels) in {
            "good": (np.eye(3)[good] + 0.1 * rng.normal(size=(60, 3)), good),
            **others,
        }.items():
            np.save(f"{name}.npy", values)
            np.save(f"{name}_y.npy", labels)
            split = {"features": f"{name}.npy", "labels": f"{name}_y.npy"}
            sets.append({"name": name, "train": split, "test": split})
        (workplace / "texts.yaml").write_text(yaml.safe_dump({"name": "texts", "id": sets}))

    return write
