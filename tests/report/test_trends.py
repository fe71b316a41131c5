from dataclasses import replace

import pytest

from fastpt.report import verdicts
from fastpt.report.claims import Progress, answers, arms
from fastpt.report.compare import families
from fastpt.report.config import Claim
from fastpt.report.effects import effects
from fastpt.report.figures import rate_figure, spectrum_figure, spectrum_means
from fastpt.report.paper import COMPARED
from fastpt.report.trends import effect_figure, spectrum_trend, training_table, training_trend
from fastpt.runs import read_run
from tests.report.conftest import add_lines, tune_results, write_run

WHERE = (("id", "a", "a"), ("ood", "photo", "art"))


@pytest.fixture
def family(tmp_path):
    """Two seeds of clean, 10 and 30 %, and of the right part of 30 %; of wrong labels a tenth of the rate memorised."""
    runs = []
    for seed in (0, 1):
        for rate, keep in ((0, "all"), (0.1, "all"), (0.3, "all"), (0.3, "right")):
            level = 0.5 - rate * (1 if keep == "all" else 0.5) + seed / 100
            tune = tune_results({where: {"lp": [level], "nmtune": [level + 0.05 + seed / 1000]} for where in WHERE})
            run = write_run(tmp_path, rate=rate, seed=seed, tune=tune, keep=keep, name=f"{rate}-{keep}-{seed}")
            if rate and keep == "all":
                memorised = {"mislabeled_memorized": rate / 10 + seed / 500}
                add_lines(run, {"event": "eval", "step": 200, "split": "train", **memorised})
            runs.append(read_run(run))
    (found,) = families(runs)
    return found


def test_effects_are_drawn_against_the_rate_of_noise_and_of_its_right_part(family):
    panels = effect_figure(family, effects(family, "demo", COMPARED), "0").panels
    assert [*panels] == ["effect-0-id", "effect-0-ood", "between-0-symmetric-id", "between-0-symmetric-ood"]
    for label in (">ID: LP − clean<", ">symmetric<", ">symmetric, right part<"):
        assert label in panels["effect-0-id"]
    assert ">NMTune − LP<" in panels["between-0-symmetric-ood"]


def test_the_right_part_is_explained_where_there_is_one(family):
    assert "Right part: trained on what the noise leaves right" in training_trend(family, 0).caption


def test_spectra_and_what_was_memorised_are_drawn_against_the_rate(family):
    assert len(spectrum_trend(family, "demo", "0").panels) == 4
    top1, memorised = training_trend(family, 0).panels.values()
    assert ">symmetric, right part<" in top1
    assert ">symmetric, right part<" not in memorised  # which has no wrong labels


def test_training_by_noise_has_means_over_runs(family):
    table = training_table(family)
    assert table.columns == ["Top-1 accuracy, %", "Wrong targets: memorized, as they were shown, %"]
    (group,) = table.groups
    assert [(row.label, row.cells[1].text) for row in group.rows] == [
        ("clean", "–"),
        ("10\u00a0% symmetric", "1.1 ± 0.4"),
        ("30\u00a0% symmetric", "3.1 ± 0.4"),
        ("30\u00a0% symmetric, right part", "–"),
    ]


def test_a_training_that_has_not_ended_is_in_no_mean_over_runs(family):
    first, *others = family.conditions
    half_done = replace(first.runs[0], end=None, evals=[{"step": 50, "split": "val", "top1": 0.1}])
    some = replace(family, conditions=(replace(first, runs=(half_done, *first.runs[1:])), *others))
    table = training_table(some)
    assert "Without 1 run whose training has not ended." in table.note
    assert "Without 1 run whose training has not ended." in training_trend(some, 0).caption
    assert "Without" not in training_table(family).note
    assert [training_table(one).groups[0].rows[0].cells[0].text for one in (family, some)] == ["67.5", "67.5"]


def test_without_a_training_that_has_ended_there_is_no_mean_over_runs(family):
    halves = tuple(replace(one, runs=tuple(replace(run, end=None) for run in one.runs)) for one in family.conditions)
    assert training_table(replace(family, conditions=halves)) is None


