import io
import json

import numpy as np
import pytest
from PIL import Image

from datasets_prep.sources.torchvision import SETS, torchvision_splits
from fastpt.errors import FastptError
from tests.conftest import picture


def test_sets_of_arrays_are_read_without_loss(tmp_path):
    raw = tmp_path / "FashionMNIST" / "raw"
    raw.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (20, 28, 28), dtype=np.uint8)
    for part in ("train", "t10k"):
        sizes = np.array([20, 28, 28], ">i4").tobytes()
        (raw / f"{part}-images-idx3-ubyte").write_bytes(b"\0\0\x08\x03" + sizes + pixels.tobytes())
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01" + sizes[:4] + bytes(i % 10 for i in range(20)))
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


def test_sets_that_are_not_there_are_told(tmp_path, monkeypatch):
    def offline(*_, **__):
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.CIFAR10", offline)
    with pytest.raises(FastptError, match=r"CIFAR10 is not in .* could not be downloaded .*no network"):
        torchvision_splits(tmp_path, "cifar10")
    with pytest.raises(FastptError, match="Known: cifar10, "):
        torchvision_splits(tmp_path, "cifar11")


def test_torchvision_has_the_sets():
    import torchvision.datasets

    assert all(hasattr(torchvision.datasets, kind) for kind, _ in SETS.values())
