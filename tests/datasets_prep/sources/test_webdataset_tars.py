"""Tars of samples: their splits, packings and damage."""

import bz2
import gzip
import lzma
import os
import pickle
import re
import signal

import pyarrow as pa
import pytest

from datasets_prep import tar_samples
from fastpt.errors import DamagedData, FastptError
from tests.conftest import picture, prepared
from tests.datasets_prep.sources.tars_of_samples import SAMPLE, listed, shard


@pytest.mark.parametrize(
    "names",
    [
        ("train-000.tar", "val-000.tar"),
        ("train/000.tar", "val/000.tar"),
        ("cc3m-train-0000.tar", "cc3m-validation-0000.tar"),
        ("Train/0/000.tar", "dev/0/000.tar"),
        ("train.tar", "val.tar"),
    ],
)
def test_tars_are_of_the_split_that_their_name_or_folder_tells(tmp_path, names):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shard(tmp_path / name, SAMPLE)
    assert [(split.name, len(split), split.is_train) for split in listed(tmp_path).splits] == [
        ("train", 1, True),
        ("val", 1, False),
    ]


@pytest.mark.parametrize("names", [("0.tar", "test/0.tar"), ("a.tar", "b.tar")])
def test_splits_that_are_unclear_are_asked_for(tmp_path, names):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shard(tmp_path / name, SAMPLE)
    with pytest.raises(FastptError, match=r"of which split is .*--source SPLIT=PATH"):
        listed(tmp_path)


def test_tars_of_a_split_of_its_own_are_not_trained_on(tmp_path):
    for name in ("train-0.tar", "evaluation-0.tar"):
        shard(tmp_path / name, SAMPLE)
    assert [split.name for split in listed(tmp_path).splits] == ["evaluation", "train"]


@pytest.mark.parametrize("folders", [("train", "val"), ("val",), ("data/Test",)])
def test_splits_inside_a_tar_are_not_melted(tmp_path, folders):
    shard(tmp_path / "0.tar", {f"{folder}/{name}": content for folder in folders for name, content in SAMPLE.items()})
    with pytest.raises(FastptError, match=rf"0\.tar has samples in {folders[-1]}/, and would be of split train"):
        listed(tmp_path)
    assert len(listed(tmp_path, split="train").splits[0]) == len(folders)


def test_a_split_that_the_user_names_needs_no_names(tmp_path):
    for name in ("a.tar", "b.tar", "train-val.tar"):
        shard(tmp_path / name, SAMPLE)
    (split,) = listed(tmp_path, split="train").splits
    assert len(split) == 3


def test_linked_folders_are_followed_and_pipes_told(tmp_path):
    for name in ("shards", "elsewhere"):
        (tmp_path / name).mkdir()
    shard(tmp_path / "shards/0.tar", SAMPLE)
    shard(tmp_path / "elsewhere/1.TAR", SAMPLE)
    (tmp_path / "shards/more").symlink_to("../elsewhere")
    os.mkfifo(tmp_path / "shards/2.tar")
    found = listed(tmp_path / "shards")
    assert len(found.splits[0]) == 2
    assert "2.tar is a pipe: it is not read" in found.warnings[0]


def zstandard(content: bytes) -> bytes:
    half = len(content) // 2
    return b"".join(pa.compress(part, codec="zstd", asbytes=True) for part in (content[:half], content[half:]))


PACKINGS = pytest.mark.parametrize(
    ("suffix", "pack"),
    [
        (".tar.gz", gzip.compress),
        (".tgz", gzip.compress),
        (".tar.bz2", bz2.compress),
        (".tar.xz", lzma.compress),
        (".tar.zst", zstandard),
        (".tar", gzip.compress),
    ],
)


@PACKINGS
def test_packed_tars_give_the_samples_of_plain_ones(tmp_path, suffix, pack):
    for folder in ("plain", "packed"):
        (tmp_path / folder).mkdir()
    for i in range(3):
        shard(
            tmp_path / f"plain/{i}.tar",
            {f"{k}.jpg": picture(10 * i + k) for k in range(3)} | {"0.cls": b"1", "1.cls": b"0"},
        )
        content = (tmp_path / f"plain/{i}.tar").read_bytes()
        (tmp_path / f"packed/{i}{suffix if i else '.tar'}").write_bytes(pack(content) if i else content)
    plain, packed = (listed(folder, unpack_dir=tmp_path) for folder in (tmp_path / "plain", tmp_path / "packed"))
    (one,), (two,) = plain.splits, packed.splits
    assert (one.keys, one.labels.tolist(), one.rejected) == (two.keys, two.labels.tolist(), two.rejected)
    assert [one.read(i) for i in range(len(one))] == [two.read(i) for i in range(len(two))]
    assert prepared(tmp_path / "out", two, workers=2, shard_samples=2, max_rejects=1).keys
    with pytest.raises(FastptError, match="For --ray, unpack it"):
        pickle.dumps(two)


@PACKINGS
def test_a_packed_tar_that_is_cut_is_refused(tmp_path, suffix, pack):
    shard(tmp_path / "0.tar", {f"{k}.{end}": picture(k) for k in range(30) for end in ("jpg", "txt")})
    content = pack((tmp_path / "0.tar").read_bytes())
    (tmp_path / "0.tar").unlink()
    (tmp_path / f"0{suffix}").write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(DamagedData, match=f"0{suffix} is damaged: "):
        listed(tmp_path, unpack_dir=tmp_path)


