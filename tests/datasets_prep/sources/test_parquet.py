import json
import os
import pickle
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datasets_prep.convert import _order
from datasets_prep.shard import Options
from datasets_prep.sources import Request
from datasets_prep.sources.parquet import SOURCE
from fastpt.errors import DamagedData, FastptError
from tests.conftest import picture, prepared, stored


def parquet_splits(*roots, label=None, captions=(), image=None, **request):
    return SOURCE.list_splits(Request(roots, None, roots[0], 0, 1, **request), label, image, captions, False)


def write(path, rows, names=None, group=3, **columns):
    """A file as Hugging Face's datasets are stored; `rows` are picture numbers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = pa.array([{"bytes": picture(i), "path": f"{i}.jpg"} for i in rows])
    features = {"image": {"_type": "Image"}} | ({"label": {"names": names, "_type": "ClassLabel"}} if names else {})
    metadata = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(pa.table({"image": images, **columns}).replace_schema_metadata(metadata), path, row_group_size=group)


def test_splits_and_class_names_are_found(tmp_path):
    write(tmp_path / "data/train-00000-of-00002.parquet", range(5), ["cat", "dog"], label=[0, 1, 0, 1, 1])
    write(tmp_path / "data/train-00001-of-00002.parquet", range(5, 9), ["cat", "dog"], label=[0, 0, 1, 1])
    write(tmp_path / "validation/0000.parquet", range(9, 11), ["cat", "dog"], label=[1, 0])
    train, val = parquet_splits(tmp_path).splits
    assert (train.name, val.name) == ("train", "val")
    assert train.classes == val.classes == ["cat", "dog"]
    assert train.labels.tolist() == [0, 1, 0, 1, 1, 0, 0, 1, 1]
    assert train.keys == [f"{i}.jpg" for i in range(9)]
    assert [train.read(i) for i in (8, 0, 4, 5)] == [picture(i) for i in (8, 0, 4, 5)]
    assert val.read(1) == picture(10)
    assert pickle.loads(pickle.dumps(train)).take(np.array([6, 1]), "a", True).read(0) == picture(6)


def test_captions_plain_bytes_and_rows_that_lack_something(tmp_path):
    pictures = pa.array([picture(i) for i in range(4)])
    table = pa.table({"jpg": pictures, "caption": ["one", None, " ", "four"]})
    pq.write_table(table, tmp_path / "00000.parquet")
    (split,) = parquet_splits(tmp_path / "00000.parquet").splits
    assert (split.name, split.keys) == ("train", ["00000/0", "00000/3"])
    assert split.captions == ["one", "four"]
    assert dict(split.rejected) == {"00000/1": "no caption", "00000/2": "no caption"}
    assert split.read(1) == picture(3)


def test_labels_that_are_text_or_unknown(tmp_path):
    write(tmp_path / "train.parquet", range(3), kind=["dog", None, "cat"])
    (split,) = parquet_splits(tmp_path, label="kind").splits
    assert (split.classes, split.labels.tolist()) == (["cat", "dog"], [1, 0])
    assert dict(split.rejected) == {"1.jpg": "no label"}


def test_random_order_reads_each_row_group_at_once(tmp_path):
    write(tmp_path / "train.parquet", range(20), label=[0] * 20, group=4)
    (split,) = parquet_splits(tmp_path).splits
    order = _order(split, Options())
    assert sorted(order) == list(range(20))
    groups = split.groups[order]
    assert np.count_nonzero(np.diff(groups)) == 4
    assert groups.tolist() != sorted(groups)
    assert any(np.diff(order[groups == group]).min() < 0 for group in range(5))
    dataset = prepared(tmp_path / "out", split, shard_samples=7)
    assert dataset.jpeg(0).tobytes() == stored(int(dataset.keys[0].partition(".")[0]))


@pytest.mark.parametrize(
    ("columns", "said"),
    [({"text": ["x", "y"]}, "no column 'label' and none 'caption'"), ({"label": [0, 7]}, "2 classes are named")],
)
def test_other_columns_are_one_clear_error(tmp_path, columns, said):
    write(tmp_path / "train.parquet", range(2), ["cat", "dog"], **columns)
    with pytest.raises(FastptError, match=said):
        parquet_splits(tmp_path)


def test_what_is_no_parquet_is_told(tmp_path):
    with pytest.raises(FastptError, match=r"holds no \.parquet"):
        parquet_splits(tmp_path)
    (tmp_path / "a.parquet").write_bytes(b"rubbish")
    with pytest.raises(FastptError, match=r"a\.parquet cannot be read"):
        parquet_splits(tmp_path)
    pq.write_table(pa.table({"label": [1]}), tmp_path / "a.parquet")
    with pytest.raises(FastptError, match="no column of pictures"):
        parquet_splits(tmp_path)


# --- splits, columns and labels that are not what they should be ------------------------------------------------------


def rows(first: int, count: int = 2, **columns) -> pa.Table:
    """Rows with a picture and a label 0, 1, ... each, or other columns."""
    numbers = range(first, first + count)
    images = pa.array([{"bytes": picture(i), "path": f"{i}.jpg"} for i in numbers])
    return pa.table({"image": images} | (columns or {"label": list(range(count))}))


def save(folder, **files: pa.Table):
    """Files by name: `train__0` is train/0.parquet."""
    for name, table in files.items():
        path = folder / f"{name.replace('__', '/')}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, path)
    return folder


def named(table: pa.Table, **names) -> pa.Table:
    features = {column: {"names": classes, "_type": "ClassLabel"} for column, classes in names.items()}
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


@pytest.mark.parametrize(
    ("names", "splits"),
    [
        (["Train", "VALID"], ["train", "val"]),
        (["train-0", "dev-0", "evaluation-0"], ["evaluation", "train", "val"]),
        (["train__0", "validation__0"], ["train", "val"]),
        (["split=train__0", "split=test__0"], ["test", "train"]),
        (["default__partial-train__0000"], ["train"]),
        (["cifar10_train", "cifar10_test"], ["test", "train"]),
        (["train2017-00", "val2017-00"], ["train", "val"]),
        (["unlabeled-0", "train-0"], ["train", "unlabeled"]),
        (["part-0", "part-1"], ["train"]),
        (["00000", "00001"], ["train"]),
    ],
)
def test_splits_are_told_by_names_in_any_case_and_never_melt_into_train(tmp_path, names, splits):
    found = parquet_splits(save(tmp_path, **{name: rows(10 * i) for i, name in enumerate(names)}))
    assert [split.name for split in found.splits] == splits
    assert (found.files, sum(map(len, found.splits))) == (2 * len(names), 2 * len(names))


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["cats-0", "dogs-0"], "of which split is .*cats-0.*dogs-0"),
        (["train-0", "part-0"], "of which split is .*part-0.*others are train"),
        (["train_val"], "is .*train_val.parquet of train or val"),
    ],
)
def test_a_split_that_is_unclear_is_asked_for(tmp_path, names, said):
    save(tmp_path, **{name: rows(0) for name in names})
    with pytest.raises(FastptError, match=rf"{said}.*--source SPLIT=PATH"):
        parquet_splits(tmp_path)
    for name in names:  # the way out that the error names
        request = Request((tmp_path / f"{name}.parquet",), "mine", tmp_path, 0, 1)
        assert len(SOURCE.list_splits(request, None, None, (), False).splits) == 1


def test_what_lies_beside_the_tables_is_counted_and_links_are_followed(tmp_path):
    save(tmp_path / "data", **{"train-0": rows(0), ".cache__train-1": rows(5)})
    save(tmp_path / "elsewhere", **{"train-2": rows(10)})
    (tmp_path / "data/more").symlink_to("../elsewhere", target_is_directory=True)
    (tmp_path / "data/README.md").write_text("x")
    (tmp_path / "data/x.jpg").write_bytes(picture(1))
    found = parquet_splits(tmp_path / "data")
    found.check()
    assert (len(found.splits[0]), found.files) == (4, 7)
    assert found.beside == {
        "hidden or system": {".cache": 1},
        "no picture": {".md": 1},
        "beside the .parquet files": {"x.jpg": 1},
    }
    assert "1 picture in " in found.warnings[0]
    assert "split train is read from 2 folders" in found.warnings[1]


def test_one_file_by_two_names_is_refused(tmp_path):
    save(tmp_path, **{"train-0": rows(0)})
    (tmp_path / "train-1.parquet").symlink_to("train-0.parquet")
    with pytest.raises(FastptError, match="are one file"):
        parquet_splits(tmp_path)


@pytest.mark.parametrize(
    "names",
    [
        ("birds__train-0", "cars__train-0"),
        ("birds__train-00000-of-00001", "cars__train-00000-of-00002"),
        ("data__birds__train__0", "data__cars__train__0"),
    ],
)
def test_configurations_are_asked_for(tmp_path, names):
    save(tmp_path, **{name: rows(10 * i) for i, name in enumerate(names)})
    top = tmp_path / "data" if "data" in names[0] else tmp_path
    with pytest.raises(FastptError, match=f"is in {top}/birds and in {top}/cars.*--source {top}/birds"):
        parquet_splits(tmp_path)
    assert len(parquet_splits(top / "birds").splits[0]) == 2
    assert len(parquet_splits(top / "birds", top / "cars").splits[0]) == 4


def test_files_of_one_name_in_two_places_have_keys_of_their_own(tmp_path):
    plain = [pa.table({"image": [picture(i)], "label": [0]}) for i in range(2)]
    save(tmp_path, **{"a__train-0": plain[0], "b__train-0": plain[1]})
    found = parquet_splits(tmp_path / "a", tmp_path / "b")
    found.check()
    (split,) = found.splits
    assert split.keys == ["a/train-0/0", "b/train-0/0"]
    assert [split.read(i) for i in range(2)] == [picture(0), picture(1)]


def test_a_file_that_is_a_copy_of_another_by_its_name_is_refused(tmp_path):
    save(tmp_path, **{"train": rows(0), "train (1)": rows(0)})
    with pytest.raises(FastptError, match=r"train \(1\)\.parquet is a copy of .*train\.parquet by its name"):
        parquet_splits(tmp_path)


@pytest.mark.parametrize(
    ("names", "told"),
    [
        (
            ["train-00000-of-00003", "train-00002-of-00003"],
            "1 of 3 numbered files .* is .*train-00001-of-00003.parquet",
        ),
        (["train-00001-of-00002"], "1 of 2 numbered files .*such as train-00000-of-00002.parquet"),
        (["train-00001-of-00002", "train-00002-of-00002"], None),
        (["train-00000-of-00002", "more__train-00001-of-00002"], None),
        (["00000", "00001", "00004", "00005"], "2 of 6 numbered files .* are .*such as 00002.parquet"),
        (["train-2014", "train-2017", "train-2020"], None),
        (["00017", "00429"], None),
    ],
)
def test_numbered_files_that_are_not_there_are_told(tmp_path, names, told):
    found = parquet_splits(save(tmp_path, **{name: rows(10 * i) for i, name in enumerate(names)}))
    missing = [warning for warning in found.warnings if "numbered files" in warning]
    assert len(missing) == (told is not None)
    assert told is None or re.search(told, missing[0])


def test_class_names_are_those_of_the_column_that_is_named(tmp_path):
    table = named(rows(0, label=[0, 1], kind=[1, 0]), label=["pet", "toy"], kind=["red", "green"])
    (split,) = parquet_splits(save(tmp_path, train=table), label="kind").splits
    assert (split.classes, split.labels.tolist()) == (["red", "green"], [1, 0])


def test_class_names_may_be_a_mapping_from_numbers(tmp_path):
    (split,) = parquet_splits(save(tmp_path, train=named(rows(0), label={"0": "cat", "1": "dog"}))).splits
    assert split.classes == ["cat", "dog"]


def test_class_names_that_only_one_file_has_are_for_all_and_told(tmp_path):
    found = parquet_splits(save(tmp_path, train=named(rows(0), label=["cat", "dog"]), val=rows(5)))
    assert [split.classes for split in found.splits] == [["cat", "dog"]] * 2
    assert "are from train.parquet; val.parquet has none" in found.warnings[0]


def test_class_names_that_differ_are_refused(tmp_path):
    save(tmp_path, train=named(rows(0), label=["cat", "dog"]), val=named(rows(5), label=["dog", "cat"]))
    with pytest.raises(FastptError, match="class 0 is 'cat' and 'dog'"):
        parquet_splits(tmp_path)


@pytest.mark.parametrize("labels", [[-1, -1], [None, None], [float("nan")] * 2, None])
def test_a_split_without_labels_is_told_and_the_others_are_prepared(tmp_path, labels):
    test = rows(5, label=labels) if labels else rows(5).drop_columns("label")
    found = parquet_splits(save(tmp_path, train=rows(0), test=test))
    found.check()
    assert [split.name for split in found.splits] == ["train"]
    assert found.warnings == ("none of the 2 rows of split test has a label: it is left out",)
    assert found.beside == {"rows without a label": {"test": 2}}


@pytest.mark.parametrize(
    "asked", [{"label": "kind"}, {"captions": ("text",)}, {"label": "kind", "captions": ("text",)}]
)
def test_a_column_that_was_asked_for_and_that_a_split_lacks_is_an_error(tmp_path, asked):
    save(tmp_path, train=rows(0, kind=["a", "b"], text=["a", "b"]), val=rows(5, label=[0, 1]))
    with pytest.raises(FastptError, match=r"val\.parquet has no column '(kind|text)'; it has: image, label\. Say "):
        parquet_splits(tmp_path, **asked)


def test_a_split_without_captions_is_told(tmp_path):
    found = parquet_splits(save(tmp_path, train=rows(0, caption=["a", "b"]), val=rows(5, width=[1, 2])))
    assert found.warnings == ("split val has no column 'caption': it is left out",)
    assert found.beside == {"rows without a caption": {"val": 2}}
    both = rows(10, caption=["a", "b"], label=[0, 1])
    found = parquet_splits(save(tmp_path, train=both, val=rows(5, label=[0, 1])))
    assert [(split.name, split.captions) for split in found.splits] == [("train", ["a", "b"]), ("val", None)]
    assert found.warnings == ("split val has no column 'caption': it is prepared without",)


@pytest.mark.parametrize(
    ("column", "classes", "labels"),
    [
        (pa.array([1, 0], pa.uint64()), ["0", "1"], [1, 0]),
        (pa.array([1.0, 0.0]), ["0", "1"], [1, 0]),
        (pa.array(["b", "a"], pa.large_string()), ["a", "b"], [1, 0]),
        (pa.array(["b", "a"]).dictionary_encode(), ["a", "b"], [1, 0]),
        (pa.array([True, False]), ["False", "True"], [1, 0]),
    ],
)
def test_labels_of_all_types_of_numbers_and_text(tmp_path, column, classes, labels):
    (split,) = parquet_splits(save(tmp_path, train=rows(0, label=column))).splits
    assert (split.classes, split.labels.tolist()) == (classes, labels)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (pa.array([2**64 - 1, 0], pa.uint64()), "18446744073709551615.*looks like an id"),
        (pa.array([[0], [1]]), r"\[0\], is a list"),
        (pa.array([{"id": 1}, {"id": 0}]), "is a dict"),
        (pa.array([0, 1], pa.date32()), "is a date"),
        (pa.array([0.5, 1.0]), "is no whole number"),
        (pa.nulls(2), "has no label in any of 2 rows"),
    ],
)
def test_labels_that_are_none_are_refused_with_their_column(tmp_path, column, said):
    save(tmp_path, train=rows(0, label=column))
    with pytest.raises(FastptError, match=f"column 'label'.*{said}"):
        parquet_splits(tmp_path)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"label": "kind"}, "no column 'kind'; it has: image, label, caption"),
        ({"captions": ("text",)}, "no column 'text'; it has: image, label, caption"),
        ({"image": "photo"}, "no column 'photo', and needs one"),
        ({"image": "label"}, "column 'label' has no pictures"),
    ],
)
def test_a_column_that_was_asked_for_and_is_not_there_is_an_error(tmp_path, asked, said):
    save(tmp_path, train=rows(0, label=[0, 1], caption=["a", "b"]))
    with pytest.raises(FastptError, match=said):
        parquet_splits(tmp_path, **asked)


def test_columns_of_one_name_and_columns_that_one_file_lacks_are_refused(tmp_path):
    twice = pa.Table.from_arrays([rows(0)["image"], pa.array([0, 1]), pa.array([1, 0])], ["image", "label", "label"])
    with pytest.raises(FastptError, match="has 2 columns 'label'"):
        parquet_splits(save(tmp_path / "a", train=twice))
    save(tmp_path / "b", **{"train-0": rows(0), "train-1": rows(5).drop_columns("label")})
    with pytest.raises(FastptError, match=r"train-1\.parquet has no column 'label'"):
        parquet_splits(tmp_path / "b")


def test_files_may_hold_a_column_in_other_types(tmp_path):
    narrow = pa.table({"image": [picture(9)], "label": pa.array([1], pa.int8())})
    (split,) = parquet_splits(save(tmp_path, **{"train-0": rows(0), "train-1": narrow})).splits
    assert split.labels.tolist() == [0, 1, 1]
    assert split.read(2) == picture(9)


def test_of_several_columns_of_pictures_one_is_taken_and_told_or_asked_for(tmp_path):
    masks = pa.array([picture(7), picture(8)])
    found = parquet_splits(save(tmp_path / "a", train=rows(0, label=[0, 1], mask=masks)))
    assert found.splits[0].read(0) == picture(0)
    assert found.warnings == ("pictures are those of column 'image', not of 'mask' (--image-column)",)
    save(tmp_path / "b", train=rows(0, label=[0, 1], jpg=masks))
    with pytest.raises(FastptError, match="which column has the pictures, image or jpg"):
        parquet_splits(tmp_path / "b")
    assert parquet_splits(tmp_path / "b", image="jpg").splits[0].read(0) == picture(7)


@pytest.mark.parametrize(
    ("name", "column", "said"),
    [
        ("image", pa.array(["a.jpg"]), "has no pictures.*string.*fastpt prep list"),
        ("image", pa.array([[1, 2]]), "has no pictures.*list<"),
        ("images", pa.array([[b"x"]]), "Column 'images' has lists of pictures"),
        ("photo", pa.array([b"x"]), "Say --image-column, if it is photo"),
    ],
)
def test_columns_that_are_no_pictures_are_told(tmp_path, name, column, said):
    save(tmp_path, train=pa.table({name: column, "label": [0]}))
    with pytest.raises(FastptError, match=said):
        parquet_splits(tmp_path)


def test_pictures_in_a_dictionary_and_in_large_binary_are_read(tmp_path):
    for kind in (pa.array([picture(0), picture(1)]).dictionary_encode(), pa.array([picture(0)] * 2, pa.large_binary())):
        (split,) = parquet_splits(save(tmp_path, train=pa.table({"image": kind, "label": [0, 1]}))).splits
        assert split.read(0) == picture(0)


@pytest.mark.parametrize("has_paths", [True, False])
def test_a_row_group_of_many_pictures_is_read_as_several_arrays(tmp_path, has_paths):
    table = rows(0, count=150)  # of one row group; a single array holds 2 GiB at most
    if not has_paths:
        table = table.set_column(0, "image", pa.array([picture(i) for i in range(150)]))
    (split,) = parquet_splits(save(tmp_path, train=table)).splits
    assert split.read.places == [(0, 0)]
    assert [split.read(i) for i in (149, 0, 63, 64, 128)] == [picture(i) for i in (149, 0, 63, 64, 128)]
    assert split.read._group(0).num_chunks > 1


def test_an_empty_cell_is_rejected_by_name_when_it_is_read(tmp_path):
    images = pa.array([{"bytes": picture(0), "path": "a"}, {"bytes": None, "path": "b"}, None])
    (split,) = parquet_splits(save(tmp_path, train=pa.table({"image": images, "label": [0, 0, 0]}))).splits
    for row in (1, 2):
        with pytest.raises(OSError, match="the cell of its picture is empty"):
            split.read(row)


def test_files_and_row_groups_without_rows_do_not_matter(tmp_path):
    save(tmp_path, **{"train-0": rows(0).slice(0, 0), "train-1": rows(5), "train-2": rows(7).slice(0, 0)})
    (split,) = parquet_splits(tmp_path).splits
    assert [split.read(i) for i in range(2)] == [picture(5), picture(6)]


def test_a_file_that_is_cut_is_refused_or_gone_over_and_told(tmp_path):
    save(tmp_path, **{"train-0": rows(0), "train-1": rows(5)})
    cut = tmp_path / "train-0.parquet"
    cut.write_bytes(cut.read_bytes()[:-20])
    with pytest.raises(DamagedData, match=r"train-0\.parquet cannot be read"):
        parquet_splits(tmp_path)
    found = parquet_splits(tmp_path, ignore_damage=True)
    found.check()
    assert found.beside == {"damaged": {"train-0.parquet": 1}}
    assert "train-0.parquet" in found.warnings[0]


def test_text_that_is_not_utf8_is_damage(tmp_path):
    labels = pa.array([b"caf\xe9", b"b"]).view(pa.string())
    save(tmp_path, train=rows(0, label=labels))
    with pytest.raises(DamagedData, match=r"train\.parquet cannot be read as parquet"):
        parquet_splits(tmp_path)


def test_a_page_that_is_not_what_was_written_is_told_where_it_has_a_checksum(tmp_path):
    pq.write_table(rows(0), tmp_path / "train.parquet", write_page_checksum=True, compression="none")
    content = bytearray((tmp_path / "train.parquet").read_bytes())
    content[500] ^= 1
    (tmp_path / "train.parquet").write_bytes(content)
    (split,) = parquet_splits(tmp_path).splits
    with pytest.raises(OSError, match=r"train\.parquet is damaged.*CRC"):
        split.read(0)


def test_a_file_that_changes_after_it_was_listed_is_an_error(tmp_path):
    (split,) = parquet_splits(save(tmp_path, train=rows(0))).splits
    save(tmp_path, train=rows(5, count=3))
    with pytest.raises(FastptError, match=r"train\.parquet changed while it was read"):
        split.read(0)


def test_a_pipe_is_named_at_once(tmp_path):
    save(tmp_path, **{"train-1": rows(0)})
    os.mkfifo(tmp_path / "train-0.parquet")
    assert parquet_splits(tmp_path).beside == {"a pipe": {"train-0.parquet": 1}}
    with pytest.raises(FastptError, match="neither a folder nor a file"):
        parquet_splits(tmp_path / "train-0.parquet")
