"""Archives that are not tars, several places at once, and what a hostile archive may try. Folders and tars are tested
with the sources that read them."""

import errno
import io
import os
import pickle
import tarfile
import zipfile
from pathlib import Path

import pytest

from fastpt.errors import DamagedData, FastptError
from fastpt.storage import kind as storage_kind
from fastpt.storage import opened
from fastpt.storage.files import Merged, open_files
from fastpt.storage.names import is_image, told_apart

CONTENT = {"cat/a.jpg": b"first" * 100, "dog/b.jpg": b"second", "list.csv": b"id,caption"}


def packed(path, kind: str, content=CONTENT):
    if kind == "folder":
        for name, value in content.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_bytes(value)
    elif kind in ("stored", "deflated"):
        method = zipfile.ZIP_STORED if kind == "stored" else zipfile.ZIP_DEFLATED
        with zipfile.ZipFile(path, "w", method) as archive:
            archive.mkdir("cat")
            for name, value in content.items():
                archive.writestr(name, value)
    else:
        with tarfile.open(path, kind) as tar:
            for name, value in content.items():
                info = tarfile.TarInfo(f"./{name}")
                info.size = len(value)
                tar.addfile(info, io.BytesIO(value))
    return path


@pytest.mark.parametrize("kind", ["folder", "w", "w:gz", "stored", "deflated"])
def test_every_kind_of_place_gives_the_same_files(tmp_path, kind):
    files = open_files(packed(tmp_path / "source", kind), unpack_dir=tmp_path / "out")
    assert files.names() == sorted(CONTENT)
    assert {name: files.read(name) for name in files.names()} == CONTENT
    assert list(filter(is_image, files.names())) == ["cat/a.jpg", "dog/b.jpg"]


@pytest.mark.parametrize("kind", ["folder", "w", "stored"])
def test_what_is_sent_elsewhere_holds_the_files_that_are_named(tmp_path, kind):
    few = pickle.loads(pickle.dumps(open_files(packed(tmp_path / "source", kind)).only(["dog/b.jpg"])))
    assert few.read("dog/b.jpg") == b"second"
    with pytest.raises((KeyError, OSError)):
        few.read("dog/c.jpg")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.rar", b"Rar!\x1a\x07" + bytes(600), "no archive that can be read, but RAR. Unpack it, and give the folder"),
        ("a.jpg", b"\xff\xd8\xff" + bytes(600), "but JPEG. Give a folder"),
        ("a.zip", b"<!doctype html>" * 100, "but HTML"),
        ("a.csv", b"file,class\n" * 100, "but text"),
        ("a.tar", b"", "is empty"),
        ("a.zip.001", b"PK\3\4" + bytes(600), "is a part of an archive by its name. Join all parts"),
        ("a.z01", b"PK\7\10" + bytes(600), "is a part of an archive"),
        ("a.part1", b"\x01rubbish" * 100, "is a part of an archive"),
    ],
)
def test_what_is_no_archive_is_called_what_it_is(tmp_path, name, content, told):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DamagedData, match=told):
        open_files(tmp_path / name, unpack_dir=tmp_path)


