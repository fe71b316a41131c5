import io
import re
import tarfile

import click
import pytest
from click.testing import CliRunner

from datasets_prep.columns import Columns
from datasets_prep.records import RecordFormat
from datasets_prep.sources import Request
from datasets_prep.sources.list import listed_splits
from fastpt import Dataset
from fastpt.cli import main
from fastpt.data.verify import verify_deep
from fastpt.errors import FastptError
from tests.conftest import picture


def caption_splits(place, listed, pattern, records, label_column=None):
    request = Request((place,), None, place.parent, 0, 1)
    return listed_splits(request, [(None, listed)], Columns(records, None, pattern, label_column))


CSV = """id,kind,caption
1,shoe,a red shoe
2,hat,"a hat, with feathers"
3,hat,
2,hat,"a hat, with feathers"
4,,a thing
"""


@pytest.fixture
def shop(tmp_path):
    (tmp_path / "images").mkdir()
    for i in range(1, 5):
        (tmp_path / f"images/{i}.jpg").write_bytes(picture(i))
    (tmp_path / "list.csv").write_text(CSV)
    return tmp_path


def test_rows_become_samples_and_unusable_rows_are_named(shop):
    (split,) = caption_splits(shop, "list.csv", "images/{id}.jpg", RecordFormat(), "kind").splits
    assert split.keys == ["images/1.jpg", "images/2.jpg"]
    assert split.captions == ["a red shoe", "a hat, with feathers"]
    assert split.classes == ["hat", "shoe"]
    assert split.labels.tolist() == [1, 0]
    assert split.read(1) == picture(2)
    assert dict(split.rejected) == {"images/3.jpg": "no caption", "images/4.jpg": "no label"}
    assert split.pictureless == ()


def test_without_a_label_column_there_are_no_labels(shop):
    (split,) = caption_splits(shop, "list.csv", "images/{id}.jpg", RecordFormat()).splits
    assert split.labels is None
    assert len(split) == 3


def test_the_csv_is_looked_up_inside_the_archive(shop, tmp_path):
    with tarfile.open(tmp_path / "shop.tar", "w") as tar:
        for name in ("images/1.jpg", "images/2.jpg", "list.csv"):
            content = (shop / name).read_bytes()
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    (split,) = caption_splits(tmp_path / "shop.tar", "list.csv", "images/{id}.jpg", RecordFormat()).splits
    assert split.read(0) == picture(1)
    assert dict(split.pictureless)["images/4.jpg"] == "missing from the source"


@pytest.mark.parametrize(
    ("csv", "pattern", "column", "said"),
    [
        ("other.csv", "images/{id}.jpg", "caption", "neither on disk nor inside"),
        ("list.csv", "images/{nr}.jpg", "caption", r"no column 'nr'; it has: id, kind, caption"),
        ("list.csv", "images/{id}.jpg", "text", "no column 'text'; it has: id, kind, caption"),
    ],
)
def test_wrong_names_are_one_clear_error(shop, csv, pattern, column, said):
    with pytest.raises(FastptError, match=said):
        caption_splits(shop, csv, pattern, RecordFormat((column,)))


def test_broken_utf8_is_kept_as_replacement_characters(shop):
    (shop / "list.csv").write_bytes(b"id,caption\n1,caf\xe9\n")
    (split,) = caption_splits(shop, "list.csv", "images/{id}.jpg", RecordFormat()).splits
    assert split.captions == ["caf\N{REPLACEMENT CHARACTER}"]
    assert split.note.startswith("1 captions hold bytes that are not UTF-8")


def test_a_quote_that_is_never_closed_is_told_instead_of_swallowing_rows(shop):
    (shop / "list.csv").write_text('id,caption\n1,"open\n2,two\n3,three\n')
    with pytest.raises(FastptError, match="Mend its quotes"):
        caption_splits(shop, "list.csv", "images/{id}.jpg", RecordFormat())


