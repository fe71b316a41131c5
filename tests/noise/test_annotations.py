"""What lists and arrays say of labels and captions, as people write them."""

import gzip
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from fastpt.data.dataset import Dataset
from fastpt.errors import DamagedData, FastptError
from fastpt.noise import add_noise
from fastpt.noise.annotations import read_captions, read_labels
from fastpt.noise.formats import write_csv
from tests.conftest import made_up, prepared

A, B, C = (f"pictures/{i:04d}.jpg" for i in (4, 9, 2))  # of the classes 0, 1 and 2
CSV = f"key,label\n{A},class 1\n{B},class 2\n"


@pytest.fixture(scope="module")
def split(tmp_path_factory) -> Dataset:
    """40 pictures of the classes "class 0" to "class 3"."""
    return prepared(tmp_path_factory.mktemp("split"), made_up(40, captions=True))


@pytest.fixture
def labels(split, tmp_path):
    """Write a list, and read from it what samples are shown, where it is not the clean label; and what is told."""

    def labels(name: str, content: str | bytes, of: Dataset = split):
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        made = read_labels(tmp_path / name, of)
        wrong = np.flatnonzero(made.array != of.clean_labels)
        return {of.keys[i]: int(made.array[i]) for i in wrong}, made.warnings

    return labels


def named(folder, *names: str, count: int = 12, **fields) -> Dataset:
    """A split of classes that are called so."""
    listing = made_up(count, len(names))
    return prepared(
        folder / "-".join(names)[:20], replace(listing, **{"classes": [*names], "class_names": [*names]} | fields)
    )


def frame(**columns) -> pd.DataFrame:
    return pd.DataFrame({"key": [A, B], "label": ["class 1", "class 2"], **columns})


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("l.csv", CSV),
        ("l.csv", "\ufeff" + CSV),
        ("l.csv", CSV.replace("\n", "\r\n")),
        ("l.csv", CSV.replace("\n", "\r")),
        ("l.csv", CSV.replace("\n", "\n\n")),
        ("l.csv", CSV.removesuffix("\n")),
        ("l.csv", frame().to_csv(index=False, quoting=1)),
        ("l.csv", frame(votes=[3, 2]).to_csv(columns=["label", "votes", "key"])),
        ("l.csv.gz", gzip.compress(CSV.encode())),
        ("l.tsv", CSV.replace(",", "\t")),
        ("l.jsonl", frame().to_json(orient="records", lines=True)),
        ("l.json", frame().to_json(orient="records")),
        ("l.csv", CSV.replace("class ", "")),
        ("l.csv", CSV.replace("class 1", " class 1 ").replace("class 2", "2.0")),
        ("l.jsonl", frame(label=[1, 2]).to_json(orient="records", lines=True)),
        ("l.jsonl", frame(label=[1.0, 2.0]).to_json(orient="records", lines=True)),
    ],
)
def test_a_list_is_read_whatever_wrote_it(labels, name, content):
    found, told = labels(name, content)
    assert found == {A: 1, B: 2}
    assert told == ("it has no label for 38 of 40 samples; they stay clean",)


def test_parquet_is_read(split, tmp_path):
    frame(label=pd.Categorical(["class 1", "class 2"]), other=[[1], None]).to_parquet(tmp_path / "l.parquet")
    assert (read_labels(tmp_path / "l.parquet", split).array != split.clean_labels).sum() == 2


@pytest.mark.parametrize("none", ["", "-1", "-1.0", "nan", "NaN", "null", "NA", "None", "N/A", "<NA>", "  "])
def test_what_is_no_label_stays_clean_and_is_counted(labels, none):
    found, told = labels("l.csv", f"key,label\n{A},class 1\n{B},{none}\n")
    assert found == {A: 1}
    assert told == ("it has no label for 39 of 40 samples; they stay clean",)
    assert labels("l.csv", f"key,label\n{A},1\n{B},{none}\n")[0] == {A: 1}


@pytest.mark.parametrize("none", [None, -1, float("nan"), -1.0])
def test_what_is_no_label_in_json_stays_clean(labels, none):
    rows = [{"key": A, "label": 1}, {"key": B, "label": none}, {"key": C}]
    assert labels("l.jsonl", "\n".join(map(json.dumps, rows)))[0] == {A: 1}


