"""What a study declares is kept from then on, with the sets that its pilot leaves out."""

from pathlib import Path

import pytest
import yaml

from fastpt.errors import DamagedData, FastptError, RecipeError
from fastpt.runs import read_runs
from fastpt.study import preregistration
from fastpt.study.claims import results_name
from fastpt.study.declaration import load_study
from fastpt.study.grid import StudyGrid
from fastpt.study.sets import WHERE, left_out, without
from tests.report.conftest import tune_results, write_run, write_tune
from tests.study.conftest import ENTRY, ID, RECIPE, SLIGHT, register, study

# --- the record -----------------------------------------------------------------------------------------------------


def begin(*runs: str) -> None:
    for run in runs:
        folder = Path("studies/s/runs") / run
        folder.mkdir(parents=True)
        (folder / "provenance.json").write_text("{}")


def test_what_is_declared_stands_on_the_page_before_the_first_run(here):
    (entry,) = register()
    page = Path("page.html").read_text()
    assert entry["begun"] == 0
    assert f"before the first run (sha256 {entry['sha256'][:16]})" in page
    assert "C1: ID, LP: 10\u00a0% − clean &gt;\u00a00</bdi>; within ± 0.5 points" in page


def test_the_same_declaration_is_kept(here):
    before = register()
    begin("a")
    assert register() == before


def test_what_no_run_has_begun_under_is_replaced(here):
    register()
    (entry,) = register(claims=[{**SLIGHT, "margin": 1.0}])
    assert preregistration.history([entry]).startswith("Declared ")


def test_a_change_after_runs_have_begun_is_told(here):
    register()
    begin("a", "b")
    entries = register(claims=[{**SLIGHT, "margin": 1.0}])
    told = preregistration.history(entries)
    assert "before the first run (sha256 " in told
    assert "Changed " in told
    assert "after 2 runs had begun" in told
    assert told.endswith(": claims.C1.margin was 0.5, is 1.0.")


def test_more_runs_than_declared_are_a_change(here):
    register()
    begin("a")
    told = preregistration.history(register(pretrain=[{**ENTRY, "seeds": [0, 1, 2]}]))
    assert "pretrain.0.seeds was [0, 1], is [0, 1, 2]" in told


def test_seeds_in_a_row_are_told_by_their_ends(here):
    register(pretrain=[{**ENTRY, "seeds": [*range(12)]}])
    begin("a")
    told = preregistration.history(register(pretrain=[{**ENTRY, "seeds": [*range(16), 20]}]))
    assert "pretrain.0.seeds was [0 to 11], is [0 to 15, 20]" in told


def test_a_claim_that_came_after_the_runs_is_told(here):
    register(claims=[])
    begin("a")
    told = preregistration.history(register())
    assert "claims.C1.margin was not there, is 0.5" in told


def test_what_came_or_went_leaves_what_stands_behind_it_as_it_was(here):
    def left_out(*sets: str) -> list[dict[str, str]]:
        return [{**dict(zip(WHERE, ("tiny", "s", "ood", one, "test"), strict=True)), "reason": "near"} for one in sets]

    then = {"claims": [SLIGHT], "tune": [{"name": None, "num_seeds": 3}], "left_out": left_out("art", "pets")}
    now = {
        "claims": [{**SLIGHT, "name": "C0"}, SLIGHT],
        "tune": [{"name": "reference", "num_seeds": 3}, {"name": None, "num_seeds": 5}],
        "left_out": left_out("pets"),
    }
    entries = [{"declared": "then", "begun": 0, "sha256": "0", "study": then}]
    entries.append({"declared": "now", "begun": 1, "sha256": "1", "study": now})
    changes = preregistration.history(entries).rpartition("(sha256 1): ")[2].removesuffix(".").split("; ")
    assert {one for one in changes if not one.startswith("claims.C0.")} == {
        "tune.unnamed.num_seeds was 3, is 5",
        "tune.reference.num_seeds was not there, is 3",
        "left_out.tiny/s/ood/art/test.reason was near, is not there",
    }


