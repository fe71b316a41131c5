import csv
import json
from dataclasses import replace

import pytest

from fastpt.config import validate
from fastpt.errors import FastptError, RecipeError
from fastpt.files import write_sealed_json
from fastpt.report import verdicts
from fastpt.report.claims import Arm, Declaration, Progress, answers, arms, weights
from fastpt.report.compare import families
from fastpt.report.config import Claim
from fastpt.report.forest import forest_figure, overview_figure
from fastpt.report.page import write_report
from fastpt.report.power import Design
from fastpt.report.summary import findings
from fastpt.runs import read_run
from tests.report.conftest import change_provenance, tune_results, write_run, write_tune
from tests.report.test_effects import family_of, shifted
from tests.report.test_page import words

VALUES = {"name": "C1", "estimand": "mean - clean", "setting": "id", "method": "lp", "side": "> 0", "margin": 0.5}


def claim(**changes) -> Claim:
    return Claim(**{**VALUES, **changes})


def asked(family, *claims, suite="demo"):
    (arm,) = arms(family)
    return answers(arm, suite, claims)


def test_a_claim_is_about_its_own_rates_and_its_spread_about_all(tmp_path):
    family = family_of(tmp_path, shifted({0: (0, 0), 0.05: (0.01, 0), 0.1: (0.03, 0), 0.3: (-0.5, 0)}))
    (found,) = asked(family, claim(rates=[0.05, 0.1]))
    assert (found.estimate.value, found.estimate.df) == (pytest.approx(0.02), 8)
    assert found.judged.verdict == "supported"


def test_a_slope_is_what_the_line_says_of_the_highest_rate(tmp_path):
    family = family_of(tmp_path, shifted({0: (0, 0), 0.1: (0, -0.02), 0.2: (0, -0.04), 0.3: (0, -0.06)}))
    (found,) = asked(family, claim(estimand="slope", setting="ood", side="< 0"))
    assert found.estimate.value == pytest.approx(-0.06)


def test_a_difference_of_methods_is_taken_within_each_run(tmp_path):
    values = {
        (rate, seed): {"lp": [seed / 10] * 2, "mlp": [seed / 10 + gain + seed / 1000] * 2}
        for rate, gain in ((0, 0.01), (0.3, 0.05))
        for seed in (0, 1, 2)
    }
    family = family_of(tmp_path, values)
    under_noise, repair = asked(
        family, claim(estimand="mean", method="mlp", minus="lp"), claim(method="mlp", minus="lp")
    )
    assert (under_noise.estimate.value, repair.estimate.value) == (pytest.approx(0.051), pytest.approx(0.04))
    assert repair.estimate.se == pytest.approx(0.001 * (2 / 3) ** 0.5)


def test_all_claims_of_an_arm_are_one_family(tmp_path):
    family = family_of(tmp_path, shifted({0: (0, 0), 0.3: (0.0024, 0)}))  # p about 0.04
    assert asked(family, claim(margin=0.1))[0].judged.verdict == "supported"
    several = asked(family, claim(margin=0.1), claim(setting="ood", margin=0.001))
    assert several[0].judged.verdict == "undecided"
    assert several[0].runs_to_decide > 3


def test_the_runs_that_would_decide_are_those_of_a_noisy_condition(tmp_path):
    """Of two clean runs to six noisy ones, and three of a rate that the claim is not about."""
    values = shifted({0: (0, 0)}, seeds=(0, 1)) | shifted({0.1: (0, 0)}) | shifted({0.3: (0, 0)}, seeds=range(6))
    (found,) = asked(family_of(tmp_path, values), claim(rates=[0.3], margin=0.2))
    for n, enough in ((found.runs_to_decide, True), (found.runs_to_decide - 1, False)):
        power = Design(100 * found.sd, {0.3: 1, 0.0: -1}, {0.0: round(n / 3), 0.1: round(n / 2), 0.3: n}).power()
        assert (max(power.effect, power.margin) <= 0.2) is enough


