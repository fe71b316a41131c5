from dataclasses import replace

import pytest
from click.testing import CliRunner, Result

from fastpt.cli import main
from fastpt.files import find_damage
from fastpt.recipe import load_recipe
from fastpt.runs.folder import EXPORT_FORMAT
from fastpt.study.declaration import load_study
from fastpt.tuning.command import tune_command
from fastpt.tuning.suite_files import load_suite
from fastpt.tuning.suites import open_suite
from tests.conftest import made_up, picture, prepared
from tests.servers import RangeServer
from tests.training.conftest import train_all
from tests.tuning.conftest import finished_run


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with a set of train and test, and one of two domains."""
    folder = tmp_path_factory.mktemp("work") / "data"
    for name in ("train", "test"):
        prepared(folder / "pets: 1", replace(made_up(24), name=name))  # a name that YAML would read as something else
    for name in ("photo", "sketch"):
        prepared(folder / "pacs", replace(made_up(12), name=name))
    return folder


def init(*words) -> Result:
    return CliRunner().invoke(main, ["init", *map(str, words)])


def test_a_suite_that_is_written_is_one_that_is_read(data, tmp_path):
    ran = init("suite", data / "pets: 1", data / "pacs", "--out", tmp_path / "mine.yaml")
    assert ran.exit_code == 0, ran.output
    found, missing = open_suite(load_suite(str(tmp_path / "mine.yaml")))
    assert [one.name for one in found] == ["pets: 1", "pacs_photo", "pacs_sketch"]
    assert missing == []


def test_heads_are_tuned_on_a_folder_without_a_file(data, tmp_path):
    run = finished_run(tmp_path)
    results = tune_command(run=run, suite=str(data / "pets: 1"), methods=["ridge"]).as_dict()
    assert results["suite"] == "pets: 1"
    assert {row["set"] for row in results["rows"]} == {"pets: 1"}
    assert (run / "tune" / "pets: 1.json").is_file()


def test_a_recipe_that_is_written_fits_the_pictures(data, tmp_path):
    ran = init("recipe", data / "pets: 1", "--suite", data / "pets: 1", "--out", tmp_path / "recipe.yaml")
    assert ran.exit_code == 0, ran.output
    recipe = load_recipe(tmp_path / "recipe.yaml")
    assert (recipe.data.size, recipe.model.name, recipe.batch_size) == (64, "resnet18", 2)
    assert recipe.tune is not None
    assert recipe.tune.suite == str(data / "pets: 1")


def test_a_recipe_of_a_split_at_an_address(data, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with RangeServer(data) as server:
        ran = init("recipe", f"{server.url}/pacs/photo", "--out", tmp_path / "recipe.yaml")
    assert ran.exit_code == 0, ran.output
    assert load_recipe(tmp_path / "recipe.yaml").data.train == f"{server.url}/pacs/photo"


@pytest.mark.parametrize(("side", "model"), [(64, "small-clip"), (200, "RN50")])
def test_a_recipe_for_captions_alone_is_a_clip(tmp_path, monkeypatch, side, model):
    monkeypatch.chdir(tmp_path)
    pictures = {number: picture(number, (side, side)) for number in range(8)}
    prepared(tmp_path / "shop", made_up(8, 0, captions=True, special=pictures))
    ran = init("recipe", "shop")
    assert ran.exit_code == 0, ran.output
    recipe = load_recipe(tmp_path / "recipe.yaml")
    assert (recipe.task, recipe.model.name) == ("clip", model)


@pytest.mark.long
def test_a_recipe_for_captions_trains_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    prepared(tmp_path / "shop", made_up(24, 0, captions=True))
    init("recipe", "shop")
    train_all("recipe.yaml", "run")
    assert find_damage(tmp_path / "run" / "export", EXPORT_FORMAT) is None


@pytest.mark.long
def test_a_recipe_that_is_written_trains_as_it_is(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    init("recipe", data / "pets: 1")
    train_all("recipe.yaml", "run")
    assert find_damage(tmp_path / "run" / "export", EXPORT_FORMAT) is None


def test_a_study_that_is_written_is_one_that_can_be_followed(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    init("suite", data / "pets: 1")
    init("recipe", data / "pets: 1", "--suite", "suite.yaml")
    assert init("study", "recipe.yaml").exit_code == 0
    assert load_study(tmp_path / "study.yaml").size == 15
    text, mark, claims = (tmp_path / "study.yaml").read_text().partition("# claims")
    (tmp_path / "claimed.yaml").write_text(text + (mark + claims).replace("\n# ", "\n").removeprefix("# "))
    assert [claim.name for claim in load_study(tmp_path / "claimed.yaml").claims] == ["slight noise helps"]
    ran = CliRunner().invoke(main, ["study", "study.yaml", "--dry-run"])
    assert ran.exit_code == 0, ran.output


@pytest.mark.parametrize("file", ["recipe", "suite"])
def test_no_file_is_replaced(data, tmp_path, file):
    out = tmp_path / "mine.yaml"
    out.write_text("mine")
    ran = init(file, data / "pets: 1", "--out", out)
    assert ran.exit_code == 1
    assert "is there already, and nothing is replaced. Give --out another name." in ran.stderr
    assert out.read_text() == "mine"


def test_a_study_of_a_recipe_without_a_suite_asks_for_one(data, tmp_path):
    init("recipe", data / "pets: 1", "--out", tmp_path / "r.yaml")
    ran = init("study", tmp_path / "r.yaml", "--out", tmp_path / "s.yaml")
    assert ran.exit_code == 1
    assert "names no suite that its runs would be compared on. Give --suite." in ran.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["recipe", "a", "b"], "a recipe is made of one folder; give one"),
        (["suite", "a", "--suite", "b"], "--suite names a suite for a recipe or a study"),
        (["suite", "a", "--out", "b.txt"], "b.txt is to be YAML"),
        (["suite", "nowhere"], "nowhere holds no prepared split"),
        (["recipe", "nowhere"], "nowhere/train"),
    ],
)
def test_what_cannot_be_meant_is_told(words, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = init(*words)
    assert ran.exit_code in (1, 2)
    assert said in ran.output
    assert list(tmp_path.iterdir()) == []
