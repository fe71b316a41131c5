import errno
import fcntl
import resource
import shutil
import subprocess
import sys

import numpy as np
import pytest
import safetensors.numpy
import torch

from fastpt.errors import FastptError
from fastpt.files import (
    atomic_folder,
    find_damage,
    locked,
    read_sealed_json,
    seal_folder,
    unwritten_is_oserror,
    write_json,
)
from fastpt.files import write_sealed_json as write_sealed

BIG = np.zeros(50_000)


@pytest.fixture
def full_disk():
    """No file may grow beyond 50 kB."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_what_a_killed_writer_left_is_removed_and_what_a_live_one_writes_is_not(tmp_path):
    for last in ("os.kill(os.getpid(), 9)", "input()"):
        code = (
            f"import os; from fastpt.files import atomic_write\nwith atomic_write('a') as f: print(flush=True); {last}"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", code], cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        assert process.stdout.readline() == b"\n"
        if last == "input()":
            written = tmp_path / f".a.{process.pid}.fastpt.tmp"
            assert [path for path in tmp_path.iterdir() if path.name.endswith(".tmp")] == [written]
            write_json(tmp_path / "b", {})
            assert written.exists()
            process.communicate(b"\n")
        assert process.wait() in (0, -9)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_files_of_others_beside_are_left_alone(tmp_path):
    names = {".a.12.tmp", ".a.tmp", "a.fastpt.tmp.txt"}
    for name in names:
        (tmp_path / name).touch()
    write_json(tmp_path / "b", {})
    assert {path.name for path in tmp_path.iterdir()} == names | {"b"}


def test_a_file_system_that_cannot_lock_is_named(tmp_path, monkeypatch):
    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with (
        pytest.raises(FastptError, match=r"a\.lock cannot be locked \(No locks available\)"),
        locked(tmp_path / "a.lock"),
    ):
        pass


def failing(path):
    with locked(path, "held"):
        raise OSError("of its own")


def test_what_fails_under_a_lock_is_not_the_locks_and_ends_it(tmp_path):
    for _ in range(2):
        with pytest.raises(OSError, match="of its own"):
            failing(tmp_path / "a.lock")


def test_a_lock_that_is_held_is_told(tmp_path):
    with locked(tmp_path / "a.lock"), pytest.raises(FastptError, match="held"):
        failing(tmp_path / "a.lock")


WRITERS = {
    "bytes": lambda path: path.write_bytes(BIG.tobytes()),
    "numpy": lambda path: np.save(path, BIG),
    "safetensors": lambda path: safetensors.numpy.save_file({"a": BIG}, path),
    "torch": lambda path: torch.save(torch.zeros(50_000), path),
}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_leaves_the_folder_as_it_was_and_is_an_error_that_names_it(tmp_path, full_disk, writer):
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "a").write_text("before")
    with pytest.raises(OSError, match=r"kept") as failure, atomic_folder(tmp_path / "kept") as folder:
        WRITERS[writer](folder / "a.npy")
    assert failure.value.filename == str(tmp_path / "kept")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert (tmp_path / "kept" / "a").read_text() == "before"


def test_an_error_that_is_no_full_disk_stays_as_it_is():
    with pytest.raises(RuntimeError, match="a fault"), unwritten_is_oserror("x"):
        raise RuntimeError("a fault")
    with pytest.raises(FileNotFoundError) as failure, unwritten_is_oserror("x"):
        raise FileNotFoundError(errno.ENOENT, "No such file", "y")
    assert failure.value.filename == "y"


@pytest.mark.parametrize("text", ["basic_ios::clear: iostream error", "[enforce fail at inline_container.cc:672]"])
def test_what_torch_says_of_a_full_disk_is_an_oserror_that_names_the_file(text):
    with pytest.raises(OSError, match="is the disk full") as failure, unwritten_is_oserror("x"):
        raise RuntimeError(text)
    assert failure.value.filename == "x"


def test_a_file_in_place_of_a_folder_gives_way(tmp_path):
    (tmp_path / "made").write_text("")
    with atomic_folder(tmp_path / "made") as folder:
        (folder / "a").write_text("")
    assert [path.name for path in tmp_path.rglob("*")] == ["made", "a"]


@pytest.fixture
def sealed(tmp_path):
    folder = tmp_path / "sealed"
    (folder / "inner").mkdir(parents=True)
    for name in ("a", "b", "inner/c"):
        (folder / name).write_text(name)
    seal_folder(folder, "2.0")
    return folder


def cut(path):
    path.write_text("")


def replace_by_folder(path):
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("name", ["a", "inner/c", "manifest.json"])
@pytest.mark.parametrize("damage", [cut, replace_by_folder, lambda path: path.unlink()])
def test_damage_in_a_sealed_folder_names_the_file(sealed, name, damage):
    assert find_damage(sealed, "2.0") is None
    damage(sealed / name)
    assert name in str(find_damage(sealed, "2.0"))


def test_what_cannot_be_read_for_reasons_of_the_systems_is_no_damage(sealed):
    (sealed / "a").unlink()
    (sealed / "a").symlink_to("a")
    with pytest.raises(FastptError, match=r"sealed/a cannot be read \(Too many"):
        find_damage(sealed, "2.0")


def test_a_file_or_nothing_in_place_of_a_sealed_folder_is_damage(sealed):
    shutil.rmtree(sealed)
    assert find_damage(sealed, "2.0") == "manifest.json is missing"
    sealed.write_text("")
    assert "manifest.json" in str(find_damage(sealed, "2.0"))


@pytest.mark.parametrize("files", [None, {}, [], {"../outside": "0"}, {"/outside": "0"}, {"a\0": "0"}, {"a": None}])
def test_a_manifest_that_names_what_it_cannot_mean_is_damage(sealed, files):
    write_sealed(sealed / "manifest.json", {"format": "2.0", "files": files})
    assert find_damage(sealed, "2.0")


def test_another_format_is_no_damage(sealed):
    with pytest.raises(FastptError, match=r"format version '2\.0'"):
        find_damage(sealed, "2.1")


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"[" * 100_000])
def test_what_is_no_sealed_json_is_damage(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(FastptError, match="does not parse"):
        read_sealed_json(tmp_path / "a.json", "2.0")
