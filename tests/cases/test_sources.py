"""Sources: nothing that a user has is dropped, merged, renamed or mislabelled in silence.

Input that can be meant in two ways is refused, or told with counts. Every file that is refused is in `rejected.jsonl`
with its reason. No input makes a command wait for ever, take all memory, or start another program.
"""

import json
import os
import re
import resource
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from PIL import Image, ImageDraw

from fastpt import Dataset
from tests.cases.conftest import Command, Ran, process
from tests.cases.pictures import (
    COLOURS,
    RGB,
    Members,
    class_folders,
    encoded,
    header_offsets,
    left_out,
    named,
    numbered,
    pixels_of,
    samples,
    stored,
    table,
    tar_of,
    write,
    write_folder,
    write_parquet,
)

pytestmark = pytest.mark.long
OUT = Path("prepared")
TRAIN = OUT / "train"
LITTLE_MEMORY = 4_000_000_000  # bytes of address space


@pytest.fixture
def prep(fastpt: Command) -> Command:
    """`fastpt prep SOURCE --source PATH` into OUT."""
    return lambda source, path, *options: fastpt(
        "prep", source, "--source", path, "--workers", 1, "--out", OUT, *options
    )


def prep_in_little_memory(source: str, path: Path, *options: object) -> Ran:
    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (LITTLE_MEMORY, LITTLE_MEMORY))

    words = ("--source", path, "--workers", 1, "--out", OUT, *options)
    return process("prep", source, *words, limit=30, preexec_fn=limited)


def splits() -> set[str]:
    return {path.parent.name for path in OUT.glob("*/dataset.json")}


def told(ran: Ran) -> str:
    """All that a user is told of a preparation."""
    return ran.output + "".join(left_out(OUT / split) for split in splits())


def numbers(split: str) -> list[int]:
    return [one.number for one in stored(OUT / split)]


def in_place(*tars: Path) -> Dataset:
    return Dataset.from_webdataset(list(tars), cache="cache")


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


# --- pictures that are not seen, or taken for others --------------------------------------------------------------


def test_pictures_with_other_suffixes_are_stored_or_told(prep):
    kinds = (("jfif", "JPEG"), ("pjpeg", "JPEG"), ("avif", "AVIF"), ("pgm", "PPM"), ("tga", "TGA"), ("", "JPEG"))
    others = {
        f"red/other{number}" + f".{suffix}" * bool(suffix): numbered(number, "red", format)
        for number, (suffix, format) in enumerate(kinds, 50)
    }
    others |= {f"amber/{i:03d}.jfif": numbered(i, "amber") for i in range(3)}
    write_folder(Path("colours"), class_folders() + list(others.items()))
    ran = prep("imagefolder", "colours", "--max-rejects", 1)
    if not ran.refused(*(re.escape(Path(name).suffix or name) for name in others)):
        keys = {one.key for one in stored(TRAIN)}
        for name in others.keys() - keys:
            assert name in told(ran) or (Path(name).suffix and Path(name).suffix in told(ran))
        assert "amber" in Dataset(TRAIN).classes or "amber" in told(ran)


def test_a_key_with_two_pictures_is_refused_or_told(prep):
    mask = encoded(Image.new("RGB", (64, 64), COLOURS["blue"]), "PNG")
    members = [
        (f"{i:06d}.{suffix}", content)
        for i in range(4)
        for suffix, content in (("jpg", numbered(i, "red")), ("png", mask), ("cls", b"0"))
    ]
    ran = prep("webdataset", write(Path("shards/masks.tar"), tar_of(members)).parent)
    if not ran.refused("00000[0-3]"):
        assert {one.colour for one in stored(TRAIN)} == {"red"}
        assert re.search(r"\b4\b.*png|png.*\b4\b", told(ran))


