import pytest

from fastpt.report.claims import answers, arms
from fastpt.report.paper import claims
from tests.report.test_effects import family_of, shifted


def judged(family):
    return [one for arm in arms(family) for one in answers(arm, "demo", claims(arm, "demo"))]


@pytest.mark.parametrize(
    ("slight", "high", "verdicts"),
    [
        ((0.02, -0.03), (-0.1, -0.2), ["supported", "supported"]),
        ((-0.02, 0.03), (-0.1, 0.2), ["contradicted", "contradicted"]),
        ((0.003, -0.002), (0.1, -0.005), ["supported, but small", "supported, but small"]),
        ((0.0001, 0), (0.1, 0.0001), ["negligible", "negligible"]),
    ],
)
def test_the_papers_claims_are_asked_of_undeclared_runs(tmp_path, slight, high, verdicts):
    family = family_of(tmp_path, shifted({0: (0, 0), 0.05: slight, 0.3: high}))
    assert [one.judged.verdict for one in judged(family)] == verdicts


def test_one_seed_decides_nothing(tmp_path):
    family = family_of(tmp_path, shifted({0: (0, 0), 0.1: (0.1, -0.2)}, seeds=(0,)))
    assert {one.judged.verdict for one in judged(family)} == {"not enough runs"}


def test_much_noise_is_not_called_slight(tmp_path):
    family = family_of(tmp_path, shifted({0: (0, 0), 0.3: (0.1, -0.2)}))
    assert [one.claim.name for one in judged(family)] == ["noise hurts out of domain"]


def test_without_clean_pretraining_no_effect_of_noise_is_claimed(tmp_path):
    assert judged(family_of(tmp_path, shifted({0.05: (0, 0), 0.3: (0.1, -0.2)}))) == []


def test_only_methods_that_were_measured_are_asked_about(tmp_path):
    methods = {"lp": (0.5, 0.4), "nmtune": (0.65, 0.5)}
    (claim,) = judged(family_of(tmp_path, {(0.3, 0): methods}))
    assert claim.question == "OOD, NMTune − LP: mean of all rates >\u00a00"
