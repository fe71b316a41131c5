import pytest

from fastpt.report.compare import families
from fastpt.report.effects import effects
from fastpt.report.paper import COMPARED
from fastpt.runs import read_run
from tests.report.conftest import tune_results, write_run

A, B = ("id", "a", "a-test"), ("ood", "photo", "art")


def family_of(root, values):
    """`values`: (rate, seed) -> method -> (ID, OOD)."""
    runs = [
        write_run(
            root,
            rate=rate,
            seed=seed,
            tune=tune_results(
                {where: {method: [both[i]] for method, both in methods.items()} for i, where in enumerate((A, B))}
            ),
        )
        for (rate, seed), methods in values.items()
    ]
    (family,) = families([read_run(run) for run in runs])
    return family


def shifted(shifts, seeds=(0, 1, 2)):
    """LP of seed s is 0.5, moved by shifts[rate] + (s - 1) / 1000."""
    return {
        (rate, seed): {"lp": [0.5 + move + (seed - 1) / 1000 for move in moves]}
        for rate, moves in shifts.items()
        for seed in seeds
    }


def test_the_spread_of_an_effect_is_that_of_all_conditions(tmp_path):
    family = family_of(tmp_path, shifted({0: (0, 0), 0.05: (0.02, -0.03), 0.3: (0, 0)}))
    in_domain, _, out, _ = effects(family, "demo", COMPARED)
    # standard deviation 0.001 in each of three conditions of three runs: t of 6 degrees of freedom is 2.446912
    assert in_domain.difference.value == pytest.approx(0.02)
    assert in_domain.difference.half() == pytest.approx(2.446912 * 0.001 * (2 / 3) ** 0.5, rel=1e-5)
    assert (out.domain, out.difference.value) == ("ood", pytest.approx(-0.03))


def test_seeds_that_one_condition_has_alone_are_not_left_out(tmp_path):
    values = shifted({0: (0, 0), 0.05: (0.02, -0.03)}, seeds=(0, 1, 2))
    del values[0.05, 0], values[0.05, 2]
    found = effects(family_of(tmp_path, values), "demo", COMPARED)[0].difference
    assert (found.value, found.df) == (pytest.approx(0.02), 2)
    assert found.se == pytest.approx(0.001 * (1 / 3 + 1) ** 0.5)


def test_what_an_encoder_gives_to_both_methods_cancels(tmp_path):
    values = {(0.3, seed): {"lp": [0.2 * seed] * 2, "nmtune": [0.2 * seed + 0.01 + seed / 1000] * 2} for seed in (0, 1)}
    found = effects(family_of(tmp_path, values), "demo", COMPARED)
    assert [one.difference.value for one in found] == pytest.approx([0.0105, 0.0105])
    assert found[0].difference.se == pytest.approx(0.0005)


def test_one_run_a_condition_has_a_difference_but_no_interval(tmp_path):
    found = effects(family_of(tmp_path, shifted({0: (0, 0), 0.05: (0.02, 0)}, seeds=(0,))), "demo", COMPARED)
    assert (found[0].difference.value, found[0].difference.half()) == (pytest.approx(0.02), None)


def test_nmtune_is_compared_with_lp_and_mlp_at_each_rate(tmp_path):
    methods = {"lp": (0.5, 0.4), "mlp": (0.6, 0.3), "nmtune": (0.65, 0.5)}
    found = effects(family_of(tmp_path, {(0, 0): methods, (0.3, 0): methods}), "demo", COMPARED)
    between = [
        (one.domain, one.condition.rate, one.other, round(one.difference.value, 9)) for one in found if one.other
    ]
    assert between == [
        (domain, rate, other, gain)
        for domain, gains in (("id", (0.15, 0.05)), ("ood", (0.1, 0.2)))
        for other, gain in zip(("lp", "mlp"), gains, strict=True)
        for rate in (0, 0.3)
    ]


def test_without_clean_pretraining_no_effect_of_noise_is_claimed(tmp_path):
    family = family_of(tmp_path, shifted({0.05: (0, 0), 0.3: (0.1, -0.2)}))
    assert effects(family, "demo", COMPARED) == []
