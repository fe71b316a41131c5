"""The room of sources, and `fastpt prep` as a group of them; installed packages may bring more."""

from importlib.metadata import EntryPoint

import click
import pytest
from click.testing import CliRunner

from datasets_prep.listing import Found
from datasets_prep.presets import PRESETS
from datasets_prep.sources import SOURCES, Request, Source
from fastpt import Dataset
from fastpt.cli import main
from tests.conftest import made_up, picture


@pytest.fixture
def run(tmp_path, monkeypatch):
    """Run `fastpt prep ARGS` in an empty folder; returns (exit code, output)."""
    monkeypatch.chdir(tmp_path)

    def run(*args: str) -> tuple[int, str]:
        result = CliRunner().invoke(main, ["prep", *args])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, result.output

    return run


# --- members ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(SOURCES.table))
def test_a_source_says_what_it_is_and_shows_its_command(name):
    source = SOURCES.get(name)
    assert 0 < len(source.summary) <= 62  # a line of the help
    assert f" {name}" in source.example
    assert all(option.help for option in source.options)


@pytest.mark.parametrize("name", list(SOURCES.table))
def test_help_of_a_source_shows_its_options_the_common_ones_and_its_example(run, name):
    code, output = run(name, "--help")
    assert code == 0
    assert all(option.opts[0] in output for option in SOURCES.get(name).options)
    assert "--max-side" in output
    assert SOURCES.get(name).example.splitlines()[0] in output


def test_help_lists_the_common_options_and_every_source_and_preset_in_a_line(run):
    code, output = run("--help")
    assert code == 0
    assert "--noise" in output
    sections = [section.splitlines()[1:] for section in output[output.index("Sources:") :].split("\n\n")]
    named = [[name for name, _ in (line.split(maxsplit=1) for line in lines)] for lines in sections]
    assert named == [SOURCES.names(), list(PRESETS)]
    assert "--split-level" not in output


# --- options on both sides of the name ----------------------------------------------------------------------------


def pets(tmp_path, *folders: str) -> None:
    for i, folder in enumerate(folders):
        (tmp_path / folder / "cat").mkdir(parents=True)
        (tmp_path / folder / "cat" / f"{i}.jpg").write_bytes(picture(i))


def test_repeatable_options_add_up_from_both_sides(run, tmp_path):
    pets(tmp_path, "a", "b")
    code, output = run("--source", "a", "imagefolder", "--source", "b", "--name", "pets")
    assert code == 0, output
    assert len(Dataset(tmp_path / "data/pets/train")) == 2


def test_an_option_may_be_repeated_behind_the_name_with_the_same_value(run, tmp_path):
    pets(tmp_path, "a")
    assert run("--seed", "3", "imagefolder", "--seed", "3", "--source", "a")[0] == 0
    assert Dataset(tmp_path / "data/a/train").manifest["settings"]["seed"] == 3


def test_two_values_of_an_option_that_takes_one_are_refused(run, tmp_path):
    pets(tmp_path, "a")
    code, output = run("--seed", "3", "imagefolder", "--seed", "4", "--source", "a")
    assert code == 2
    assert "--seed is given before and behind the source's name, once 3, once 4" in output


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--split-level 1 imagefolder --source a", "--split-level goes with imagefolder, and stands behind that name"),
        (
            "--raw-captions webdataset --source a",
            "--raw-captions goes with yfcc15m and list and captions and webdataset",
        ),
        ("demo --set cifar10", "--set goes with torchvision, not with demo"),
        ("demo --lists x", "No such option '--lists'"),
        ("torchvision --source a --source b --set cifar10", "torchvision is one --source"),
        ("dem", "there is no source 'dem'; did you mean demo?"),
    ],
)
def test_misplaced_and_unknown_words_are_one_clear_error(run, words, message):
    code, output = run(*words.split())
    assert code == 2
    assert message in output


# --- packages -----------------------------------------------------------------------------------------------------


class MadeUp(Source):
    summary = "pictures that are made up"
    example = "fastpt prep made-up --count 3"
    places = "none"
    options = (click.Option(["--count"], type=int, default=2),)

    def list_splits(self, request: Request, count: int) -> Found:
        return Found.only([made_up(count)])


class TakesName(MadeUp):
    options = (click.Option(["--name"]),)


MADE_UP, TAKES_NAME = MadeUp(), TakesName()


class NamedPoint(EntryPoint):
    """An entry point of a package that is not really installed."""

    class dist:
        name, version = "fastpt-made-up", "1.2"


@pytest.fixture
def installed(monkeypatch):
    """Brings entry points of a package into the room."""

    def install(**sources: str) -> None:
        names = {name.replace("_", "-"): attribute for name, attribute in sources.items()}
        points = [NamedPoint(name, f"{__name__}:{attribute}", "fastpt.sources") for name, attribute in names.items()]
        monkeypatch.setitem(vars(SOURCES), "_installed", {point.name: [point] for point in points})

    return install


def test_a_packages_source_is_listed_runs_and_is_recorded(run, installed, tmp_path):
    installed(made_up="MADE_UP")
    assert "made-up      pictures that are made up" in run("--help")[1]
    code, output = run("made-up", "--count", "3", "--workers", "1")
    assert code == 0, output
    manifest = Dataset(tmp_path / "data/made-up/train").manifest
    assert manifest["counts"]["samples"] == 3
    assert manifest["packages"] == [{"name": "made-up", "distribution": "fastpt-made-up", "version": "1.2"}]


def test_no_package_is_recorded_of_a_source_of_our_own(run, tmp_path):
    pets(tmp_path, "a")
    run("imagefolder", "--source", "a")
    assert "packages" not in Dataset(tmp_path / "data/a/train").manifest


def test_a_broken_package_is_named_and_stops_nothing_else(run, installed, tmp_path):
    installed(broken="NOTHING")
    pets(tmp_path, "a")
    code, output = run("--help")
    assert code == 0
    assert "of package fastpt-made-up cannot be loaded" in " ".join(output.split())
    code, output = run("broken")
    assert code == 1
    assert "of package fastpt-made-up cannot be loaded" in output
    assert run("imagefolder", "--source", "a", "--workers", "1")[0] == 0


def test_a_source_that_takes_the_name_of_a_common_option_is_refused(run, installed):
    installed(takes_name="TAKES_NAME")
    code, output = run("takes-name")
    assert code == 1
    assert "source 'takes-name' has an option --name" in output