def test_another_recipe_or_suite_of_the_same_name_is_a_change(here):
    register()
    begin("a")
    Path("tiny.yaml").write_text(yaml.safe_dump({**RECIPE, "optim": {"name": "adamw", "lr": 0.02}}))
    Path("suite.yaml").write_text(yaml.safe_dump({"name": "suite", "id": [{**ID[0], "metric": "mean_per_class"}]}))
    changes = preregistration.history(register()).rpartition("): ")[2].split("; ")
    assert changes == [
        "recipes.tiny.yaml.optim.lr was 0.01, is 0.02",
        "suites.suite.yaml.id.pictures.metric was not there, is mean_per_class.",
    ]


def test_a_key_that_a_recipe_does_not_name_is_no_part_of_what_is_declared(here):
    (entry,) = register()
    recipe = entry["study"]["recipes"]["tiny.yaml"]
    assert recipe["optim"]["lr"] == 0.01
    assert "log_every" not in recipe
    split = {"split": "data/train"}
    assert entry["study"]["suites"]["suite.yaml"]["id"] == [{"name": "pictures", "train": split, "test": split}]


def test_claims_first_declared_after_runs_had_begun_are_told(here):
    begin("a")
    assert "after 1 run had begun" in preregistration.history(register())


def test_a_declaration_taken_back_before_any_run_began_under_it_leaves_no_trace(here):
    before = register()
    begin("a")
    register(claims=[{**SLIGHT, "margin": 1.0}])
    assert register() == before


def test_a_record_that_was_edited_is_refused(here):
    register()
    path = Path("studies/s") / preregistration.FILE
    path.write_text(path.read_text().replace('"margin": 0.5', '"margin": 5.0'))
    with pytest.raises(DamagedData, match="is not as it was written"):
        register()


def test_an_arm_is_interim_until_all_of_its_runs_are_tuned(here):
    grid = StudyGrid(study())
    preregistration.record(grid, Path("page.html"))
    found = preregistration.declaration(grid)
    assert {arm: (one.done, one.planned) for arm, one in found.progress.items()} == {
        ("tiny", None): (0, 2),
        ("tiny", "symmetric"): (0, 4),
    }


def test_the_sum_is_of_all_that_is_declared(here):
    sums = {
        preregistration.sha256(preregistration.declared(study(**changes)))
        for changes in ({}, {"claims": []}, {"tune": {"methods": ["mlp"], "num_seeds": 2}}, {"name": "other"})
    }
    assert len(sums) == 3  # the name of a study is none of its results


@pytest.mark.parametrize(
    ("seeds", "told"),
    [([0], "the same draw of noise"), ([0, 1], "share a draw of noise, or a training seed"), ("same", "")],
)
def test_how_far_verdicts_carry_over_draws_of_noise_is_told(here, seeds, told):
    found = preregistration.draws(study([{**ENTRY, "noise_seeds": seeds}]))
    assert told in found
    assert bool(found) == bool(told)


# --- sets -----------------------------------------------------------------------------------------------------------


def write_pilot(lp: float, named: str | None = None, **more: float) -> None:
    """A pilot of one clean run, tuned: LP reaches `lp` on the suite's only test.

    Its tuning may have a name; `more` is what LP reaches in files of results that are called so.
    """
    pilot = {"name": "pilot", "pretrain": [{**ENTRY, "rates": [0], "seeds": [0]}], "tune": {"name": named}}
    Path("pilot.yaml").write_text(yaml.safe_dump(pilot))
    grid = StudyGrid(load_study(Path("pilot.yaml")), look_only=True)
    path = grid.cells[0].train.result.parent
    run = write_run(Path(), "tiny", name="pilot")
    for tuning, value in {named: lp, **more}.items():
        tune = {**tune_results({("id", "pictures", "train"): {"lp": [value]}}), "suite": "suite"}
        write_tune(run, tune, results_name("suite", tuning))
    path.parent.mkdir(parents=True)
    Path("runs/pilot").rename(path)


