"""Several places at once, and splits that are named; through the command line, as people give them."""

import json
import re
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from fastpt import Dataset
from fastpt.cli import main
from tests.conftest import picture
from tests.storage.test_files import packed


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run `fastpt prep ARGS` in the test's folder; returns (exit code, output)."""
    monkeypatch.chdir(tmp_path)

    def run(*args: str) -> tuple[int, str]:
        result = CliRunner().invoke(main, ["prep", "--workers", "1", *args])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, result.output

    return run


def pets(path: str, kind: str, kinds: list[str], first: int = 0) -> None:
    packed(Path(path), kind, {f"{name}/{first + i}.jpg": picture(first + i) for i, name in enumerate(kinds * 2)})


def test_places_with_named_splits_become_splits_of_one_dataset(run):
    pets("a.zip", "stored", ["cat", "dog"])
    pets("b.tar.gz", "w:gz", ["dog"], first=10)
    code, output = run("imagefolder", "--source", "train=a.zip", "--source", "val=b.tar.gz", "--name", "pets")
    assert code == 0, output
    train, val = (Dataset(f"data/pets/{name}") for name in ("train", "val"))
    assert (len(train), len(val)) == (4, 2)
    assert val.classes == train.classes == ["cat", "dog"]
    assert set(val.clean_labels) == {1}
    assert sorted(path.name for path in Path("data/pets").iterdir()) == ["train", "val"]


def test_places_without_names_are_taken_together(run):
    pets("a.zip", "stored", ["cat"])
    pets("b.tar", "w", ["cat", "dog"], first=10)
    assert run("imagefolder", "--source", "a.zip", "--source", "b.tar")[0] == 0
    assert len(Dataset("data/a/train")) == 6
    pets("c.tar", "w", ["cat"])
    code, output = run("imagefolder", "--source", "a.zip", "--source", "c.tar")
    assert (code, "cat/0.jpg is in a.zip and in c.tar" in output) == (1, True)


@pytest.mark.parametrize(
    ("first", "second", "told"),
    [
        ("a", "a", "a and --source a are one place"),
        ("train=a", "val=./b/../a", "a and --source b/../a are one place"),
        ("train=a", "val=linked", "a and --source linked are one place"),
        ("train=a", "val=a/cat", "a/cat lies inside --source a"),
        ("a/cat", "a", "a/cat lies inside --source a"),
    ],
)
def test_a_place_that_would_be_read_twice_is_refused(run, first, second, told):
    pets("a", "folder", ["cat", "dog"])
    pets("b", "folder", ["cat"])
    Path("linked").symlink_to("a")
    code, output = run("imagefolder", "--source", first, "--source", second)
    assert (code, told in output) == (1, True), output


@pytest.mark.parametrize("source", ["imagefolder", "webdataset", "parquet"])
@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("a/*.tar", "is a pattern, and no such file exists. Give the folder"),
        ("a/{000..009}.tar", "is a pattern"),
        ("ftp://host/a.tar", "is an address that is not read. Fetch what lies there"),
        ("pipe:curl x", "is an address"),
        ("nowhere/a", "nowhere/a does not exist (there is"),
    ],
)
def test_a_place_that_is_not_there_is_told_by_what_it_is_meant_as(run, source, place, told):
    code, output = run(source, "--source", place)
    assert (code, told in output) == (1, True), output


@pytest.mark.parametrize("words", ["imagefolder --source", "list --source . --list"])
def test_a_split_without_a_path_is_a_usage_error(run, words):
    code, output = run(*words.split(), "train=")
    assert (code, "found 'train=', without a path" in output) == (2, True), output


