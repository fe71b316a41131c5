"""Against scipy.stats and closed forms: the model of one test, its verdicts and its power."""

import math

import numpy as np
import pytest
from scipy import stats

from fastpt.errors import FastptError
from fastpt.report.power import Design, runs_to_decide, scaled
from fastpt.report.statistics import Estimate, fit, holm, judge, mean_of, slope, spread


def drawn(seed=0, **sizes):
    random = np.random.default_rng(seed)
    return {name: random.normal(index, 1, size) for index, (name, size) in enumerate(sizes.items())}


# --- the model ------------------------------------------------------------------------------------------------------


def test_the_pooled_spread_is_that_of_the_analysis_of_variance():
    samples = drawn(clean=8, low=4, high=5)
    model = fit(samples)
    means = [values.mean() for values in samples.values()]
    whole = np.mean(np.concatenate(list(samples.values())))
    between = sum(len(values) * (mean - whole) ** 2 for values, mean in zip(samples.values(), means, strict=True)) / 2
    assert model.df == 14
    assert between / model.sd**2 == pytest.approx(stats.f_oneway(*samples.values()).statistic)


def test_of_two_conditions_it_is_students_t_test():
    samples = drawn(clean=7, noisy=4)
    found = fit(samples).contrast({"noisy": 1, "clean": -1})
    expected = stats.ttest_ind(samples["noisy"], samples["clean"])
    interval = expected.confidence_interval(0.95)
    assert (found.p(), found.df) == (pytest.approx(expected.pvalue), 9)
    assert (found.value - found.half(), found.value + found.half()) == pytest.approx((interval.low, interval.high))


def test_of_one_condition_it_is_students_interval():
    values = [0.1, 0.4, 0.2, 0.7]
    found = fit({"paired": values}).contrast({"paired": 1})
    assert found.p() == pytest.approx(stats.ttest_1samp(values, 0).pvalue)


def test_welch_of_two_conditions_is_scipys():
    samples = drawn(clean=7, noisy=4)
    samples["noisy"] *= 5
    found = fit(samples).welch({"noisy": 1, "clean": -1})
    expected = stats.ttest_ind(samples["noisy"], samples["clean"], equal_var=False)
    assert (found.p(), found.df) == (pytest.approx(expected.pvalue), pytest.approx(expected.df))


def test_the_slope_is_the_regression_over_runs():
    samples = {x: values + 3 * x for x, values in zip((0, 0.1, 0.3), drawn(a=8, b=3, c=4).values(), strict=True)}
    model = fit(samples)
    x = np.repeat(list(samples), list(model.counts.values()))
    expected = stats.linregress(x, np.concatenate(list(samples.values()))).slope
    assert model.contrast(slope(model.counts, 0.3)).value == pytest.approx(0.3 * expected)


def test_a_mean_of_conditions_minus_another():
    model = fit({0: [1.0, 3.0], 0.05: [5.0], 0.1: [9.0]})
    found = model.contrast(mean_of([0.05, 0.1], minus=0))
    assert (found.value, found.df) == (5, 1)
    assert found.se == pytest.approx(math.sqrt(2) * math.sqrt(0.25 + 0.25 + 1 / 2))


def test_a_difference_of_differences_is_a_contrast_of_differences_within_runs():
    nmtune, mlp = drawn(1, clean=6, noisy=3), drawn(2, clean=6, noisy=3)
    gains = fit({one: nmtune[one] - mlp[one] for one in nmtune})
    expected = stats.ttest_ind(nmtune["noisy"] - mlp["noisy"], nmtune["clean"] - mlp["clean"]).pvalue
    assert gains.contrast({"noisy": 1, "clean": -1}).p() == pytest.approx(expected)


def on_two_machines():
    """Three conditions on two kinds of machine, unbalanced, the second kind 5 higher."""
    samples = drawn(a=6, b=4, c=5)
    machines = {"a": list("xxxyyy"), "b": list("xxxy"), "c": list("yyxyy")}
    shift = {"x": 0.0, "y": 5.0}
    shifted = {one: values + [shift[kind] for kind in machines[one]] for one, values in samples.items()}
    return shifted, machines


def test_the_term_of_the_machine_is_that_of_least_squares():
    samples, machines = on_two_machines()
    design = np.array(
        [[one == other for other in samples] + [kind == "y"] for one in samples for kind in machines[one]], float
    )
    values = np.concatenate([*samples.values()])
    effects, (squares,), *_ = np.linalg.lstsq(design, values)
    contrast = np.array([-1, 1, 0, 0])
    wanted_se = math.sqrt(squares / (15 - 4) * contrast @ np.linalg.inv(design.T @ design) @ contrast)
    found = fit(samples, machines).contrast({"b": 1, "a": -1})
    assert (found.value, found.se, found.df) == pytest.approx((effects[1] - effects[0], wanted_se, 11))