def test_each_kind_of_noise_is_an_arm_with_the_clean_runs(tmp_path):
    plans = {
        kind: {"plan": f"{kind}-0.3-seed0", "kind": kind, "rate": 0.3, "realised_rate": 0.3, "array_sha256": "a5" * 32}
        for kind in ("symmetric", "pairflip")
    }
    runs = [write_run(tmp_path, seed=seed, tune=results(0.5 + seed / 1000)) for seed in (0, 1)]
    for (kind, plan), level in zip(plans.items(), (0.4, 0.6), strict=True):
        runs += [
            write_run(tmp_path, rate=0.3, seed=seed, plan=plan, name=f"{kind}{seed}", tune=results(level + seed / 1000))
            for seed in (0, 1)
        ]
    (family,) = families([read_run(run) for run in runs])
    found = {arm.kind: answers(arm, "demo", [claim()])[0].estimate for arm in arms(family)}
    assert {kind: round(one.value, 9) for kind, one in found.items()} == {"symmetric": -0.1, "pairflip": 0.1}
    assert {one.df for one in found.values()} == {3}


def results(value: float) -> dict:
    return tune_results({("id", "a", "a-test"): {"lp": [value]}})


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"rates": [0.2]}, "no run of 20\u00a0%"),
        ({"method": "probe"}, "no ID result of probe"),
        ({"minus": "mlp"}, "no ID result of mlp"),
    ],
)
def test_what_cannot_be_asked_says_why(tmp_path, changes, reason):
    (found,) = asked(family_of(tmp_path, shifted({0: (0, 0), 0.3: (0.1, 0)})), claim(**changes))
    assert (found.reason, found.estimate, found.judged.verdict) == (reason, None, "not enough runs")


def test_without_clean_runs_nothing_is_compared_with_them(tmp_path):
    (found,) = asked(family_of(tmp_path, shifted({0.1: (0, 0), 0.3: (0.1, 0)})), claim())
    assert found.reason == "no run of clean"


def test_equal_runs_are_not_enough(tmp_path):
    values = {(rate, seed): {"lp": [0.5 + rate, 0.4]} for rate in (0, 0.3) for seed in (0, 1, 2)}
    (found,) = asked(family_of(tmp_path, values), claim())
    assert (found.estimate.value, found.judged.verdict) == (pytest.approx(0.3), "not enough runs")


def test_a_value_that_is_no_number_leaves_its_run_out(tmp_path):
    values = shifted({0: (0, 0), 0.3: (0.1, 0)}, seeds=(0, 1, 2))
    values[0.3, 2] = {"lp": [float("nan"), 0.4]}
    (arm,) = arms(family_of(tmp_path, values))
    assert isinstance(arm, Arm)
    (found,) = answers(arm, "demo", [claim()])
    assert found.estimate is None or found.estimate.df == 3


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"estimand": "mean"}, "Name a second one in minus"),
        ({"minus": "lp"}, "lp minus itself is 0"),
        ({"rates": [0.1, 0.1]}, "should be different noise rates"),
        ({"rates": [0.0]}, "should be different noise rates"),
        ({"rates": []}, "rates"),
        ({"margin": 0.0}, "margin"),
        ({"side": ">= 0"}, "side"),
        ({"estimand": "median"}, "estimand"),
    ],
)
def test_a_claim_that_says_nothing_is_refused(tmp_path, changes, problem):
    with pytest.raises(RecipeError, match=problem):
        validate(Claim, {**VALUES, **changes}, tmp_path / "study.yaml")


def test_weights_need_runs_of_each_condition():
    with pytest.raises(FastptError, match="no run of noise"):
        weights(claim(), {0.0: 3})


@pytest.fixture
def runs(tmp_path):
    return [
        write_run(tmp_path, rate=rate, seed=seed, tune=results(0.5 + rate + seed / 1000))
        for rate in (0, 0.3)
        for seed in (0, 1)
    ]


