"""What lies in folders and archives besides plain files, and files that change after they were listed."""

import io
import os
import socket
import tarfile
import zipfile

import pytest

from fastpt.errors import FastptError
from fastpt.storage.files import Merged, open_files
from fastpt.storage.folder import Folder


def lay(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(name.encode())
    return root


# --- folders ------------------------------------------------------------------------------------------------------


def test_a_folder_tells_its_files_hidden_ones_too_and_what_is_none(tmp_path):
    root = lay(tmp_path / "source", "cat/a.jpg", ".hidden/b.jpg")
    os.mkfifo(root / "cat" / "pipe.jpg")
    (root / "empty" / "deep").mkdir(parents=True)
    (root / "nowhere.jpg").symlink_to("missing.jpg")
    (root / "self.jpg").symlink_to("self.jpg")
    (root / "null.jpg").symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(os.path.relpath(root / "socket"))
        files = Folder(root)
    assert files.names() == [".hidden/b.jpg", "cat/a.jpg"]
    assert files.odd == {
        "cat/pipe.jpg": "a pipe",
        "empty/deep/": "an empty folder",
        "nowhere.jpg": "a link to nothing",
        "self.jpg": "a link to itself",
        "null.jpg": "a device",
        "socket": "a socket",
    }
    assert files.head("cat/a.jpg", 3) == b"cat"
    status = (root / "cat" / "a.jpg").stat()
    assert files.stamp("cat/a.jpg") == (9, status.st_mtime_ns)
    with pytest.raises(KeyError):
        files.read("cat/pipe.jpg")


def test_links_are_followed_two_to_one_folder_too(tmp_path):
    lay(tmp_path / "elsewhere", "a.jpg")
    root = lay(tmp_path / "source", "b.jpg")
    (root / "one").symlink_to("../elsewhere")
    (root / "two").symlink_to("../elsewhere")
    (root / "c.jpg").symlink_to("../elsewhere/a.jpg")
    assert Folder(root).names() == ["b.jpg", "c.jpg", "one/a.jpg", "two/a.jpg"]


@pytest.mark.parametrize("target", [".", "..", "../../source/deep"])
def test_a_link_in_a_circle_is_refused_by_name(tmp_path, target):
    root = lay(tmp_path / "source", "deep/a.jpg")
    (root / "deep" / "loop").symlink_to(target)
    with pytest.raises(FastptError, match=r"deep/loop.* links back"):
        Folder(root)


def test_links_do_not_make_names_without_end(tmp_path):
    for i in range(30):  # 2 ** 30 ways to the last one
        lay(tmp_path / str(i), "a.jpg")
        for link in ("left", "right"):
            (tmp_path / str(i) / link).symlink_to(tmp_path / str(i + 1))
    lay(tmp_path / "30", "a.jpg")
    with pytest.raises(FastptError, match="more than 100 links lead to"):
        Folder(tmp_path / "0")


def test_a_name_that_is_not_utf_8_is_refused_by_name(tmp_path):
    (tmp_path / "b\udce9.jpg").write_bytes(b"")
    with pytest.raises(FastptError, match=r"'b\\udce9\.jpg' in .* is not UTF-8"):
        Folder(tmp_path)


# --- what changes ---------------------------------------------------------------------------------------------------


def archive(path, kind):
    if kind == "folder":
        return lay(path, "a.jpg")
    if kind == "tar":
        with tarfile.open(path, "w") as tar:
            tar.addfile(tarfile.TarInfo("a.jpg"))
    else:
        with zipfile.ZipFile(path, "w") as made:
            made.writestr("a.jpg", b"")
    return path


@pytest.mark.parametrize("read", ["read", "head"])
@pytest.mark.parametrize("kind", ["folder", "tar", "zip"])
def test_a_file_that_changed_since_it_was_listed_is_an_error(tmp_path, kind, read):
    path = archive(tmp_path / "x", kind)
    files = open_files(path)
    few = files.only(["a.jpg"])
    changed = path / "a.jpg" if kind == "folder" else path
    os.utime(changed, ns=(0, 0))
    for one in (files, few):
        with pytest.raises(FastptError, match=rf"{changed.name} changed while it was read \(its time of change"):
            getattr(one, read)("a.jpg")
    with changed.open("ab") as file:
        file.write(b"more")
    with pytest.raises(FastptError, match=rf"{changed.name} changed while it was read \(it had [\d,]+ bytes"):
        getattr(files, read)("a.jpg")


def test_a_file_that_is_gone_since_it_was_listed_is_an_error(tmp_path):
    files = Folder(lay(tmp_path, "a.jpg"))
    (tmp_path / "a.jpg").unlink()
    with pytest.raises(FastptError, match=r"a\.jpg is gone since"):
        files.read("a.jpg")


# --- tars -------------------------------------------------------------------------------------------------------------


def tar_with(path, *members):
    """Files of their names, and links, (name, type, target)."""
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for member in members:
            name, kind, target = member if isinstance(member, tuple) else (member, tarfile.REGTYPE, "")
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            content = name.encode() if kind == tarfile.REGTYPE else b""
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return open_files(path)


def test_links_inside_a_tar_are_files(tmp_path):
    files = tar_with(
        tmp_path / "x.tar",
        ("early.jpg", tarfile.SYMTYPE, "./cat/a.jpg"),
        "cat/a.jpg",
        ("cat/hard.jpg", tarfile.LNKTYPE, "./cat/a.jpg"),
        ("dog/soft.jpg", tarfile.SYMTYPE, "../cat/a.jpg"),
        ("chain.jpg", tarfile.SYMTYPE, "early.jpg"),
        ("pets", tarfile.SYMTYPE, "cat"),
    )
    linked = ["cat/hard.jpg", "chain.jpg", "dog/soft.jpg", "early.jpg", "pets/a.jpg", "pets/hard.jpg"]
    assert files.names() == sorted(["cat/a.jpg", *linked])
    assert {files.read(name) for name in files.names()} == {b"cat/a.jpg"}


def test_what_is_no_file_in_a_tar_keeps_its_name(tmp_path):
    files = tar_with(
        tmp_path / "x.tar",
        "a.jpg",
        ("loop.jpg", tarfile.SYMTYPE, "loop.jpg"),
        ("out.jpg", tarfile.SYMTYPE, "/etc/passwd"),
        ("hard.jpg", tarfile.LNKTYPE, "missing.jpg"),
        ("pipe.jpg", tarfile.FIFOTYPE, ""),
        ("block.jpg", tarfile.BLKTYPE, ""),
        ("odd.jpg", b"Z", ""),
        ("empty", tarfile.DIRTYPE, ""),
    )
    assert files.names() == ["a.jpg"]
    assert files.odd == {
        "loop.jpg": "a link to itself",
        "out.jpg": "a link to nothing",
        "hard.jpg": "a link to nothing",
        "pipe.jpg": "a pipe",
        "block.jpg": "a device",
        "odd.jpg": "a member of the unknown type 'Z'",
        "empty/": "an empty folder",
    }


def test_a_circle_of_links_in_a_tar_is_refused_by_name(tmp_path):
    with pytest.raises(FastptError, match=r"cat/loop in .* links back"):
        tar_with(tmp_path / "x.tar", "cat/a.jpg", ("cat/loop", tarfile.SYMTYPE, "../cat"))


@pytest.mark.parametrize("version", ["0.0", "1.0"])
def test_sparse_members_of_pax_are_no_files(tmp_path, version):
    keys = {"GNU.sparse.realsize": str(200 << 30), "GNU.sparse.name": "big.jpg", "GNU.sparse.major": version[0]}
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("GNUSparseFile.0/big.jpg")
        info.pax_headers = keys
        info.size = 512
        tar.addfile(info, io.BytesIO(bytes(512)))
        tar.addfile(tarfile.TarInfo("a.jpg"))
    files = open_files(tmp_path / "x.tar")
    assert files.names() == ["a.jpg"]
    assert files.odd == {"big.jpg": "a sparse member of 214748364800 bytes"}


# --- zips -------------------------------------------------------------------------------------------------------------


def test_links_inside_a_zip_are_files_and_the_rest_keeps_its_name(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as made:
        made.writestr("cat/a.jpg", b"picture")
        for name, mode, content in (
            ("dog/soft.jpg", 0o120777, b"../cat/a.jpg"),
            ("out.jpg", 0o120777, b"/etc/passwd"),
            ("pipe.jpg", 0o010666, b""),
        ):
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            made.writestr(info, content)
        made.writestr("bz2.jpg", b"x", zipfile.ZIP_BZIP2)
        made.mkdir("empty")
    files = open_files(tmp_path / "x.zip")
    assert {name: files.read(name) for name in files.names()} == {"cat/a.jpg": b"picture", "dog/soft.jpg": b"picture"}
    assert files.odd == {
        "out.jpg": "a link to nothing",
        "pipe.jpg": "a pipe",
        "bz2.jpg": "a file compressed by method 12, which is not read",
        "empty/": "an empty folder",
    }


def test_an_encrypted_file_of_a_zip_is_told(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as made:
        made.writestr("a.jpg", b"picture")
    content = bytearray((tmp_path / "x.zip").read_bytes())
    content[6] |= 1
    content[content.index(b"PK\1\2") + 8] |= 1
    (tmp_path / "x.zip").write_bytes(content)
    assert open_files(tmp_path / "x.zip").odd == {"a.jpg": "an encrypted file"}


def test_a_zip_made_on_windows_has_folders(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as made:
        for name in ("cat\\a.jpg", "dog\\"):
            info = zipfile.ZipInfo("placeholder")
            info.filename, info.create_system = name, 0
            made.writestr(info, b"")
    files = open_files(tmp_path / "x.zip")
    assert (files.names(), files.odd) == (["cat/a.jpg"], {"dog/": "an empty folder"})


def test_a_zip_of_64_bit_is_read(tmp_path):
    class Stream(io.RawIOBase):  # what cannot seek makes Python write Zip64 with sizes behind the files
        def __init__(self):
            self.content = b""

        def writable(self):
            return True

        def write(self, content):
            self.content += bytes(content)
            return len(content)

    stream = Stream()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as made:
        for name in ("a.jpg", "b.jpg"):
            with made.open(name, "w", force_zip64=True) as member:
                member.write(name.encode() * 100)
    (tmp_path / "x.zip").write_bytes(stream.content)
    files = open_files(tmp_path / "x.zip")
    assert {name: files.read(name) for name in files.names()} == {
        name: name.encode() * 100 for name in ("a.jpg", "b.jpg")
    }
    assert files.head("a.jpg", 7) == b"a.jpga."


def test_several_places_tell_what_is_odd_in_each(tmp_path):
    lay(tmp_path / "one", "a.jpg")
    (tmp_path / "one" / "empty").mkdir()
    both = Merged([("train", Folder(tmp_path / "one")), ("val", Folder(lay(tmp_path / "two", "b.jpg")))])
    assert both.odd == {"train/empty/": "an empty folder"}
    assert both.head("val/b.jpg", 1) == b"b"
    assert both.stamp("val/b.jpg") == Folder(tmp_path / "two").stamp("b.jpg")