def test_a_test_near_chance_in_the_pilot_is_left_out_with_the_reason(here, captioned):
    classes = len(captioned.classes)
    write_pilot(1 / classes + 0.09)
    found = left_out(study(pilot="pilot.yaml", near_chance=10))
    assert [(one["recipe"], one["domain"], one["set"], one["test"]) for one in found] == [
        ("tiny", "id", "pictures", "train")
    ]
    assert f"chance {100 / classes:.1f}\u00a0%, asked for 10 points more" in found[0]["reason"]
    assert left_out(study(pilot="pilot.yaml", near_chance=8)) == []


@pytest.mark.parametrize("named", [None, "mine"])
@pytest.mark.parametrize(("lp", "of_another", "tests"), [(0.9, 0.01, 0), (0.01, 0.9, 1)])
def test_results_of_another_tuning_decide_nothing_about_chance(here, named, lp, of_another, tests):
    """That without a name does, or the first one."""
    write_pilot(lp, named, code=of_another)
    assert len(left_out(study(pilot="pilot.yaml", near_chance=10))) == tests


def test_what_is_left_out_is_no_result_and_is_told_as_missing(here, tmp_path):
    write_pilot(0.01)
    tests = left_out(study(pilot="pilot.yaml", near_chance=10))
    tune = tune_results({("id", "pictures", "train"): {"lp": [0.5]}, ("id", "b", "b"): {"lp": [0.6]}})
    runs = [write_run(tmp_path, name, tune={**tune, "suite": "suite"}) for name in ("tiny", "other")]
    mine, other = (run.tunes[0] for run in without(read_runs(runs), tests))
    assert [row["set"] for row in mine["rows"]] == ["b"]
    assert {one["set"] for one in mine["spectra"]} == {"b"}
    assert mine["missing"][0]["set"] == "pictures → train"
    assert [row["set"] for row in other["rows"]] == ["pictures", "b"]  # the rule is asked of each recipe


def test_what_is_left_out_is_declared(here):
    write_pilot(0.01)
    (entry,) = register(pilot="pilot.yaml", near_chance=10)
    assert entry["study"]["left_out"][0]["set"] == "pictures"


def test_a_pilot_of_which_clean_runs_are_left_is_told_before_the_study_runs(here):
    write_pilot(0.5)
    pilot = yaml.safe_load(Path("pilot.yaml").read_text())
    (clean,) = (one for one in pilot["pretrain"] if 0 in one["rates"])
    clean["seeds"] = [*clean["seeds"], 77]
    Path("pilot.yaml").write_text(yaml.safe_dump(pilot))
    said = r"of the pilot's 2 clean runs of tiny, 1 have results of lp on id pictures, train .* to its end"
    with pytest.raises(FastptError, match=said):
        left_out(study(pilot="pilot.yaml", near_chance=10))


def test_a_pilot_that_has_not_run_is_told_before_the_study_runs(here):
    Path("pilot.yaml").write_text(yaml.safe_dump({"name": "pilot", "pretrain": [ENTRY]}))
    with pytest.raises(FastptError, match=r"no run of the pilot pilot.yaml has begun. Do it first: `fastpt study"):
        register(pilot="pilot.yaml", near_chance=10)


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ({"near_chance": 10}, "near_chance goes by the clean runs of a pilot"),
        ({"pilot": "none.yaml"}, r"pilot: there is no file none\.yaml"),
        ({"pilot": "same.yaml"}, r"pilot: same\.yaml has the name s, too"),
        ({"votes": {"a": ["picures"]}}, "votes: no suite has a set 'picures'; did you mean pictures"),
        ({"votes": {"a": ["pictures"], "b": ["pictures"]}}, "votes: set pictures has two"),
    ],
)
def test_pilots_and_votes_that_cannot_be_are_told(here, more, problem):
    Path("same.yaml").write_text(yaml.safe_dump({"name": "s", "pretrain": [ENTRY]}))
    with pytest.raises(RecipeError, match=problem):
        study(**more)


def test_votes_of_the_file_are_those_of_the_page(here):
    grid = StudyGrid(study(votes={"all": ["pictures"]}))
    preregistration.record(grid, Path("page.html"))
    assert preregistration.declaration(grid).votes == {"pictures": "all"}
