"""Several places at once, and splits that are named; through the command line, as people give them."""

import json
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
    code, output = run("imagefolder", "--source", "a.zip", "--source", "a.zip")
    assert (code, "is in a.zip and in a.zip" in output) == (1, True)


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