@pytest.mark.parametrize("row", ["2,two,extra", "2"])
def test_a_row_with_other_columns_than_the_header_is_named(shop, row):
    (shop / "list.csv").write_text(f"id,caption\n1,one\n{row}\n")
    (split,) = caption_splits(shop, "list.csv", "images/{id}.jpg", RecordFormat()).splits
    assert split.captions == ["one"]
    assert "other columns than the header" in dict(split.rejected)["images/2.jpg"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.csv", 'id,title,text\n1,"a ""red"" shoe",new\n2,hat,old\n'),
        ("list.tsv", 'id\ttitle\ttext\n1\ta "red" shoe\tnew\n2\that\told\n'),
        (
            "list.jsonl",
            '{"id": 1, "title": "a \\"red\\" shoe", "text": "new"}\n\n{"id": 2, "title": "hat", "text": "old"}\n',
        ),
    ],
)
def test_a_list_is_csv_tsv_or_json_lines(shop, name, content):
    (shop / name).write_text(content)
    (split,) = caption_splits(shop, name, "images/{id}.jpg", RecordFormat(("title", "text"))).splits
    assert split.keys == ["images/1.jpg", "images/2.jpg"]
    assert split.captions == ['a "red" shoe new', "hat old"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("list.txt", "id,caption\n1,one\n", r"is none of \.csv, \.tsv, \.jsonl"),
        ("list.jsonl", '{"id": 1, "caption": "one"}\n[]\n{', "no JSON object"),
        ("list.csv", "id,caption\n", "has no rows"),
    ],
)
def test_a_list_that_is_none_is_one_clear_error(shop, name, content, said):
    (shop / name).write_text(content)
    with pytest.raises(FastptError, match=said):
        caption_splits(shop, name, "images/{id}.jpg", RecordFormat())


# --- pictures, splits and targets of rows ---------------------------------------------------------------------------


@pytest.fixture
def listed(tmp_path, monkeypatch):
    """Write pictures, which are called as they are in rows, and a list beside their folder; list the splits."""
    monkeypatch.chdir(tmp_path)

    def listed(rows: str, *files: str, lists=None, place="photos", **settings):
        for i, name in enumerate(files or ("0.jpg", "1.jpg", "2.jpg", "3.jpg")):
            (tmp_path / place / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / place / name).write_bytes(picture(i))
        (tmp_path / "l.csv").write_text(rows)
        settings = {"path_column": "file", "label_column": "kind", **settings}
        request = Request((tmp_path / place,), None, tmp_path, 0, 1)
        found = listed_splits(request, lists or [(None, "l.csv")], Columns(RecordFormat(()), **settings))
        found.check()
        return found

    return listed


def targets(split) -> dict[str, str]:
    return {key: split.classes[label] for key, label in zip(split.keys, split.labels, strict=True)}


@pytest.mark.parametrize(
    ("row", "file"),
    [
        ("./a/0.jpg", "a/0.jpg"),
        (" a/0.jpg ", "a/0.jpg"),
        ("a//0.jpg", "a/0.jpg"),
        ("a\\0.jpg", "a/0.jpg"),
        ("photos/a/0.jpg", "a/0.jpg"),
        ("HERE/photos/a/0.jpg", "a/0.jpg"),
        ("caf\xe9.jpg", "cafe\u0301.jpg"),
        ("cafe\u0301.jpg", "caf\xe9.jpg"),
    ],
)
def test_a_name_that_is_written_in_another_way_is_followed_and_told(listed, tmp_path, row, file):
    found = listed(f"file,kind\n{row.replace('HERE', str(tmp_path))},cat\n", file)
    assert targets(found.splits[0]) == {file: "cat"}
    assert f"for {file!r}" in found.warnings[0]


def test_a_file_of_exactly_that_name_goes_first(listed):
    found = listed("file,kind\na\\0.jpg,cat\n", "a\\0.jpg", "a/0.jpg")
    assert (found.splits[0].keys, found.warnings) == (["a\\0.jpg"], ())


@pytest.mark.parametrize(
    ("row", "file", "said"),
    [
        ("0", "0.jpg", r"The first names 0, the source has 0\.jpg\. --image-pattern '\{file\}\.jpg'"),
        ("0", "a/0.jpg", r"--image-pattern 'a/\{file\}\.jpg'"),
        ("0.jpg", "a/0.jpg", r"--image-pattern 'a/\{file\}'"),
        ("0.JPG", "0.jpg", "in another case"),
        ("a%20b.jpg", "a b.jpg", "without URL encoding"),
        ("0.png", "0.jpg", "with another suffix"),
        ("7", "a/0007.jpg", r"--image-pattern 'a/\{file:0>4\}\.jpg' writes the zeros"),
        ("data/0.jpg", "0.jpg", "Give the folder that holds data/ as --source"),
        ("/data/0.jpg", "0.jpg", "Take /data/ off all names"),
        ("http://x.org/0.jpg", "0.jpg", "That is an address"),
        ("x/y.jpg", "0.jpg", "Name another --path-column"),
        ("x/y.jpg", "notes.txt", "the source has no pictures"),
    ],
)
def test_if_all_rows_miss_their_picture_the_error_shows_both_names_and_a_cure(listed, row, file, said):
    with pytest.raises(FastptError, match=rf"none of its 1 rows names a picture of .*{said}"):
        listed(f"file,kind\n{row},cat\n", file)


