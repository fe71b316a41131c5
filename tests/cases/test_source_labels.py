"""Labels and captions of sources: none is dropped or changed in silence, and no number takes all memory."""

import json
import re
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from fastpt import Dataset
from tests.cases.conftest import Command, Ran
from tests.cases.pictures import (
    RGB,
    class_folders,
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
from tests.cases.preparation import TRAIN, in_place, numbers, prep_in_little_memory

pytestmark = pytest.mark.long


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
