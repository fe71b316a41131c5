"""What a study claims, held against its grid before anything runs."""

from pathlib import Path

import pytest

from fastpt.errors import RecipeError
from fastpt.report.apart import compared
from fastpt.runs import read_runs
from fastpt.study import preregistration
from fastpt.study.claims import planned_arms
from fastpt.study.grid import StudyGrid
from tests.report.conftest import tune_results, write_run, write_tune
from tests.study.conftest import ENTRY, SLIGHT, register, study

# --- claims and grid ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"method": "probe"}, r"method 'probe' is not among tune.methods; known here: lp, mlp"),
        ({"method": "mpl"}, r"did you mean mlp"),
        ({"minus": "nmtune"}, r"minus 'nmtune' is not among tune.methods"),
        ({"rates": [0.1, 0.2]}, "tiny, symmetric: no run of 20\u00a0% is planned"),
        ({"setting": "ood"}, "tiny, symmetric: its suites have no ood set"),
        ({"recipe": "tinny"}, r"the grid has no arm of recipe 'tinny'. Its arms: tiny, symmetric\."),
        ({"kind": "asymmetric"}, "no arm of kind 'asymmetric'"),
        ({"margin": 0}, "margin is 0"),
        ({"margn": 1}, "unknown key claims.0.margn; did you mean claims.0.margin"),
    ],
)
def test_what_a_claim_asks_and_the_grid_lacks_is_told_before_anything_runs(here, changes, problem):
    with pytest.raises(RecipeError, match=problem):
        study(claims=[{**SLIGHT, **changes}])


def test_a_claim_against_clean_needs_clean_runs(here):
    with pytest.raises(RecipeError, match="no run of clean is planned"):
        study([{**ENTRY, "rates": [0.1, 0.3]}])


def test_clean_runs_may_be_an_entry_of_their_own(here):
    more = {**ENTRY, "rates": [0], "seeds": [1000, 1001]}
    (arm,) = planned_arms(study([{**ENTRY, "rates": [0.1, 0.3]}, more]))
    assert arm.by_rate == {0: 2, 0.1: 2, 0.3: 2}


def test_one_run_a_condition_can_judge_nothing(here):
    with pytest.raises(RecipeError, match="one run a condition shows no spread"):
        study([{**ENTRY, "seeds": [0]}])


def test_two_claims_of_one_name_are_told(here):
    with pytest.raises(RecipeError, match=r"claims\.1 \(C1\): another"):
        study(claims=[SLIGHT, SLIGHT])


def test_a_claim_is_asked_of_every_arm_unless_it_names_one(here):
    entries = [ENTRY, {**ENTRY, "recipe": "other.yaml", "rates": [0, 0.3]}]
    with pytest.raises(RecipeError, match="other, symmetric: no run of 10"):
        study(entries)
    assert len(planned_arms(study(entries, [{**SLIGHT, "recipe": "tiny"}]))) == 2


# --- the right part of a rate ---------------------------------------------------------------------------------------

RIGHT = {**ENTRY, "rates": [0.3], "keep": "right"}
WRONG = {**SLIGHT, "name": "C3", "estimand": "mean - right", "rates": [0.3], "side": "< 0"}


def test_the_right_part_is_trained_on_in_steps_of_its_own(here):
    grid = StudyGrid(study([ENTRY, RIGHT], [SLIGHT, WRONG]))
    names = [cell.train.name.rsplit("-", 1)[0] for cell in grid.cells]
    assert names.count("tiny-symmetric-0.3-seed0-right-s0") == 1
    (cell,) = [cell for cell in grid.cells if "right-s1" in cell.train.name]
    assert "data.keep=right" in cell.train.argv
    assert cell.kind == "symmetric, right part"


def test_a_claim_about_the_right_part_counts_its_runs(here):
    (arm,) = planned_arms(study([ENTRY, RIGHT], [WRONG]))
    assert (arm.by_rate, arm.right) == ({0: 2, 0.1: 2, 0.3: 2}, {0.3: 2})


def test_the_declaration_tells_of_the_right_part(here):
    register(pretrain=[ENTRY, RIGHT], claims=[WRONG])
    assert "8 pre-trainings: 2 clean, 2 10\u00a0%, 2 30\u00a0% and 2 on the right part of 30\u00a0%" in Path(
        "page.html"
    ).read_text(encoding="utf-8")


@pytest.mark.parametrize(("rates", "missing"), [([0.1], "10"), (None, "10\u00a0% and the right part of 30")])
def test_a_claim_about_a_right_part_that_nobody_trains_on_is_told(here, rates, missing):
    entries = [ENTRY, RIGHT] if rates else [ENTRY]
    with pytest.raises(RecipeError, match=f"no run of the right part of {missing}"):
        study(entries, [{**WRONG, "rates": rates}])


def test_clean_pre_training_has_no_right_part(here):
    with pytest.raises(RecipeError, match="keep right needs noise"):
        study([{**RIGHT, "rates": [0, 0.3]}])


# --- several tunings ------------------------------------------------------------------------------------------------

TUNINGS = [{"methods": ["mlp"]}, {"name": "code", "methods": ["nmtune"], "options": ["--variant", "reference-code"]}]


def test_each_run_is_tuned_in_every_way_with_results_of_their_own(here):
    cell = StudyGrid(study(tune=TUNINGS)).cells[0]
    assert [step.result.name for step in cell.tunings] == ["suite.json", "suite-code.json"]
    assert cell.tunings[1].argv[-4:] == ("--method", "nmtune", "--variant", "reference-code")
    assert cell.tunings[0].key == StudyGrid(study()).cells[0].tunings[0].key  # another tuning changes nothing of it


def test_a_claim_is_asked_of_the_tuning_that_it_names(here):
    code = {**SLIGHT, "name": "C2", "method": "nmtune", "tuning": "code"}
    told = preregistration.declaration(StudyGrid(study(tune=TUNINGS, claims=[SLIGHT, code])))
    assert told.tunings == {"suite": None, "suite-code": "code"}
    results = tune_results({("id", "pictures", "train"): {"lp": [0.5], "mlp": [0.5], "nmtune": [0.5]}})
    path = write_run(Path("code"), "tiny")
    write_tune(path, {**results, "suite": "suite"}, "suite-code")
    [run] = compared(read_runs([path])).runs
    assert [one.name for one in told.asked_of([run], "suite")] == ["C2"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"method": "nmtune"}, "method 'nmtune' is not among tune.methods"),
        ({"tuning": "cod"}, r"no tuning is called 'cod'. Its tunings: \(without a name\) and code"),
    ],
)
def test_a_claim_about_what_its_tuning_lacks_is_told(here, changes, problem):
    with pytest.raises(RecipeError, match=problem):
        study(tune=TUNINGS, claims=[{**SLIGHT, **changes}])


def test_tunings_whose_results_would_be_one_file_are_refused(here):
    with pytest.raises(RecipeError, match=r"tune\.1 has the name of another"):
        study(tune=[{"methods": ["mlp"]}, {"methods": ["nmtune"]}])