def test_a_shift_between_machines_moves_no_contrast():
    samples, machines = on_two_machines()
    less = {one: values - 5 * (np.array(machines[one]) == "y") for one, values in samples.items()}
    for weights in ({"b": 1, "a": -1}, {"a": -0.5, "b": -0.5, "c": 1}):
        moved, still = (fit(one, machines).contrast(weights) for one in (samples, less))
        assert (moved.value, moved.se) == pytest.approx((still.value, still.se))


def test_one_kind_of_machine_has_no_term():
    samples = drawn(a=4, b=5)
    machines = {one: ["x"] * len(values) for one, values in samples.items()}
    weights = {"b": 1, "a": -1}
    assert fit(samples, machines).contrast(weights) == fit(samples).contrast(weights)


def test_machines_that_coincide_with_conditions_are_refused():
    samples = drawn(a=4, b=5)
    with pytest.raises(FastptError, match=r"2 kinds of machines \(x, y\), and too few conditions on several"):
        fit(samples, {"a": ["x"] * 4, "b": ["y"] * 5})


def test_the_interval_of_the_spread_is_by_chi_square():
    low, high = fit({"a": [0.0, 1.0, 2.0], "b": [4.0, 5.0]}).sd_interval()
    sd = math.sqrt(2.5 / 3)
    assert (low / sd, high / sd) == pytest.approx((0.5665, 3.7287), rel=1e-3)  # of tables: 3 degrees of freedom


# --- tests ----------------------------------------------------------------------------------------------------------


def test_equivalence_is_the_larger_of_two_one_sided_tests():
    samples = drawn(clean=7, noisy=4)
    found = fit(samples).contrast({"noisy": 1, "clean": -1})
    above, below = (
        stats.ttest_ind(samples["noisy"] + shift, samples["clean"], alternative=side).pvalue
        for shift, side in ((1.5, "greater"), (-1.5, "less"))
    )
    assert found.p_equivalence(1.5) == pytest.approx(max(above, below))


@pytest.mark.parametrize("of", [1, 7])
def test_the_least_margin_is_the_one_that_is_just_held(of):
    one = Estimate(-0.3, 0.2, 9)
    assert one.p_equivalence(one.least_margin(of)) * of == pytest.approx(0.05)


def test_an_interval_of_a_family_excludes_zero_where_bonferroni_does():
    one = Estimate(0.5, 0.2, 9)
    assert (abs(one.value) > one.half(7)) == (7 * one.p() <= 0.05)
    edge = Estimate(one.half(7), 0.2, 9)
    assert 7 * edge.p() == pytest.approx(0.05)


def test_holm_is_as_in_r():
    # p.adjust(c(0.01, 0.04, 0.03, 0.005), "holm")
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.6]) == [1, 1]


def test_a_test_that_could_not_be_done_counts_in_its_family():
    assert holm([0.01, None, None]) == pytest.approx([0.03, 1, 1])
    assert holm([0.01], of=3) == pytest.approx([0.03])


def test_few_permutations_have_the_exact_share():
    model = fit({"clean": [1.0, 2.0, 3.0], "noisy": [11.0, 12.0, 13.0]})
    found = model.permutation_p({"noisy": 1, "clean": -1})
    assert found == pytest.approx(2 / 20, abs=0.01)  # 2 of the 20 ways to deal 6 runs to 3 and 3
    assert found == model.permutation_p({"noisy": 1, "clean": -1})
    assert found != model.permutation_p({"noisy": 1, "clean": -1}, seed=1)


def test_of_a_mean_the_signs_are_drawn():
    model = fit({0.1: [1.0, 2.0, 3.0], 0.3: [4.0, 5.0]})
    assert model.permutation_p(mean_of([0.1, 0.3])) == pytest.approx(2 / 2**5, abs=0.01)


# --- verdicts -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "se", "side", "verdict"),
    [
        (2.0, 0.1, 1, "supported"),
        (2.0, 0.1, -1, "contradicted"),
        (-2.0, 0.1, -1, "supported"),
        (0.5, 0.1, 1, "supported, but small"),
        (0.5, 0.1, -1, "contradicted, but small"),
        (0.05, 0.1, 1, "negligible"),
        (0.5, 1.0, 1, "undecided"),
        (0.5, None, 1, "not enough runs"),
    ],
)
def test_a_verdict_is_of_two_tests(value, se, side, verdict):
    assert judge([(Estimate(value, se, 20), side, 1.0)])[0].verdict == verdict


def test_what_one_claim_alone_supports_its_family_may_leave_undecided():
    one = (Estimate(0.5, 0.2, 20), 1, 0.1)  # p = 0.02
    assert judge([one])[0].verdict == "supported"
    assert {found.verdict for found in judge([one] * 7)} == {"undecided"}


