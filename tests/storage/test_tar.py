"""WebDataset tars: `prep webdataset` and `Dataset.from_webdataset` find the same samples in them."""

import io
import tarfile
from pathlib import Path

import pytest

from datasets_prep.sources import Request
from datasets_prep.sources.webdataset import webdataset_splits
from datasets_prep.tar_samples import Members
from fastpt import Dataset
from fastpt.errors import FastptError
from fastpt.storage.tar import open_tar
from fastpt.storage.tar_keys import keyed_files
from tests.conftest import picture


def tar_of(folder: Path, members: list[tuple[str, bytes]]) -> Path:
    path = folder / "shard.tar"
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def by_prep(path: Path) -> tuple[list[str], list[int]]:
    (split,) = webdataset_splits(Request((path,), None, Path(), 0, 1), Members()).splits
    return split.keys, split.labels.tolist()


def in_place(path: Path) -> tuple[list[str], list[int]]:
    dataset = Dataset.from_webdataset(path, cache=path.parent / "cache")
    return dataset.keys, dataset.clean_labels.tolist()


READERS = pytest.mark.parametrize("read", [by_prep, in_place])


@READERS
@pytest.mark.parametrize(
    ("image", "label", "key"),
    [
        ("a.jpg", "a.cls", "a"),
        ("a.JPG", "a.CLS", "a"),
        ("a.jpeg", "a.Cls", "a"),
        ("a.jpe", "a.cls", "a"),
        ("deep/er/a.jpg", "deep/er/a.cls", "deep/er/a"),
        ("b\udce9.jpg", "b\udce9.cls", "b\ufffd"),
    ],
)
def test_picture_and_label_make_a_sample(tmp_path, read, image, label, key):
    path = tar_of(tmp_path, [(image, picture(0)), (label, b"3"), ("other.jpg", picture(1)), ("other.cls", b"1")])
    assert read(path) == ([f"shard/{key}", "shard/other"], [3, 1])


@READERS
@pytest.mark.parametrize("second", ["a.jpeg", "a.JPG", "a.png"])
def test_two_pictures_of_one_key_are_refused_by_name(tmp_path, read, second):
    path = tar_of(tmp_path, [("a.jpg", picture(0)), ("a.cls", b"0"), (second, picture(1))])
    with pytest.raises(FastptError, match=rf"shard\.tar has two pictures of one key: a\.jpg and {second}"):
        read(path)


@READERS
def test_what_follows_a_second_dot_makes_no_second_picture(tmp_path, read):
    path = tar_of(tmp_path, [("a.jpg", picture(0)), ("a.mask.png", picture(1)), ("a.cls", b"0")])
    assert read(path) == (["shard/a"], [0])


def test_only_regular_files_with_a_name_before_the_dot_are_members_of_samples(tmp_path):
    path = tmp_path / "shard.tar"
    with tarfile.open(path, "w") as tar:
        for name, kind in [("f", tarfile.DIRTYPE), ("f/a.jpg", tarfile.SYMTYPE), (".a.jpg", tarfile.REGTYPE)]:
            info = tarfile.TarInfo(name)
            info.type = kind
            tar.addfile(info)
        tar.addfile(tarfile.TarInfo("f/a.x.JPG"))
    assert list(keyed_files(open_tar(path))) == [("shard/f/a", ".x.jpg", "f/a.x.JPG", False)]
