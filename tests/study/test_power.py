"""Power of a study's claims: the table that the design of a study was laid down with, and what has no answer."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from fastpt.cli import main
from tests.report.conftest import tune_results, write_run
from tests.study.conftest import ENTRY, RECIPE

RATES = [0.05, 0.1, 0.2, 0.3]
SLIGHT = {"estimand": "mean - clean", "setting": "id", "method": "lp", "rates": [0.05, 0.1], "side": "> 0"}
GAIN = {"estimand": "mean", "setting": "ood", "method": "nmtune", "minus": "mlp", "side": "> 0", "margin": 0.5}
CLAIMS = [
    {**SLIGHT, "name": "slight noise", "margin": 0.5},
    {"name": "slope", "estimand": "slope", "setting": "ood", "method": "lp", "side": "< 0", "margin": 1.0},
    {**GAIN, "name": "gain"},
    {**GAIN, "name": "repair", "estimand": "mean - clean"},
]


@pytest.fixture
def here(captioned, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(captioned.path, tmp_path / "data" / "train")
    Path("demo_resnet.yaml").write_text(yaml.safe_dump(RECIPE))
    sets = {"train": "data/train"}
    Path("suite.yaml").write_text(
        yaml.safe_dump(
            {
                "name": "demo",
                "id": [{**sets, "name": "a", "test": "data/train"}],
                "ood": [{**sets, "name": "b", "tests": {"c": "data/train"}}],
            }
        )
    )
    write_study(CLAIMS)


def write_study(claims, n=12, **more) -> None:
    entry = {**ENTRY, "recipe": "demo_resnet.yaml", **more}
    grid = [
        {**entry, "rates": [0, *RATES], "seeds": [*range(n)]},
        {**entry, "rates": [0], "seeds": [*range(1000, 1000 + n)]},
    ]
    values = {"name": "s", "pretrain": grid, "claims": claims, "tune": {"methods": ["mlp", "nmtune"]}}
    Path("study.yaml").write_text(yaml.safe_dump(values))


def power(*words):
    return CliRunner().invoke(main, ["study", "power", "study.yaml", *words])


def table(*words):
    result = power("--json", *words)
    assert result.exit_code == 0, result.output
    return {one["claim"]["name"]: one for one in json.loads(result.output)}


SDS = [word for name, sd in (("slight noise", 0.45), ("slope", 0.75), ("gain", 0.48), ("repair", 0.48))
       for word in ("--sd", f"{name}={sd}")]  # fmt: skip


def test_more_runs_see_less_and_show_less(here):
    sizes = table(*SDS)["slope"]["sizes"]
    assert [one["n"] for one in sizes] == sorted(one["n"] for one in sizes)
    for what in ("least_effect", "least_margin"):
        assert [one[what] for one in sizes] == sorted((one[what] for one in sizes), reverse=True)
    at_twelve = next(one for one in sizes if one["n"] == 12)
    assert at_twelve["runs"] == 72


def test_the_runs_that_decide_reach_80_percent(here):
    for one in table(*SDS).values():
        for size in one["sizes"]:
            enough = min(size["sees_margin"], size["shows_none"]) >= 0.8 - 1e-9
            assert enough == (size["n"] >= one["decides_at"])


def test_runs_are_those_of_a_noisy_condition_where_clean_ones_are_fewer(here):
    """Three seeds of training, each with four draws of noise."""
    write_study(CLAIMS[:1], n=3, noise_seeds=[0, 1, 2, 3])
    found = table(*SDS[:2])["slight noise"]
    assert {one["n"]: one["runs"] for one in found["sizes"]}[12] == 2 * 3 + 4 * 12


def test_a_spread_is_that_of_the_pilot_within_conditions(here, tmp_path):
    write_study(CLAIMS[:1])
    for rate in (0, 0.3):
        for seed in (0, 1, 2):
            tune = tune_results({("id", "a", "test"): {"lp": [0.5 + rate + seed / 100]}})
            write_run(tmp_path, rate=rate, seed=seed, tune=tune)
    spread = table(*map(str, (tmp_path / "runs").iterdir()))["slight noise"]["spread"]
    assert (spread["sd"], spread["df"]) == (pytest.approx(1.0), 4)
    assert spread["interval"] == pytest.approx([0.599, 2.874], abs=1e-3)  # chi square, 4 degrees of freedom


def test_as_text_no_difference_between_conditions_is_told(here, tmp_path):
    write_study(CLAIMS[:1])
    for rate in (0, 0.3):
        for seed in (0, 1):
            tune = tune_results({("id", "a", "test"): {"lp": [0.5 + rate / 3 + seed / 100]}})
            write_run(tmp_path, rate=rate, seed=seed, tune=tune)
    told = power(*map(str, (tmp_path / "runs").iterdir())).output
    assert "SD 0.71 (0.37 to 4.44 at 95 %, 2 df, of 4 runs of 2 conditions)" in told
    assert "10." not in told  # the effect of the pilot's noise


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "slight noise: no run of demo_resnet tells its spread"),
        (("--sd", "slihgt noise=1"), "did you mean slight noise?"),
        (("--sd", "slope=0"), "points above 0"),
        (("--sd", "slope"), "points above 0"),
        (("--sd", "slope=nan"), "points above 0"),
    ],
)
def test_what_has_no_spread_is_told(here, words, told):
    result = power(*words)
    assert result.exit_code != 0
    assert told in result.output


def test_a_study_without_claims_has_no_power(here):
    write_study([])
    assert "the study has no claims" in power().output
