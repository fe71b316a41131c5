"""A finished run as `fastpt train` leaves it, without the training; and one thread for each small product."""

from pathlib import Path

import pytest
import timm
import torch
from timm.models import save_for_hf

import fastpt.models  # noqa: F401
from fastpt.files import seal_folder
from fastpt.runs import EXPORT_FORMAT, write_records


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
