"""Archives that are not whole: an error that names them; with `ignore_damage` what can be read, and what was lost."""

import bz2
import gzip
import io
import lzma
import random
import tarfile
import zipfile
from pathlib import Path

import pytest

from fastpt.errors import DamagedData, FastptError
from fastpt.storage.files import open_files
from fastpt.storage.tar import TarOfTars

FILES = {
    "a.jpg": random.Random(1).randbytes(700),
    "cat/b.jpg": random.Random(2).randbytes(512),
    f"cat/{'n' * 120}/c.jpg": b"abc",
    "dög/d.jpg": random.Random(4).randbytes(1300),
    "empty.cls": b"",
}
FORMATS = {"gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT, "ustar": tarfile.USTAR_FORMAT}


def tar_of(files, format=tarfile.GNU_FORMAT) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=format) as tar:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return file.getvalue()


def zip_of(files, method=zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return file.getvalue()


def opened(folder: Path, content: bytes, **options):
    (folder / "x").write_bytes(content)
    return open_files(folder / "x", unpack_dir=folder / "out", **options)


def contents(files) -> dict[str, bytes]:
    return {name: files.read(name) for name in files.names()}


def renamed(files, folder: str) -> dict[str, bytes]:
    return {f"{folder}/{name}": content[::-1] for name, content in files.items()}


def headers(tar: bytes) -> list[int]:
    return [at for at in range(0, len(tar), 512) if tar[at + 257 : at + 262] == b"ustar"]


def is_told_or_kept(folder: Path, content: bytes) -> bool:
    """Whether an archive of FILES that was damaged is refused, or all of it is there; and with `ignore_damage`, if what
    is there is what it was, and what is not there is told."""
    try:
        whole = contents(opened(folder, content)) == FILES
    except DamagedData as error:
        whole = "x " in str(error) and "\n" not in str(error)
    try:
        files = opened(folder, content, ignore_damage=True)
    except DamagedData:
        return whole  # nothing can be read
    found = contents(files)
    right = all(FILES.get(name) == value for name, value in found.items())
    return whole and right and (found == FILES or len(files.damage) > 0)


@pytest.mark.parametrize("format", FORMATS)
def test_a_tar_that_is_cut_anywhere_is_told(tmp_path, format):
    tar = tar_of(FILES, FORMATS[format])
    assert all(is_told_or_kept(tmp_path, tar[:cut]) for cut in range(0, len(tar), 256))


@pytest.mark.parametrize("format", FORMATS)
def test_a_bit_that_flips_in_a_header_is_told(tmp_path, format):
    tar = tar_of(FILES, FORMATS[format])
    for at in headers(tar):
        for byte in range(at, at + 512, 9):
            content = bytearray(tar)
            content[byte] ^= 1
            assert is_told_or_kept(tmp_path, bytes(content)), (at, byte)


def test_one_header_costs_one_file(tmp_path):
    tar = bytearray(tar_of(FILES))
    tar[tar.index(b"cat/b.jpg") + 150] ^= 1
    with pytest.raises(DamagedData, match=r"x is damaged: .* 1 members were read before, the last one is a\.jpg"):
        opened(tmp_path, bytes(tar))
    files = opened(tmp_path, bytes(tar), ignore_damage=True)
    assert files.names() == sorted(FILES.keys() - {"cat/b.jpg"})
    assert len(files.damage) == 1


def test_pictures_are_not_taken_for_headers(tmp_path):
    inner = tar_of({"inner.jpg": b"x" * 600})
    tar = bytearray(tar_of({"a.jpg": b"a", "b.jpg": b"ustar" * 200, "c.tar": inner, "d.jpg": b"d"}))
    tar[tar.index(b"b.jpg") + 150] ^= 1
    assert opened(tmp_path, bytes(tar), ignore_damage=True).names() == ["a.jpg", "c.tar", "d.jpg"]


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress])
def test_joined_tars_are_refused_or_read_whole(tmp_path, pack):
    content = pack(tar_of(FILES)) + pack(tar_of(renamed(FILES, "more")))
    with pytest.raises(DamagedData, match="behind its end mark"):
        opened(tmp_path, content)
    files = opened(tmp_path, content, ignore_damage=True)
    assert contents(files) == FILES | renamed(FILES, "more")


