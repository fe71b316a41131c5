"""Coverage, family-wise error and power in simulations: fixed seeds, bounds at 4 binomial standard errors."""

import math

import numpy as np
import pytest

from fastpt.report.over_sets import over_sets, set_correlation
from fastpt.report.power import Design, runs_to_decide, scaled
from fastpt.report.statistics import Estimate, fit, judge


def normal(random, counts, sd=1.0, effects=None):
    return {one: random.normal((effects or {}).get(one, 0.0), sd, n) for one, n in counts.items()}


def within(share, truth, draws):
    return abs(share - truth) < 4 * math.sqrt(truth * (1 - truth) / draws)


def test_pooled_intervals_cover():
    random, draws = np.random.default_rng(0), 1000
    counts, weights = {0.0: 4, 0.1: 2, 0.3: 2}, {0.3: 1, 0.0: -1}
    found = [fit(normal(random, counts)).contrast(weights) for _ in range(draws)]
    assert within(np.mean([abs(one.value) <= one.half() for one in found]), 0.95, draws)


def test_a_family_of_true_nulls_errs_as_a_whole_no_more_than_asked():
    random, draws = np.random.default_rng(0), 500
    noisy = [0.05, 0.1, 0.2, 0.3]
    counts = {0.0: 6} | dict.fromkeys(noisy, 3)
    errors = 0
    for _ in range(draws):
        model = fit(normal(random, counts))
        family = [(model.contrast({one: 1, 0.0: -1}), 1, 1e-9) for one in noisy]
        errors += any(one.verdict != "undecided" for one in judge(family))
    assert errors / draws < 0.05 + 4 * math.sqrt(0.05 * 0.95 / draws)
    assert errors > 0


@pytest.mark.long
def test_negligible_is_said_of_effects_at_the_margin_no_more_than_asked():
    random, draws = np.random.default_rng(1), 4000
    model = (fit(normal(random, {"a": 8, "b": 8}, 0.5, {"b": 1.0})) for _ in range(draws))
    found = [judge([(one.contrast({"b": 1, "a": -1}), 1, 1.0)])[0].p_equivalence <= 0.05 for one in model]
    assert within(np.mean(found), 0.05, draws)


@pytest.mark.long
@pytest.mark.parametrize("n", [4, 12])
def test_power_is_kept_in_simulation(n):
    random, draws = np.random.default_rng(2), 4000
    counts, weights = {"a": 2 * n, "b": n}, {"b": 1, "a": -1}
    planned = Design(1.0, weights, counts, of=7).power()
    seen = [fit(normal(random, counts, 1, {"b": planned.effect})).contrast(weights).p() for _ in range(draws)]
    assert np.mean(np.array(seen) <= 0.05 / 7) == pytest.approx(0.8, abs=0.04)
    null = (fit(normal(random, counts)).contrast(weights) for _ in range(draws))
    assert np.mean([one.p_equivalence(planned.margin) <= 0.05 / 7 for one in null]) == pytest.approx(0.8, abs=0.06)


@pytest.mark.long
def test_intervals_over_sets_cover_and_predict():
    random, draws, k = np.random.default_rng(3), 3000, 8
    covered = predicted = 0
    for _ in range(draws):
        effects = [Estimate(random.normal(random.normal(0, 1), 0.5), 0.5, 30) for _ in range(k)]
        found = over_sets(effects)
        covered += abs(found.mean.value) <= found.mean.half()
        predicted += abs(found.mean.value - random.normal(0, 1)) <= found.prediction_half
    assert within(covered / draws, 0.95, draws)
    assert predicted / draws == pytest.approx(0.95, abs=0.02)


@pytest.mark.long
@pytest.mark.parametrize("between", [0.0, 1.0])
def test_intervals_over_sets_cover_where_the_same_encoders_are_on_all_of_them(between):
    random, draws, k, n = np.random.default_rng(6), 2000, 8, 8
    weights = {"noisy": 1, "clean": -1}
    covered = 0
    for _ in range(draws):
        truths = random.normal(0, between, k)
        runs = {
            one: random.normal(0, 0.7, (n, 1)) + random.normal(0, 0.7, (n, k)) + truths * (one == "noisy")
            for one in weights
        }
        effects = [fit({one: runs[one][:, j] for one in runs}).contrast(weights) for j in range(k)]
        average = fit({one: runs[one].mean(1) for one in runs}).contrast(weights)
        found = over_sets(effects, set_correlation(effects, average)).mean
        covered += abs(found.value) <= found.half()
    assert covered / draws == pytest.approx(0.95, abs=0.025)


@pytest.mark.long
def test_the_runs_to_decide_decide():
    random, draws = np.random.default_rng(5), 2000
    weights, counts = {"b": 1, "a": -1}, {"a": 4, "b": 2}
    design = scaled(counts, runs_to_decide(1.0, lambda _: weights, counts, ["b"], 1.0, 7), ["b"])
    for effect, wanted in ((1.0, "p"), (0.0, "p_equivalence")):
        estimates = (fit(normal(random, design, 1, {"b": effect})).contrast(weights) for _ in range(draws))
        found = [judge([(one, 1, 1.0)] * 7)[0] for one in estimates]
        assert np.mean([getattr(one, wanted) <= 0.05 for one in found]) > 0.78


@pytest.mark.long
def test_permutations_err_as_often_as_asked():
    random, draws = np.random.default_rng(4), 1000
    weights = {"b": 1, "a": -1}
    found = [fit(normal(random, {"a": 6, "b": 6})).permutation_p(weights, draws=499) for _ in range(draws)]
    assert within(np.mean(np.array(found) <= 0.05), 0.05, draws)