def test_a_row_that_misses_its_picture_is_told_with_one_like_it(listed):
    (split,) = listed("file,kind\n0.JPG,cat\n1.jpg,dog\n").splits
    assert dict(split.pictureless) == {"0.JPG": "missing from the source, which has 0.jpg (in another case)"}


def test_rows_of_one_picture_that_say_the_same_are_one_and_told(listed):
    found = listed("file,kind\n0.jpg,cat\n./0.jpg,cat\n1.jpg,dog\n")
    assert targets(found.splits[0]) == {"0.jpg": "cat", "1.jpg": "dog"}
    assert "1 pictures have several rows that say the same, such as 0.jpg" in found.warnings[-1]
    assert not found.splits[0].pictureless


def test_a_picture_whose_rows_differ_is_rejected_by_name(listed):
    (split,) = listed("file,kind\n0.jpg,cat\n1.jpg,dog\n0.jpg,dog\n0.jpg,cat\n").splits
    assert targets(split) == {"1.jpg": "dog"}
    assert split.rejected == (("0.jpg", "its rows in the list differ: label 'cat' and 'dog'"),)


def test_pictures_that_no_row_names_are_counted(listed):
    found = listed("file,kind\n0.jpg,cat\n")
    assert found.beside["named by no row of the list"].total() == 3


@pytest.mark.parametrize(
    ("split", "name"), [("train", "train"), ("Validation", "val"), ("dev", "val"), ("holdout", "holdout"), (7, "7")]
)
def test_splits_are_those_of_a_column(listed, split, name):
    found = listed(f"file,kind,part\n0.jpg,cat,train\n1.jpg,cat,{split}\n", split_column="part")
    assert {one.name for one in found.splits} == {"train", name}
    assert [one.is_train for one in found.splits] == [one.name == "train" for one in found.splits]


def test_a_row_without_a_split_is_rejected_and_one_that_is_a_path_is_refused(listed):
    train, *_ = listed("file,kind,part\n0.jpg,cat,train\n1.jpg,cat,\n", split_column="part").splits
    assert train.rejected == (("1.jpg", "no part"),)
    with pytest.raises(FastptError, match=r"'\.\./x' in column 'part' cannot be the name of a split"):
        listed("file,kind,part\n0.jpg,cat,../x\n", split_column="part")


def test_a_column_that_cannot_be_that_of_splits_is_refused(listed):
    rows = "".join(f"{i}.jpg,cat,{i}\n" for i in range(101))
    with pytest.raises(FastptError, match="column 'part' names more than 100 splits"):
        listed(f"file,kind,part\n{rows}", split_column="part")


def test_a_split_of_which_no_row_can_be_used_is_told_and_its_rows_are_named(listed):
    found = listed("file,kind,part\n0.jpg,cat,train\n9.jpg,cat,test\n", split_column="part")
    assert found.warnings == ("no row of split test can be used: it is left out",)
    assert dict(found.splits[0].pictureless) == {"9.jpg": "missing from the source"}


def test_splits_of_one_meaning_are_one_and_told(listed):
    found = listed("file,kind,part\n0.jpg,cat,val\n1.jpg,cat,Valid\n", split_column="part")
    assert [split.name for split in found.splits] == ["val"]
    assert "split val is written as Valid and val" in found.warnings