def test_spectra_are_averaged_over_the_tests_that_all_runs_have(tmp_path):
    """As accuracies are: one test more would move the mean of its run alone."""
    where = [("id", name, name) for name in "ab"]
    runs = []
    for seed, sets in enumerate((where, where[:1])):
        tune = tune_results({one: {"lp": [0.5]} for one in sets})
        for one in tune["spectra"]:
            one["sve"] = {"a": 3.0, "b": 7.0}[one["set"]]
        runs.append(read_run(write_run(tmp_path, seed=seed, tune=tune)))
    (found,) = families(runs)
    assert spectrum_means(found, "demo", "id", "sve") == dict.fromkeys(runs, 3.0)


def test_spectra_have_a_line_for_each_condition(family):
    panel = spectrum_figure(family, "demo", "0").panels["spectrum-0-0"]
    assert panel.count("stroke-width: 1.5") == 4 * 2  # and their entries of the legend


def test_accuracy_against_the_rate_has_the_numbers_and_bands_of_the_tables(tmp_path, monkeypatch):
    """One run of 30 % symmetric noise has no band where others have several: its heads are no pre-trainings."""
    drawn = {}
    monkeypatch.setattr("fastpt.report.figures.draw", lambda name, axes, series: drawn.setdefault(name, series))
    plan = {"plan": "pairflip-0.3-seed0", "kind": "pairflip", "rate": 0.3, "realised_rate": 0.3, "array_sha256": "f"}
    where = [("id", name, name) for name in "ab"]
    runs = [
        write_run(tmp_path, rate=rate, tune=tune_results({one: {"lp": [0.5, 0.6]} for one in where}))
        for rate in (0, 0.3)
    ]
    for seed in (0, 1):  # on the first test alone
        tune = tune_results({where[0]: {"lp": [0.4 + seed / 10]}})
        runs.append(write_run(tmp_path, rate=0.3, seed=seed, plan=plan, tune=tune))
    (found,) = families([read_run(run) for run in runs])
    figure = rate_figure(found, "demo", "0")
    assert [*figure.panels] == ["rate-0-pairflip-id", "rate-0-symmetric-id"]
    assert [series.error for (series,) in drawn.values()] == [[0, pytest.approx(63.53, abs=0.01)], [0, 0]]


def test_accuracies_of_plans_of_one_kind_and_rate_are_drawn_apart(two_plans, monkeypatch):
    drawn = {}
    monkeypatch.setattr("fastpt.report.figures.draw", lambda name, axes, series: drawn.setdefault(axes.title, series))
    rate_figure(two_plans, "demo", "0")
    assert {title: series[0].y for title, series in drawn.items()} == {
        "ID, average of 1 test · external [one]": [pytest.approx(50.5), 40],
        "ID, average of 1 test · external [two]": [pytest.approx(50.5), 30],
    }


def test_plans_of_one_kind_and_rate_that_no_claim_is_asked_of_are_told(two_plans):
    (arm,) = arms(two_plans)
    asked = [Claim(name="C", estimand="mean - clean", setting="id", method="lp", side="< 0", margin=1)]
    told, *_ = verdicts.tables(arm, answers(arm, "demo", asked), Progress(4, 4))
    assert (
        "No claim is asked of 20\u00a0% external [one] and 20\u00a0% external [two], "
        "which are several plans of one kind and rate."
    ) in told.note


@pytest.fixture
def two_plans(tmp_path):
    """Two clean runs, and one of each of two plans of 20 %, of which the second is worse."""
    runs = [
        write_run(tmp_path, seed=seed, tune=tune_results({WHERE[0]: {"lp": [0.5 + seed / 100]}})) for seed in (0, 1)
    ]
    for name, value in (("one", 0.4), ("two", 0.3)):
        plan = {"plan": f"external-{name}", "kind": "external", "rate": 0.2, "realised_rate": 0.2, "array_sha256": name}
        tune = tune_results({WHERE[0]: {"lp": [value]}})
        runs.append(write_run(tmp_path, rate=0.2, plan=plan, name=name, tune=tune))
    (found,) = families([read_run(run) for run in runs])
    return found


def test_plans_of_one_kind_and_rate_have_a_line_each(two_plans):
    panel = effect_figure(two_plans, effects(two_plans, "demo", COMPARED), "0").panels["effect-0-id"]
    assert ">external [one]<" in panel
    assert ">external [two]<" in panel