def test_a_home_that_the_shell_left_is_found(run, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    pets("a", "folder", ["cat", "dog"])
    assert run("imagefolder", "--source", "train=~/a")[0] == 0


def test_a_list_at_a_home_that_the_shell_left_is_found(run, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    pets("a", "folder", ["cat", "dog"])
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "b.csv").write_text("file,label\ncat/0.jpg,0\ndog/1.jpg,1\n")
    columns = ("--path-column", "file", "--label-column", "label")
    code, output = run("list", "--source", "a", "--list", "train=~/b.csv", *columns)
    assert code == 0, output


def list_of(folder: str, rows: dict[int, str]) -> None:
    files = {f"{i}.jpg": picture(i) for i in rows}
    lines = [json.dumps({"photoid": i, "title": title, "description": "it+is"}) for i, title in rows.items()]
    packed(Path(folder), "folder", files | {"list.jsonl": "\n".join(lines).encode()})


def test_yfcc15m_from_a_list_with_a_subset(run):
    list_of("photos", {1: "A+cat", 2: "A+dog", 3: "A+hat"})
    Path("ids.tsv").write_text("0\t1\tx\n1\t3\tx\n2\t4\tx\n")
    words = [
        "yfcc15m",
        "--source",
        "photos",
        "--list",
        "list.jsonl",
        "--image-pattern",
        "{photoid}.jpg",
        "--subset",
        "openai",
        "--subset-ids",
        "ids.tsv",
        "--caption-column",
        "title",
        "--out",
        "out",
    ]
    code, output = run(*words)
    assert code == 0, output
    assert "subset openai: 2 of its 3 ids (66.67%)" in output
    dataset = Dataset("out/train")
    assert sorted(dataset.captions([0, 1])) == ["A cat", "A hat"]
    assert dataset.manifest["settings"]["subset"]["found"] == 2
    assert dataset.manifest["settings"]["markup_stripped"]
    assert run(*words)[0] == 0
    code, output = run(*words, "--raw-captions")
    assert (code, "markup_stripped was True, now False" in output) == (1, True)


def test_a_subset_that_fits_nothing_is_told(run):
    list_of("photos", {1: "A+cat"})
    Path("ids.txt").write_text("77\n")
    code, output = run(
        "yfcc15m",
        "--source",
        "photos",
        "--list",
        "list.jsonl",
        "--image-pattern",
        "{photoid}.jpg",
        "--subset",
        "declip",
        "--subset-ids",
        "ids.txt",
        "--caption-column",
        "title",
    )
    assert (code, "none of the source's records is in the subset declip" in output) == (1, True)


def test_labels_of_splits_listed_apart_share_one_list_of_classes(run):
    for name, labels in (("train", [2, 0]), ("val", [1, 1])):
        Path(name).mkdir()
        with tarfile.open(f"{name}/{name}.tar", "w") as tar:
            for i, label in enumerate(labels):
                for suffix, content in (("jpg", picture(i)), ("cls", str(label).encode())):
                    Path("member").write_bytes(content)
                    tar.add("member", f"{i}.{suffix}")
    assert run("webdataset", "--source", "train=train", "--source", "val=val", "--name", "a")[0] == 0
    assert Dataset("data/a/val").classes == ["0", "1", "2"]
    assert Dataset("data/a/val").clean_labels.tolist() == [1, 1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("demo --list x.csv", "--list goes with yfcc15m and list and captions, not with demo"),
        ("imagefolder --source p --caption-column x", "--caption-column goes with"),
        ("imagefolder --source p --raw-captions", "--raw-captions goes with"),
        ("captions --source p --split-level 1", "--split-level goes with imagefolder"),
        ("captions --source p --list x.csv", "--path-column or --image-pattern"),
        ("yfcc15m --source p --list x.csv", "--list goes with --path-column or --image-pattern"),
        ("yfcc15m --source p --subset openai", "--subset NAME and --subset-ids FILE go together"),
        ("yfcc15m --source p --id-column id", "--id-column goes with them"),
        ("webdataset --source p --subset openai --subset-ids x", "--subset goes with yfcc15m"),
        ("imagenet --source train=p", "imagenet is one --source"),
        ("imagefolder --source train=p --source q", "all --source name their split"),
        ("imagefolder --source p --out p/cat/out", "lies inside --source p"),
        ("imagefolder --source val=p --source validation=q", "val and validation are one split"),
        ("imagefolder --source val=p --holdout 0.5", "--holdout takes val from a split called train; found val"),
    ],
)
def test_what_does_not_go_together_is_refused(run, words, said):
    for name in ("p", "q"):
        pets(name, "folder", ["cat"])
    before = sorted(Path().rglob("*"))
    code, output = run(*words.split())
    assert code != 0
    assert said in output
    assert sorted(Path().rglob("*")) == before


def test_a_split_that_is_named_otherwise_is_the_split_it_means(run):
    pets("p", "folder", ["cat", "dog"])
    assert run("imagefolder", "--source", "Train=p", "--noise", "0.5", "--name", "a")[0] == 0
    assert Dataset("data/a/train").keys[0].startswith("train/")


# --- usual places -------------------------------------------------------------------------------------------------


@pytest.fixture
def nowhere(run, monkeypatch):
    """`run` where no variable says where data lies."""
    for name in ("FASTPT_SOURCES", "IMAGENET_DIR", "DATASETS", "YFCC15M_DIR"):
        monkeypatch.delenv(name, raising=False)
    return run