@pytest.mark.parametrize(
    ("lists", "names"),
    [
        ({"train=a.csv": None, "val=b.csv": None}, ["train", "val"]),
        ({"labels_train.csv": None, "val.csv": None}, ["train", "val"]),
        ({"captions_train2017.csv": None, "captions_val2017.csv": None}, ["train", "val"]),
        ({"a.csv": None, "b.csv": None}, ["train"]),
    ],
)
def test_several_lists_are_splits_by_their_names_or_one(listed, tmp_path, lists, names):
    pairs = [(split or None, file) for split, _, file in (name.rpartition("=") for name in lists)]
    for i, (_, file) in enumerate(pairs):
        (tmp_path / file).write_text(f"file,kind\n{i}.jpg,cat\n")
    found = listed("", lists=pairs)
    assert [split.name for split in found.splits] == names
    assert sum(map(len, found.splits)) == 2


@pytest.mark.parametrize("names", [["train.csv", "more.csv"], ["train.csv", "evaluation.csv"], ["train_val.csv"]])
def test_a_list_whose_split_is_unclear_is_asked_for(listed, names):
    with pytest.raises(FastptError, match="which split is it"):
        listed("", lists=[(None, name) for name in names])


def test_a_split_without_labels_is_told_and_left_out(listed):
    found = listed("file,kind,part\n0.jpg,1,train\n1.jpg,0,train\n2.jpg,-1,test\n3.jpg,,test\n", split_column="part")
    assert [split.name for split in found.splits] == ["train"]
    assert "none of the 2 rows of split test has a label: it is left out" in found.warnings


def test_numbers_of_splits_are_one_however_they_are_written(listed):
    found = listed("file,kind,fold\n0.jpg,a,1\n1.jpg,b,1.0\n2.jpg,a,2\n3.jpg,b,nan\n", split_column="fold")
    assert {split.name: len(split) for split in found.splits} == {"1": 2, "2": 1}
    assert "split 1 is written as 1 and 1.0" in found.warnings
    assert [pair for split in found.splits for pair in split.rejected] == [("3.jpg", "no fold")]


def test_labels_of_annotators_share_the_classes_and_may_be_missing(listed):
    (split,) = listed("file,kind,given\n0.jpg,cat,cat\n1.jpg,dog,emu\n2.jpg,dog,\n", noisy_label_column="given").splits
    assert split.classes == ["cat", "dog", "emu"]
    assert split.noisy_labels.labels.tolist() == [0, 2, -1]
    assert split.noisy_labels.source == "column 'given' of l.csv"


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"path_column": None}, "--path-column or --image-pattern"),
        ({"image_pattern": "{file}"}, "--path-column or --image-pattern"),
        ({"label_column": None, "noisy_label_column": "x"}, "--noisy-label-column goes with"),
        ({"noisy_label_column": "kind"}, "column 'kind' is given for two things"),
        ({"noisy_label_column": "file"}, "column 'file' is given for two things"),
        ({"label_column": "file"}, "column 'file' is given for two things"),
        ({"path_column": None, "image_pattern": "x.jpg"}, "names no column"),
        ({"path_column": None, "image_pattern": "{file"}, "cannot be read"),
        ({"path_column": None, "image_pattern": "{file:06d}"}, "does not fit row 1"),
        ({"path_column": None, "image_pattern": "{file:>999999999}"}, "has the format '>999999999'"),
        ({"path_column": None, "image_pattern": "{file:0>{kind}}"}, "has the format '0>{kind}'"),
        ({"path_column": None, "image_pattern": "{file.x}"}, "does not fit row 1"),
        ({"path_column": "flie"}, "no column 'flie'.*'file'"),
    ],
)
def test_what_does_not_go_together_is_one_clear_error(listed, settings, error):
    with pytest.raises((FastptError, click.UsageError), match=error):
        listed("file,kind\n0.jpg,cat\n", **settings)


@pytest.mark.parametrize(
    ("value", "key"),
    [("1", "images/1.jpg"), ("1.0", "images/1.jpg"), ('"1"', "images/1.jpg")]
    + [(value, None) for value in ("null", "NaN", '""', '{"id": 1}', "[1]", "true")],
)
def test_a_name_is_made_of_text_and_numbers(shop, value, key):
    (shop / "list.jsonl").write_text(f'{{"id": {value}, "caption": "one"}}\n{{"id": 2, "caption": "two"}}\n')
    (split,) = caption_splits(shop, "list.jsonl", "images/{id}.jpg", RecordFormat()).splits
    assert split.keys == [*([key] if key else []), "images/2.jpg"]
    why = "its id is a (dict|list|bool), not the name of a picture" if value[0] in "{[t" else "names no picture"
    assert [(row, bool(re.search(why, reason))) for row, reason in split.pictureless] == (
        [] if key else [("list.jsonl, row 1", True)]
    )


