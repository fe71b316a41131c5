"""Entry points that are not those of a picture's data, though its checksum is right: another tool wrote it."""

import io
import logging
import tarfile

import cv2
import numpy as np
import pytest
import torch

from fastpt import Dataset, Loader
from fastpt.jpeg import entropy, kernel
from tests.jpeg.reference import encoded, optimized, resaved

pytestmark = pytest.mark.skipif(kernel.kernel() is None, reason="fastpt/jpeg was not built")
COUNT, SIDE = 24, 120


def flipped(jpeg: bytes) -> bytes:
    """One bit of a place among its entry points is another."""
    changed = bytearray(jpeg)
    changed[jpeg.index(b"fastpt\0") + 10] ^= 2
    return bytes(changed)


def without_entry_points(jpeg: bytes) -> bytes:
    return resaved(jpeg, optimize=True)


def dataset(folder, change) -> Dataset:
    """Pictures in a tar, read in place; every other one is changed."""
    with tarfile.open(folder / "theirs.tar", "w") as tar:
        for i in range(COUNT):
            coarse = np.random.default_rng(i).integers(0, 256, (7, 7, 3), np.uint8)
            pixels = cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)  # a wrong place is soon forgotten
            jpeg = entropy.note_entry_points(encoded(pixels, quality=30), (SIDE, SIDE)).jpeg
            for suffix, content in (("jpg", change(jpeg) if i % 2 else jpeg), ("cls", b"0")):
                member = tarfile.TarInfo(f"{i:04}.{suffix}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
    return Dataset.from_webdataset(folder / "theirs.tar", cache=folder / "cache")


def epoch(pictures: Dataset, **crops) -> tuple[torch.Tensor, dict[int, int]]:
    with Loader(pictures, 8, 64, seed=0, order="sequential", **crops) as loader:
        return torch.cat([batch.images for batch in loader]), loader.stale_entry_points


CROPS = {
    "whole": {"crop": "center", "crop_fraction": 1.0},
    "center": {"crop": "center"},
    "random": {},
    "narrow": {"scale": (0.02, 0.1), "ratio": (0.1, 0.2)},
}


@pytest.mark.parametrize("crops", CROPS.values(), ids=CROPS)
@pytest.mark.parametrize(("change", "right"), [(flipped, lambda jpeg: jpeg), (optimized, without_entry_points)])
def test_they_are_counted_and_told_and_the_pixels_are_right(tmp_path, change, right, crops, caplog):
    for name in ("right", "stale"):
        (tmp_path / name).mkdir()
    expected, none = epoch(dataset(tmp_path / "right", right), **crops)
    assert none == {}
    with caplog.at_level(logging.WARNING):
        found, stale = epoch(dataset(tmp_path / "stale", change), **crops)
    assert torch.equal(found, expected)
    assert stale == {i: 1 for i in range(1, COUNT, 2)}
    (record,) = caplog.records
    assert "sample 1 has entry points that are not those of its data" in record.message


def test_deep_verification_names_them(tmp_path):
    from fastpt.data.verify import verify_deep

    index = dataset(tmp_path, flipped)
    problems = verify_deep(index.path, lambda done, of: None)
    assert sum("entry points that are not those of its data" in problem for problem in problems) == COUNT // 2
