"""Pictures of sources: none is dropped or taken for another in silence.

Every file that is refused is in `rejected.jsonl` with its reason. No input makes a command wait for ever, or start
another program.
"""

import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageDraw

from fastpt import Dataset
from tests.cases.conftest import OUT, process
from tests.cases.pictures import (
    COLOURS,
    Members,
    class_folders,
    encoded,
    left_out,
    numbered,
    pixels_of,
    samples,
    stored,
    table,
    tar_of,
    write,
    write_folder,
    write_parquet,
)
from tests.cases.preparation import TRAIN, numbers, told

pytestmark = pytest.mark.long


# --- pictures that are not seen, or taken for others --------------------------------------------------------------


def test_pictures_with_other_suffixes_are_stored_or_told(prep):
    kinds = (("jfif", "JPEG"), ("pjpeg", "JPEG"), ("avif", "AVIF"), ("pgm", "PPM"), ("tga", "TGA"), ("", "JPEG"))
    others = {
        f"red/other{number}" + f".{suffix}" * bool(suffix): numbered(number, "red", format)
        for number, (suffix, format) in enumerate(kinds, 50)
    }
    others |= {f"amber/{i:03d}.jfif": numbered(i, "amber") for i in range(3)}
    write_folder(Path("colours"), class_folders() + list(others.items()))
    ran = prep("imagefolder", "colours", "--max-rejects", 1)
    if not ran.refused(*(re.escape(Path(name).suffix or name) for name in others)):
        keys = {one.key for one in stored(TRAIN)}
        for name in others.keys() - keys:
            assert name in told(ran) or (Path(name).suffix and Path(name).suffix in told(ran))
        assert "amber" in Dataset(TRAIN).classes or "amber" in told(ran)


def test_a_key_with_two_pictures_is_refused_or_told(prep):
    mask = encoded(Image.new("RGB", (64, 64), COLOURS["blue"]), "PNG")
    members = [
        (f"{i:06d}.{suffix}", content)
        for i in range(4)
        for suffix, content in (("jpg", numbered(i, "red")), ("png", mask), ("cls", b"0"))
    ]
    ran = prep("webdataset", write(Path("shards/masks.tar"), tar_of(members)).parent)
    if not ran.refused("00000[0-3]"):
        assert {one.colour for one in stored(TRAIN)} == {"red"}
        assert re.search(r"\b4\b.*png|png.*\b4\b", told(ran))


def test_keys_with_dots_are_stored_or_each_named(prep):
    members: Members = []
    for number, (key, colour) in enumerate((("a.b", "red"), ("a.c", "green"), ("d", "blue"))):
        members += [(f"{key}.jpg", numbered(number, colour)), (f"{key}.txt", f"{colour} {number}".encode())]
    ran = prep("webdataset", write(Path("shards/dots.tar"), tar_of(members)).parent, "--max-rejects", 1)
    assert not ran.refused()
    found = {one.number: one.target for one in stored(TRAIN)}
    assert found.get(0) == "red 0" or "a.b" in left_out(TRAIN)
    assert found.get(1) == "green 1" or "a.c" in left_out(TRAIN)
    assert found[2] == "blue 2"


@pytest.mark.parametrize("source", ["webdataset", "parquet"])
def test_a_linked_folder_is_followed_or_named(prep, source):
    for folder, colour, number in (("shards", "red", 0), ("elsewhere", "green", 50)):
        rows = table(colour, range(number, number + 4), [number // 50] * 4)
        if source == "parquet":
            write_parquet(Path(folder) / f"train-{number // 50:05d}-of-00002.parquet", rows)
        else:
            write(Path(folder) / f"{number:06d}.tar", tar_of(samples(colour, number=number)))
    Path("shards/more").symlink_to("../elsewhere", target_is_directory=True)
    if not prep(source, "shards").refused("more"):
        assert sorted(numbers("train")) == [0, 1, 2, 3, 50, 51, 52, 53]


def test_a_pipe_among_shards_is_named_at_once():
    write(Path("shards/000000.tar"), tar_of(samples("red")))
    os.mkfifo("shards/pipe.tar")
    ran = process("prep", "webdataset", "--source", "shards", "--out", OUT, limit=20)
    if not ran.refused(r"pipe\.tar"):
        ran.worked(r"pipe\.tar")


def test_a_pipe_called_classes_json_is_named(prep):
    write_folder(Path("colours"), class_folders())
    os.mkfifo("colours/classes.json")
    ran = prep("imagefolder", "colours")
    if not ran.refused(r"classes\.json"):
        ran.worked(r"classes\.json")


def test_postscript_called_jpg_is_rejected_and_nothing_started(prep, tmp_path, monkeypatch):
    started = tmp_path / "ghostscript-was-started"
    ghostscript = write(tmp_path / "bin" / "gs", f'#!/bin/sh\necho "$@" >>{started}\necho 10.0.0\n')
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ghostscript.parent}:{os.environ['PATH']}")
    postscript = encoded(Image.new("RGB", (64, 64), COLOURS["red"]), "EPS")
    write_folder(Path("colours"), [*class_folders(), ("red/900.jpg", postscript)])
    ran = prep("imagefolder", "colours", "--max-rejects", 1)
    if not ran.refused(r"red/900\.jpg"):
        assert "red/900.jpg" in left_out(TRAIN)
    assert not started.exists()


# --- pixels -------------------------------------------------------------------------------------------------------


def test_a_tiff_of_32_bit_is_rejected_or_stored_as_it_looks(prep):
    ramp = np.tile(np.linspace(0, 255, 64).astype(np.int32), (64, 1))
    write_folder(Path("colours"), [*class_folders(), ("red/ramp.tif", encoded(Image.fromarray(ramp), "TIFF"))])
    ran = prep("imagefolder", "colours", "--max-rejects", 1)
    if not ran.refused(r"red/ramp\.tif") and "red/ramp.tif" not in left_out(TRAIN):
        dataset = Dataset(TRAIN)
        found = pixels_of(dataset, dataset.keys.index("red/ramp.tif"))
        assert np.abs(found[..., 0].astype(int) - ramp).max() < 10


def test_hard_edged_graphics_stay_themselves_or_their_loss_is_told(prep):
    icons = {f"icons/{number}.png": icon(number) for number in range(4)}
    write_folder(Path("colours"), class_folders("", 2))
    write_folder(Path("colours"), [(name, encoded(image, "PNG")) for name, image in icons.items()])
    ran = prep("imagefolder", "colours")
    ran.worked()
    dataset = Dataset(TRAIN)
    errors = [
        np.square(pixels_of(dataset, dataset.keys.index(name)).astype(float) - np.asarray(image)).mean()
        for name, image in icons.items()
    ]
    assert max(errors) < 255**2 / 10**3.2 or re.search(r"\b4\b.*--\w", ran.output)  # 32 dB


def icon(number: int) -> Image.Image:
    """Saturated colours, and lines of one pixel."""
    image = Image.new("RGB", (64, 64), "white")
    draw = ImageDraw.Draw(image)
    for x in range(number, 64, 4):
        draw.line([(x, 0), (63 - x, 63)], fill=("red", "blue", "magenta", "lime")[x // 4 % 4])
    draw.rectangle([20, 20, 40, 40], fill="magenta", outline="lime")
    return image