def test_a_list_without_a_header_is_told_even_if_columns_are_named_by_its_first_row(listed):
    with pytest.raises(FastptError, match=r"its first line names a picture, '0\.jpg', so it is a row"):
        listed("0.jpg,cat\n1.jpg,dog\n", path_column="0.jpg", label_column="cat")


@pytest.mark.parametrize("rows", ["0.jpg,0,cat\n1.jpg,1,dog\n", "0.jpg,cat,feline\n1.jpg,dog,canine\n"])
def test_clean_and_noisy_labels_without_a_class_in_common_are_refused(listed, rows):
    with pytest.raises(FastptError, match="columns 'kind' and 'given' have no class in common"):
        listed(f"file,kind,given\n{rows}", noisy_label_column="given")


def test_a_column_of_annotators_without_labels_is_told(listed):
    found = listed("file,kind,given\n0.jpg,cat,\n1.jpg,dog,\n", noisy_label_column="given")
    assert "column 'given' has no label in split train: it gives no noise plan" in found.warnings


def test_names_that_windows_wrote_are_told_with_a_cure(listed):
    with pytest.raises(FastptError, match=r"Take C:\\my\\photos\\ off all names"):
        listed("file,kind\nC:\\my\\photos\\0.jpg,cat\nC:\\my\\photos\\1.jpg,dog\n")


@pytest.mark.parametrize(
    ("value", "caption", "reason"),
    [
        ("5", "5", None),
        ("2.5", "2.5", None),
        ("true", None, "its caption is a bool"),
        ('["a"]', None, "its caption is a list"),
        ("null", None, "no caption"),
        ("NaN", None, "no caption"),
        ('" "', None, "no caption"),
        (r'"x \ud83d"', "x \ufffd", None),
    ],
)
def test_captions_of_json_are_texts_or_rejected_with_what_they_are(shop, value, caption, reason):
    (shop / "list.jsonl").write_text(f'{{"id": 1, "caption": "one"}}\n{{"id": 2, "caption": {value}}}\n')
    (split,) = caption_splits(shop, "list.jsonl", "images/{id}.jpg", RecordFormat(("caption",))).splits
    assert split.captions[1:] == ([caption] if caption else [])
    assert dict(split.rejected) == ({"images/2.jpg": reason} if reason else {})


def test_captions_that_are_a_word_for_nothing_are_told(shop):
    (shop / "list.csv").write_text("id,caption\n1,nan\n2,None\n3,nan\n4,fine\n")
    found = caption_splits(shop, "list.csv", "images/{id}.jpg", RecordFormat())
    assert "2 captions are 'nan'" in found.warnings


def test_clean_and_noisy_labels_become_a_split_and_its_plan_the_same_each_time(listed, tmp_path):
    def run(noisy: str):
        (tmp_path / "l.csv").write_text(
            f"file,true,given\n0.jpg,cat,cat\n1.jpg,dog,cat\n2.jpg,cat,{noisy}\n3.jpg,dog,\n"
        )
        words = ["--source", "photos", "--list", "l.csv", "--path-column", "file", "--workers", "1", "--out", "out"]
        words += ["--clean-label-column", "true", "--noisy-label-column", "given"]
        return CliRunner().invoke(main, ["prep", "list", *words])

    listed("file,kind\n0.jpg,cat\n")
    ran = run("dog")
    assert "noise external-given: realised 0.5 (2 wrong labels, from column 'given' of l.csv)" in ran.output
    dataset = Dataset(tmp_path / "out/train")
    labels = dict(zip(dataset.keys, dataset.targets("external-given"), strict=True))
    assert labels == {"0.jpg": 0, "1.jpg": 0, "2.jpg": 1, "3.jpg": 1}
    plan = (tmp_path / "out/train/noise/external-given.json").read_bytes()
    assert run("dog").exit_code == 0
    assert (tmp_path / "out/train/noise/external-given.json").read_bytes() == plan
    assert verify_deep(tmp_path / "out/train", lambda *_: None) == []
    changed = run("cat")
    assert changed.exit_code == 1
    assert "was made from another file than column 'given' of l.csv" in changed.output
