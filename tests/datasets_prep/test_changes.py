"""Sources that change: while they are read, and between a stopped job and the one that goes on with it."""

import io
import os
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datasets_prep.convert import prepare
from datasets_prep.listing import Found
from datasets_prep.records import RecordFormat
from datasets_prep.shard import Options
from datasets_prep.sources import Request
from datasets_prep.sources.imagefolder import imagefolder_splits
from datasets_prep.sources.parquet import parquet_splits
from datasets_prep.sources.webdataset import webdataset_splits
from datasets_prep.tar_samples import Members
from fastpt.errors import DamagedData, FastptError
from fastpt.storage.files import open_files
from tests.conftest import picture
from tests.datasets_prep.test_convert import content

COUNT = 6


class Stopped(Exception):
    pass


def request(root: Path) -> Request:
    return Request((root,), None, root.parent, 0, 1)


def folder(root: Path, first: int = 0) -> Found:
    for i in range(COUNT):
        file = root / "cat" / f"{i}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            file.write_bytes(picture(first + i))
    return imagefolder_splits([open_files(root)])


def members(first: int) -> dict[str, bytes]:
    return {f"cat/{i}.jpg": picture(first + i) for i in range(COUNT)}


def write_zip(path: Path, files: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        with zipfile.ZipFile(path, "w") as archive:
            for name, jpeg in files.items():
                archive.writestr(name, jpeg)


def in_zip(root: Path, first: int = 0) -> Found:
    write_zip(root / "x.zip", members(first))
    return imagefolder_splits([open_files(root / "x.zip")])


def write_tar(path: Path, files: dict[str, bytes]) -> None:
    path.parent.mkdir(exist_ok=True)
    if not path.exists():
        with tarfile.open(path, "w") as tar:
            for name, jpeg in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(jpeg)
                tar.addfile(info, io.BytesIO(jpeg))


def in_tar(root: Path, first: int = 0) -> Found:
    write_tar(root / "x.tar", members(first))
    return imagefolder_splits([open_files(root / "x.tar")])


def webdataset(root: Path, first: int = 0) -> Found:
    for shard in range(2):
        rows = range(3 * shard, 3 * shard + 3)
        write_tar(
            root / f"{shard}.tar",
            {f"{i}.{suffix}": x for i in rows for suffix, x in (("jpg", picture(first + i)), ("cls", b"0"))},
        )
    return webdataset_splits(request(root), Members())


def parquet(root: Path, first: int = 0) -> Found:
    root.mkdir(exist_ok=True)
    if not (root / "x.parquet").exists():
        rows = pa.table({"image": [picture(first + i) for i in range(COUNT)], "label": [0] * COUNT})
        pq.write_table(rows, root / "x.parquet", row_group_size=2)
    return parquet_splits(request(root), RecordFormat(()))


Source = Callable[..., Found]
SOURCES = pytest.mark.parametrize(
    ("source", "changed"),
    [
        (folder, "cat/0.jpg"),
        (in_zip, "x.zip"),
        (in_tar, "x.tar"),
        (webdataset, "0.tar"),
        (parquet, "x.parquet"),
    ],
)


def make(found: Found, out: Path, stop: bool = False) -> Path:
    """Prepare in shards of 2, in the order of the source, or stop when the first is there."""

    def progress(done: int, total: int) -> None:
        if stop and list((out / "train/.parts").glob("*.parquet")):
            raise Stopped

    options = Options(shard_samples=2, order="source")
    ((dataset, _),) = prepare(found, out, "made-up", options, [], 1, 0.0, progress)
    return dataset.path


def stopped(source: Source, tmp_path: Path) -> Path:
    """The folder of a job that was stopped, with its first shard made."""
    with pytest.raises(Stopped):
        make(source(tmp_path / "source"), tmp_path / "out", stop=True)
    return tmp_path / "out"


@SOURCES
def test_a_file_that_was_replaced_since_the_job_was_stopped_is_named(tmp_path, source, changed):
    out = stopped(source, tmp_path)
    (tmp_path / "source" / changed).unlink()
    found = source(tmp_path / "source", first=50)
    with pytest.raises(FastptError, match=rf"{changed} changed since .*train was begun .*delete"):
        make(found, out)


@SOURCES
def test_a_file_whose_time_changed_since_is_named(tmp_path, source, changed):
    out = stopped(source, tmp_path)
    os.utime(tmp_path / "source" / changed, ns=(1, 1))
    with pytest.raises(FastptError, match=rf"{changed} changed since .*its time of change is another one"):
        make(source(tmp_path / "source"), out)


@SOURCES
def test_a_file_that_changes_while_it_is_read_is_named(tmp_path, source, changed):
    found = source(tmp_path / "source")
    os.utime(tmp_path / "source" / changed, ns=(1, 1))
    with pytest.raises(FastptError, match=rf"{changed} changed while it was read"):
        make(found, tmp_path / "out")


@SOURCES
def test_a_file_that_goes_while_it_is_read_is_named(tmp_path, source, changed):
    found = source(tmp_path / "source")
    (tmp_path / "source" / changed).unlink()
    with pytest.raises(FastptError, match=changed):
        make(found, tmp_path / "out")


@SOURCES
def test_a_job_whose_source_did_not_change_goes_on(tmp_path, source, changed):
    out = stopped(source, tmp_path)
    resumed = make(source(tmp_path / "source"), out)
    assert content(resumed) == content(make(source(tmp_path / "source"), tmp_path / "whole"))


@SOURCES
def test_a_finished_split_is_not_compared(tmp_path, source, changed):
    made = make(source(tmp_path / "source"), tmp_path / "out")
    os.utime(tmp_path / "source" / changed, ns=(1, 1))
    assert make(source(tmp_path / "source"), tmp_path / "out") == made


@pytest.mark.parametrize("how", ["truncated", "appended", "replaced"])
def test_a_picture_that_was_written_to_since_is_named(tmp_path, how):
    out = stopped(folder, tmp_path)
    file = tmp_path / "source/cat/1.jpg"
    jpeg = file.read_bytes()
    file.write_bytes({"truncated": jpeg[:100], "appended": jpeg + b"x", "replaced": picture(70)}[how])
    with pytest.raises(FastptError, match=r"cat/1\.jpg changed since .*train was begun"):
        make(folder(tmp_path / "source"), out)


@pytest.mark.parametrize("name", ["settings.json", "stamps"])
@pytest.mark.parametrize("content", [b"", b"[1]", '{"captions": "\u00fc'.encode()])
def test_what_a_stopped_job_keeps_of_itself_may_be_damaged(tmp_path, name, content):
    out = stopped(folder, tmp_path)
    (out / "train/.parts" / name).write_bytes(content)
    with pytest.raises(DamagedData, match=rf"{name}.*Delete .*train to prepare it anew"):
        make(folder(tmp_path / "source"), out)


def test_a_rejected_picture_may_be_mended_before_the_job_goes_on(tmp_path):
    folder(tmp_path / "source")
    (tmp_path / "source/cat/1.jpg").write_bytes(b"rubbish")
    with pytest.raises(FastptError, match="cannot be used"):
        make(folder(tmp_path / "source"), tmp_path / "out")
    (tmp_path / "source/cat/1.jpg").write_bytes(picture(1))
    resumed = make(folder(tmp_path / "source"), tmp_path / "out")
    assert content(resumed) == content(make(folder(tmp_path / "source"), tmp_path / "whole"))


def test_several_places_are_told_apart(tmp_path):
    for name in "ab":
        (tmp_path / name).mkdir()
        with zipfile.ZipFile(tmp_path / name / f"{name}.zip", "w") as archive:
            for i in range(3):
                archive.writestr(f"{name}/{i}.jpg", picture(i))

    def both() -> Found:
        return imagefolder_splits([open_files(tmp_path / "a/a.zip"), open_files(tmp_path / "b")])

    (tmp_path / "b/b").mkdir()
    (tmp_path / "b/b/9.jpg").write_bytes(picture(9))
    with pytest.raises(Stopped):
        make(both(), tmp_path / "out", stop=True)
    os.utime(tmp_path / "b/b/9.jpg", ns=(1, 1))
    with pytest.raises(FastptError, match=r"^b/9\.jpg changed since"):
        make(both(), tmp_path / "out")
    os.utime(tmp_path / "a/a.zip", ns=(1, 1))
    with pytest.raises(FastptError, match=r"a\.zip changed since .*and 1 more file\."):
        make(both(), tmp_path / "out")


def two_zips(root: Path) -> Found:
    for place in (root / "a", root / "b"):
        write_zip(place / "x.zip", {f"{place.name}/{i}.jpg": picture(i) for i in range(COUNT)})
    return imagefolder_splits([open_files(root / "a/x.zip"), open_files(root / "b/x.zip")])


def two_tables(root: Path) -> Found:
    for i, place in enumerate((root / "a", root / "b")):
        place.mkdir(parents=True, exist_ok=True)
        parquet(place / "data", first=COUNT * i)
    return parquet_splits(Request((root / "a", root / "b"), None, root, 0, 1), RecordFormat(()))


@pytest.mark.parametrize(("source", "changed"), [(two_zips, "x.zip"), (two_tables, "data/x.parquet")])
def test_files_of_one_name_in_two_places_are_told_apart(tmp_path, source, changed):
    out = stopped(source, tmp_path)
    os.utime(tmp_path / "source/a" / changed, ns=(1, 1))
    with pytest.raises(FastptError, match=rf"^a/{changed} changed since .*train was begun"):
        make(source(tmp_path / "source"), out)