def shown(tmp_path, runs, declaration) -> str:
    out = tmp_path / "page.html"
    write_report([read_run(run) for run in runs], out, files=True, declaration=declaration)
    return words(out.read_text())


def declared(*claims, done, planned) -> Declaration:
    progress = {("demo_resnet", None): Progress(2, 2), ("demo_resnet", "symmetric"): Progress(done - 2, planned - 2)}
    return Declaration(claims, "Declared before.", {**progress, ("another", "symmetric"): Progress(0, 9)})


def test_before_the_declared_runs_are_in_there_is_no_verdict_and_no_p(tmp_path, runs):
    seen = shown(tmp_path, runs, declared(claim(), done=4, planned=24))
    asked = "ID, LP: mean of all rates − clean > 0"
    assert f"Interim: C1. +30.00 ± 0.30 points (margin 0.5). Asked: {asked}." in seen
    assert f"C1 ({asked}) Interim +30.00 ± 0.30 ± 0.30 – 0.5 – – " in seen
    assert "C1 0.07 2 0.38 0.34 2 " in seen  # power goes by the spread alone
    assert "C1 – – – – 1 – " in seen
    assert "Interim: 4 of 24 pre-trainings" in seen
    assert "Supported" not in seen
    assert ",interim," in (tmp_path / "page_files" / "claims.csv").read_text()


def test_with_all_runs_the_claims_are_judged_as_declared(tmp_path, runs):
    seen = shown(tmp_path, runs, declared(claim(name="<b>mine</b>"), done=4, planned=4))
    assert "clean > 0. Declared before." in seen
    assert (
        "1 claim: 1 supported. Supported: <b>mine</b>. +30.00 ± 0.30 points (p < 0.001; within ± 0.5: p 1.000)." in seen
    )


def spoil(run, change) -> str:
    """Change a run's results; return its name."""
    path = run / "tune" / "demo.json"
    tune = {key: value for key, value in json.loads(path.read_text()).items() if key != "self_sha256"}
    change(tune)
    write_sealed_json(path, tune)
    return run.name


def lacks_a_row(tune) -> None:
    tune["rows"][0]["value"] = float("nan")


def test_a_run_whose_result_is_damaged_is_not_there_so_that_nothing_is_judged(tmp_path, runs):
    path = runs[3] / "tune" / "demo.json"
    path.write_text(path.read_text()[:-200])
    seen = shown(tmp_path, runs, declared(claim(), done=4, planned=4))
    assert "Interim: 3 of 4 pre-trainings of this arm are there with all their results" in seen
    assert (
        f"Without a result that other runs have, so that averages are over fewer runs or tests: {runs[3].name}." in seen
    )
    assert "Supported" not in seen


@pytest.mark.parametrize("file", ["provenance.json", "recipe.yaml"])
def test_a_run_that_cannot_say_what_it_is_of_is_not_there(tmp_path, runs, file):
    path = runs[3] / file
    path.write_text(path.read_text()[:-200])
    seen = shown(tmp_path, runs, declared(claim(), done=4, planned=4))
    assert "Interim: 3 of 4 pre-trainings" in seen
    assert "Supported" not in seen


def test_a_run_that_lacks_one_number_is_not_there_either(tmp_path):
    """Without it the average would be over the other test alone, of all runs."""
    values = {("id", name, name): {"lp": [0.5]} for name in ("a", "b")}
    runs = [
        write_run(
            tmp_path,
            rate=rate,
            seed=seed,
            tune=tune_results({key: {"lp": [0.5 + rate + seed / 1000]} for key in values}),
        )
        for rate in (0, 0.3)
        for seed in (0, 1)
    ]
    name = spoil(runs[0], lacks_a_row)
    seen = shown(tmp_path, runs, declared(claim(), done=4, planned=4))
    assert "Interim: 3 of 4" in seen
    assert f"fewer runs or tests: {name}." in seen