@pytest.mark.parametrize(
    ("label", "said"),
    [
        ("zebra", "'zebra', is no class of the split. Known here: class 0"),
        ("Class 1", "'Class 1', is no class of the split. Did you mean class 1"),
        ("4", "'4', is no class of the split. It has 4 classes, with numbers from 0"),
        ("1.5", "'1.5', is no whole number"),
        ("-2", "is negative. Only -1 is known"),
        ("1e400", "is no whole number"),
        ("inf", "is no"),
        ("9" * 5000, "'..., is no class"),
        ("01", "'01', is no class"),
        ("true", "'true', is no class"),
        ('"[1, 2]"', "is a list"),
        ("1;2", "'1;2', is no class"),
        ("\ud83d", "is no class"),
    ],
)
def test_what_is_no_label_of_the_split_is_named_by_its_row(labels, label, said):
    with pytest.raises(FastptError) as caught:
        labels("l.csv", f"key,label\n{A},class 1\n{B},{label}\n".encode(errors="surrogatepass"))
    assert f"l.csv, column 'label': the label of '{B}' in row 2, " in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize("label", [[1], {"a": 1}, 1.5, -7, True, 10**30])
def test_what_is_no_label_in_json_is_named_by_its_row(labels, label):
    with pytest.raises(FastptError, match=rf"the label of '{A}' in row 1, .*, is "):
        labels("l.jsonl", json.dumps({"key": A, "label": label}))


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("l.csv", "", "is empty"),
        ("l.csv", "key,label\n", "has no rows"),
        ("l.csv", f"{A},class 1\n", "no column 'key'.* Its first line looks like a row"),
        ("l.csv", CSV.replace(",", ";"), "no column 'key'.*separated by semicolons"),
        ("l.csv", CSV.replace(",", "\t"), "no column 'key'.*separated by tabs"),
        ("l.csv", CSV.replace("key", "Key"), "no column 'key'; it has: Key, label. Did you mean 'Key'"),
        ("l.csv", CSV.replace("label", "label,label"), "2 columns 'label'"),
        ("l.csv", CSV.encode("utf-16"), "written in UTF-16"),
        ("l.csv", CSV.encode("utf-16-le"), "zero byte in line 1"),
        ("l.csv", CSV.replace("class 2", '"class 2'), "near line 3: unexpected end of data. Mend its quotes"),
        ("l.csv", CSV + f"{C}\n", "row 3 has other columns than the header"),
        ("l.csv", CSV + f"{C},a,b\n", "row 3 has other columns than the header"),
        ("l.csv", CSV + ",class 1\n", "row 3 has no key"),
        ("l.txt", CSV, "none of .csv"),
        ("l.xlsx", b"PK\3\4", "none of .csv"),
        ("l.csv", b"PK\3\4", "a zip or an Excel file"),
        ("worse.pt", b"PK\3\4", "may hold several things. Save the one that is meant as an .npy"),
        ("l.jsonl", '{"key": "a"', "line 1, is no JSON object"),
        ("l.jsonl", json.dumps({"key": A, "class": 1}), "no column 'label'; it has: key, class"),
        ("l.json", json.dumps({"key": {"0": A}, "label": {"0": 1}}), "columns, not rows"),
        (
            "l.csv",
            "key,label\nother.jpg,1\nmore.jpg,1\n",
            "2 keys that the split does not have, such as 'other.jpg' in row 1",
        ),
        (
            "l.csv",
            f"key,label\n{A},1\n./{B},1\n",
            "such as './pictures/0009.jpg' in row 2; its own are like 'pictures/",
        ),
        ("l.csv", f"key,label\n{A},1\n{B},1\n{A},2\n", f"says two things of '{A}' in row 1 and row 3"),
        ("l.csv", f"key,label\n{A},1\n{B},1\n{A},\n", f"says two things of '{A}' in row 1 and row 3"),
        ("l.csv", f"key,label\n{A},\n{B},nan\n", "gives none of 40 samples a label"),
    ],
)
def test_what_is_no_such_list_is_refused(labels, name, content, said):
    with pytest.raises(FastptError, match=said):
        labels(name, content)


@pytest.mark.parametrize("length", [2, 20, 40])
def test_a_list_whose_gzip_is_cut_is_damaged(labels, length):
    with pytest.raises(DamagedData, match="cannot be read: it is damaged"):
        labels("l.csv.gz", gzip.compress(CSV.encode())[:length])


def test_rows_that_say_the_same_count_once(labels):
    found, told = labels("l.csv", CSV + f"{A},1\n")
    assert found == {A: 1, B: 2}
    assert told[0] == "1 of its rows say again what another says; they count once"


def test_rows_of_rejected_pictures_are_passed_over_and_counted(labels, tmp_path):
    split = prepared(tmp_path, made_up(40, special={7: b"broken"}), max_rejects=1)
    found, told = labels("l.csv", CSV + "pictures/0007.jpg,1\n", split)
    assert found == {A: 1, B: 2}
    assert told[0] == "1 of its rows are of pictures that were rejected"


def test_labels_that_agree_no_better_than_by_chance_are_told(split, tmp_path):
    np.save(tmp_path / "m.npy", (split.clean_labels + 1) % 4)
    (told,) = read_labels(tmp_path / "m.npy", split).warnings
    assert told.startswith("only 0.0% of the labels are the clean ones, no more than by chance")


