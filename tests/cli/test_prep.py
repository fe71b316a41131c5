"""What `fastpt prep` tells: dry runs, JSON, and the balance of a preparation."""

import json
import shutil
import tarfile
import zipfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from fastpt import Dataset
from fastpt.cli import main
from tests.conftest import picture


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run `fastpt prep imagefolder --source pets ARGS`; returns (exit code, stdout and stderr)."""
    monkeypatch.chdir(tmp_path)
    for split, count in (("train", 3), ("val", 2)):
        for name in ("cat", "dog"):
            (tmp_path / "pets" / split / name).mkdir(parents=True)
            for i in range(count):
                (tmp_path / "pets" / split / name / f"{i}.jpg").write_bytes(picture(i))
    (tmp_path / "pets/train/cat/9.jpg").write_bytes(b"<html>not found</html>")
    (tmp_path / "pets/read.me.txt").write_text("hello")
    (tmp_path / "pets/.DS_Store").write_text("1")

    def run(*args: str) -> tuple[int, str]:
        place = [] if "--source" in args else ["--source", "pets"]
        command = ["prep", "imagefolder", *place, "--workers", "2", "--max-rejects", "0.5", *args]
        result = CliRunner().invoke(main, command)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, result.output

    return run


def files() -> list[str]:
    return sorted(str(path) for path in Path().rglob("*"))


@pytest.mark.parametrize("read", [(), ("--read",)])
@pytest.mark.parametrize("as_json", [(), ("--json",)])
def test_a_dry_run_writes_nothing(run, read, as_json):
    before = files()
    assert run("--dry-run", *read, *as_json)[0] == 0
    assert files() == before


@pytest.mark.parametrize(
    ("folder", "source", "name"),
    [("pets", ".", "pets"), ("pets/train", "..", "pets"), (".", "pets/../.hidden.v2", "hidden")],
)
def test_what_is_prepared_is_called_after_its_folder_however_that_is_named(run, monkeypatch, folder, source, name):
    shutil.copytree("pets", ".hidden.v2")
    out = Path("out").absolute()
    monkeypatch.chdir(folder)
    code, _ = run("--source", source, "--out", str(out))
    assert code == 0
    assert Dataset(out / "train").name == name


def test_a_place_to_write_to_that_is_not_utf_8_is_refused(run):
    code, told = run("--out", "l\udce9")
    assert code == 2
    assert "is not UTF-8" in told
    assert not Path("l\udce9").exists()


def test_a_place_that_gives_no_name_asks_for_one(run):
    code, told = run("--source", "/", "--dry-run")
    assert code == 2
    assert "--source '/' gives no name for what is prepared. Add --name NAME" in told


def test_a_dry_run_tells_splits_classes_keys_and_where_they_would_go(run):
    _, output = run("--dry-run", "--noise", "0.1")
    lines = [line.strip() for line in output.splitlines()]
    assert "train  7 pictures, 2 classes of 3 to 4 each, median 3.5" in lines
    assert "classes   cat, dog" in lines
    assert "keys      train/cat/0.jpg, train/cat/1.jpg, train/cat/2.jpg, ..." in lines
    assert "goes to   data/pets/train, with noise 0.1 of labels" in lines
    assert "goes to   data/pets/val" in lines
    assert "11 pictures by their names, not opened" in lines
    assert "1 no picture: .txt" in lines
    assert "1 hidden or system: .DS_Store" in lines


def test_a_dry_run_that_reads_names_what_cannot_be_used(run):
    _, output = run("--dry-run", "--read")
    assert "10 pictures that can be stored\n   1 rejected" in output
    assert "1 not a picture that can be read, but HTML: train/cat/9.jpg" in output
    assert "train  6 pictures, 2 classes of 3 each" in output
    assert "A preparation would stop" not in output


def test_a_dry_run_tells_that_a_preparation_would_stop(run):
    code, output = run("--dry-run", "--read", "--max-rejects", "0.01")
    assert code == 0
    assert "A preparation would stop: split train: 1 of 7 samples cannot be used" in output


def test_a_dry_run_and_a_preparation_give_the_same_balance(run):
    told = json.loads(run("--dry-run", "--read", "--json")[1])
    made = json.loads(run("--json", "--noise", "0.2")[1])
    again = json.loads(run("--json", "--noise", "0.2")[1])
    assert made == again
    beside = {"hidden or system": {".DS_Store": 1}, "no picture": {".txt": 1}}
    balance = {"files": 13, "rejected": 1, "targets_without_picture": 0, "beside": beside}
    assert told["balance"] == {"usable": 10, **balance}
    assert made["balance"] == {"stored": 10, **balance}
    assert told["splits"][0]["left_out"] == made["splits"][0]["left_out"]
    assert made["splits"][0]["left_out"] == [
        {"reason": "not a picture that can be read, but HTML", "count": 1, "first": ["train/cat/9.jpg"]}
    ]
    assert [split["samples"] for split in made["splits"]] == [6, 4]
    assert [plan["rate"] for plan in made["splits"][0]["noise"]] == [0.2]


def test_the_balance_is_told_when_a_complete_job_is_run_again_and_stands_in_the_manifest(run):
    first, second = run()[1], run()[1]
    assert first == second
    assert "train/, val/\n13 files found\n  10 stored\n   1 rejected\n" in first
    manifest = json.loads(Path("data/pets/train/dataset.json").read_text())
    beside = {"hidden or system": {".DS_Store": 1}, "no picture": {".txt": 1}}
    assert manifest["found"] == {"files": 13, "beside": beside, "warnings": []}


def test_warnings_are_in_the_document_only(run, tmp_path):
    (tmp_path / "pets/train/fox").mkdir()
    output = run("--dry-run", "--json")[1]
    assert any("fox" in warning for warning in json.loads(output)["warnings"])


@pytest.mark.parametrize(
    ("args", "told"), [(["--read"], "--read goes with --dry-run"), (["--dry-run", "--ray", "local"], "leave --ray out")]
)
def test_options_that_do_not_go_together_are_refused(run, args, told):
    code, output = run(*args)
    assert code == 2
    assert told in output


@pytest.mark.parametrize(
    "words", [("more_pets",), ("--source", "b.tar", "c.tar")]
)  # a pattern that the shell filled in
def test_a_place_without_its_option_is_told(run, words):
    code, output = run(*words)
    assert code == 2
    assert f"'{words[-1]}' follows no option. Write --source before each place; a folder of files is one" in output


def test_a_dry_run_of_a_packed_tar_writes_nothing(run):
    with tarfile.open("pets.tar.gz", "w:gz") as tar:
        tar.add("pets")
    before = files()
    result = CliRunner().invoke(main, ["prep", "--dry-run", "--read", "imagefolder", "--source", "pets.tar.gz"])
    assert "10 pictures that can be stored" in result.output
    assert files() == before


def cut_tar(path: Path) -> None:
    with tarfile.open(path, "w") as tar:
        tar.add("pets/train/cat", "cat")
        end = tar.offset
    path.write_bytes(path.read_bytes()[: end - 600])


def cut_gz(path: Path) -> None:
    with tarfile.open(path, "w:gz") as tar:
        tar.add("pets/train/cat", "cat")
    path.write_bytes(path.read_bytes()[:-600])


def cut_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(Path("pets/train/cat").iterdir()):
            archive.write(file, f"cat/{file.name}")
    path.write_bytes(path.read_bytes()[:-100])


@pytest.mark.parametrize("cut", [cut_tar, cut_gz, cut_zip])
def test_damage_is_refused_or_ignored_and_recorded(run, cut):
    cut(Path("cut"))
    command = ["prep", "imagefolder", "--source", "cut", "--out", "out", "--max-rejects", "0.9", "--workers", "1"]
    refused = CliRunner().invoke(main, command)
    assert refused.exit_code == 3
    assert "Error: cut is damaged" in refused.output
    assert "--ignore-damage" in refused.output
    done = CliRunner().invoke(main, [*command, "--ignore-damage"])
    assert done.exit_code == 0, done.output
    assert "warning: cut" in done.output
    warnings = json.loads(Path("out/train/dataset.json").read_text())["found"]["warnings"]
    assert warnings[0].startswith("cut: ")


def test_a_dry_run_downloads_nothing(tmp_path):
    command = ["prep", "--dry-run", "torchvision", "--source", str(tmp_path), "--set", "cifar10"]
    result = CliRunner().invoke(main, command)
    assert result.exit_code == 1
    assert "CIFAR10 is not in" in result.output
    assert "a preparation would download it" in result.output
    assert list(tmp_path.iterdir()) == []