def test_an_unpacked_tar_gz_leaves_nothing_behind_and_goes_nowhere_else(tmp_path):
    files = open_files(packed(tmp_path / "a.tar.gz", "w:gz"), unpack_dir=tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []  # it has no name, so a killed job leaves nothing either
    with pytest.raises(FastptError, match="For --ray, unpack it"):
        pickle.dumps(files)


def test_an_unpacked_tar_gz_is_bounded(tmp_path):
    packed(tmp_path / "bomb.tar.gz", "w:gz", {"a.jpg": bytes(10 << 20)})
    with pytest.raises(FastptError, match="more than 100 times its size"):
        open_files(tmp_path / "bomb.tar.gz", unpack_dir=tmp_path)


@pytest.mark.parametrize("kind", ["w:gz", "deflated"])
@pytest.mark.parametrize("keep", [0.3, 0.9])
def test_a_cut_archive_is_one_clear_error(tmp_path, kind, keep):
    whole = packed(tmp_path / "x", kind, {"a.jpg": os.urandom(50_000)}).read_bytes()
    (tmp_path / "x").write_bytes(whole[: int(keep * len(whole))])
    with pytest.raises(DamagedData, match=r"x (cannot be read|is damaged)"):
        open_files(tmp_path / "x", unpack_dir=tmp_path)


def test_what_the_system_refuses_is_not_called_damage():
    assert type(storage_kind.unreadable("a.tar", PermissionError(errno.EACCES, "Permission denied"))) is FastptError


@pytest.mark.parametrize("kind", ["stored", "deflated"])
def test_a_damaged_member_of_a_zip_is_not_taken(tmp_path, kind):
    packed(tmp_path / "x.zip", kind)
    content = bytearray((tmp_path / "x.zip").read_bytes())
    content[content.index(b"cat/a.jpg", 40) + 12] ^= 255
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(OSError, match="damaged in its zip"):
        open_files(tmp_path / "x.zip").read("cat/a.jpg")


def test_a_zip_member_does_not_unpack_to_more_than_it_says(tmp_path, monkeypatch):
    packed(tmp_path / "x.zip", "deflated", {"a.jpg": bytes(1 << 20)})
    files = open_files(tmp_path / "x.zip")
    files.where["a.jpg"] = files.where["a.jpg"]._replace(size=100)
    with pytest.raises(OSError, match="damaged in its zip"):
        files.read("a.jpg")


@pytest.mark.parametrize("kind", ["folder", "w", "w:gz", "deflated"])
def test_a_file_of_gigantic_size_is_not_read(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(opened, "LARGEST_FILE", 99)
    files = open_files(packed(tmp_path / "x", kind), unpack_dir=tmp_path)
    with pytest.raises(OSError, match="larger than"):
        files.read("cat/a.jpg")


def test_members_with_dots_links_and_devices_are_names_or_nothing(tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name, kind in [
            ("link.jpg", tarfile.SYMTYPE),
            ("hard.jpg", tarfile.LNKTYPE),
            ("null.jpg", tarfile.CHRTYPE),
            ("pipe.jpg", tarfile.FIFOTYPE),
        ]:
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "/etc/passwd"
            tar.addfile(info)
        for name in ("../../out.jpg", "/abs.jpg"):
            info = tarfile.TarInfo(name)
            info.size = 3
            tar.addfile(info, io.BytesIO(b"abc"))
    before = sorted(tmp_path.rglob("*"))
    files = open_files(tmp_path / "x.tar")
    assert {name: files.read(name) for name in filter(is_image, files.names())} == {
        "../../out.jpg": b"abc",
        "abs.jpg": b"abc",
    }
    assert files.odd == {
        "link.jpg": "a link to nothing",
        "hard.jpg": "a link to nothing",
        "null.jpg": "a device",
        "pipe.jpg": "a pipe",
    }
    assert sorted(tmp_path.rglob("*")) == before


def test_several_places_are_one_and_prefixes_stand_before_their_names(tmp_path):
    one = open_files(packed(tmp_path / "one.zip", "stored", {"cat/a.jpg": b"1"}))
    two = open_files(packed(tmp_path / "two.tar", "w", {"cat/b.jpg": b"2"}))
    both = Merged([("", one), ("", two)])
    assert {name: both.read(name) for name in both.names()} == {"cat/a.jpg": b"1", "cat/b.jpg": b"2"}
    split = Merged([("train", one), ("val", two)])
    assert split.names() == ["train/cat/a.jpg", "val/cat/b.jpg"]
    few = pickle.loads(pickle.dumps(split.only(["val/cat/b.jpg"])))
    assert (few.names(), few.read("val/cat/b.jpg")) == (["val/cat/b.jpg"], b"2")


def test_a_name_in_two_places_is_an_error_that_names_both(tmp_path):
    one = open_files(packed(tmp_path / "one.zip", "stored", {"cat/a.jpg": b"1"}))
    two = open_files(packed(tmp_path / "two.tar", "w", {"cat/a.jpg": b"2"}))
    with pytest.raises(FastptError, match=r"cat/a\.jpg is in .*one\.zip and in .*two\.tar"):
        Merged([("", one), ("", two)])


@pytest.mark.parametrize(
    ("paths", "parts", "names"),
    [
        (["a/x.zip", "b/y.zip"], 1, ["x.zip", "y.zip"]),
        (["a/x.zip", "b/x.zip", "b/y.zip"], 1, ["a/x.zip", "b/x.zip", "y.zip"]),
        (["1/data/0", "2/data/0", "2/data/1"], 2, ["1/data/0", "2/data/0", "data/1"]),
        (["a", "a"], 1, ["a", "a"]),
        ([], 1, []),
    ],
)
def test_paths_are_called_by_as_many_parts_as_tell_them_apart(paths, parts, names):
    assert told_apart([Path(path) for path in paths], parts) == names
