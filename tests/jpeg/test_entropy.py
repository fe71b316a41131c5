"""The fast check of JPEGs: what it calls sound, libjpeg-turbo decodes without a warning."""

import io

import numpy as np
import pytest
from PIL import Image

from fastpt.jpeg import entropy
from tests.jpeg import turbojpeg

pytestmark = pytest.mark.skipif(entropy._library() is None, reason="fastpt/jpeg was not built")
SIZE = (83, 61)


def picture(mode: str = "RGB", size=SIZE) -> Image.Image:
    """Noise on a slope: has large and small coefficients, and long codes."""
    rng = np.random.default_rng(0)
    slope = np.linspace(0, 255, size[0] * size[1]).reshape(size[1], size[0], 1)
    noise = rng.normal(0, 40, (size[1], size[0], 3)) * (rng.random((size[1], size[0], 1)) < 0.3)
    return Image.fromarray((slope + noise).clip(0, 255).astype(np.uint8)).convert(mode)


def jpeg(mode: str = "RGB", size=SIZE, **options) -> bytes:
    buffer = io.BytesIO()
    picture(mode, size).save(buffer, "JPEG", **{"quality": 90, **options})
    return buffer.getvalue()


def decodes(source: bytes, size=SIZE) -> bool:
    try:
        turbojpeg.check(source, size)
    except turbojpeg.NotPlain:
        return False
    return True


COMMON = {
    "4:2:0": {},
    "4:2:2": {"subsampling": "4:2:2"},
    "4:4:4": {"subsampling": "4:4:4", "quality": 100},
    "own Huffman tables": {"optimize": True},
    "restart markers": {"restart_marker_blocks": 3},
    "restarted rows": {"restart_marker_rows": 1, "quality": 30},
    "grey": {"mode": "L"},
    "one pixel": {"size": (1, 1)},
    "comment": {"comment": b"\xff\xd9 no end"},
}


@pytest.mark.parametrize("options", COMMON.values(), ids=COMMON)
def test_common_jpegs_are_sound(options):
    size = options.get("size", SIZE)
    assert entropy.is_sound(jpeg(**options), size)
    assert entropy.is_sound(jpeg(**options) + b"what follows the end does not matter", size)


def test_other_kinds_and_other_sizes_are_left_to_libjpeg():
    assert not entropy.is_sound(jpeg(progressive=True), SIZE)
    assert not entropy.is_sound(jpeg("CMYK"), SIZE)
    assert not entropy.is_sound(jpeg(), (SIZE[0] + 1, SIZE[1]))
    assert not any(entropy.is_sound(source, SIZE) for source in (b"", b"\xff\xd8", b"\xff\xd8\xff\xd9", b"no JPEG"))


def test_tables_of_the_picture_before_do_not_count():
    whole = jpeg()
    assert entropy.is_sound(whole, SIZE)
    start = whole.index(b"\xff\xc4")
    length = int.from_bytes(whole[start + 2 : start + 4], "big") + 2
    assert not entropy.is_sound(whole[:start] + whole[start + length :], SIZE)


@pytest.mark.parametrize("cut", [1, 2, 3, 10, 500])
def test_a_cut_jpeg_is_not_sound(cut):
    for options in COMMON.values():
        whole = jpeg(**options)
        assert not entropy.is_sound(whole[:-cut], options.get("size", SIZE))


def mutated(source: bytes, rng: np.random.Generator) -> bytes:
    """Damage of one kind at a place of chance: a bit, a byte, a byte too few or too many, a marker, a moved piece."""
    at, other = sorted(rng.integers(2, len(source), 2))
    byte = bytes([rng.integers(256)])
    return [
        source[:at] + bytes([source[at] ^ 1 << rng.integers(8)]) + source[at + 1 :],
        source[:at] + byte + source[at + 1 :],
        source[:at] + source[at + 1 :],
        source[:at] + byte + source[at:],
        source[:at] + b"\xff" + byte + source[at + 2 :],
        source[:at] + source[other:],
        source[:other] + source[at:],
    ][rng.integers(7)]


@pytest.mark.parametrize("options", COMMON.values(), ids=COMMON)
def test_what_libjpeg_refuses_is_never_sound(options):
    rng, size = np.random.default_rng(0), options.get("size", SIZE)
    whole, sound = jpeg(**options), 0
    for _ in range(2000):
        damaged = mutated(whole, rng)
        if entropy.is_sound(damaged, size):
            sound += 1
            assert decodes(damaged, size)
    assert sound > 0  # some damage (to a comment, a value, a quantisation table) leaves a whole JPEG


def test_what_libjpeg_refuses_is_never_sound_where_several_lanes_walk():
    rng, size = np.random.default_rng(0), (400, 300)
    whole, sound = jpeg(size=size, quality=95), 0
    assert len(whole) > 4 * 16_384 / 8  # LANES times LEAST_BITS
    for _ in range(300):
        damaged = mutated(whole, rng)
        if entropy.is_sound(damaged, size):
            sound += 1
            assert decodes(damaged, size)
    assert sound > 0
