import json
import os
import subprocess
import sys

import pytest
from click.testing import CliRunner

from fastpt.cli import main
from tests.conftest import picture


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run `fastpt ARGS` in an empty folder; returns (exit code, output)."""
    monkeypatch.chdir(tmp_path)

    def run(*args: str) -> tuple[int, str]:
        result = CliRunner().invoke(main, list(args))
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, result.output

    return run


@pytest.fixture
def pets(tmp_path):
    for kind in ("cat", "dog"):
        (tmp_path / "pets" / kind).mkdir(parents=True)
        for i in range(10):
            (tmp_path / "pets" / kind / f"{i}.jpg").write_bytes(picture(i))
    return str(tmp_path / "pets")


@pytest.mark.parametrize("words", [["--help"], ["prep", "--help"]], ids=" ".join)
def test_help_answers_within_half_a_second(words):
    """In time of the processor, as the machine may have other things to do; of modules that are compiled already."""
    code = f"import time; from fastpt.cli import main; main({words}, standalone_mode=False); print(time.process_time())"
    command = [sys.executable, "-c", code]
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}  # the first run keeps what it compiles
    runs = [subprocess.run(command, check=True, capture_output=True, text=True, env=env) for _ in range(4)]
    took = [one.stdout.split()[-1] for one in runs]
    assert min(map(float, took)) < 0.5


@pytest.mark.parametrize("words", [[], ["study"]], ids=str)
def test_what_a_command_is_for_fits_its_line_of_help(words):
    told = CliRunner().invoke(main, [*words, "--help"], terminal_width=80).output.partition("\nCommands:\n")[2]
    assert told
    assert not [line for line in told.splitlines() if line.endswith("...")]


def test_the_commands_are_those_that_are_documented():
    documented = "prep noise suspects info verify preview materialize bench train export tune report study init keys"
    assert list(main.commands) == documented.split()


@pytest.mark.parametrize(
    "order",
    [
        ("--noise", "0.2", "imagefolder", "--source", "{}", "--name", "pets"),
        ("imagefolder", "--name", "pets", "--source", "{}", "--noise", "0.2"),
    ],
)
def test_prep_takes_its_options_on_either_side_of_the_source(run, pets, order):
    code, output = run("prep", *(word.format(pets) for word in order))
    assert code == 0
    assert "data/pets/train: 20 samples, 2 classes" in output
    assert "asked 0.2, realised 0.2 (4 wrong labels)" in output


def test_imagenet_lands_where_its_recipe_looks(run, tmp_path):
    for split in ("train", "val"):
        (tmp_path / "ILSVRC2012" / split / "n01440764").mkdir(parents=True)
        (tmp_path / "ILSVRC2012" / split / "n01440764" / "a.JPEG").write_bytes(picture(0))
    code, output = run("prep", "imagenet", "--source", "ILSVRC2012")
    assert code == 0
    assert "data/imagenet/train: 1 samples, 1 classes" in output
    assert "ImageNet-1K has 1,281,167 of 1,000" in output


def test_info_and_verify_tell_what_was_prepared(run, pets):
    run("prep", "imagefolder", "--source", pets, "--holdout", "0.25", "--noise", "0.2", "--noise", "0.4")
    documents = json.loads(run("info", "data/pets", "--json")[1])
    assert {document["split"]: document["counts"]["samples"] for document in documents} == {"train": 15, "val": 5}
    assert [plan["rate"] for plan in documents[0]["noise"]] == [0.2, 0.4]
    assert documents[1]["noise"] == []
    assert run("verify", "data/pets")[0] == 0


def test_the_document_of_several_splits_is_a_list_also_where_one_is_damaged(run, pets, tmp_path):
    run("prep", "imagefolder", "--source", pets, "--holdout", "0.25")
    (tmp_path / "data/pets/train/dataset.json").write_text("{}")
    result = CliRunner().invoke(main, ["info", "data/pets", "--json"])
    assert result.exit_code == 3
    assert [one["split"] for one in json.loads(result.stdout)] == ["val"]


def test_info_shows_the_rest_of_what_is_damaged(run, pets, tmp_path):
    run("prep", "imagefolder", "--source", pets, "--holdout", "0.25", "--noise", "0.2", "--noise", "0.4")
    (tmp_path / "data/pets/train/noise/symmetric-0.2-seed0.npy").write_bytes(b"rubbish")
    code, output = run("info", "data/pets")
    assert code == 3
    assert all(there in output for there in ("data/pets/train: 15", "noise symmetric-0.4-seed0", "data/pets/val: 5"))
    assert "Error: data/pets/train/noise/symmetric-0.2-seed0.npy does not match" in output
    (tmp_path / "data/pets/train/dataset.json").write_text("{}")
    code, output = run("info", "data/pets")
    assert code == 3
    assert "data/pets/val: 5" in output


def test_info_shows_a_key_the_first_classes_sizes_and_how_many_were_encoded_again(run, tmp_path):
    for i in range(7):
        folder = tmp_path / "letters" / f"class {i}"
        folder.mkdir(parents=True)
        (folder / "a.jpg").write_bytes(picture(i, size=(40 + 10 * i, 16)))
        (folder / "b.png").write_bytes(picture(i, format="PNG", size=(600, 30)))
    run("prep", "imagefolder", "--source", str(tmp_path / "letters"), "--order", "source", "--subsampling", "444")
    output = run("info", "data/letters")[1]
    assert "first key: class 0/a.jpg" in output
    assert "classes: 0 class 0, 1 class 1, 2 class 2, 3 class 3, 4 class 4, ..." in output
    assert "longer sides: 40 to 500 px" in output
    assert "50.0% of the pictures re-encoded, 50.0% at 4:4:4; 13 of 14 with entry points" in output
    counts = json.loads(run("info", "data/letters", "--json")[1])["counts"]
    assert (counts["as_they_came"], counts["reencoded"]) == (7, {"420": 0, "444": 7})
    assert counts["with_entry_points"] == 13  # the first is too small


def test_entry_points_may_be_left_out(run, pets):
    assert run("prep", "imagefolder", "--source", pets, "--entry-points", "none")[0] == 0
    document = json.loads(run("info", "data/pets/train", "--json")[1])
    assert document["settings"]["policy"]["entry_points"] == "none"
    assert document["counts"]["with_entry_points"] == 0
    assert "; 0 of 20 with entry points" in run("info", "data/pets/train")[1]
    code, output = run("prep", "imagefolder", "--source", pets)
    assert code != 0
    assert "entry_points" in output


def test_verify_exits_3_and_names_the_file(run, pets, tmp_path):
    run("prep", "imagefolder", "--source", pets)
    (tmp_path / "data/pets/train/samples.parquet").write_bytes(b"x")
    code, output = run("verify", "data/pets")
    assert code == 3
    assert "samples.parquet has 1 bytes" in output
    assert json.loads(run("verify", "data/pets", "--json")[1])["data/pets/train"]


def test_noise_can_be_added_later(run, pets):
    run("prep", "imagefolder", "--source", pets)
    code, output = run("noise", "data/pets/train", "--rate", "0.1")
    assert code == 0
    assert "symmetric-0.1-seed0: asked 0.1, realised 0.1" in output


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["prep", "--noise", "5", "demo"], 2, "For 5 % write 0.05"),
        (["prep", "--noise", "many", "demo"], 2, "found 'many'"),
        (["prep", "cifar"], 2, "there is no source 'cifar'"),
        (["prep", "imagefolder"], 2, "needs --source"),
        (["prep", "demo", "--source", "x"], 2, "takes no --source"),
        (["prep", "captions", "--source", "x"], 2, "Missing option '--list'"),
        (["prep", "demo", "--max-side", "huge"], 2, "number of pixels or none"),
        (["prep", "demo", "--seed", "-1"], 2, "--seed"),
        (["prep", "demo", "--holdout", "nan"], 2, "found 'nan'"),
        (["prep", "demo", "--max-rejects", "nan"], 2, "a share of 0 to 1"),
        (["bench", "{pets}", "--seconds", "nan"], 2, "nan is not a finite number"),
        (["bench", "{pets}", "--model-rate", "inf"], 2, "inf is not a finite number"),
        (["tune", "--label-noise", "nan"], 2, "nan is not a finite number"),
        (["prep", "demo", "--max-side", "²"], 2, "number of pixels or none"),
        (["prep", "imagefolder", "--source", "{pets}", "--name", "../x"], 2, "without folders"),
        (["prep", "imagefolder", "--source", "{pets}", "--name", ".."], 2, "a plain name"),
        (["prep", "imagefolder", "--source", "{pets}", "--out", ""], 2, "--out is empty"),
        (["prep", "imagefolder", "--source", "{pets}", "--name="], 2, "--name is empty"),
        (["info", ""], 2, "an argument is empty"),
        (["prep", "imagefolder", "--source", "{pets}", "--name", "a\0b"], 2, "a plain name"),
        (["prep", "imagefolder", "--source", "{pets}", "--out", "pets/cat/0.jpg"], 1, "0.jpg"),
        (["prep", "imagefolder", "--source", "nowhere"], 1, "nowhere does not exist"),
        (["prep", "imagefolder", "--source", "{pets}", "--split-level", "1"], 1, "in no class folder"),
        (["info", "nowhere"], 1, "does not exist"),
        (["verify", "nowhere"], 1, "does not exist"),
        (["noise", "nowhere", "--rate", "0.1"], 1, "does not exist"),
        (["report", "nowhere"], 1, "nowhere"),
        (["report", "nowhere", "--port", "8001"], 2, "--port goes with --serve"),
        (["verify", "--deep", "a-run"], 2, "--deep decodes the pictures of splits"),
        (["train", "nowhere.yaml"], 1, "nowhere.yaml"),
        (["train", "pets"], 1, "pets is a folder"),
        (["tune", "--run", "nowhere"], 1, "run nowhere does not exist"),
        (["tune", "--run", "a", "--encoder", "timm:resnet18"], 2, "two encoders"),
    ],
)
def test_wrong_use_exits_2_and_failure_exits_1_with_one_clear_line(run, pets, tmp_path, args, code, said):
    (tmp_path / "a-run").mkdir()
    (tmp_path / "a-run" / "recipe.yaml").touch()
    found, output = run(*(arg.format(pets=pets) for arg in args))
    assert found == code
    assert said in output
    assert "Traceback" not in output


def test_a_split_is_noised_checked_shown_and_written_out_for_others(run, pets, tmp_path):
    run("prep", "imagefolder", "--source", pets)
    (tmp_path / "matrix.csv").write_text("0,1\n1,0\n")
    (tmp_path / "told.csv").write_text("key,label\ncat/0.jpg,dog\n")
    train = "data/pets/train"
    assert "(4 wrong" in run("noise", train, "--kind", "asymmetric", "--rate", "0.2", "--matrix", "matrix.csv")[1]
    assert "(1 wrong" in run("noise", train, "--kind", "external", "--file", "told.csv", "--csv", "back.csv")[1]
    assert "cat/0.jpg" in (tmp_path / "back.csv").read_text()
    assert "pictures decode" in run("verify", "--deep", "data/pets")[1]
    assert run("preview", train, "--out", "page.html") == (0, "wrote page.html\n")
    written = ("materialize", train, "--noise", "0.2", "--format", "wds", "--out", "tars")
    assert run(*written) == (0, "wrote tars\n")
    assert "tars exists" in run(*written)[1]


@pytest.mark.parametrize(
    "words",
    [
        ("prep", "demo", "--out"),
        ("noise", "x", "--export"),
        ("noise", "x", "--csv"),
        ("noise", "x", "--picture"),
        ("suspects", "x", "--out"),
        ("suspects", "x", "--page"),
        ("preview", "x", "--out"),
        ("materialize", "x", "--noise", "clean", "--format", "wds", "--out"),
        ("train", "x", "--run-dir"),
        ("tune", "--out"),
        ("report", "x", "--out"),
        ("study", "x", "--out"),
        ("init", "recipe", "x", "--out"),
    ],
    ids=" ".join,
)
def test_nothing_is_written_to_an_address_or_to_a_folder_called_like_one(run, tmp_path, words):
    code, output = run(*words, "s3://bucket/x")
    assert code == 2
    assert "'s3://bucket/x' is an address, where nothing is written. Give a path here, and copy it." in output
    assert list(tmp_path.iterdir()) == []


def test_noise_without_a_train_split_is_refused(run, pets, tmp_path):
    (tmp_path / "sets").mkdir()
    (tmp_path / "pets").rename(tmp_path / "sets" / "photo")
    code, output = run("prep", "imagefolder", "--source", "sets", "--split-level", "1", "--noise", "0.1")
    assert code == 1
    assert "--noise goes to a split named train; found photo" in output


def test_control_characters_from_data_do_not_reach_the_terminal(run, tmp_path):
    (tmp_path / "evil" / "cat\x1b[31m").mkdir(parents=True)
    (tmp_path / "evil" / "cat\x1b[31m" / "a.jpg").write_bytes(b"rubbish")
    code, output = run("prep", "imagefolder", "--source", str(tmp_path / "evil"))
    assert code == 1
    assert "a.jpg" in output
    assert "\x1b" not in output


def test_the_argument_that_deepspeeds_launcher_adds_is_not_in_the_way():
    command = [sys.executable, "-m", "fastpt", "--local_rank=1", "--version"]
    assert "fastpt, version" in subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_the_report_tells_on_the_terminal_too_what_a_run_lacks(run, tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "recipe.yaml").write_text("{")
    code, output = run("report", "bad")
    assert code == 0
    assert "report: bad: recipe.yaml is left out" in output
    assert "report: bad: metrics.jsonl is missing" in output
    assert output.endswith("report: report.html\n")


def test_ctrl_c_is_told_in_a_word_and_by_its_exit_code(run, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr("fastpt.runs.read_runs", interrupted)
    assert run("report", "x") == (130, "interrupted\n")
