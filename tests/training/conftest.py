"""Tiny trainings: 40 made-up pictures, models of a few thousand weights, seconds on one busy core."""

import atexit
import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml

from fastpt.recipe import Recipe, load_recipe
from tests.conftest import made_up, picture, prepared

# On cores that others use too, threads that wait for each other cost more than they bring.
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])}

TINY_VIT = {
    "name": "vit_tiny_patch16_224",
    "args": {"img_size": 16, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2},
}
TINY_RESNET = {"name": "resnet10_half", "args": {"channels": [8, 8, 16, 16]}}
TINY_CLIP = {
    "name": "tiny-clip",
    "config": {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None, "head_width": 32},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    },
}
VIT_CLIP = {
    "name": "tiny-vit-clip",
    "config": {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 16, "layers": 1, "width": 32, "patch_size": 8, "head_width": 16},
        "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    },
}


@pytest.fixture(autouse=True, scope="session")
def _one_thread():
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def held_out(tmp_path_factory):
    """12 other pictures of the same classes, with captions."""
    special = {i: picture(1000 + i) for i in range(12)}
    listing = made_up(12, captions=True, special=special, name="val", is_train=False)
    return prepared(tmp_path_factory.mktemp("held-out"), listing)


@pytest.fixture
def supervised(tmp_path, captioned, held_out):
    """Makes a supervised recipe of 2 epochs of 5 steps; arguments are overrides."""
    return lambda *overrides: tiny_recipe(tmp_path, captioned, held_out, "supervised", TINY_RESNET, overrides)


@pytest.fixture
def clip(tmp_path, captioned, held_out):
    """Makes a clip recipe of 2 epochs of 5 steps; arguments are overrides."""
    zero_shot = f"clip.zero_shot={{data: {held_out.path}, templates: ['a picture of {{}}']}}"
    return lambda *overrides: tiny_recipe(tmp_path, captioned, held_out, "clip", TINY_CLIP, (zero_shot, *overrides))


def tiny_recipe(folder: Path, train, val, task: str, model: dict, overrides) -> Recipe:
    values = {
        "task": task,
        "data": {"train": str(train.path), "val": str(val.path), "size": 32, "threads": 1},
        "model": model,
        "optim": {"name": "adamw", "lr": 0.01, "weight_decay": 0.05},
        "schedule": {"epochs": 2, "warmup_epochs": 1},
        "batch_size": 8,
        "engine": {"precision": "fp32"},
        "log_every": 1,
    }
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(values))
    return load_recipe(path, overrides)


def save(recipe: Recipe, path: Path) -> None:
    """Write a resolved recipe, for other processes."""
    path.write_text(yaml.safe_dump(recipe.as_dict()))


def lines(run: Path, event: str) -> list[dict]:
    """The lines of metrics.jsonl of one kind."""
    return [line for line in map(json.loads, (run / "metrics.jsonl").open()) if line["event"] == event]


def losses(run: Path) -> dict[int, float]:
    """The loss of each logged step; fails if a step is there twice."""
    found = lines(run, "train")
    assert len({line["step"] for line in found}) == len(found)
    return {line["step"]: line["loss"] for line in found}


def forget_the_end(run: Path) -> None:
    """Make a finished run one that was stopped after its last checkpoint."""
    kept = [line for line in (run / "metrics.jsonl").read_text().splitlines(True) if '"end"' not in line]
    (run / "metrics.jsonl").write_text("".join(kept))


def command(recipe: Recipe, run: Path, *options: str, launcher: tuple[str, ...] = (sys.executable,)) -> list[str]:
    """The command that trains `recipe` in processes of its own."""
    path = run.parent / f"{run.name}.yaml"
    save(recipe, path)
    script = Path(__file__).with_name("train_script.py")
    return [*launcher, str(script), str(path), str(run), *options]


def in_processes(count: int, function: Callable[..., None], *arguments: object) -> None:
    """Call a function of a test module in that many processes, with its arguments as words."""
    server = fork_server()
    assert server.stdin
    assert server.stdout
    with tempfile.NamedTemporaryFile() as said:
        job = [ENVIRONMENT, said.name, count, function.__module__, function.__name__, *map(str, arguments)]
        server.stdin.write(json.dumps(job) + "\n")
        server.stdin.flush()
        code = server.stdout.readline().strip()
        assert code == "0", Path(said.name).read_text(errors="replace")


@functools.cache
def fork_server() -> subprocess.Popen:
    """The process that forks those of `in_processes`: one for all tests."""
    words = [sys.executable, "-m", "tests.training.fork_server"]
    server = subprocess.Popen(words, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    atexit.register(server.communicate)
    return server


def train_all(*words: str) -> None:
    """Of this process: train a recipe into a run's folder, the next recipe into the next, and so on."""
    from fastpt.training.run import train

    for recipe, run in zip(words[::2], words[1::2], strict=True):
        train(load_recipe(recipe), "tiny", Path(run), resume=True)


def run_command(arguments: list[str], **options) -> subprocess.CompletedProcess:
    return subprocess.run(arguments, env=ENVIRONMENT, capture_output=True, text=True, timeout=300, **options)
