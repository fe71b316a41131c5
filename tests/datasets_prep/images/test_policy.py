import io
import resource
import struct
import time
import zlib

import cv2
import numpy as np
import pytest
from PIL import Image

from datasets_prep.images.policy import ImagePolicy, RejectedImage, encode
from fastpt.errors import FastptError
from fastpt.jpeg import entropy
from fastpt.jpeg.frames import frame_sizes
from tests.conftest import picture


def pixels(jpeg: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(jpeg)))


def encoded(array: np.ndarray, format: str, mode: str | None = None) -> bytes:
    buffer = io.BytesIO()
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(buffer, format)
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_sane_jpeg_keeps_its_pixels_and_gets_entry_points(mode):
    source = picture(0, mode=mode)
    stored = encode(source, ImagePolicy(max_side=80))
    assert (stored.width, stored.height, stored.encoded) == (80, 64, None)
    assert stored.jpeg == entropy.note_entry_points(source, (80, 64)).jpeg != source
    assert stored.has_entry_points
    assert np.array_equal(pixels(stored.jpeg), pixels(source))


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_without_entry_points_a_sane_jpeg_is_stored_byte_for_byte(mode):
    source = picture(0, mode=mode)
    noted = entropy.note_entry_points(source, (80, 64)).jpeg
    for jpeg in (source, noted):
        stored = encode(jpeg, ImagePolicy(max_side=80, entry_points="none"))
        assert stored.jpeg == jpeg
        assert not stored.has_entry_points


@pytest.mark.parametrize(
    "source",
    [
        picture(0, size=(400, 300)),
        picture(0, size=(400, 300), mode="L"),
        picture(0, size=(400, 300), mode="CMYK"),
        picture(1, size=(90, 70), format="PNG"),
    ],
    ids=["reduced", "grey", "by Pillow", "PNG"],
)
def test_what_is_encoded_gets_entry_points_too(source):
    plain = encode(source, ImagePolicy(max_side=100, entry_points="none"))
    stored = encode(source, ImagePolicy(max_side=100))
    assert not plain.has_entry_points
    assert stored.has_entry_points
    assert stored.jpeg == entropy.note_entry_points(plain.jpeg, (stored.width, stored.height)).jpeg != plain.jpeg


@pytest.mark.parametrize(
    "options",
    [{"progressive": True}, {"restart_marker_rows": 1}, {"size": (48, 16)}],
    ids=["progressive", "restarts", "small"],
)
def test_jpegs_of_a_kind_that_has_no_entry_points_pass_through(options):
    source = picture(0, **options)
    stored = encode(source, ImagePolicy())
    assert (stored.jpeg, stored.encoded, stored.has_entry_points) == (source, None, False)


def test_entry_points_that_a_jpeg_comes_with_are_not_trusted():
    source = picture(0)
    for sane in (source, picture(0, progressive=True), source[:-2] + b"\0\0\0\0" + source[-2:]):
        forged = sane[:2] + b"\xff\xe9\0\x0cfastpt\0\1\x08\0" + sane[2:]
        assert encode(forged, ImagePolicy()).jpeg == encode(sane, ImagePolicy()).jpeg


def test_where_the_library_was_not_built_entry_points_are_an_error_and_not_left_out(monkeypatch):
    monkeypatch.setattr(entropy, "_library", lambda: None)
    with pytest.raises(FastptError, match="--entry-points none"):
        encode(picture(0), ImagePolicy())
    assert encode(picture(0), ImagePolicy(entry_points="none")).jpeg == picture(0)


def test_a_large_picture_is_reduced_to_the_limit_and_keeps_its_shape():
    stored = encode(picture(0, size=(400, 300)), ImagePolicy(max_side=100))
    assert (stored.width, stored.height) == (100, 75)
    assert pixels(stored.jpeg).shape == (75, 100, 3)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("subsampling", ["4:2:0", "4:2:2", "4:4:4"])
@pytest.mark.parametrize(("size", "limit"), [((400, 300), 257), ((333, 401), 200), ((1203, 901), 101)])
def test_reducing_a_jpeg_is_resizing_its_pixels_by_area(size, limit, subsampling, mode):
    source = picture(0, size=size, mode=mode, subsampling=subsampling, quality=95)
    stored = encode(source, ImagePolicy(max_side=limit, quality=95))
    assert max(stored.width, stored.height) == limit
    expected = cv2.resize(pixels(source), (stored.width, stored.height), interpolation=cv2.INTER_AREA).astype(int)
    found = pixels(stored.jpeg)
    assert found.shape == expected.shape
    assert np.abs(found - expected).mean() < 3


OTHERS = {
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 5},
    "RGB": {"keep_rgb": True},
    "progressive RGB": {"keep_rgb": True, "progressive": True},
}


