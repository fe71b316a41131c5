"""How `fastpt tune` asks for methods; what they are asked to do is tested in tests/tuning."""

from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner

from fastpt.cli import main
from fastpt.runs import read_provenance, read_recipe
from fastpt.runs.records import write_records
from fastpt.tuning.methods import METHODS
from tests.report.conftest import write_run


@pytest.fixture
def tune(monkeypatch):
    """Run `fastpt tune ARGS` without the tuning; returns the exit code, the output, and what tuning was asked for."""
    import fastpt.tuning.command
    import fastpt.tuning.tables

    asked = {}

    def run(*args: str) -> tuple[int, str, dict]:
        asked.clear()
        result = CliRunner().invoke(main, ["tune", *args])
        return result.exit_code, result.output, asked

    monkeypatch.setattr(
        fastpt.tuning.command, "tune_command", lambda **words: asked.update(words) or SimpleNamespace(failed=[])
    )
    monkeypatch.setattr(fastpt.tuning.tables, "text_table", lambda results: "table")
    return run


def test_flags_and_names_of_methods_add_up(tune):
    assert tune("--nmtune", "--method", "ridge", "--method", "lp+lora")[2]["methods"] == ["nmtune", "ridge", "lp+lora"]
    assert tune()[2]["methods"] == ["lp", "mlp", "nmtune"]


def test_fine_tuning_is_of_the_heads_that_are_asked_for(tune):
    assert tune("--ridge", "--mlp", "--finetune", "full")[2]["methods"] == ["ridge", "mlp", "mlp+full"]
    code, output, _ = tune("--ridge", "--finetune", "lora")
    assert code == 2
    assert "add --lp or --mlp or --nmtune" in output


def test_options_of_methods_are_handed_on_where_they_are_given(tune):
    asked = tune("--nmtune", "--lrs", "0.1,1e-2", "--ablate", "covariance", "--ablate", "dominance")[2]
    assert (asked["lrs"], asked["ablate"]) == ([0.1, 0.01], ("covariance", "dominance"))
    assert not {"epochs", "variant", "reg_weights", "head_precision"} & set(asked)


def test_a_packages_method_whose_option_is_taken_is_told_when_it_is_asked_for(tune, monkeypatch):
    class Greedy:
        label, colour, summary, flag = "G", "#123456", "Takes too much.", False
        options = (click.Option(["--suite"]),)

    get = METHODS.get
    monkeypatch.setattr(METHODS, "names", lambda: [*METHODS.table, "greedy"])
    monkeypatch.setattr(METHODS, "get", lambda name: Greedy() if name == "greedy" else get(name))
    assert tune("--ridge", "--suite", "mini")[2]["suite"] == "mini"
    code, output, _ = tune("--method", "greedy")
    assert code == 1
    assert "tuning method 'greedy' has an option --suite, whose name suite is taken" in output


@pytest.mark.parametrize("name", ["suite", "decoder", "help"])
def test_a_packages_method_that_is_called_as_an_option_costs_its_own_name_alone(tune, monkeypatch, name):
    get = METHODS.get
    other = SimpleNamespace(label="O", colour="#123456", summary="Another.", options=())
    monkeypatch.setattr(METHODS, "names", lambda: [*METHODS.table, name])
    monkeypatch.setattr(METHODS, "get", lambda asked: other if asked == name else get(asked))
    assert tune("--ridge", "--suite", "mini")[2]["suite"] == "mini"
    code, output, _ = tune("--method", name)
    assert (code, f"tuning method '{name}' is called as an option of `fastpt tune` is" in output) == (1, True), output


def test_sets_are_prepared_of_the_suite_that_the_runs_recipe_names(tune, monkeypatch, tmp_path):
    prepared = []
    monkeypatch.setattr("fastpt.tuning.preparing.prepare_missing", lambda suite, *_: prepared.append(suite.name))
    run = write_run(tmp_path)
    recipe = {**read_recipe(run), "tune": {"suite": "mini"}}
    write_records(run, recipe, read_provenance(run))
    assert tune("--run", str(run), "--prepare")[0] == 0
    assert tune("--run", str(run), "--suite", "demo", "--prepare")[0] == 0
    assert prepared == ["mini", "demo"]
    code, output, _ = tune("--encoder", "timm:resnet18", "--prepare")
    assert (code, "--encoder needs a suite to be measured on" in output) == (1, True), output
    code, output, _ = tune("--suite", str(tmp_path), "--prepare")
    assert (code, "found a folder" in output) == (2, True), output


def test_a_list_of_numbers_is_one(tune):
    code, output, _ = tune("--lrs", "0.1;1")
    assert code == 2
    assert "'0.1;1' is no list of numbers" in output


def test_a_decoder_that_reads_nothing_is_refused(tune):
    assert tune("--decoder", "dali")[2]["decoder"] == "dali"
    code, output, _ = tune("--decoder", "synthetic")
    assert code == 2
    assert "'synthetic' is not one of 'cpu', 'dali'" in output