def test_a_number_that_no_claim_is_about_may_lack(tmp_path, runs):
    spoil(runs[0], lambda tune: tune["rows"].append({**tune["rows"][0], "method": "mlp"}))
    assert "1 supported." in shown(tmp_path, runs, declared(claim(), done=4, planned=4))


def test_results_of_a_second_file_take_no_claim_away(tmp_path, runs):
    """Whatever its name: it is merged with that of the tuning that the claim is about."""
    for run in runs:
        write_tune(run, tune_results({("id", "a", "a-test"): {"mlp": [0.5]}}), "a-file-added-by-hand")
    tuned = replace(declared(claim(), done=4, planned=4), tunings={"demo": None})
    assert "1 claim: 1 supported." in shown(tmp_path, runs, tuned)


def test_a_declared_claim_that_no_results_answer_is_told(tmp_path, runs):
    several = declared(claim(), claim(name="C2", tuning="code"), claim(name="C3", kind="swap"), done=4, planned=4)
    seen = shown(tmp_path, runs, replace(several, tunings={"demo": None, "demo-code": "code"}))
    assert "1 claim: 1 supported." in seen
    assert "No results here answer what was declared as C2 and C3." in seen
    assert "No results here" not in shown(tmp_path, runs, declared(claim(), done=4, planned=4))


def test_claims_of_all_tunings_are_one_family_in_whatever_tables_they_stand(tmp_path):
    """A difference of p 0.04 is supported alone, but not as one of two claims."""
    (family,) = [family_of(tmp_path, shifted({0: (0, 0), 0.3: (0.0024, 0)}))]
    runs = [run.path for one in family.conditions for run in one.runs]
    alone = declared(claim(margin=0.1), done=6, planned=6)
    both = declared(claim(margin=0.1), claim(name="C2", tuning="code"), done=6, planned=6)
    assert "Supported: C1." in shown(tmp_path, runs, replace(alone, tunings={"demo": None, "demo-code": "code"}))
    seen = shown(tmp_path, runs, replace(both, tunings={"demo": None, "demo-code": "code"}))
    assert "Undecided: C1." in seen
    assert "those of all 2 hold together" in seen
    assert "The family is all claims of the arm: 1 of another tuning counts with p = 1." in seen


@pytest.mark.parametrize(
    ("p", "told"),
    [(0.2, "0.200"), (0.0004, "<\u00a00.001"), (0.05, "0.050"), (0.0500231, "0.05002"), (0.0499991, "0.050")],
)
def test_a_p_value_is_never_rounded_over_the_level(p, told):
    assert verdicts._p(p) == told


def test_what_is_said_to_be_enough_is_rounded_up():
    assert [verdicts._up(one) for one in (0.005002, 0.005, 0.00999999)] == ["0.51", "0.50", "1.00"]


def test_undeclared_claims_are_called_so(tmp_path, runs):
    slight = [write_run(tmp_path, rate=0.05, seed=seed, tune=results(0.5 + seed / 1000)) for seed in (0, 1)]
    seen = shown(tmp_path, [*runs, *slight], None)
    assert "The paper's claims, which nobody declared before these runs." in seen


# --- over sets ------------------------------------------------------------------------------------------------------


def on_sets(tmp_path, shifts, seeds=(0, 1, 2, 3)):
    """LP on each (set, test) of `shifts`: 0.5, and the shift under noise; what an encoder is worth is on all sets."""
    runs = [
        write_run(
            tmp_path,
            rate=rate,
            seed=seed,
            tune=tune_results(
                {("ood", *where): {"lp": [0.5 + seed / 1000 + shift * (rate > 0)]} for where, shift in shifts.items()}
            ),
        )
        for rate in (0, 0.3)
        for seed in seeds
    ]
    (family,) = families([read_run(run) for run in runs])
    (arm,) = arms(family)
    return arm


