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
    """LP of seed s is 0.5 + s / 10 (which pairing cancels), moved by shifts[rate] + (s - 1) / 1000."""
    return {
        (rate, seed): {"lp": [0.5 + seed / 10 + move + (seed - 1) / 1000 * bool(rate) for move in moves]}
        for rate, moves in shifts.items()
        for seed in seeds
    }


def test_effects_are_paired_by_pretraining_seed(tmp_path):
    family = family_of(tmp_path, shifted({0: (0, 0), 0.05: (0.02, -0.03)}))
    in_domain, out = effects(family, "demo", COMPARED)
    # differences of 0.019, 0.020 and 0.021: standard deviation 0.001, t of 2 degrees of freedom 4.302653
    assert in_domain.difference.mean == pytest.approx(0.02)
    assert in_domain.difference.ci95_half == pytest.approx(4.302653 * 0.001 / 3**0.5, rel=1e-5)
    assert (out.domain, out.difference.mean) == ("ood", pytest.approx(-0.03))


def test_only_seeds_that_both_have_are_compared(tmp_path):
    values = shifted({0: (0, 0), 0.05: (0.02, -0.03)})
    del values[0, 2], values[0.05, 0]
    assert effects(family_of(tmp_path, values), "demo", COMPARED)[0].difference == (pytest.approx(0.02), None, 1)


def test_nmtune_is_compared_with_lp_and_mlp_at_each_rate(tmp_path):
    methods = {"lp": (0.5, 0.4), "mlp": (0.6, 0.3), "nmtune": (0.65, 0.5)}
    found = effects(family_of(tmp_path, {(0, 0): methods, (0.3, 0): methods}), "demo", COMPARED)
    between = [(one.domain, one.condition.rate, one.other, round(one.difference.mean, 9)) for one in found if one.other]
    assert between == [
        (domain, rate, other, gain)
        for domain, gains in (("id", (0.15, 0.05)), ("ood", (0.1, 0.2)))
        for other, gain in zip(("lp", "mlp"), gains, strict=True)
        for rate in (0, 0.3)
    ]


def test_without_clean_pretraining_no_effect_of_noise_is_claimed(tmp_path):
    family = family_of(tmp_path, shifted({0.05: (0, 0), 0.3: (0.1, -0.2)}))
    assert effects(family, "demo", COMPARED) == []
