import json

import pytest
from click.testing import CliRunner

from fastpt.cli import main
from fastpt.cli.keys import FILES, describe
from tools.keys import PAGES


def run(*arguments):
    return CliRunner().invoke(main, ["keys", *arguments])


def test_every_key_of_a_file_is_printed_with_type_default_and_meaning():
    printed = run("recipe").output
    assert "data.crop_fraction  float > 0, <= 1, default 0.95\n    Share of the picture's short side" in printed
    assert "\nbatch_size  int >= 1, required\n" in printed


def test_a_section_is_printed_alone_also_of_a_list():
    names = [key["name"] for key in json.loads(run("study", "pretrain", "--json").output)]
    assert names[0] == "pretrain[].recipe"
    assert all(name.startswith("pretrain[].") for name in names)


def test_an_unknown_section_names_the_nearest_one():
    result = run("recipe", "dato")
    assert (result.exit_code, result.output) == (2, "Error: a recipe has no section 'dato'; did you mean data?\n")


def test_a_section_that_is_like_no_other_is_answered_with_each_section_once():
    assert "; known here: data, data.train, model, optim, " in run("recipe", "xyz").output


@pytest.mark.parametrize("file", FILES)
def test_every_key_has_a_meaning(file):
    assert [key.name for key in describe(file) if not key.meaning] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_a_page_that_the_code_tells_is_fresh(path):
    assert path.read_text(encoding="utf-8") == PAGES[path](), "run `python -m tools.keys`"
