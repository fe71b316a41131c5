"""Folders and archives of sources: no class, split or member is dropped, merged or renamed in silence.

Input that can be meant in two ways is refused, or told with counts. No input takes all memory.
"""

import re
import tarfile
import zipfile
from pathlib import Path

import pytest

from fastpt import Dataset
from tests.cases.conftest import OUT
from tests.cases.pictures import (
    RGB,
    class_folders,
    header_offsets,
    left_out,
    named,
    numbered,
    samples,
    stored,
    table,
    tar_of,
    write,
    write_folder,
    write_parquet,
)
from tests.cases.preparation import TRAIN, in_place, numbers, prep_in_little_memory, splits, told

pytestmark = pytest.mark.long


# --- classes that are none, and classes that go missing -----------------------------------------------------------


def test_hidden_folders_are_no_classes(prep):
    hidden = {
        ".ipynb_checkpoints/000-checkpoint.jpg": 90,
        ".Trash-1000/files/old.jpg": 91,
        "red/@eaDir/000.jpg/SYNOPHOTO_THUMB_M.jpg": 92,
        "__MACOSX/red/000.jpg": 93,
    }
    write_folder(Path("colours"), class_folders() + [(name, numbered(i, "red")) for name, i in hidden.items()])
    ran = prep("imagefolder", "colours")
    folders = (r"\.ipynb_checkpoints", r"\.Trash-1000", "@eaDir", "__MACOSX")
    if not ran.refused(*folders):
        assert Dataset(TRAIN).classes == sorted(RGB)
        assert all(re.search(name, told(ran)) for name in folders)


def test_hidden_folders_are_no_classes_of_imagenet(prep):
    wnids = dict(zip(("n01440764", "n01443537", "n01484850"), RGB, strict=True))
    tree = [
        (f"{split}/{wnid}/{i}.JPEG", numbered(i, colour))
        for split in ("train", "val")
        for wnid, colour in wnids.items()
        for i in range(3)
    ]
    write_folder(Path("imagenet"), [*tree, ("train/.ipynb_checkpoints/0-checkpoint.JPEG", numbered(94, "red"))])
    ran = prep("imagenet", "imagenet")
    if not ran.refused(r"\.ipynb_checkpoints"):
        assert Dataset(TRAIN).classes == sorted(wnids)
        assert ".ipynb_checkpoints" in told(ran)


def test_an_empty_class_folder_is_told_or_keeps_its_index(prep):
    (Path("colours") / "amber").mkdir(parents=True)
    write_folder(Path("colours"), class_folders())
    ran = prep("imagefolder", "colours")
    if not ran.refused("amber"):
        assert "amber" in told(ran) or Dataset(TRAIN).classes[0] == "amber"


def test_a_class_that_train_lacks_is_told_with_its_count(prep):
    write_folder(
        Path("colours"), class_folders("train/", classes=("red", "blue")) + class_folders("test/", 2, first=50)
    )
    ran = prep("imagefolder", "colours")
    if not ran.refused(r"green\b.*\b2\b|\b2\b.*green\b"):
        ran.worked(r"green\b.*\b2\b|\b2\b.*green\b")


# --- splits that melt into train ----------------------------------------------------------------------------------


@pytest.mark.parametrize("folders", [("train", "validation"), ("Train", "valid", "Test")])
def test_splits_of_other_spellings_are_not_trained_on(prep, folders):
    for first, folder in zip((0, 50, 60), folders, strict=False):
        write_folder(Path("colours"), class_folders(f"{folder}/", 2, first=first))
    if not prep("imagefolder", "colours").refused(*folders[1:]):
        assert max(numbers("train")) < 50
        assert Dataset(TRAIN).classes == sorted(RGB)
        assert sum(len(Dataset(OUT / split)) for split in splits()) == 6 * len(folders)


def test_an_archive_with_a_root_folder_is_read_as_that_folder(prep):
    with zipfile.ZipFile("archive.zip", "w") as archive:
        for name, content in class_folders("colours/train/") + class_folders("colours/test/", 2, first=50):
            archive.writestr(name, content)
    if not prep("imagefolder", "archive.zip").refused("colours"):
        assert splits() == {"train", "test"}
        assert Dataset(TRAIN).classes == sorted(RGB)


