"""The commands for sets with noise that people made, on stand-ins that lie as the sets are published."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from fastpt import Dataset
from tests.conftest import made_up, picture, prepared
from tests.test_page_code import blocks

TOP = Path(__file__).parents[2]
ELSEWHERE = ("fastpt prep torchvision", "fastpt suspects")  # need what is downloaded


def run_blocks_that_name(what: str, folder: Path) -> None:
    """Run the blocks of the page that name a file, but for what needs a download."""
    page = TOP / "docs" / "howto" / "human-noise.md"
    found = [block for _, block in blocks(page) if what in block]
    assert found
    for block in found:
        lines = "\n".join(line for line in block.splitlines() if not line.startswith(ELSEWHERE))
        stands_for = f'python() {{ "{sys.executable}" "$@"; }}\nfastpt() {{ python -m fastpt "$@"; }}'
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(TOP)}
        words = ["bash", "-c", f"set -euo pipefail\n{stands_for}\n{lines}"]
        done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{lines}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"


def write_pictures(folder: Path, names) -> None:
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture(number))


def pictures_by_class(dataset: Dataset) -> dict[str, list[str]]:
    """The file names of each class."""
    found: dict[str, list[str]] = {name: [] for name in dataset.classes}
    for key, label in sorted(zip(dataset.keys, dataset.clean_labels.tolist(), strict=True)):
        found[dataset.classes[label]].append(key.rpartition("/")[2])
    return found


@pytest.mark.long
def test_cifar_10n(tmp_path):
    keys = [f"{i:07d}" for i in range(40)]
    (tmp_path / "data" / "cifar10").mkdir(parents=True)
    prepared(tmp_path / "made", made_up(40, keys=keys)).path.rename(tmp_path / "data" / "cifar10" / "train")
    clean = np.arange(40) % 4
    worse = np.where(np.arange(40) < 16, (clean + 1) % 4, clean)
    torch.save({"clean_label": clean, "worse_label": worse}, tmp_path / "CIFAR-10_human.pt")
    run_blocks_that_name("CIFAR-10_human.pt", tmp_path)
    dataset = Dataset(tmp_path / "data" / "cifar10" / "train")
    plan = dataset.noise_plan("external-worse")
    assert plan.realised_rate == 0.4
    assert {dataset.keys[row]: int(plan.array[row]) for row in range(40)} == dict(zip(keys, worse, strict=True))


@pytest.mark.long
def test_clothing1m(tmp_path):
    root = tmp_path / "Clothing1M"
    names = [f"images/{i % 10}/{i:02d}/{i:05d}.jpg" for i in range(12)]
    write_pictures(root, names)
    lines = {
        "noisy_label_kv": [f"{name} {i % 3}" for i, name in enumerate(names)],
        "clean_label_kv": [f"{name} {i % 2}" for i, name in enumerate(names[:6])],
        "category_names_eng": ["T-Shirt", "Shirt", "Knitwear"],
        "noisy_train_key_list": names[6:],
    }
    for name, some in lines.items():
        (root / "annotations").mkdir(exist_ok=True)
        (root / "annotations" / f"{name}.txt").write_text("".join(f"{line}\n" for line in some))
    run_blocks_that_name("cd Clothing1M", tmp_path)
    both = Dataset(tmp_path / "data" / "clothing-both" / "train")
    (plan,) = both.noise_plans()
    assert both.noise_plan(plan).realised_rate == pytest.approx(4 / 6)
    assert len(Dataset(tmp_path / "data" / "clothing1m" / "train")) == 6


@pytest.mark.long
def test_food_101n_and_animal_10n(tmp_path):
    write_pictures(
        tmp_path / "Food-101N_release" / "images", [f"{c}/{i}.jpg" for c in ("ramen", "sushi") for i in "ab"]
    )
    for split, count in (("training", 6), ("testing", 4)):
        write_pictures(tmp_path / "ANIMAL-10N" / split, [f"{i % 2}_{i:05d}.jpg" for i in range(count)])
    run_blocks_that_name("Food-101N_release", tmp_path)
    assert Dataset(tmp_path / "data" / "food101n" / "train").classes == ["ramen", "sushi"]
    train = Dataset(tmp_path / "data" / "animal10n" / "train")
    assert pictures_by_class(train) == {
        f"class {label}": [f"{label}_{i:05d}.jpg" for i in range(label, 6, 2)] for label in range(2)
    }
    assert len(Dataset(tmp_path / "data" / "animal10n" / "test")) == 4


@pytest.mark.long
def test_controlled_noisy_web_labels(tmp_path):
    root = tmp_path / "mini-imagenet"
    names = [f"n0153282900000{i:03d}.jpg" if i % 2 else f"5922767e5677ae{i:02x}.jpg" for i in range(12)]
    write_pictures(root / "images", names)
    (root / "split").mkdir()
    (root / "split" / "red_noise_nl_0.4").write_text("".join(f"{name} {i // 6}\n" for i, name in enumerate(names)))
    run_blocks_that_name("red_noise_nl_0.4", tmp_path)
    assert len(Dataset(tmp_path / "data" / "red-0.4" / "train")) == 12
    right = Dataset(tmp_path / "data" / "red-0.4-right" / "train")
    assert all(name.startswith("n") for some in pictures_by_class(right).values() for name in some)
    assert np.bincount(right.clean_labels).tolist() == [3, 3]


@pytest.mark.long
def test_imagenet_real(tmp_path):
    keys = [f"val/n{i % 4}/ILSVRC2012_val_{40 - i:08d}.JPEG" for i in range(40)]
    (tmp_path / "data" / "imagenet").mkdir(parents=True)
    prepared(tmp_path / "made", made_up(40, keys=keys)).path.rename(tmp_path / "data" / "imagenet" / "val")
    labels = {40 - i: i % 4 for i in range(40)}  # by the number in the name
    fits = [[labels[number]] for number in range(1, 41)]
    fits[0], fits[1], fits[2] = [], [0, 1], [(labels[3] + 1) % 4]
    (tmp_path / "real.json").write_text(json.dumps(fits))
    run_blocks_that_name("real.json", tmp_path)
    val = Dataset(tmp_path / "data" / "imagenet" / "val")
    assert [val.keys[row] for row in np.flatnonzero(val.wrong("external-real"))] == [keys[37]]