@pytest.mark.parametrize("seed", range(8))
def test_labels_in_any_other_order_of_samples_are_told(split, tmp_path, seed):
    np.save(tmp_path / "m.npy", np.random.default_rng(seed).permutation(split.clean_labels))
    (told,) = read_labels(tmp_path / "m.npy", split).warnings
    assert "no more than by chance (25.0%): has it another order" in told


def test_classes_that_are_mostly_called_another_are_told_though_others_agree(tmp_path):
    split = prepared(tmp_path / "split", made_up(200, 5))
    labels = split.clean_labels
    np.save(tmp_path / "swapped.npy", np.array([0, 1, 3, 2, 4])[labels])  # 60 % agree
    (told,) = read_labels(tmp_path / "swapped.npy", split).warnings
    assert told.startswith("most samples of 2 of 5 classes have the label of another, such as of 'class 2', 100% of")
    noisy = np.where(np.arange(200) % 10 < 4, (labels + 1) % 5, labels)  # wrong at random, as people are
    np.save(tmp_path / "noisy.npy", noisy)
    assert read_labels(tmp_path / "noisy.npy", split).warnings == ()


def test_a_list_of_what_is_wrong_alone_is_no_other_order(split, labels):
    rows = "".join(f"{split.keys[i]},{(split.clean_labels[i] + 1) % 4}\n" for i in range(25))
    assert labels("l.csv", f"key,label\n{rows}")[1] == ("it has no label for 15 of 40 samples; they stay clean",)


# --- names that are numbers ----------------------------------------------------------------------------------------


def rows_of(split: Dataset, *labels: object) -> str:
    return "key,label\n" + "".join(f"{split.keys[i]},{label}\n" for i, label in enumerate(labels))


def test_names_that_are_their_numbers_are_either(labels, tmp_path):
    split = named(tmp_path, "0", "1", "2")
    assert labels("l.csv", rows_of(split, *((split.clean_labels + 1) % 3)), split)[1] == ()


def test_names_that_are_other_numbers_are_names_and_that_is_told(labels, tmp_path):
    split = named(tmp_path, "1", "10", "2")
    found, told = labels("l.csv", rows_of(split, "2", "10", "1"), split)
    shown = split.clean_labels.copy()
    shown[:3] = 2, 1, 0
    assert found == {split.keys[i]: shown[i] for i in range(3) if shown[i] != split.clean_labels[i]}
    assert f"the label of {split.keys[2]!r} in row 3 is taken for the name of a class, not for its number" in told


def test_a_number_that_pandas_wrote_with_a_point_is_the_name_that_it_is_without(labels, tmp_path):
    split = named(tmp_path, "1", "10", "2")
    whole, pointed = (labels("l.csv", rows_of(split, *names), split) for names in (("2", "10"), ("2.0", "10.0")))
    assert whole == pointed


def test_no_label_is_no_class_of_that_name(labels, tmp_path):
    split = named(tmp_path, "None", "nan", "cat")
    assert {*labels("l.csv", rows_of(split, "cat", "", ""), split)[0]} <= {split.keys[0]}


def test_names_that_no_number_could_be_are_just_names(labels, tmp_path):
    split = named(tmp_path, "007", "10", "11")
    assert (
        labels("l.csv", rows_of(split, *(split.classes[(label + 1) % 3] for label in split.clean_labels)), split)[1]
        == ()
    )


def test_names_and_numbers_that_cannot_be_told_apart_are_refused(labels, tmp_path):
    split = named(tmp_path, "1", "10", "2")
    with pytest.raises(
        FastptError, match=r"row 1 is a class's name, and not its number, but that of .* row 2 is a number"
    ):
        labels("l.csv", rows_of(split, 10, 0), split)
    with pytest.raises(
        FastptError, match=r"row 2 is a class's name, and not its number, but that of .* row 1 is a number"
    ):
        labels("l.csv", rows_of(split, 0, 1, 2), split)


def test_a_name_that_several_classes_have_is_refused_with_their_own(labels, tmp_path):
    split = named(tmp_path, "n01", "n02", "n03", class_names=["crane", "cat", "crane"])
    with pytest.raises(FastptError, match=r"'crane', is the name of 2 classes. Write n01 or n03"):
        labels("l.csv", rows_of(split, "cat", "crane"), split)


# --- there and back ------------------------------------------------------------------------------------------------

ODD = [
    "a,b",
    'say "x"',
    "two\nlines",
    "cr\rlf\r\n",
    " blanks ",
    "nan",
    "-1",
    "1.0",
    "[x]",
    "Größe 🦩",
    "x;y\tz",
    "\ufeffbom",
]