@pytest.mark.parametrize("names", [("0", "1"), ("train", "val")])
def test_labels_stay_with_their_samples_where_a_packed_tar_comes_first(tmp_path, names):
    for label, name in enumerate(names):
        shard(tmp_path / f"{name}.tar", {"x.jpg": picture(label), "x.cls": str(label).encode()})
    first = tmp_path / f"{names[0]}.tar"
    first.with_suffix(".tar.gz").write_bytes(gzip.compress(first.read_bytes()))
    first.unlink()
    splits = listed(tmp_path, unpack_dir=tmp_path).splits
    labels = {split.read(i): int(split.labels[i]) for split in splits for i in range(len(split))}
    assert labels == {picture(0): 0, picture(1): 1}


@pytest.mark.parametrize(("suffix", "pack"), [("gz", gzip.compress), ("zst", zstandard)])
def test_of_a_packed_tar_that_is_cut_the_rest_can_be_read(tmp_path, suffix, pack):
    shard(tmp_path / "0.tar", {"0.cls": b"0"} | {f"{k}.jpg": picture(k) for k in range(99)})
    content = pack((tmp_path / "0.tar").read_bytes())
    (tmp_path / f"1.tar.{suffix}").write_bytes(content[: len(content) * 2 // 3])
    found = listed(tmp_path / f"1.tar.{suffix}", unpack_dir=tmp_path, ignore_damage=True)
    assert re.search(r"1\.tar\.\w+: what was compressed|it is cut", found.warnings[0])


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("1.tar.lz4", b"x", r"1\.tar\.lz4 cannot be read, packed as it is\. Unpack it"),
        ("1.tar.gz", gzip.compress(b"<html>" * 100), r"1\.tar\.gz is packed, and holds no tar, but HTML"),
        ("1.tar.gz", gzip.compress(gzip.compress(bytes(1000))), "holds no tar, but gzip"),
        ("1.tar.gz", gzip.compress(bytes(1 << 24)), "unpacks to more than 100 times its size"),
    ],
)
def test_what_is_packed_and_no_tar_is_called_what_it_is(tmp_path, name, content, told):
    shard(tmp_path / "0.tar", SAMPLE)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FastptError, match=told):
        listed(tmp_path, unpack_dir=tmp_path)


def test_a_tar_and_the_same_packed_are_refused(tmp_path):
    shard(tmp_path / "0.tar", SAMPLE)
    (tmp_path / "0.tar.gz").write_bytes(gzip.compress((tmp_path / "0.tar").read_bytes()))
    with pytest.raises(FastptError, match=r"0\.tar\.gz and .*0\.tar have one name"):
        listed(tmp_path, unpack_dir=tmp_path)


def test_tars_that_are_not_finished_and_empty_ones_are_told(tmp_path):
    shard(tmp_path / "0.tar", SAMPLE)
    shard(tmp_path / "1.tar", {})
    (tmp_path / "2.tar.incomplete").write_bytes(b"x")
    first, second = listed(tmp_path).warnings
    assert re.search(r"2\.tar\.incomplete: by the name a tar that is not finished", first)
    assert re.search(r"1\.tar: no sample with a picture", second)


def test_what_is_no_tar_is_called_what_it_is(tmp_path):
    shard(tmp_path / "0.tar", SAMPLE)
    (tmp_path / "1.tar").write_bytes(b"PK\3\4" + bytes(1000))
    with pytest.raises(DamagedData, match=r"1\.tar cannot be read as a \.tar: it is zip\. Unpack it"):
        listed(tmp_path)


def test_pictures_beside_the_tars_are_told(tmp_path):
    shard(tmp_path / "0.tar", SAMPLE)
    (tmp_path / "1.tar").mkdir()
    (tmp_path / "1.tar/x.jpg").write_bytes(picture(0))
    assert "1 picture in " in listed(tmp_path).warnings[0]


@pytest.mark.parametrize("content", [b"", b"\0\1rubbish" * 1000, b"<html>" * 1000])
def test_a_tar_that_is_none_is_left_out_by_name_if_damage_is_to_be_ignored(tmp_path, content):
    shard(tmp_path / "0.tar", SAMPLE)
    (tmp_path / "1.tar").write_bytes(content)
    with pytest.raises(DamagedData, match=r"1\.tar cannot be read"):
        listed(tmp_path)
    found = listed(tmp_path, ignore_damage=True)
    assert found.beside["damaged"] == {"1.tar": 1}
    assert re.search(r"1\.tar is left out: ", found.warnings[0])


def test_a_tar_that_changes_before_it_is_read_is_an_error_that_names_it(tmp_path):
    shard(tmp_path / "a.tar", SAMPLE)
    (split,) = listed(tmp_path).splits
    shard(tmp_path / "a.tar", SAMPLE | {"1.jpg": b"x" * 20_000})
    with pytest.raises(FastptError, match=r"a\.tar changed while it was read"):
        split.read(0)


def test_a_process_that_is_killed_while_it_lists_is_one_line(tmp_path, monkeypatch):
    for number in range(4):
        shard(tmp_path / f"{number}.tar", SAMPLE)
    monkeypatch.setattr(tar_samples, "open_tar", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(FastptError, match=r"the process that listed .*\.tar was killed.*fewer --workers"):
        listed(tmp_path, workers=2)
