"""A ramp from black to white in every depth that people have: it is stored as it looks, or rejected by name."""

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from datasets_prep.images.policy import ImagePolicy, RejectedImage, encode

RAMP = np.tile(np.arange(2, 256, 4, dtype=np.uint8), (64, 1))
FULL = RAMP.astype(np.uint16) * 257
COLOURS = np.stack([RAMP, RAMP.T, 255 - RAMP], -1)
JP2_LOSSLESS = [cv2.IMWRITE_JPEG2000_COMPRESSION_X1000, 1000]
OPAQUE = np.full_like(FULL, 65535)


def shown(source: bytes) -> np.ndarray:
    """What is stored, uint8 [H, W] or [H, W, 3]."""
    return np.asarray(Image.open(io.BytesIO(encode(source, ImagePolicy()).jpeg))).astype(int)


def is_like(source: bytes, expected: np.ndarray) -> bool:
    found = shown(source)
    return found.shape == expected.shape and np.abs(found - expected.astype(int)).mean() < 3


def saved(image: Image.Image, format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def png16(values: np.ndarray, colour_type: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of 16 bits, uint16 [H, W] or [H, W, channels]."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    parts = ((b"IHDR", header), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    )


def tiff(values: np.ndarray, bits: int, tags: dict[int, int] | None = None, width: int = 64, order: str = "<") -> bytes:
    """An uncompressed TIFF of one channel; `tags` are added to what is needed."""
    data = values.tobytes()
    found = {256: width, 257: len(values), 258: bits, 259: 1, 262: 1, 273: 0, 277: 1, 278: len(values), 279: len(data)}
    found |= tags or {}
    found[273] = 8 + 2 + 12 * len(found) + 4
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in sorted(found.items()))
    mark = {"<": b"II*\0", ">": b"MM\0*"}[order]
    return mark + struct.pack(f"{order}IH", 8, len(found)) + entries + bytes(4) + data


def packed(values: np.ndarray) -> np.ndarray:
    """12-bit values, two in three bytes."""
    bits = values[..., None] >> np.arange(11, -1, -1) & 1
    return np.packbits(bits.reshape(len(values), -1).astype(np.uint8), axis=1)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("PNG", png16(FULL, 0)),
        ("PNG that states 12 significant bits, and is scaled as it has to be", png16(FULL, 0, (b"sBIT", b"\x0c"))),
        ("TIFF", tiff(FULL.astype("<u2"), 16)),
        ("TIFF, big-endian", tiff(FULL.astype(">u2"), 16, order=">")),
        ("TIFF in which 0 is white", tiff((65535 - FULL).astype("<u2"), 16, {262: 0})),
        ("TIFF of 8 bits in which 0 is white", tiff(255 - RAMP, 8, {262: 0})),
        ("TIFF of 12 bits", tiff(packed(FULL >> 4), 12)),
        ("PGM", b"P5 64 64 65535\n" + FULL.astype(">u2").tobytes()),
        ("PGM of 12 bits, which it states", b"P5 64 64 4095\n" + (FULL >> 4).astype(">u2").tobytes()),
        ("SGI", saved(Image.fromarray(RAMP), "SGI", bpc=2)),
        ("JPEG 2000", saved(Image.frombytes("I;16", (64, 64), FULL.astype("<u2").tobytes()), "JPEG2000")),
    ],
)
def test_sixteen_bit_grey_is_stored_as_it_looks(name, source):
    assert is_like(source, RAMP)


@pytest.mark.parametrize(
    "source",
    [
        png16(COLOURS.astype(np.uint16) * 257, 2),
        png16(np.dstack([COLOURS.astype(np.uint16) * 257, OPAQUE]), 6),
        b"P6 64 64 65535\n" + (COLOURS.astype(np.uint16) * 257).astype(">u2").tobytes(),
        b"P6 64 64 4095\n" + (COLOURS.astype(np.uint16) * 257 >> 4).astype(">u2").tobytes(),
    ],
)
def test_sixteen_bit_colour_is_stored_as_it_looks(source):
    assert is_like(source, COLOURS)