@pytest.mark.parametrize("subsampling", ["420", "444"])
@pytest.mark.parametrize("options", OTHERS.values(), ids=OTHERS)
def test_jpegs_of_other_kinds_are_reduced_to_the_same_colours(options, subsampling):
    source = Image.open(io.BytesIO(picture(0, size=(400, 300), quality=95)))
    buffer = io.BytesIO()
    source.save(buffer, "JPEG", quality=95, **options)
    stored = encode(buffer.getvalue(), ImagePolicy(max_side=200, subsampling=subsampling))
    expected = cv2.resize(np.asarray(source), (200, 150), interpolation=cv2.INTER_AREA).astype(int)
    assert stored.encoded == subsampling
    assert stored.has_entry_points
    assert np.abs(pixels(stored.jpeg) - expected).mean() < 3


def test_a_flawed_jpeg_that_still_decodes_is_reduced_too():
    source = picture(0, size=(400, 300))
    flawed = source[:-2] + b"\0\0\0\0" + source[-2:]  # bytes that belong to nothing: a warning of libjpeg
    assert not entropy.is_sound(flawed, (400, 300))
    there, expected = (pixels(encode(jpeg, ImagePolicy(max_side=100)).jpeg) for jpeg in (flawed, source))
    assert np.abs(there.astype(int) - expected).mean() < 3


@pytest.mark.parametrize("entry_points", ["auto", "none"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"mode": "L"}], ids=["plain", "progressive", "grey"])
def test_a_jpeg_with_stray_bytes_among_its_headers_is_encoded_anew(options, entry_points):
    source = picture(0, **options)
    at = source.index(b"\xff\xdb")
    stored = encode(source[:at] + b"\0" + source[at:], ImagePolicy(entry_points=entry_points))
    assert stored.encoded is not None
    assert np.abs(pixels(stored.jpeg).astype(int) - pixels(source)).mean() < 2
    assert frame_sizes([np.frombuffer(stored.jpeg, np.uint8)]).tolist() == [[64, 80]]


@pytest.mark.parametrize("limit", [None, 100])
@pytest.mark.parametrize("share", [0.5, 0.9, 0.99])
def test_a_truncated_jpeg_is_rejected_whether_it_is_reduced_or_not(share, limit):
    source = picture(0, size=(400, 300))
    with pytest.raises(RejectedImage, match="does not decode"):
        encode(source[: int(share * len(source))], ImagePolicy(max_side=limit))


def test_a_cmyk_jpeg_is_reduced_in_its_right_colours():
    source = picture(1, size=(400, 300), mode="CMYK")
    expected = np.asarray(Image.open(io.BytesIO(source)).convert("RGB").reduce(4)).astype(int)
    stored = encode(source, ImagePolicy(max_side=100))
    assert np.abs(pixels(stored.jpeg).astype(int) - expected).mean() < 4


def test_no_limit_keeps_every_size():
    source = picture(0, size=(900, 600))
    assert encode(source, ImagePolicy(max_side=None, entry_points="none")).jpeg == source


def test_exif_orientation_is_applied_to_the_pixels():
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    source = picture(3, exif=exif)
    stored = encode(source, ImagePolicy())
    assert (stored.width, stored.height) == (64, 80)
    upright = np.rot90(pixels(source), -1).astype(int)
    assert np.abs(pixels(stored.jpeg).astype(int) - upright).mean() < 3
    assert Image.open(io.BytesIO(stored.jpeg)).getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize("orientation", [0, 9, 65_535])
def test_an_exif_orientation_that_is_none_of_the_eight_says_nothing(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    source = picture(3, exif=exif)
    stored = encode(source, ImagePolicy(entry_points="none"))
    assert (stored.jpeg, stored.encoded) == (source, None)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("CMYK JPEG", picture(1, mode="CMYK")),
        ("PNG", picture(1, format="PNG")),
        ("palette PNG", picture(1, mode="P", format="PNG")),
        ("WebP", picture(1, format="WEBP", lossless=True)),
        ("animated GIF", picture(1, mode="P", format="GIF", save_all=True)),
        ("a PNG named JPEG is told by its bytes", picture(1, format="PNG")),
    ],
)
def test_other_kinds_of_picture_keep_their_colours(name, source):
    expected = np.asarray(Image.open(io.BytesIO(source)).convert("RGB")).astype(int)
    stored = encode(source, ImagePolicy())
    assert np.abs(pixels(stored.jpeg).astype(int) - expected).mean() < 4


def test_sixteen_bit_grey_keeps_its_range():
    ramp = np.tile(np.linspace(0, 65535, 64).astype(np.uint16), (64, 1))
    stored = encode(encoded(ramp, "PNG"), ImagePolicy())
    assert np.abs(pixels(stored.jpeg).astype(int) - (ramp >> 8)).max() < 6


def test_alpha_is_laid_over_white():
    clear = np.zeros((16, 16, 4), np.uint8)
    assert pixels(encode(encoded(clear, "PNG"), ImagePolicy()).jpeg).min() == 255