def test_a_claim_that_cannot_be_asked_is_one_of_its_family():
    found = judge([(None, 1, 0.1), (Estimate(0.5, 0.2, 20), 1, 0.1)])
    assert [one.verdict for one in found] == ["not enough runs", "supported"]
    assert found[1].p == pytest.approx(2 * Estimate(0.5, 0.2, 20).p())


# --- what cannot be told --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "samples",
    [
        {"clean": [1.0], "noisy": [2.0]},
        {"clean": [1.0, 1.0], "noisy": [2.0, 2.0]},
        {"clean": [0.1 + 0.2, 0.3], "noisy": [0.7, 0.7]},
    ],
    ids=["one run a condition", "equal runs", "runs that are equal to rounding"],
)
def test_without_a_spread_there_is_an_estimate_and_no_test(samples):
    model = fit(samples)
    for found in (model.contrast({"noisy": 1, "clean": -1}), model.welch({"noisy": 1, "clean": -1})):
        assert found.value > 0
        assert [found.p(), found.half(), found.p_equivalence(1), found.least_margin()] == [None] * 4


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_no_number_is_refused_by_condition(value):
    with pytest.raises(FastptError, match="noisy has a run whose value is no finite number"):
        fit({"clean": [1.0], "noisy": [2.0, value]})


def test_a_condition_without_runs_is_refused():
    with pytest.raises(FastptError, match="noisy has no run"):
        fit({"clean": [1.0], "noisy": []})
    with pytest.raises(FastptError, match=r"no run of 0\.3"):
        fit({0: [1.0, 2.0]}).contrast({0.3: 1, 0: -1})


def test_a_slope_needs_two_rates():
    with pytest.raises(FastptError, match="two rates"):
        slope({0.3: 5})


def test_permutations_of_equal_runs_say_nothing():
    assert fit({"clean": [1.0, 1.0], "noisy": [1.0, 1.0]}).permutation_p({"noisy": 1, "clean": -1}) is None


# --- power ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "sd", "form", "effect", "margin"),
    [
        (8, 0.45, "slight", 0.58, 0.61),
        (12, 0.45, "slight", 0.47, 0.49),
        (16, 0.45, "slight", 0.40, 0.42),
        (12, 0.75, "slope", 0.87, 0.92),
        (12, 0.48, "noisy", 0.25, 0.26),
        (12, 0.48, "repair", 0.43, 0.45),
    ],
)
def test_power_is_what_was_planned_by_another_computation(n, sd, form, effect, margin):
    counts = {0.0: 2 * n, 0.05: n, 0.1: n, 0.2: n, 0.3: n}
    noisy = [0.05, 0.1, 0.2, 0.3]
    weights = {
        "slight": mean_of([0.05, 0.1], minus=0.0),
        "slope": slope(counts, 0.3),
        "noisy": mean_of(noisy),
        "repair": mean_of(noisy, minus=0.0),
    }[form]
    found = Design(sd, weights, counts | {"right 0.1": n, "right 0.3": n}, of=7).power()
    assert (round(found.effect, 2), round(found.margin, 2)) == (effect, margin)


def test_a_design_of_one_run_a_condition_has_no_power():
    assert Design(1.0, {"a": 1, "b": -1}, {"a": 1, "b": 1}).power() is None


def test_power_is_kept_by_the_exact_noncentral_t():
    counts = {"a": 6, "b": 6}
    found = Design(1.0, {"a": 1, "b": -1}, counts).power()
    noncentral = stats.nct(df=10, nc=found.effect / spread({"a": 1, "b": -1}, counts))
    critical = stats.t.isf(0.025, 10)
    assert noncentral.sf(critical) + noncentral.cdf(-critical) == pytest.approx(0.8, abs=0.015)


def test_runs_to_decide_are_the_fewest_that_decide():
    weights, counts = {"a": 1, "b": -1}, {"a": 2, "b": 4}
    n = runs_to_decide(1.0, lambda _: weights, counts, ["a"], margin=1.0, family=7)
    for runs, enough in ((n, True), (n - 1, False)):
        found = Design(1.0, weights, scaled(counts, runs, ["a"]), of=7).power()
        assert (max(found.effect, found.margin) <= 1) is enough
    assert runs_to_decide(1.0, lambda _: weights, counts, ["a"], margin=1e-6) is None


def test_a_design_grows_by_its_smallest_noisy_condition_and_keeps_a_run_of_each_other_one():
    counts = {"clean": 1, "few": 4, "many": 8}
    assert scaled(counts, 2, ["few", "many"]) == {"clean": 1, "few": 2, "many": 4}
    assert scaled(counts, 8, ["few", "many"]) == {"clean": 2, "few": 8, "many": 16}
