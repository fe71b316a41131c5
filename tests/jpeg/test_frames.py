import io

import numpy as np
import pytest
from PIL import Image

from fastpt.jpeg import frames
from tests.conftest import picture


def sizes(*jpegs: bytes) -> list[list[int]]:
    return frames.frame_sizes([np.frombuffer(jpeg, np.uint8) for jpeg in jpegs]).tolist()


@pytest.fixture(params=["C", "Python"], autouse=True)
def implementation(request, monkeypatch):
    if request.param == "Python":
        monkeypatch.setattr(frames, "_library", lambda: None)
    elif frames._library() is None:
        pytest.skip("fastpt/jpeg was not built")


def saved(size: tuple[int, int], mode: str = "RGB", **options) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def test_the_frame_header_tells_height_and_width():
    exif = Image.Exif()
    exif[0x0112] = 6
    found = sizes(
        saved((33, 7)),
        saved((2, 65_000), "L"),
        saved((40, 50), progressive=True),
        saved((8, 9), "CMYK"),
        saved((300, 20), exif=exif, comment=b"x" * 60_000, icc_profile=b"p" * 150_000),
    )
    assert found == [[7, 33], [65_000, 2], [50, 40], [9, 8], [20, 300]]


def test_filling_between_segments_is_passed_over():
    jpeg = picture(0, size=(12, 10))
    at = jpeg.index(b"\xff\xdb")
    assert sizes(jpeg[:at] + b"\xff\xff\xff" + jpeg[at:]) == [[10, 12]]


def test_what_has_no_frame_header_has_no_size():
    jpeg = picture(0)
    frame = max(jpeg.find(b"\xff\xc0"), jpeg.find(b"\xff\xc2"))
    wrong = [
        b"",
        b"\xff",
        b"\xff\xd8",
        b"\xff\xd8\xff\xc0\x00\x03",
        b"no JPEG at all",
        jpeg[: frame + 8],
        b"\xff\xd8\xff\xff",
    ]
    assert sizes(*wrong) == [[0, 0]] * len(wrong)


def test_what_ends_before_its_scan_has_no_size():
    """DALI 2.4.0 may end the process when it meets one."""
    for options in ({}, {"progressive": True}):
        jpeg = picture(0, size=(12, 10), **options)
        scan = jpeg.index(b"\xff\xda")
        size = int.from_bytes(jpeg[scan + 2 : scan + 4])
        found = sizes(jpeg[:scan], jpeg[: scan + 2], jpeg[: scan + 1 + size], jpeg[: scan + 2 + size])
        assert found == [[0, 0], [0, 0], [0, 0], [10, 12]]


def test_mutants_do_no_harm_and_both_implementations_agree(monkeypatch):
    rng = np.random.default_rng(0)
    jpeg = np.frombuffer(picture(0), np.uint8)
    mutants = [jpeg[: rng.integers(4, len(jpeg))].copy() for _ in range(2000)]
    for mutant in mutants:
        mutant[rng.integers(0, len(mutant), 4)] = rng.integers(0, 256, 4)
    found = frames.frame_sizes(mutants)
    monkeypatch.setattr(frames, "_library", lambda: None)
    assert np.array_equal(found, frames.frame_sizes(mutants))