def test_one_pixel_is_a_picture():
    stored = encode(picture(0, size=(1, 1)), ImagePolicy())
    assert (stored.width, stored.height) == (1, 1)
    thin = encode(picture(0, size=(1000, 1)), ImagePolicy(max_side=100))
    assert (thin.width, thin.height) == (100, 1)
    tiny = encode(picture(0, size=(7, 3)), ImagePolicy(max_side=3))
    assert pixels(tiny.jpeg).shape == (1, 3, 3)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (b"", "empty"),
        (b"not a picture", "not a picture"),
        (picture(0)[:400], "does not decode"),
        (picture(0, format="PNG")[:200], "does not decode"),
        (encoded(np.zeros((4, 4), np.float32), "TIFF"), "floating-point"),
    ],
)
def test_what_cannot_be_stored_is_rejected_with_the_reason(source, reason):
    with pytest.raises(RejectedImage, match=reason):
        encode(source, ImagePolicy())


def test_a_decompression_bomb_is_rejected_before_it_is_decoded():
    bomb = Image.new("1", (40_000, 10_000))
    buffer = io.BytesIO()
    bomb.save(buffer, "PNG")
    with pytest.raises(RejectedImage, match="pixels"):
        encode(buffer.getvalue(), ImagePolicy())


# --- what is no picture, or no sane one ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "PostScript"),
        (b"%PDF-1.7\n", "PDF"),
        (b"<!DOCTYPE html><title>404</title>", "HTML"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (bytes(5000), "zeros"),
        (picture(0, format="IM"), ""),
    ],
)
def test_what_is_no_picture_that_is_read_is_rejected_by_its_kind(source, kind):
    with pytest.raises(RejectedImage, match=f"not a picture that can be read.*{kind}"):
        encode(source, ImagePolicy())


@pytest.mark.parametrize("format", ["AVIF", "TGA", "ICO", "PCX", "SGI", "QOI", "JPEG2000", "PPM", "BMP", "MPO", "TIFF"])
def test_kinds_that_need_no_suffix_are_read(format):
    stored = encode(picture(2, size=(64, 64), format=format), ImagePolicy())
    assert (stored.width, stored.height) == (64, 64)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png_with(name: bytes, data: bytes) -> bytes:
    source = picture(0, format="PNG")
    return source[:33] + chunk(name, data) + source[33:]


def header(side: int) -> bytes:
    return chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))


LARGE = zlib.compress(bytes(64 << 20))


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("a profile that unpacks to 64 MiB", png_with(b"iCCP", b"x\0\0" + LARGE)),
        ("a text that unpacks to 64 MiB", png_with(b"zTXt", b"x\0\0" + LARGE)),
        ("a PNG that claims 2^31 pixels a side", picture(0, format="PNG")[:8] + header(2**31 - 1)),
        ("a PNG without pixels", picture(0, format="PNG")[:8] + header(0)),
        ("a GIF without a frame", b"GIF89a\x10\0\x10\0\0\0\0;"),
        ("a TIFF whose directories run in a circle", struct.pack("<4sIHHHIII", b"II*\0", 8, 1, 256, 4, 1, 64, 8)),
        ("a number of 5,000 digits", b"P6 " + b"9" * 5000 + b" 64 255\n"),
        ("a TGA that claims 65,535 pixels a side", b"\0\0\2" + bytes(9) + b"\xff\xff\xff\xff\x18\0"),
        ("an icon whose picture is cut off", b"\0\0\1\0\1\0\0\0\0\0\1\0\x20\0\0\0\0\x10\x16\0\0\0" + bytes(50)),
        ("an AVIF that ends at once", b"\0\0\0\x1cftypavif\0\0\0\0avifmif1" + bytes(100)),
    ],
)
def test_hostile_pictures_are_rejected_at_once(name, source):
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    with pytest.raises(RejectedImage):
        encode(source, ImagePolicy())
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB
    assert time.process_time() - start < 5


def test_sides_beyond_those_of_a_jpeg_are_reduced():
    wide = io.BytesIO()
    Image.new("RGB", (70_000, 2)).save(wide, "PNG")
    assert encode(wide.getvalue(), ImagePolicy(max_side=None)).width == 65_500
    assert encode(wide.getvalue(), ImagePolicy()).width == 500


@pytest.mark.parametrize("exif", [b"garbage-garbage", b"II*\0\x08\0\0\0" + struct.pack("<HHHII", 1, 0x8769, 4, 1, 8)])
def test_broken_exif_is_no_reason_to_leave_a_picture_out(exif):
    source = picture(0)
    segment = b"Exif\0\0" + exif
    broken = source[:2] + b"\xff\xe1" + struct.pack(">H", 2 + len(segment)) + segment + source[2:]
    assert encode(broken, ImagePolicy(entry_points="none")).jpeg == broken
    assert encode(broken, ImagePolicy()).jpeg == entropy.note_entry_points(broken, (80, 64)).jpeg