SETS = {("photo", "art"): 0.01, ("photo", "cartoon"): 0.03, ("art", "photo"): 0.05, ("clothes", "men"): 0.07}


def test_each_test_has_its_own_effect(tmp_path):
    (found,) = answers(on_sets(tmp_path, SETS), "demo", [claim(setting="ood")])
    assert {name: round(one.value, 9) for name, one in found.sets.tests.items()} == {
        "photo → art": 0.01,
        "photo → cartoon": 0.03,
        "art → photo": 0.05,
        "clothes → men": 0.07,
    }


def test_tests_of_one_set_have_one_vote_and_sets_that_share_pictures_too(tmp_path):
    arm = on_sets(tmp_path, SETS)
    (alone,) = answers(arm, "demo", [claim(setting="ood")])
    (shared,) = answers(arm, "demo", [claim(setting="ood")], {"photo": "pacs", "art": "pacs"})
    assert (alone.sets.votes, shared.sets.votes) == (3, 2)
    assert alone.sets.pooled.mean.value == pytest.approx((0.02 + 0.05 + 0.07) / 3)
    assert shared.sets.pooled.mean.value == pytest.approx((0.03 + 0.07) / 2)
    assert alone.estimate == shared.estimate  # votes are for pooling over sets only


def test_what_an_encoder_does_alike_on_all_sets_does_not_average_out_over_sets(tmp_path):
    (found,) = answers(on_sets(tmp_path, dict.fromkeys(SETS, 0.05)), "demo", [claim(setting="ood")])
    assert found.sets.pooled.mean.se == pytest.approx(found.estimate.se)


def test_one_set_is_not_pooled(tmp_path):
    (found,) = answers(on_sets(tmp_path, {("photo", "art"): 0.01}), "demo", [claim(setting="ood")])
    assert (found.sets.votes, found.sets.pooled) == (1, None)


def test_a_claim_about_another_recipe_or_kind_is_none_of_the_arms_family(tmp_path):
    family = family_of(tmp_path, shifted({0: (0, 0), 0.3: (0.1, 0)}))
    (found,) = asked(family, claim(recipe="other"), claim(kind="asymmetric"), claim(kind="symmetric"))
    assert found.claim.kind == "symmetric"


def test_claims_are_drawn_by_set(tmp_path):
    arm = on_sets(tmp_path, SETS)
    figure = forest_figure(arm, answers(arm, "demo", [claim(setting="ood"), claim(setting="ood", method="mlp")]), "1")
    (panel,) = figure.panels.values()  # of the claim that has an answer
    for label in ("photo → art", "clothes → men", "average of the tests", "over 3 sets"):
        assert f">{label}<" in panel


def test_all_claims_are_drawn_together_with_their_verdicts(tmp_path):
    arm = on_sets(tmp_path, SETS)
    found = answers(arm, "demo", [claim(setting="ood", name="up"), claim(setting="ood", name="down", side="< 0")])
    (panel,) = overview_figure(arm, found, Progress(8, 8), "1").panels.values()
    assert [text for text in ("up", "down", "Supported", "Contradicted") if f">{text}<" in panel] == [
        "up",
        "down",
        "Supported",
        "Contradicted",
    ]
    assert ">Interim<" in "".join(overview_figure(arm, found, Progress(7, 8), "1").panels.values())


def test_a_claim_is_checked_with_a_term_for_the_seed(tmp_path):
    """A shared seed that moves all of its runs alike hides nothing from this check."""
    seeds = {0: -0.04, 1: 0.0, 2: 0.05}
    values = {
        (rate, seed): {"lp": [0.5 + worth + 0.02 * (rate > 0) + (seed == 1) * rate / 1000] * 2}
        for rate in (0, 0.1, 0.3)
        for seed, worth in seeds.items()
    }
    (found,) = asked(family_of(tmp_path, values), claim(margin=3))
    assert (found.judged.verdict, found.seeds_p < 0.001 < found.estimate.p()) == ("undecided", True)