def test_keys_with_dots_are_stored_or_each_named(prep):
    members: Members = []
    for number, (key, colour) in enumerate((("a.b", "red"), ("a.c", "green"), ("d", "blue"))):
        members += [(f"{key}.jpg", numbered(number, colour)), (f"{key}.txt", f"{colour} {number}".encode())]
    ran = prep("webdataset", write(Path("shards/dots.tar"), tar_of(members)).parent, "--max-rejects", 1)
    assert not ran.refused()
    found = {one.number: one.target for one in stored(TRAIN)}
    assert found.get(0) == "red 0" or "a.b" in left_out(TRAIN)
    assert found.get(1) == "green 1" or "a.c" in left_out(TRAIN)
    assert found[2] == "blue 2"


@pytest.mark.parametrize("source", ["webdataset", "parquet"])
def test_a_linked_folder_is_followed_or_named(prep, source):
    for folder, colour, number in (("shards", "red", 0), ("elsewhere", "green", 50)):
        rows = table(colour, range(number, number + 4), [number // 50] * 4)
        if source == "parquet":
            write_parquet(Path(folder) / f"train-{number // 50:05d}-of-00002.parquet", rows)
        else:
            write(Path(folder) / f"{number:06d}.tar", tar_of(samples(colour, number=number)))
    Path("shards/more").symlink_to("../elsewhere", target_is_directory=True)
    if not prep(source, "shards").refused("more"):
        assert sorted(numbers("train")) == [0, 1, 2, 3, 50, 51, 52, 53]


def test_a_pipe_among_shards_is_named_at_once():
    write(Path("shards/000000.tar"), tar_of(samples("red")))
    os.mkfifo("shards/pipe.tar")
    ran = process("prep", "webdataset", "--source", "shards", "--out", OUT, limit=20)
    if not ran.refused(r"pipe\.tar"):
        ran.worked(r"pipe\.tar")


def test_a_pipe_called_classes_json_is_named(prep):
    write_folder(Path("colours"), class_folders())
    os.mkfifo("colours/classes.json")
    ran = prep("imagefolder", "colours")
    if not ran.refused(r"classes\.json"):
        ran.worked(r"classes\.json")


def test_postscript_called_jpg_is_rejected_and_nothing_started(prep, tmp_path, monkeypatch):
    started = tmp_path / "ghostscript-was-started"
    ghostscript = write(tmp_path / "bin" / "gs", f'#!/bin/sh\necho "$@" >>{started}\necho 10.0.0\n')
    ghostscript.chmod(0o755)
    monkeypatch.setenv("PATH", f"{ghostscript.parent}:{os.environ['PATH']}")
    postscript = encoded(Image.new("RGB", (64, 64), COLOURS["red"]), "EPS")
    write_folder(Path("colours"), [*class_folders(), ("red/900.jpg", postscript)])
    ran = prep("imagefolder", "colours", "--max-rejects", 1)
    if not ran.refused(r"red/900\.jpg"):
        assert "red/900.jpg" in left_out(TRAIN)
    assert not started.exists()


# --- labels -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("label", [48600114712, 2345678])
def test_ids_in_cls_files_are_refused(label):
    write(Path("shards/000000.tar"), tar_of(samples("red", 3, label=label)))
    assert prep_in_little_memory("webdataset", Path("shards")).refused(r"\.cls", str(label))


def test_ids_in_a_label_column_are_refused():
    write_parquet(Path("data/train-00000-of-00001.parquet"), table("red", range(3), [48600114712, 3, 1]))
    assert prep_in_little_memory("parquet", Path("data")).refused("label", "48600114712")


def test_classes_have_the_names_of_the_column_that_was_asked_for(prep):
    rows = [table(name, range(2), [0, 1], kind=pa.array([i] * 2)) for i, name in enumerate(("red", "green"))]
    whole = named(pa.concat_tables(rows), label=["pet", "toy"], kind=list(RGB))
    write_parquet(Path("data/train-00000-of-00001.parquet"), whole)
    prep("parquet", "data", "--label-column", "kind").worked()
    assert {(one.target, one.colour) for one in stored(TRAIN)} == {("red", "red"), ("green", "green")}


def test_float_labels_are_class_numbers_or_refused(prep):
    write_parquet(Path("data/train-00000-of-00001.parquet"), table("red", range(4), [0.0, 1.0, 1.0, float("nan")]))
    if not prep("parquet", "data", "--max-rejects", 1).refused("label", "float|double"):
        assert Dataset(TRAIN).classes == ["0", "1"]
        assert sorted(numbers("train")) == [0, 1, 2]


def test_lists_of_labels_are_refused(prep):
    write_parquet(Path("data/train-00000-of-00001.parquet"), table("red", range(4), [[0], [1], [0, 1], []]))
    assert prep("parquet", "data").refused("label", "list")


def test_labels_of_several_types_in_a_list_are_refused(prep):
    write_folder(Path("pictures"), [(f"{i}.jpg", numbered(i, "red")) for i in range(3)])
    rows = [{"id": i, "caption": f"red {i}", "kind": kind} for i, kind in enumerate((1, 1.0, ["a", "b"]))]
    write(Path("list.jsonl"), "".join(json.dumps(row) + "\n" for row in rows))
    options = ("--list", "list.jsonl", "--image-pattern", "{id}.jpg", "--label-column", "kind")
    assert prep("captions", "pictures", *options).refused("kind")


def test_an_unlabelled_test_split_is_told_and_train_prepared(prep):
    for split, colour, first, label in (("train", "red", 0, 0), ("test", "blue", 50, -1)):
        rows = named(table(colour, range(first, first + 4), [label] * 4), label=list(RGB))
        write_parquet(Path("data") / f"{split}-00000-of-00001.parquet", rows)
    prep("parquet", "data").worked("test.*label|label.*test")
    assert sorted(numbers("train")) == [0, 1, 2, 3]


def test_noise_reaches_its_rate_on_small_classes_or_says_that_they_stay_clean(prep):
    small = [(f"small{k:02d}/{i}.jpg", numbered(i, "blue")) for k in range(20) for i in range(4)]
    write_folder(Path("colours"), class_folders("", 40, ("red",)) + small)
    ran = prep("imagefolder", "colours", "--noise", 0.1)
    if not ran.refused("class"):
        dataset = Dataset(TRAIN)
        realised = (dataset.targets(0.1) != dataset.clean_labels).mean()
        assert abs(realised - 0.1) < 0.01 or re.search(r"\b20 of (the )?21 classes", ran.output)


# --- captions and lists -------------------------------------------------------------------------------------------


def shard_with_empty_captions() -> Path:
    members = samples("red")
    members[3], members[5] = (members[3][0], b""), (members[5][0], b" \n")
    return write(Path("shards/000000.tar"), tar_of(members))


def test_samples_with_empty_captions_are_left_out_by_name(prep):
    prep("webdataset", shard_with_empty_captions().parent, "--max-rejects", 1).worked()
    assert sorted(numbers("train")) == [0, 3]
    assert all(name in left_out(TRAIN) for name in ("000001", "000002"))


def test_samples_with_empty_captions_are_left_out_by_name_in_place():
    dataset = in_place(shard_with_empty_captions())
    assert sorted(one.number for one in stored(dataset.path)) == [0, 3]
    assert all(name in left_out(dataset.path) for name in ("000001", "000002"))


def test_half_a_character_in_a_label_is_replaced_and_told_or_refused(prep):
    write_folder(Path("pictures"), [(f"{i}.jpg", numbered(i, "red")) for i in range(3)])
    lines = "".join(f'{{"id": {i}, "caption": "red {i}", "kind": "smile \\ud83d"}}\n' for i in range(3))
    listed = ("--list", write(Path("list.jsonl"), lines), "--image-pattern", "{id}.jpg", "--label-column", "kind")
    ran = prep("captions", "pictures", *listed)
    if not ran.refused("0.jpg|row 1|line 1"):
        assert Dataset(TRAIN).classes == ["smile \N{REPLACEMENT CHARACTER}"]
        ran.worked(r"U\+FFFD|\N{REPLACEMENT CHARACTER}")


CAPTIONS = ['a 5" red disc', 'they call it "red"', "plain red"]


def prepare_list(prep: Command) -> Ran:
    write_folder(Path("pictures"), [(f"{i}.jpg", numbered(i, "red")) for i in range(5)])
    return prep("captions", "pictures", "--image-pattern", "{id}.jpg", "--max-rejects", 1, "--list", "list.tsv")


def test_captions_in_a_list_written_by_pandas_are_as_they_were(prep):
    captions = [*CAPTIONS, "red\twith a tab", "red in\ntwo lines"]
    pd.DataFrame({"id": range(5), "caption": captions}).to_csv("list.tsv", sep="\t", index=False)
    ran = prepare_list(prep)
    if not ran.refused(r"list\.tsv"):
        found = {one.number: one.target for one in stored(TRAIN)}
        assert all(found.get(i, caption) == caption for i, caption in enumerate(captions))
        assert all(f"{i}.jpg" in left_out(TRAIN) for i in range(5) if i not in found)


def test_plain_quotes_in_a_list_stay_as_they_are(prep):
    captions = [*CAPTIONS, '"quoted" at its start']
    write(Path("list.tsv"), "id\tcaption\n" + "".join(f"{i}\t{text}\n" for i, text in enumerate(captions)))
    prepare_list(prep).worked()
    assert {one.number: one.target for one in stored(TRAIN)} == dict(enumerate(captions))


def test_a_null_in_an_unused_column_does_not_matter(prep):
    write_folder(Path("pictures"), [(f"{i}.jpg", numbered(i, "red")) for i in range(4)])
    rows = [{"id": i, "caption": f"red {i}", "licence": None if i else "CC-BY"} for i in range(4)]
    listed = write(Path("list.jsonl"), "".join(json.dumps(row) + "\n" for row in rows))
    prep("captions", "pictures", "--list", listed, "--image-pattern", "{id}.jpg").worked()
    assert {one.number: one.target for one in stored(TRAIN)} == {i: f"red {i}" for i in range(4)}


# --- pixels -------------------------------------------------------------------------------------------------------


def test_a_tiff_of_32_bit_is_rejected_or_stored_as_it_looks(prep):
    ramp = np.tile(np.linspace(0, 255, 64).astype(np.int32), (64, 1))
    write_folder(Path("colours"), [*class_folders(), ("red/ramp.tif", encoded(Image.fromarray(ramp), "TIFF"))])
    ran = prep("imagefolder", "colours", "--max-rejects", 1)
    if not ran.refused(r"red/ramp\.tif") and "red/ramp.tif" not in left_out(TRAIN):
        dataset = Dataset(TRAIN)
        found = pixels_of(dataset, dataset.keys.index("red/ramp.tif"))
        assert np.abs(found[..., 0].astype(int) - ramp).max() < 10


def test_hard_edged_graphics_stay_themselves_or_their_loss_is_told(prep):
    icons = {f"icons/{number}.png": icon(number) for number in range(4)}
    write_folder(Path("colours"), class_folders("", 2))
    write_folder(Path("colours"), [(name, encoded(image, "PNG")) for name, image in icons.items()])
    ran = prep("imagefolder", "colours")
    ran.worked()
    dataset = Dataset(TRAIN)
    errors = [
        np.square(pixels_of(dataset, dataset.keys.index(name)).astype(float) - np.asarray(image)).mean()
        for name, image in icons.items()
    ]
    assert max(errors) < 255**2 / 10**3.2 or re.search(r"\b4\b.*--\w", ran.output)  # 32 dB


def icon(number: int) -> Image.Image:
    """Saturated colours, and lines of one pixel."""
    image = Image.new("RGB", (64, 64), "white")
    draw = ImageDraw.Draw(image)
    for x in range(number, 64, 4):
        draw.line([(x, 0), (63 - x, 63)], fill=("red", "blue", "magenta", "lime")[x // 4 % 4])
    draw.rectangle([20, 20, 40, 40], fill="magenta", outline="lime")
    return image