def test_a_stray_folder_beside_splits_is_told_and_they_stay_splits(prep):
    stray = [("docs/preview.png", numbered(90, "red", "PNG"))]
    write_folder(Path("colours"), class_folders("train/") + class_folders("val/", 2, first=50) + stray)
    ran = prep("imagefolder", "colours")
    if not ran.refused("docs"):
        assert splits() == {"train", "val"}
        assert Dataset(TRAIN).classes == sorted(RGB)
        assert "docs" in told(ran)


def test_parquet_files_of_other_splits_are_not_trained_on(prep):
    for split, colour, first in (("train", "red", 0), ("dev", "green", 50), ("evaluation", "blue", 60)):
        rows = named(table(colour, range(first, first + 3), [RGB.index(colour)] * 3), label=list(RGB))
        write_parquet(Path("data") / f"{split}-00000-of-00001.parquet", rows)
    if not prep("parquet", "data").refused("dev", "evaluation"):
        assert max(numbers("train")) < 50
        assert sum(len(Dataset(OUT / split)) for split in splits()) == 9


# --- archives that are not whole, or hold things twice ------------------------------------------------------------


def test_a_tar_that_is_cut_short_is_refused(prep):
    tar = tar_of(class_folders())
    write(Path("colours.tar"), tar[: header_offsets(tar)[5]])
    assert prep("imagefolder", "colours.tar").refused(r"colours\.tar")


def shard_with_a_broken_header() -> Path:
    tar = bytearray(tar_of(samples("red", 8)))
    tar[header_offsets(bytes(tar))[6] + 150] ^= 1  # in the checksum of the 7th of 16 members
    return write(Path("shards/broken.tar"), bytes(tar))


def test_a_shard_with_a_broken_header_is_refused_or_told(prep):
    ran = prep("webdataset", shard_with_a_broken_header().parent)
    if not ran.refused(r"broken\.tar"):
        assert len(Dataset(TRAIN)) == 7
        assert "broken.tar" in told(ran)


def test_a_shard_with_a_broken_header_is_refused_or_told_in_place(caplog):
    from fastpt.errors import FastptError

    try:
        dataset = in_place(shard_with_a_broken_header())
    except FastptError as error:
        assert "broken.tar" in str(error)  # noqa: PT017
    else:
        assert len(dataset) == 7
        assert "broken.tar" in caplog.text + left_out(dataset.path)


def test_tars_joined_with_cat_are_read_whole_or_refused(prep):
    shard = write(Path("shards/joined.tar"), tar_of(samples("red")) + tar_of(samples("green", first=4, number=4)))
    if not prep("webdataset", shard.parent).refused(r"joined\.tar"):
        assert sorted(numbers("train")) == list(range(8))


def test_samples_of_one_name_are_told_apart_or_refused(prep):
    shard = write(Path("shards/joined.tar"), tar_of(samples("red") + samples("green", number=50)))
    if not prep("webdataset", shard.parent).refused(r"00000[0-3]"):
        assert sorted(numbers("train")) == [0, 1, 2, 3, 50, 51, 52, 53]


def test_pictures_of_one_name_are_told_apart_or_refused(prep):
    again = [(name, numbered(50 + i, name.partition("/")[0])) for i, (name, _) in enumerate(class_folders())]
    write(Path("colours.tar"), tar_of(class_folders() + again))
    if not prep("imagefolder", "colours.tar").refused(r"(red|green|blue)/00[0-2]\.jpg"):
        assert len(set(stored(TRAIN))) == 18


def test_a_sparse_member_of_200_gb_is_rejected_by_name():
    header = tarfile.TarInfo("000004.jpg")
    header.type, header.size = tarfile.GNUTYPE_SPARSE, 512
    block = bytearray(header.tobuf(tarfile.GNU_FORMAT))
    block[386:410] = b"%011o\0%011o\0" % (0, 512)  # the one piece that is there: offset, bytes
    block[483:495] = b"\x80" + (200 << 30).to_bytes(11, "big")  # the size of the whole
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    before, after = tar_of(samples("red")), tar_of([("000004.txt", b"red 4")])
    end = max(i for i in range(0, len(before), 512) if before[i : i + 512].strip(b"\0")) + 512  # of what is no zeros
    write(Path("shards/sparse.tar"), before[:end] + bytes(block) + numbered(4, "red")[:512] + after)
    prep_in_little_memory("webdataset", Path("shards"), "--max-rejects", 1).worked()
    assert sorted(numbers("train")) == [0, 1, 2, 3]
    assert "000004" in left_out(TRAIN)