def test_blocks_on_other_machines_are_seeds_of_their_own_in_that_check(tmp_path):
    """Machine and seed coincide there, so that a term for each could not be told apart."""
    values = shifted({0: (0, 0), 0.3: (0.1, 0)}, seeds=(0, 1, 2, 3))
    plain = asked(family_of(tmp_path / "one", values), claim())[0].seeds_p
    family = family_of(tmp_path / "two", values)
    for run in (run for one in family.conditions for run in one.runs if run.seed > 1):
        change_provenance(run.path, machine="another")
    (moved,) = families([read_run(run.path) for one in family.conditions for run in one.runs])
    assert asked(moved, claim())[0].seeds_p == pytest.approx(plain)


def test_without_seeds_in_common_there_is_no_term_for_them(tmp_path):
    values = shifted({0: (0, 0)}, seeds=(0, 1, 2)) | shifted({0.3: (0.1, 0)}, seeds=(3, 4, 5))
    (found,) = asked(family_of(tmp_path, values), claim())
    assert found.seeds_p is None


def test_the_rows_of_all_heads_are_there_in_per_cent(tmp_path, runs):
    shown(tmp_path, runs, None)
    rows = [*csv.DictReader((tmp_path / "page_files" / "rows.csv").open())]
    assert len(rows) == 4
    assert {name: rows[3][name] for name in ("noise", "rate", "seed", "set", "method", "head_seed")} == {
        "noise": "symmetric",
        "rate": "0.3",
        "seed": "1",
        "set": "a",
        "method": "lp",
        "head_seed": "0",
    }
    assert [float(row["percent"]) for row in rows] == pytest.approx([50, 50.1, 80, 80.1])


# --- the right part of a rate ---------------------------------------------------------------------------------------


@pytest.fixture
def with_right_part(tmp_path):
    """Runs of three seeds: clean at 0.5, 30 % at 0.4, its right part at 0.46."""
    runs = []
    for seed in range(3):
        for rate, level, keep in ((0, 0.5, "all"), (0.3, 0.4, "all"), (0.3, 0.46, "right")):
            tune = results(level + seed / 1000)
            run = write_run(tmp_path, rate=rate, seed=seed, tune=tune, name=f"{rate}-{keep}-s{seed}", keep=keep)
            runs.append(read_run(run))
    (family,) = families(runs)
    return family


def test_the_right_part_is_a_condition_of_the_same_family_and_no_arm_of_its_own(with_right_part):
    assert [one.label for one in with_right_part.conditions] == [
        "clean",
        "30\u00a0% symmetric",
        "30\u00a0% symmetric, right part",
    ]
    assert [arm.kind for arm in arms(with_right_part)] == ["symmetric"]


def test_wrong_labels_are_told_from_fewer_labels(with_right_part):
    wrong, noise = asked(with_right_part, claim(estimand="mean - right", side="< 0"), claim(side="< 0"))
    assert wrong.estimate.value == pytest.approx(-0.06)
    assert noise.estimate.value == pytest.approx(-0.1)
    assert wrong.question == "ID, LP: mean of all rates − the right part <\u00a00"
    assert wrong.estimate.df == 6


def test_what_is_measured_is_told_of_the_noise_and_not_of_its_right_part(with_right_part):
    (told,) = findings([with_right_part], "demo")
    assert "from clean to 30\u00a0% symmetric pre-training" in told
    assert "from 50.1 to 40.1" in told


def test_without_runs_on_the_right_part_nothing_is_compared_with_it(tmp_path):
    family = family_of(tmp_path, shifted({0: (0, 0), 0.3: (0.1, 0)}))
    (found,) = asked(family, claim(estimand="mean - right", rates=[0.3]))
    assert found.reason == "no run of the right part of 30\u00a0%"
