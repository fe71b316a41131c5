"""What the page says of what was recorded by sample."""

import numpy as np
import pytest

from fastpt import dynamics
from fastpt.report.compare import families
from fastpt.report.dynamics import _histograms, section
from fastpt.runs import read_run
from fastpt.runs.folder import SAMPLES
from tests.report.conftest import write_run
from tests.report.test_page import page, words

WRONG = np.array([True, True, False, False, False])
MARGIN = [[-2, 1, 2, 3, 4], [-2, 1, 2, 3, 4]]  # tells all of them
CORRECT = [[0, 1, 1, 1, 1], [0, 0, 1, 1, np.nan]]
LOSS = [[1, 1, 1, 1, 1], [1, 1, 1, 1, 1]]  # tells nothing


def record(run, wrong=WRONG, **measures) -> None:
    folder = run / SAMPLES
    dynamics.begin(folder, "a", np.zeros(5, np.int64), wrong, 0)
    for epoch in range(2):
        dynamics.append(folder, epoch, {name: np.array(rows[epoch], np.float32) for name, rows in measures.items()})


def test_the_scores_of_each_run_and_their_mean_stand_on_the_page(tmp_path):
    runs = [write_run(tmp_path, rate=0.3, seed=seed) for seed in (0, 1)]
    record(runs[0], margin=MARGIN, correct=CORRECT, loss=LOSS)
    record(runs[1], margin=[[-value for value in row] for row in MARGIN])
    made = page(tmp_path, *runs)
    seen = words(made)
    assert "What training dynamics tell" in seen
    assert "seed 0 1.000 1.000 0.500 seed 1 0.000 – – mean 0.500 1.000 0.500" in seen
    assert "AUM · AUROC 1.000" in made


@pytest.mark.parametrize("recorded", [True, False])
def test_of_runs_without_wrong_targets_nothing_is_said(tmp_path, recorded):
    run = write_run(tmp_path)
    if recorded:
        record(run, np.zeros(5, bool), margin=MARGIN)
    assert "What training dynamics tell" not in words(page(tmp_path, run))


def test_what_is_damaged_is_left_out_and_told(tmp_path):
    runs = [write_run(tmp_path, rate=0.3, seed=seed) for seed in (0, 1)]
    for run in runs:
        record(run, margin=MARGIN)
    (runs[1] / SAMPLES / "margin.npy").write_bytes(b"")
    (family,) = families([read_run(run) for run in runs])
    found = section(family, 0)
    assert [row.label for row in found.table.groups[0].rows] == ["seed 0"]
    assert f"Left out of {runs[1].name}: " in found.table.note
    assert "margin.npy is damaged" in found.table.note


def test_each_histogram_is_of_its_own_samples_and_adds_up_to_100_percent(tmp_path):
    scores = np.r_[np.linspace(0.01, 1, 300), np.linspace(2.01, 3, 100), np.nan]
    for series, some in zip(_histograms(scores, scores > 1.5), (scores[:300], scores[300:400]), strict=True):
        heights, edges = np.array(series.y[1:-1:2]), np.array(series.x[::2])
        assert heights.sum() == pytest.approx(100)
        middles = (edges[:-1] + edges[1:]) / 2
        assert (heights * middles).sum() / 100 == pytest.approx(some.mean(), abs=0.1)


def test_events_have_a_bin_each_and_those_that_never_were_right_the_last():
    right, wrong = _histograms(np.array([0.0, 0.0, 1.0, 3.0, np.inf]), np.array([0, 0, 0, 0, 1], bool))
    assert right.y[1:-1:2] == [50, 25, 0, 25, 0]
    assert wrong.y[1:-1:2] == [0, 0, 0, 0, 100]
    assert (right.x[0], right.x[-1]) == (-0.5, 4.5)
