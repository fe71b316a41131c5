"""What kind of file it is, told by its first bytes. Its name tells nothing: error pages are called .jpg every day."""

import struct

HEAD = 256  # bytes of a file that `sniff` looks at; with fewer it tells less

PICTURES = {  # the kinds that are read, and Pillow's reader of each; no other is asked, and none of these runs programs
    "JPEG": "JPEG",
    "PNG": "PNG",
    "WebP": "WEBP",
    "GIF": "GIF",
    "BMP": "BMP",
    "TIFF": "TIFF",
    "PNM": "PPM",
    "JPEG 2000": "JPEG2000",
    "AVIF": "AVIF",
    "TGA": "TGA",
    "ICO": "ICO",
    "PCX": "PCX",
    "SGI": "SGI",
    "QOI": "QOI",
    "Sun raster": "SUN",
}

STARTS = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"II*\0\x10\0\0\0CR", "CR2"),
    (b"IIU\0", "RW2"),
    (b"IIRO", "ORF"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"II\0*", "TIFF"),  # written in a wrong order, but read by all
    (b"MM*\0", "TIFF"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\x01\xda\0\x01", "SGI"),
    (b"\x01\xda\0\x02", "SGI"),
    (b"\x01\xda\x01\x01", "SGI"),
    (b"\x01\xda\x01\x02", "SGI"),
    (b"qoif", "QOI"),
    (b"\x59\xa6\x6a\x95", "Sun raster"),
    # Pictures that are not read.
    (b"\xff\x0a", "JPEG XL"),
    (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
    (b"8BPS", "PSD"),
    (b"DDS \x7c\0\0\0", "DDS"),  # textures: floats, faces of cubes
    (b"%!", "PostScript"),
    (b"\xc5\xd0\xd3\xc6", "EPS"),
    (b"%PDF", "PDF"),
    (b"\xd7\xcd\xc6\x9a", "WMF"),
    (b"gimp xcf", "XCF"),
    (b"icns", "ICNS"),
    (b"\0\0\2\0\1\0", "CUR"),
    (b"\x8aMNG", "MNG"),
    (b"\x8bJNG", "JNG"),
    (b"v/1\x01", "OpenEXR"),
    (b"#?RADIANCE", "Radiance HDR"),
    (b"SIMPLE  =", "FITS"),
    (b"AT&TFORM", "DjVu"),
    (b"FUJIFILMCCD-RAW", "RAF"),
    (b"BPG\xfb", "BPG"),
    (b"P7\n", "PAM"),
    (b"#define ", "XBM"),
    (b"/* XPM */", "XPM"),
    # Videos, sounds.
    (b"\x1aE\xdf\xa3", "a video (Matroska or WebM)"),
    (b"\0\0\1\xba", "a video (MPEG)"),
    (b"\0\0\1\xb3", "a video (MPEG)"),
    (b"\x30\x26\xb2\x75", "a video (Windows Media)"),
    (b"FLV\x01", "a video (Flash)"),
    (b"OggS", "Ogg"),
    (b"ID3", "MP3"),
    # What stands where a picture should.
    (b"version https://git-lfs", "a Git LFS pointer"),
    (b"/annex/objects/", "a git-annex pointer"),
    (b"\0\5\x16\7", "AppleDouble"),
    (b"\0\5\x16\0", "AppleSingle"),
    (b"PK\3\4", "zip"),
    (b"Rar!", "RAR"),
    (b"7z\xbc\xaf\x27\x1c", "7z"),
    (b"\x1f\x8b", "gzip"),
    (b"BZh", "bzip2"),
    (b"\xfd7zXZ", "xz"),
    (b"\x28\xb5\x2f\xfd", "Zstandard"),
    (b"\x89HDF", "HDF5"),
    (b"GRIB", "GRIB"),
    (b"BUFR", "BUFR"),
    (b"\x93NUMPY", "NumPy"),
    (b"PAR1", "parquet"),
    (b"SQLite format 3", "SQLite"),
    (b"\xd0\xcf\x11\xe0", "an OLE file"),
    (b"\x7fELF", "a program"),
)
RIFF = {b"WEBP": "WebP", b"AVI ": "a video (AVI)", b"WAVE": "WAVE"}
MARKUP = (
    (b"<!doctype html", "HTML"),
    (b"<html", "HTML"),
    (b"<head", "HTML"),
    (b"<body", "HTML"),
    (b"<!doctype svg", "SVG"),
    (b"<svg", "SVG"),
    (b"<!--", "HTML or XML"),
    (b"<?xml", "XML"),
    (b"<?php", "PHP"),
    (b"<", "HTML or XML"),
    (b"{", "JSON"),
    (b"[", "JSON"),
)
BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)  # bytes


