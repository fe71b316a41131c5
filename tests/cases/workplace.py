"""Tiny splits, recipes and runs that the cases of damage and of results begin with."""

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import yaml

from tests.conftest import made_up, picture, prepared

RECIPE = {
    "task": "supervised",
    "data": {"train": "data/pets/train", "val": "data/pets/val", "size": 32, "crop_fraction": 1.0, "threads": 1},
    "model": {"name": "resnet10_half", "args": {"channels": [8, 8, 16, 16]}},
    "optim": {"name": "adamw", "lr": 0.01},
    "schedule": {"steps": 6},
    "batch_size": 8,
    "engine": {"precision": "fp32"},
    "log_every": 1,
    "supervised": {"memorization_samples": 0},
    "checkpoint": {"every_steps": 2, "keep": 3},
    "tune": {"suite": "small.yaml"},
}
CLIP = {
    "task": "clip",
    "data": {"train": "data/pets/train", "val": "data/pets/val", "size": 32, "crop_fraction": 1.0, "threads": 1},
    "model": {
        "name": "tiny",
        "config": {
            "embed_dim": 16,
            "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "head_width": 32},
            "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
        },
    },
    "optim": {"name": "adamw", "lr": 0.002},
    "schedule": {"steps": 3},
    "batch_size": 8,
    "engine": {"precision": "fp32"},
    "log_every": 1,
    "clip": {"zero_shot": {"data": "data/pets/val", "templates": ["a photo of a {}"]}, "memorization_samples": 0},
}
SUITE = {"name": "small", "id": [{"name": "pets", "train": "data/pets/train", "test": "data/pets/val"}]}


def make_data(folder: Path) -> None:
    """Splits of 24 pictures in three classes, the training splits in three shards with plans of 25 %.

    pets: labels and captions; plain: labels; words, more-words: captions.
    """
    kinds = {"pets": (3, True), "plain": (3, False), "words": (0, True), "more-words": (0, True)}
    for first, (name, (classes, captions)) in enumerate(kinds.items()):
        for split in ("train", "val"):
            start = 1000 * first + 500 * (split == "val")
            drawn = {i: picture(start + i, size=(60, 44)) for i in range(24)}
            listing = made_up(24, classes, captions, drawn, name=split, is_train=split == "train")
            prepared(folder / name, listing, [0.25] if split == "train" else [], shard_samples=8)


def write_yaml(name: str, values: dict, **data: object) -> str:
    """A file of `values`, with changes in their section `data`."""
    Path(name).write_text(yaml.safe_dump({**values, **({"data": {**values["data"], **data}} if data else {})}))
    return name


def copy(source: str | Path, target: str | Path) -> Path:
    """A copy of a folder, in which FFCV's holes stay holes, in place of what is there."""
    shutil.rmtree(target, ignore_errors=True)
    subprocess.run(["cp", "-a", "--sparse=always", source, target], check=True)
    return Path(target)


def digests(folder: str | Path) -> dict[str, str]:
    """Path and digest of each file below a folder."""
    files = [path for path in sorted(Path(folder).rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def files_below(folder: str | Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in Path(folder).rglob("*") if path.is_file()}


def events(run: str | Path, kind: str) -> list[dict]:
    """The lines of a run's metrics of one kind; none if nothing has been recorded."""
    path = Path(run) / "metrics.jsonl"
    lines = path.read_text().splitlines() if path.exists() else []
    return [event for event in map(json.loads, lines) if event["event"] == kind]


def sets(*overrides: str) -> list[str]:
    """--set for each."""
    return [word for override in overrides for word in ("--set", override)]


def cut_off(run: Path, step: int) -> None:
    """Make a finished run one that was killed soon after its checkpoint of a step; three checkpoints stay."""
    shutil.rmtree(run / "export")
    for number, checkpoint in steps(run).items():
        if not step - 6 < number <= step:
            shutil.rmtree(checkpoint)
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(line for line in lines if json.loads(line)["step"] <= step + 1))


def steps(run: Path) -> dict[int, Path]:
    """The checkpoints of a run by their step."""
    return {int(path.name.removeprefix("step-")): path for path in sorted(run.glob("checkpoints/step-*"))}
