"""What the page shows beside accuracies: effects, data fractions, what was memorised, cost."""

import csv
from dataclasses import replace

import pytest

from fastpt.report import StepCost
from fastpt.report.compare import families
from fastpt.report.figures import _curve, fraction_figure
from fastpt.report.tables import memorization_table
from fastpt.runs import read_run
from tests.report.conftest import add_lines, tune_results, write_run
from tests.report.test_page import page, words

A, B = ("id", "a", "a-test"), ("ood", "photo", "art")


def test_effects_stand_at_the_top_in_a_table_and_as_csv(tmp_path):
    runs = [
        write_run(tmp_path, rate=rate, seed=seed, tune=tune_results({A: {"lp": [level + seed / 1000]}}))
        for rate, level in ((0, 0.5), (0.05, 0.4))
        for seed in (0, 1, 2)
    ]
    seen = words(page(tmp_path, *runs, files=True))
    asked = "ID, LP: 5 % − clean > 0"
    assert "1 claim: 1 contradicted. Contradicted: slight noise helps in domain. −10.00 ± 0.23 points" in seen
    assert f"slight noise helps in domain ({asked}) Contradicted −10.00 ± 0.23 ± 0.23 < 0.001 0.5 1.000 10.18 " in seen
    assert seen.index("1 claim:") < seen.index("Measured") < seen.index("6 runs of 1 recipe")
    assert "ID, minus clean pre-training LP – −10.0 ± 0.2" in seen
    files = tmp_path / "out" / "report_files"
    (row,) = csv.DictReader((files / "effects.csv").open())
    assert (row["minus"], float(row["difference_points"]), row["df"]) == ("clean pre-training", pytest.approx(-10), "4")
    assert 0 < float(row["se_points"]) < float(row["ci95_half_points"]) < 1
    (row,) = csv.DictReader((files / "claims.csv").open())
    assert (row["verdict"], float(row["estimate_points"])) == ("contradicted", pytest.approx(-10))
    assert (row["margin_points"], float(row["least_margin_points"])) == ("0.5", pytest.approx(10.2, abs=0.05))
    first, *_ = csv.DictReader((files / "accuracy.csv").open())
    assert float(first["mean_percent"]) == pytest.approx(50.1)


def test_accuracy_is_drawn_against_the_data_fraction_even_without_the_whole(tmp_path):
    tune = tune_results({A: {"lp": [0.3, 0.5]}})
    for row, fraction in zip(tune["rows"], (0.1, 0.5), strict=True):
        row["fraction"] = fraction
    seen = words(page(tmp_path, write_run(tmp_path, tune=tune)))
    assert "ID accuracy against data fraction" in seen
    assert "heads trained on 50 % of the data" in seen
    assert "average (1 test) 50.0" in seen


def test_the_highest_rate_of_a_data_fraction_is_that_of_wrong_labels_and_not_of_their_right_part(tmp_path):
    runs = []
    for rate, keep in ((0, "all"), (0.1, "all"), (0.1, "right")):
        tune = tune_results({A: {"lp": [0.5]}})
        tune["rows"] += [{**row, "fraction": 0.5} for row in tune["rows"]]
        runs.append(read_run(write_run(tmp_path, rate=rate, keep=keep, name=f"{rate}-{keep}", tune=tune)))
    (family,) = families(runs)
    clean, highest = fraction_figure(family, "demo", "id", "0").panels.values()
    assert ">ID · clean<" in clean
    assert "symmetric<" in highest


def test_what_was_memorised_is_that_of_the_last_evaluation(tmp_path):
    run = write_run(tmp_path, rate=0.3)
    measures = {"clean_fit": 0.9, "mislabeled_memorized": 0.25, "mislabeled_corrected": 0.5}
    add_lines(run, {"event": "eval", "step": 200, "split": "train", **measures})
    assert "seed 0 90.0 25.0 50.0" in words(page(tmp_path, run))


def test_what_an_unfinished_training_memorised_so_far_is_in_no_mean(tmp_path):
    runs = [write_run(tmp_path, rate=0.3, seed=seed) for seed in (0, 1)]
    for run, share in zip(runs, (0.25, 0.05), strict=True):
        add_lines(run, {"event": "eval", "step": 200, "split": "train", "mislabeled_memorized": share})
    done, begun = map(read_run, runs)
    (family,) = families([done, replace(begun, end=None)])
    (group,) = memorization_table(family).groups
    assert [(row.label, row.cells[0].text) for row in group.rows] == [
        ("seed 0", "25.0"),
        ("seed 1 (unfinished)", "5.0"),
        ("mean", "25.0"),
    ]


def test_the_cost_of_each_step_and_what_was_not_done_are_shown(tmp_path):
    costs = [
        StepCost("one", "train", 60.0, 2_000_000),
        StepCost("two", "train", 30.0, 1_000_000),
        StepCost("three", "train", 45.0, 1_500_000, "failed"),
    ]
    seen = words(page(tmp_path, write_run(tmp_path), costs=costs))
    assert "three failed – 2 steps done 1 min 30 s 3.0 MB" in seen
    assert seen.index("three : train failed.") < seen.index(
        "Pre-training The runs" if "Pre-training The runs" in seen else "Table 1"
    )  # at the top, as what is missing


def test_one_step_that_was_paused_moves_no_median(tmp_path):
    costs = [StepCost(str(n), "train", 60.0 if n else 36_000.0, 1_000_000) for n in range(5)]
    seen = words(page(tmp_path, write_run(tmp_path), costs=costs, files=True))
    assert "train 5 of 5 1 min 0 s 10 h 0 min 10 h 4 min 5.0 MB" in seen
    rows = [*csv.DictReader((tmp_path / "out" / "report_files" / "steps.csv").open())]
    assert (len(rows), rows[0]["seconds"], rows[0]["state"]) == (5, "36000.0", "done")


def test_a_run_without_a_study_has_its_own_cost(tmp_path):
    run = write_run(tmp_path)
    (run / "export" / "model.safetensors").write_bytes(bytes(500_000))
    seen = words(page(tmp_path, run))
    assert "demo_resnet-clean-s0 1 min 12 s 0.5 MB" in seen


def test_a_training_curve_is_the_mean_of_the_seeds_that_logged_the_step(tmp_path):
    runs = [write_run(tmp_path, seed=seed) for seed in (0, 1)]
    for run, values in zip(runs, ((0.2, 0.4), (0.4,)), strict=True):
        lines = [{"event": "eval", "step": 10 * (i + 1), "top1": value} for i, value in enumerate(values)]
        (run / "metrics.jsonl").unlink()
        add_lines(run, *lines)
    (family,) = families([read_run(run) for run in runs])
    line = _curve(family.conditions[0], {"colour": "#000000"}, "evals", "top1", 100, marked=True)
    assert (line.x, line.y) == ([10, 20], [pytest.approx(30), pytest.approx(40)])
