import json

import pytest

from fastpt.report.methods import methods_of, on_dark
from fastpt.runs import read_run
from tests.report.conftest import METHODS, tune_results, write_run

A = ("id", "a", "a-test")


def run_with(root, methods, described=METHODS, name="run"):
    tune = {**tune_results({A: {method: [0.5] for method in methods}}, spectra=False), "methods": described}
    return read_run(write_run(root, tune=tune, name=name))


def test_labels_and_colours_are_those_of_the_results(tmp_path):
    described = {"mean": {"label": "Class means", "colour": "#123456"}}
    (method,) = methods_of([run_with(tmp_path, ["mean"], described)]).values()
    assert (method.name, method.label, method.colour) == ("mean", "Class means", "#123456")


def test_a_method_looks_the_same_whatever_else_a_run_has(tmp_path):
    fewer = {name: METHODS[name] for name in ("lp", "nmtune")}
    runs = [run_with(tmp_path, fewer, fewer, "fewer"), run_with(tmp_path, METHODS, name="all")]
    assert list(methods_of(runs)) == ["lp", "mlp", "nmtune"]
    assert methods_of(runs) == methods_of(runs[::-1])
    assert len({method.marker for method in methods_of(runs).values()}) == 3


@pytest.mark.parametrize(
    "described",
    [None, {}, {"other": None}, {"other": {"label": "other", "colour": "url(#evil)"}}, {"other": {"colour": 1}}],
)
def test_what_the_results_do_not_describe_has_its_name_and_a_colour_of_its_own(tmp_path, described):
    method = methods_of([run_with(tmp_path, ["other"], described)])["other"]
    assert method.label == "other"
    assert method.colour.startswith("#")


def test_results_that_are_no_results_have_no_methods(tmp_path):
    path = write_run(tmp_path, tune={**tune_results({A: {"lp": [0.5]}}), "methods": [], "rows": [1], "spectra": None})
    assert json.loads((path / "tune" / "demo.json").read_text())["rows"] == [1]
    assert methods_of([read_run(path)]) == {}


@pytest.mark.parametrize("colour", ["#0072b2", "#c77f00", "#008f68", "#000000", "#ffffff"])
def test_colours_are_light_on_a_dark_page(colour):
    channels = [int(on_dark(colour)[start : start + 2], 16) for start in (1, 3, 5)]
    assert max(channels) + min(channels) >= 0.38 * 2 * 255 - 1