@pytest.mark.parametrize("cut", range(1024, 4096, 300))
def test_a_cut_tar_that_is_joined_to_another_is_told(tmp_path, cut):
    content = tar_of(FILES)[:cut] + tar_of(renamed(FILES, "more"))
    files = opened(tmp_path, content, ignore_damage=True)
    assert len(files.damage) > 0
    expected = FILES | renamed(FILES, "more")
    assert all(expected[name] == value for name, value in contents(files).items())
    assert set(files.names()) >= set(renamed(FILES, "more")) - {"more/a.jpg"}


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_a_compressed_tar_is_read_whole_or_refused(tmp_path, pack):
    tar = tar_of(FILES)
    whole = pack(tar)
    assert contents(opened(tmp_path, whole)) == FILES
    assert contents(opened(tmp_path, pack(tar[:3000]) + pack(tar[3000:]))) == FILES
    assert contents(opened(tmp_path, whole + bytes(700))) == FILES
    for damaged in (whole[:-1], whole[:-9], whole[: len(whole) // 2], whole + b"rubbish"):
        with pytest.raises(DamagedData, match="x is damaged"):
            opened(tmp_path, damaged)
    flipped = bytearray(whole)
    flipped[-6] ^= 1  # gzip's checksum or length
    with pytest.raises(DamagedData, match="x is damaged"):
        opened(tmp_path, bytes(flipped))


def test_a_tar_gz_with_a_wrong_checksum_can_be_read_if_one_insists(tmp_path):
    content = bytearray(gzip.compress(tar_of(FILES)))
    content[-6] ^= 1
    files = opened(tmp_path, bytes(content), ignore_damage=True)
    assert contents(files) == FILES
    assert "is not what it was" in files.damage[0]


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_that_is_cut_anywhere_is_told(tmp_path, method):
    content = zip_of(FILES, method)
    assert all(is_told_or_kept(tmp_path, content[:cut]) for cut in range(0, len(content), 37))


def test_a_zip_without_its_directory_can_be_read_if_one_insists(tmp_path):
    content = zip_of(FILES)
    files = opened(tmp_path, content[: content.index(b"PK\1\2")], ignore_damage=True)
    assert contents(files) == FILES
    assert "its end is missing" in files.damage[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: zip_of(renamed(FILES, "other")) + content, "other data lie in front of it"),
        (lambda content: b"#!/bin/sh\n" * 9 + content, "other data lie in front of it"),
        (lambda content: content + b"rubbish", "other data lie behind its end"),
        (lambda content: content.replace(b"a.jpg", b"z.jpg", 1), "z?a?.jpg at byte 0 has a damaged header"),
        (lambda content: content.replace(b"PK\1\2", b"PK\1\3", 1), "its directory is damaged, 0 of 5"),
    ],
)
def test_a_zip_that_is_at_odds_with_itself_is_refused_or_told(tmp_path, change, message):
    content = change(zip_of(FILES))
    with pytest.raises(DamagedData, match=message):
        opened(tmp_path, content)
    files = opened(tmp_path, content, ignore_damage=True)
    found = contents(files)
    assert len(files.damage) > 0
    assert all(found[name] == value for name, value in FILES.items() if name not in files.odd)


def test_of_joined_zips_nothing_is_lost_if_one_insists(tmp_path):
    content = zip_of(FILES) + zip_of(renamed(FILES, "more"))
    assert contents(opened(tmp_path, content, ignore_damage=True)) == FILES | renamed(FILES, "more")


def test_an_archive_of_which_nothing_can_be_read_is_refused_anyway(tmp_path):
    for content in (b"", b"no archive" * 1000, b"PK\3\4" * 100, b"\x1f\x8b" * 100):
        with pytest.raises(DamagedData):
            opened(tmp_path, content, ignore_damage=True)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", ["tar", "zip"])
@pytest.mark.parametrize("second", ["./a.jpg", "a.jpg", "//a.jpg", "b/../a.jpg"])
def test_two_files_of_one_name_are_refused_with_their_places(tmp_path, kind, second):
    file = io.BytesIO()
    if kind == "tar":
        with tarfile.open(fileobj=file, mode="w") as tar:
            for name in ("a.jpg", second):
                tar.addfile(tarfile.TarInfo(name))
    else:
        with zipfile.ZipFile(file, "w") as archive:
            for name in ("a.jpg", second):
                archive.writestr(name, b"")
    with pytest.raises(FastptError, match=r"x holds a\.jpg twice: at byte [\d,]+ and at byte"):
        opened(tmp_path, file.getvalue())


# --- ImageNet's tar of tars ---------------------------------------------------------------------------------------


def of_tars(tmp_path, tars: dict[str, bytes], **options):
    return opened(tmp_path, tar_of(tars), tar=TarOfTars, **options)


def test_tars_inside_a_tar_give_their_own_folder_wherever_they_lie(tmp_path):
    inner = {name: tar_of({"x.JPEG": name.encode()}) for name in ("./n1.tar", "train/n2.tar", "n3.tar")}
    files = of_tars(tmp_path, {**inner, "readme.txt": b"hello"})
    assert contents(files) == {"n1/x.JPEG": b"./n1.tar", "n2/x.JPEG": b"train/n2.tar", "n3/x.JPEG": b"n3.tar"}
    assert files.odd == {"readme.txt": "no tar"}


def test_two_tars_of_one_class_are_refused(tmp_path):
    inner = tar_of({"x.JPEG": b"x"})
    with pytest.raises(FastptError, match=r"two tars of one name: a/n1\.tar and b/n1\.tar"):
        of_tars(tmp_path, {"a/n1.tar": inner, "b/n1.tar": inner})


def test_a_broken_tar_inside_a_tar_is_named(tmp_path):
    inner = bytearray(tar_of({f"{i}.JPEG": b"x" for i in range(4)}))
    inner[headers(inner)[2] + 150] ^= 1
    tars = {"n1.tar": tar_of({"a.JPEG": b"a"}), "n2.tar": bytes(inner)}
    with pytest.raises(DamagedData, match=r"x: n2\.tar is damaged: .* 2 members were read before, the last one is 1"):
        of_tars(tmp_path, tars)
    files = of_tars(tmp_path, tars, ignore_damage=True)
    assert files.names() == ["n1/a.JPEG", "n2/0.JPEG", "n2/1.JPEG", "n2/3.JPEG"]
