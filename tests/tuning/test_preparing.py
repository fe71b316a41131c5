"""Sets of a suite that are not there, made by the commands that it names."""

import shlex
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from fastpt import Dataset
from fastpt.cli import main
from fastpt.errors import FastptError
from fastpt.tuning import preparing
from fastpt.tuning.preparing import missing_sets, prepare_missing
from fastpt.tuning.suite_files import load_suite
from tests.conftest import made_up, picture, prepared


@pytest.fixture
def suite(tmp_path, monkeypatch):
    """A suite of these sets, {name: prep}; that called `there` is prepared."""
    monkeypatch.chdir(tmp_path)
    for split in ("train", "test"):
        prepared(tmp_path / "data/there", made_up(8, name=split, is_train=split == "train"))

    def suite(**commands: str | None):
        sets = [
            {"name": name, "train": f"data/{name}/train", "test": f"data/{name}/test"}
            | ({"prep": prep} if prep else {})
            for name, prep in commands.items()
        ]
        Path("suite.yaml").write_text(yaml.safe_dump({"name": "own", "id": sets}))
        return load_suite("suite.yaml")

    return suite


@pytest.fixture
def started(monkeypatch):
    """The words of the processes that were started; those with "bad" in them fail."""
    words = []

    class Done:
        def __init__(self, command: list[str], stdout: int):
            words.append(command[3:])
            self.returncode = int("bad" in command)

    monkeypatch.setattr(preparing.subprocess, "run", Done)
    return words


def test_sets_that_are_there_are_not_prepared_again(suite, started):
    loaded = suite(there="fastpt prep demo", pets="fastpt prep pets")
    assert missing_sets(loaded) == {"fastpt prep pets": ["pets"]}
    prepare_missing(suite(there="fastpt prep demo"), pytest.fail, pytest.fail)
    assert not started


def test_one_command_that_makes_several_sets_runs_once_and_is_asked_for_once(suite, started):
    asked = []
    loaded = suite(a="fastpt prep demo", b="fastpt prep demo", c="fastpt prep pets --name 'my pets'")
    prepare_missing(loaded, lambda text: asked.append(text) or True, lambda _: None)
    assert started == [["prep", "demo"], ["prep", "pets", "--name", "my pets"]]
    assert asked == [
        "2 preparations for suite own:\n  a, b: fastpt prep demo\n  c: fastpt prep pets --name 'my pets'\n"
    ]


def test_nothing_is_prepared_without_consent(suite, started):
    with pytest.raises(FastptError, match="nothing was prepared"):
        prepare_missing(suite(a="fastpt prep demo"), lambda _: False, lambda _: None)
    assert not started


def test_one_that_fails_costs_no_other_and_is_told_at_the_end(suite, started):
    loaded = suite(a="fastpt prep bad", b="fastpt prep good", c="for each: fastpt prep it", d=None, e="rm -r /")
    with pytest.raises(FastptError) as told:
        prepare_missing(loaded, lambda _: True, lambda _: None)
    assert started == [["prep", "bad"], ["prep", "good"]]
    assert "a: `fastpt prep bad` failed, see above" in str(told.value)
    assert "c: to be prepared by hand: for each: fastpt prep it" in str(told.value)
    assert "d: the suite names no command" in str(told.value)
    assert "e: to be prepared by hand: rm -r /" in str(told.value)


def test_the_command_line_prepares_after_asking_and_with_yes_without(suite, tmp_path, monkeypatch):
    for name in ("cat", "dog"):
        for split in ("train", "test"):
            (tmp_path / f"pets/{split}/{name}").mkdir(parents=True)
            (tmp_path / f"pets/{split}/{name}/1.jpg").write_bytes(picture(len(name)))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    suite(pets="fastpt prep imagefolder --source pets --name pets --workers 1")
    ask = ["tune", "--suite", "suite.yaml", "--prepare"]
    refused = CliRunner().invoke(main, ask, input="n\n")
    assert (refused.exit_code, "nothing was prepared" in refused.output) == (1, True)
    CliRunner().invoke(main, [*ask, "--yes"])  # which then looks for a run, and finds none
    assert len(Dataset(tmp_path / "data/pets/train")) == 2
    assert "preparation" not in CliRunner().invoke(main, ask).output


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--yes"], "--yes goes with --prepare"),
        (["--prepare", "--suite", "."], "--prepare wants a suite's name or file"),
    ],
)
def test_what_does_not_go_together_is_told(words, told):
    result = CliRunner().invoke(main, ["tune", *words])
    assert (result.exit_code, told in result.output) == (2, True)


def test_every_command_of_the_papers_suite_is_one_that_prep_takes_and_fetches_what_it_needs():
    for one in load_suite("paper_id").id:
        first, second, name, *words = shlex.split(one.prep)
        assert (first, second) == ("fastpt", "prep"), one.name
        command = main.commands["prep"].get_command(None, name)
        assert command.make_context(name, words).params["places"]
        assert "imagefolder" not in one.prep  # whose folders somebody would have to fetch
