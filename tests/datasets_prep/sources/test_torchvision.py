import io
import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from datasets_prep.sources.torchvision import SETS, torchvision_splits
from fastpt import Dataset
from fastpt.cli import main
from fastpt.errors import FastptError
from tests.conftest import picture


def fashion_mnist(root: Path) -> np.ndarray:
    """The set's files with 20 pictures a split below `root`; their pixels, uint8 [20, 28, 28]."""
    raw = root / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (20, 28, 28), dtype=np.uint8)
    for part in ("train", "t10k"):
        sizes = np.array([20, 28, 28], ">i4").tobytes()
        (raw / f"{part}-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + sizes + pixels.tobytes())
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01" + sizes[:4] + bytes(i % 10 for i in range(20)))
    return pixels


def test_sets_of_arrays_are_read_without_loss(tmp_path):
    pixels = fashion_mnist(tmp_path)
    train, test = torchvision_splits(tmp_path, "fashion_mnist")
    assert (train.name, train.is_train, test.name, test.is_train) == ("train", True, "test", False)
    assert train.labels.tolist() == [i % 10 for i in range(20)]
    assert train.classes[0] == "T-shirt/top"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(train.read(7)))), pixels[7])


def test_sets_of_files_keep_their_bytes(tmp_path):
    folder = tmp_path / "food-101"
    (folder / "meta").mkdir(parents=True)
    for i, kind in enumerate(("apple_pie", "waffles")):
        (folder / "images" / kind).mkdir(parents=True)
        for number in (0, 1):
            (folder / "images" / kind / f"{number}.jpg").write_bytes(picture(2 * i + number))
    for number, split in enumerate(("train", "test")):
        listing = {kind: [f"{kind}/{number}"] for kind in ("apple_pie", "waffles")}
        (folder / "meta" / f"{split}.json").write_text(json.dumps(listing))
    _, test = torchvision_splits(tmp_path, "food101")
    assert list(test.keys) == ["food-101/images/apple_pie/1.jpg", "food-101/images/waffles/1.jpg"]
    assert test.read(1) == picture(3)
    assert test.class_names == ["apple pie", "waffles"]


@pytest.mark.parametrize(
    ("name", "folder"), [("eurosat", "eurosat/2750"), ("caltech101", "caltech101/101_ObjectCategories")]
)
def test_sets_without_splits_are_one_with_all_classes_and_are_parted(tmp_path, monkeypatch, name, folder):
    monkeypatch.chdir(tmp_path)
    for i, kind in enumerate(("BACKGROUND_Google", "Faces", "ant")):
        (tmp_path / "there" / folder / kind).mkdir(parents=True)
        for number in range(4):
            (tmp_path / "there" / folder / kind / f"image_{number}.jpg").write_bytes(picture(4 * i + number))
        (tmp_path / "there" / folder / kind / "tmp").write_bytes(b"no picture")  # as in Caltech101's archive
    (train,) = torchvision_splits(tmp_path / "there", name)
    assert (train.name, train.is_train, len(train)) == ("train", True, 12)
    assert train.classes == ["BACKGROUND_Google", "Faces", "ant"]
    assert train.keys[4] == f"{folder}/Faces/image_0.jpg"
    assert train.read(4) == picture(4)
    words = ["prep", "torchvision", "--source", "there", "--set", name, "--holdout", "0.25", "--workers", "1"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    assert [len(Dataset(f"data/{name}/{split}")) for split in ("train", "val")] == [9, 3]


def test_sets_that_are_not_there_are_told(tmp_path, monkeypatch):
    def offline(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.CIFAR10", offline)
    with pytest.raises(FastptError, match=r"CIFAR10 is not in .* could not be downloaded .*no network"):
        torchvision_splits(tmp_path, "cifar10")


def test_a_set_that_is_unknown_is_told_with_those_that_are_known(tmp_path):
    result = CliRunner().invoke(main, ["prep", "torchvision", "--source", str(tmp_path), "--set", "cifar11"])
    assert result.exit_code == 2
    assert "'cifar11' is not one of 'caltech101', 'cifar10', 'cifar100'" in result.output


def test_a_set_is_prepared_under_its_own_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fashion_mnist(tmp_path / "torchvision")
    words = ["prep", "torchvision", "--source", "torchvision", "--set", "fashion_mnist", "--workers", "1"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    assert len(Dataset("data/fashion_mnist/train")) == 20


def test_torchvision_has_the_sets():
    import torchvision.datasets

    assert all(hasattr(torchvision.datasets, kind) for kind, _ in SETS.values())