@pytest.mark.parametrize("bits", [8, 10, 12, 14])
@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("grey PNG", lambda values: png16(values, 0)),
        ("PNG with alpha", lambda values: png16(np.dstack([values, OPAQUE]), 4)),
        ("colour PNG", lambda values: png16(np.dstack([values, values.T, values]), 2)),
        ("TIFF", lambda values: tiff(values.astype("<u2"), 16)),
        ("PGM", lambda values: b"P5 64 64 65535\n" + values.astype(">u2").tobytes()),
        ("JPEG 2000", lambda values: cv2.imencode(".jp2", np.dstack([values] * 3), JP2_LOSSLESS)[1].tobytes()),
        ("PPM", lambda values: b"P6 64 64 65535\n" + np.dstack([values] * 3).astype(">u2").tobytes()),
    ],
)
def test_fewer_bits_in_a_sixteen_bit_file_are_rejected_with_the_largest_value(name, file, bits):
    with pytest.raises(RejectedImage, match=r"16-bit values, but none above \d+ of 65535"):
        encode(file(FULL >> (16 - bits)), ImagePolicy())


def test_a_black_picture_of_sixteen_bits_is_black():
    assert shown(png16(FULL * 0, 0)).max() == 0


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (tiff(RAMP.astype("<i4"), 32, {339: 2}), "signed"),
        (tiff(RAMP.astype("<u4"), 32), "32-bit integer"),
        (tiff((FULL >> 1).astype("<i2"), 16, {339: 2}), "signed"),
        (tiff(RAMP.astype("i1"), 8, {339: 2}), "signed"),
        (tiff(RAMP.astype("<f4"), 32, {339: 3}), "floating-point"),
        (tiff(RAMP.astype("<f8"), 64, {339: 3}), "TIFF"),
        (b"Pf\n64 64\n-1.0\n" + (RAMP / 255).astype("<f4").tobytes(), "floating-point"),
        (tiff(RAMP, 8, {50706: 1}), "preview"),
        (tiff(RAMP, 8, {254: 1}), "preview"),
        (png16(COLOURS.astype(np.uint16) * 257, 2, (b"tRNS", b"\x12\x34" * 3)), "transparent colour"),
    ],
)
def test_pixels_without_a_range_are_rejected_by_name(source, reason):
    with pytest.raises(RejectedImage, match=reason):
        encode(source, ImagePolicy())


@pytest.mark.parametrize("turn", range(1, 9))
def test_a_tiff_is_turned_once(turn):
    upright = {
        1: RAMP,
        2: RAMP[:, ::-1],
        3: RAMP[::-1, ::-1],
        4: RAMP[::-1],
        5: RAMP.T,
        6: np.rot90(RAMP, -1),
        7: np.rot90(RAMP.T, 2),
        8: np.rot90(RAMP),
    }
    assert is_like(tiff(RAMP, 8, {274: turn}), upright[turn])
    assert is_like(tiff(FULL.astype("<u2"), 16, {274: turn}), upright[turn])


# --- alpha --------------------------------------------------------------------------------------------------------


def on(colour: int, alpha: np.ndarray) -> bytes:
    return saved(Image.merge("LA", [Image.new("L", (64, 64), colour), Image.fromarray(alpha)]), "PNG")


def test_a_drawing_on_a_transparent_ground_is_laid_over_white():
    assert is_like(on(0, RAMP), np.dstack([255 - RAMP] * 3))


def test_white_on_a_transparent_ground_is_rejected():
    with pytest.raises(RejectedImage, match="nothing on white"):
        encode(on(255, RAMP), ImagePolicy())


def test_a_colour_that_is_said_to_be_transparent_is_white():
    assert shown(saved(Image.fromarray(RAMP), "PNG", transparency=2))[:, 0].min() > 240


def test_colours_that_are_all_transparent_are_rejected():
    hidden = Image.fromarray(np.dstack([COLOURS, np.zeros_like(RAMP)]))
    with pytest.raises(RejectedImage, match="nothing on white"):
        encode(saved(hidden, "PNG"), ImagePolicy())


def test_a_transparent_colour_of_sixteen_bits_is_white():
    assert shown(png16(FULL, 0, (b"tRNS", struct.pack(">H", FULL[0, 0]))))[:, 0].min() > 240