def tiny_imagenet(folder: str) -> None:
    for split in ("train", "val"):
        pets(f"{folder}/{split}", "folder", ["n01440764", "n01443537"])


@pytest.mark.parametrize(
    ("variable", "value", "folder"),
    [
        ("FASTPT_SOURCES", "sources", "sources/imagenet"),
        ("IMAGENET_DIR", "somewhere", "somewhere"),
        ("DATASETS", "sets", "sets/imagenet"),
        ("", "", "ILSVRC2012"),
        ("", "", "data/raw/imagenet"),
    ],
)
def test_imagenet_is_found_in_its_usual_places(nowhere, monkeypatch, variable, value, folder):
    if variable:
        monkeypatch.setenv(variable, value)
    tiny_imagenet(folder)
    code, output = nowhere("imagenet")
    assert code == 0, output
    assert re.search(rf"imagenet is read from \S* ?\(?{folder}", output)
    assert len(Dataset("data/imagenet/train")) == 4


def test_the_first_of_two_usual_places_is_taken_and_the_other_one_told(nowhere, monkeypatch):
    monkeypatch.setenv("IMAGENET_DIR", "first")
    tiny_imagenet("first")
    tiny_imagenet("ILSVRC2012")
    _, output = nowhere("imagenet")
    assert "imagenet is read from $IMAGENET_DIR (first); it is in ILSVRC2012 too" in output


def test_a_variable_that_leads_nowhere_is_told(nowhere, monkeypatch):
    monkeypatch.setenv("IMAGENET_DIR", "gone")
    tiny_imagenet("ILSVRC2012")
    _, output = nowhere("imagenet")
    assert "imagenet is read from ILSVRC2012, since there is nothing in $IMAGENET_DIR (gone)" in output


def test_a_place_that_is_given_goes_before_the_usual_ones(nowhere):
    tiny_imagenet("mine")
    Path("ILSVRC2012").mkdir()
    code, output = nowhere("imagenet", "--source", "mine")
    assert (code, "is read from" in output) == (0, False)


@pytest.mark.parametrize(("source", "variable"), [("imagenet", "IMAGENET_DIR"), ("yfcc15m", "YFCC15M_DIR")])
def test_where_it_was_looked_for_and_how_to_get_it_is_told(nowhere, monkeypatch, source, variable):
    monkeypatch.setenv(variable, "")
    monkeypatch.setenv("DATASETS", "gone")
    Path("data/raw", source).mkdir(parents=True)  # empty
    code, output = nowhere(source)
    assert code == 2
    said = f"${variable} (not set), $DATASETS/{source} (gone/{source})"
    assert said in " ".join(output.replace("\n", " ").split())
    assert "Get " in output
    assert not Path("data", source).exists()


def test_a_source_without_usual_places_needs_one(nowhere):
    code, output = nowhere("imagefolder")
    assert (code, "imagefolder needs --source PATH" in output) == (2, True)


# --- splits by the names of places, and classes -------------------------------------------------------------------


def test_a_place_called_like_a_split_does_not_melt_into_train(run):
    for name in ("train", "val"):
        pets(f"pets/{name}", "folder", ["cat"], first=10 * len(name))
    code, output = run("imagefolder", "--source", "pets/train", "--source", "pets/val")
    assert (code, "Name the split of each place: val=pets/val" in output) == (1, True)
    code, output = run("imagefolder", "--source", "pets/val", "--name", "pets")
    assert (code, "pets/val becomes split train" in output) == (0, True)


def test_the_demos_tasks_keep_classes_of_their_own(run):
    code, output = run("--dry-run", "demo")
    assert code == 0
    assert "warning" not in output
    assert "12 classes" in output
    assert "6 classes" in output


def test_a_class_that_is_held_out_whole_is_told(run):
    pets("a", "folder", ["cat", "dog"])
    for i in range(3):
        Path(f"a/emu{i}").mkdir()
        Path(f"a/emu{i}/0.jpg").write_bytes(picture(50 + i))
    code, output = run("imagefolder", "--source", "a", "--holdout", "0.7")
    assert (code, "no picture in train: " in output) == (0, True), output


def test_pictures_that_are_in_two_splits_are_told_at_the_end(run):
    pets("a", "folder", ["cat", "dog"])
    pets("b", "folder", ["cat", "dog"])
    code, output = run("imagefolder", "--source", "train=a", "--source", "val=b")
    assert code == 0
    assert "4 pictures of val are in train too, byte for byte" in output.splitlines()[-1]
    code, output = run("imagefolder", "--source", "train=a", "--source", "val=b", "--json")
    assert json.loads(output)["repeated"][0].startswith("4 pictures of val")
