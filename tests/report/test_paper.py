import pytest

from fastpt.report.effects import effects
from fastpt.report.paper import COMPARED, claims
from tests.report.test_effects import family_of, shifted


def judged(family):
    return claims(family, effects(family, "demo", COMPARED))


@pytest.mark.parametrize(
    ("slight", "high", "verdicts"),
    [
        ((0.02, -0.03), (-0.1, -0.2), ["Supported", "Supported"]),
        ((-0.02, 0.03), (-0.1, -0.2), ["Not supported", "Not supported"]),
        ((0.002, -0.002), (0.1, -0.2), ["Undecided", "Undecided"]),  # half-width 0.0025
    ],
)
def test_a_claim_is_judged_by_whether_the_intervals_exclude_zero(tmp_path, slight, high, verdicts):
    family = family_of(tmp_path, shifted({0: (0, 0), 0.05: slight, 0.3: high}))
    assert [claim.verdict for claim in judged(family)] == verdicts


def test_one_seed_decides_nothing_and_is_said(tmp_path):
    family = family_of(tmp_path, shifted({0: (0, 0), 0.1: (0.1, -0.2)}, seeds=(0,)))
    found = judged(family)
    assert [claim.verdict for claim in found] == ["Undecided", "Undecided"]
    assert found[0].text.endswith("raises the ID accuracy of LP (+9.9 at 10\u00a0%; points; one seed).")


def test_much_noise_is_not_called_slight(tmp_path):
    family = family_of(tmp_path, shifted({0: (0, 0), 0.3: (0.1, -0.2)}))
    assert not any("slight" in claim.text for claim in judged(family))


def test_without_clean_pretraining_no_effect_of_noise_is_claimed(tmp_path):
    assert judged(family_of(tmp_path, shifted({0.05: (0, 0), 0.3: (0.1, -0.2)}))) == []


def test_methods_are_called_as_the_results_call_them(tmp_path):
    methods = {"lp": (0.5, 0.4), "nmtune": (0.65, 0.5)}
    (claim,) = judged(family_of(tmp_path, {(0.3, 0): methods}))
    assert "under noise, NMTune is better than LP on OOD" in claim.text
