import io

import pytest
from PIL import Image

from fastpt.storage.sniff import HEAD, PICTURES, is_picture, sniff

WRITTEN = {
    "JPEG": ["JPEG", "MPO"],
    "PNG": ["PNG"],
    "WebP": ["WEBP"],
    "GIF": ["GIF"],
    "BMP": ["BMP"],
    "TIFF": ["TIFF"],
    "PNM": ["PPM"],
    "JPEG 2000": ["JPEG2000"],
    "AVIF": ["AVIF"],
    "TGA": ["TGA"],
    "ICO": ["ICO"],
    "PCX": ["PCX"],
    "SGI": ["SGI"],
    "QOI": ["QOI"],
}


def written(format: str, mode: str = "RGB", size: tuple[int, int] = (20, 9)) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size, 90).save(buffer, format)
    return buffer.getvalue()


@pytest.mark.parametrize(("kind", "format"), [(kind, format) for kind in WRITTEN for format in WRITTEN[kind]])
def test_a_picture_is_known_by_its_first_bytes(kind, format):
    head = written(format)[:HEAD]
    assert sniff(head) == kind
    assert is_picture(head)
    assert is_picture(head[:64])


@pytest.mark.parametrize(
    ("format", "mode"),
    [("TGA", mode) for mode in ("1", "L", "LA", "P", "RGBA")]
    + [("PCX", mode) for mode in ("1", "L", "P")]
    + [("PPM", mode) for mode in ("1", "L", "I", "F")]
    + [("BMP", mode) for mode in ("1", "L", "P", "RGBA")]
    + [("SGI", mode) for mode in ("L", "RGBA")],
)
def test_its_mode_does_not_matter(format, mode):
    assert is_picture(written(format, mode))


def test_each_kind_that_is_read_has_a_reader_and_none_that_starts_programs():
    Image.init()
    assert set(PICTURES.values()) <= set(Image.OPEN)
    assert not {"EPS", "WMF", "FPX", "GRIB", "HDF5", "BUFR", "IM", "MPEG", "PSD"} & set(PICTURES.values())


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "PostScript"),
        (b"\xc5\xd0\xd3\xc6" + bytes(60), "EPS"),
        (b"%PDF-1.7\n", "PDF"),
        (b"<!DOCTYPE html><html>", "HTML"),
        (b"\r\n\r\n  <HTML><head><title>404 Not Found", "HTML"),
        (b"\xef\xbb\xbf<!doctype html>", "HTML"),
        ("<html>".encode("utf-16"), "HTML"),
        (b'<?xml version="1.0"?>\n<Error><Code>AccessDenied', "XML"),
        (b'<?xml version="1.0"?>\n<!-- drawn -->\n<svg xmlns="http://www.w3.org/2000/svg">', "SVG"),
        (b"<svg width='4'>", "SVG"),
        (b'{"error": "not found"}', "JSON"),
        (b"Not Found", "text"),
        ("Datei nicht gefunden \N{EM DASH} ä".encode()[:-1], "text"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a", "a Git LFS pointer"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "AVIF"),
        (b"\0\0\0\x18ftypmif1\0\0\0\0mif1miaf", "HEIC"),
        (b"\0\0\0\x20ftypisom\0\0\2\0isomiso2avc1mp41", "a video (MP4 or QuickTime)"),
        (b"RIFF\0\0\0\0AVI LIST", "a video (AVI)"),
        (b"\x1aE\xdf\xa3\x01", "a video (Matroska or WebM)"),
        (b"\xff\x0a\xfa\x1f", "JPEG XL"),
        (b"8BPS\0\1", "PSD"),
        (b"DDS \x7c\0\0\0", "DDS"),
        (b"II*\0\x10\0\0\0CR\2\0", "CR2"),
        (bytes(128) + b"DICM", "DICOM"),
        (bytes(256), "zeros"),
        (b"\0\5\x16\7" + bytes(60), "AppleDouble"),
        (b"PK\3\4\x14\0", "zip"),
        (b"", None),
        (b"\n", "text"),
        (bytes(range(200, 250)), None),
        (b"BMW cars", "text"),
        (b"P1 is the first", "text"),
        (b"\0\0\x08\3\0\0\xea\x60\0\0\0\x1c\0\0\0\x1c" + bytes(200), None),  # MNIST's file of pictures
    ],
)
def test_what_is_no_picture_that_is_read_is_told_by_its_kind(head, kind):
    assert sniff(head) == kind
    assert is_picture(head) == (kind == "AVIF")