@pytest.mark.parametrize("of", ["labels", "captions"])
def test_a_plan_comes_back_from_its_csv_whatever_things_are_called(tmp_path, of):
    keys = [f"{name}/{i}.jpg" for i, name in enumerate(ODD * 2)]
    keys[:3] = "nan", "null", '"'
    listing = made_up(24, 12, captions=True)
    split = prepared(tmp_path, replace(listing, keys=keys, classes=ODD, class_names=ODD))
    plan = add_noise(split, 0.9, 0, of)
    write_csv(tmp_path / "l.csv", plan.of, split.table(["key"])["key"], plan.array, split.classes)
    back = add_noise(split, None, 0, of, "external", {"file": tmp_path / "l.csv"})
    assert np.array_equal(back.array, plan.array)


# --- arrays ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["int8", "uint16", ">i4", "int64", "float32"])
def test_an_array_holds_a_number_a_sample(split, tmp_path, dtype):
    np.save(tmp_path / "l.npy", split.clean_labels.astype(dtype))
    assert np.array_equal(read_labels(tmp_path / "l.npy", split).array, split.clean_labels)


def test_an_array_is_known_by_its_content(split, tmp_path):
    np.save(tmp_path / "l.npy", split.clean_labels)
    (tmp_path / "l.npy").rename(tmp_path / "labels")
    assert read_labels(tmp_path / "labels", split).array.dtype == np.int32


def test_nan_and_minus_one_in_an_array_stay_clean(split, tmp_path):
    array = split.clean_labels.astype(float)
    array[:2], array[2] = np.nan, -1
    np.save(tmp_path / "l.npy", array)
    assert read_labels(tmp_path / "l.npy", split).warnings == ("it has no label for 3 of 40 samples; they stay clean",)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (np.zeros(39, int), r"int64 \[39\]; expected .* integers \[40\]"),
        (np.zeros((40, 1), int), r"int64 \[40, 1\]"),
        (np.zeros((40, 4)), r"float64 \[40, 4\]"),
        (np.zeros(40, bool), "bool"),
        (np.zeros(40, complex), "complex128"),
        (np.array(["class 0"] * 40), "<U7"),
        (np.array([None] * 40), "Save one of its arrays, of integers, as an .npy of its own"),
        (np.array({"worse_label": [0]}), "Save one of its arrays"),
        (np.full(40, 4), r"class 4 for sample 0, 'pictures/.*' \(40 numbers are wrong\), but the split has 4 classes"),
        (np.r_[np.zeros(39, int), -2], "class -2 for sample 39, 'pictures/[0-9]*.jpg', but"),
        (np.full(40, 0.5), "class 0.5 for sample 0"),
        (np.full(40, np.inf), "class inf for sample 0"),
        (np.full(40, 2**63, np.uint64), "class 9223372036854775808"),
        (np.full(40, -1), "gives none of 40 samples a label"),
    ],
)
def test_an_array_that_cannot_be_meant_is_refused(split, tmp_path, array, said):
    np.save(tmp_path / "l.npy", array)
    with pytest.raises(FastptError, match=said):
        read_labels(tmp_path / "l.npy", split)


# --- captions -------------------------------------------------------------------------------------------------------


def test_captions_are_those_of_other_keys(split, tmp_path):
    (tmp_path / "l.csv").write_text(f"key,caption_of\n{A},{B}\n{B},\n")
    made = read_captions(tmp_path / "l.csv", split)
    assert [split.keys[i] for i in np.flatnonzero(made.array != np.arange(40))] == [A]
    assert split.keys[made.array[split.keys.index(A)]] == B
    assert made.warnings == ["it has no caption for 39 of 40 samples; they stay clean"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            f"key,caption_of\n{A},nobody\n",
            "1 keys in caption_of that the split does not have, such as 'nobody' in row 1",
        ),
        (f"key,caption_of\n{A},nan\n", "keys in caption_of that the split does not have, such as 'nan'"),
        (f"key,caption\n{A},a text\n", "no column 'caption_of'; it has: key, caption"),
        (f"key,caption_of\n{A},{B}\n{A},{C}\n", "two things"),
        (f"key,caption_of\n{A},\n", "gives none of 40 samples a caption"),
    ],
)
def test_what_is_no_list_of_captions_is_refused(split, tmp_path, content, said):
    (tmp_path / "l.csv").write_text(content)
    with pytest.raises(FastptError, match=said):
        read_captions(tmp_path / "l.csv", split)


def test_a_rejected_pictures_caption_cannot_be_shown(tmp_path):
    split = prepared(tmp_path, made_up(40, captions=True, special={7: b"broken"}), max_rejects=1)
    (tmp_path / "l.csv").write_text(f"key,caption_of\n{A},pictures/0007.jpg\n")
    with pytest.raises(FastptError, match=r"such as 'pictures/0007.jpg'"):
        read_captions(tmp_path / "l.csv", split)