def sniff(head: bytes) -> str | None:
    """The kind of a file by its first HEAD bytes, as a message can name it; None if it is none that is known."""
    for start, kind in STARTS:
        if head.startswith(start):
            return kind
    if head[:4] == b"RIFF":
        return RIFF.get(head[8:12])
    if head[4:8] == b"ftyp":
        return _iso_media(head)
    if head[128:132] == b"DICM":
        return "DICOM"
    for kind, test in (("BMP", _is_bmp), ("ICO", _is_ico), ("PCX", _is_pcx), ("TGA", _is_tga), ("PNM", _is_pnm)):
        if test(head):
            return kind
    if head and not head.strip(b"\0"):
        return "zeros"
    return _text(head)


def is_picture(head: bytes) -> bool:
    """Whether a file that begins so is a picture of a kind that is read."""
    return sniff(head) in PICTURES


def _iso_media(head: bytes) -> str:
    """Of AVIF, HEIC, MP4 and their kin, which begin with the length of a list of brands, and the list."""
    end = min(len(head), max(16, int.from_bytes(head[:4], "big")))
    major = head[8:12]
    brands = {major, *(head[i : i + 4] for i in range(16, end, 4))}
    if brands & {b"avif", b"avis"}:
        return "AVIF"
    if brands & {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}:
        return "HEIC"
    return "CR3" if major == b"crx " else "a video (MP4 or QuickTime)"


def _is_bmp(head: bytes) -> bool:
    return head[:2] == b"BM" and int.from_bytes(head[14:18], "little") in BMP_HEADERS


def _is_ico(head: bytes) -> bool:
    """One icon or more, the first of which lies behind the list of them."""
    if head[:4] != b"\0\0\1\0" or len(head) < 22:
        return False
    count, size, offset = struct.unpack("<H8xII", head[4:22])
    return count > 0 and size > 0 and offset >= 6 + 16 * count


def _is_pcx(head: bytes) -> bool:
    """Its maker's number, a version, run lengths, and bits a pixel and plane."""
    return len(head) >= 4 and head[0] == 10 and head[1] in (0, 2, 3, 5) and head[2] == 1 and head[3] in (1, 2, 4, 8)


def _is_tga(head: bytes) -> bool:
    """It has no mark: all that its header says has to fit together."""
    if len(head) < 18:
        return False
    colours, kind, first, count, entry, _, _, width, height, depth, flags = struct.unpack("<BBHHBHHHHBB", head[1:18])
    if not (width and height) or flags >> 6:
        return False
    if kind in (1, 9):
        return colours == 1 and depth == 8 and entry in (15, 16, 24, 32) and first + count <= 256
    alpha = {1: (0,), 8: (0,), 16: (0, 1, 8), 24: (0,), 32: (0, 8)}.get(depth, ())
    depths = {2: (16, 24, 32), 10: (16, 24, 32), 3: (1, 8, 16), 11: (1, 8, 16)}.get(kind, ())
    return colours == 0 and first == count == entry == 0 and depth in depths and flags & 15 in alpha


def _is_pnm(head: bytes) -> bool:
    """PBM, PGM, PPM or PFM: a letter and a digit, space, and a number or a comment."""
    if head[:1] != b"P" or head[1:2] not in b"123456Ff" or not head[2:3].isspace():
        return False
    return head[2:].lstrip()[:1] in b"#0123456789" and head[2:].strip() != b""


def _text(head: bytes) -> str | None:
    """HTML, SVG, JSON and the like; or other text."""
    try:
        text = head.decode("utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig", "ignore")
    except UnicodeDecodeError:
        return None
    start = text.lstrip().lower().encode()
    for begin, kind in MARKUP:
        if start.startswith(begin):
            return "SVG" if kind in ("XML", "HTML or XML") and b"<svg" in start else kind
    is_all = len(text.encode("utf-8", "ignore")) >= len(head) - 3  # the last character may be cut
    return "text" if is_all and text and all(char.isprintable() or char.isspace() for char in text) else None
