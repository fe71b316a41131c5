"""What a study declares: held against its grid before anything runs, and kept from then on."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from fastpt import Dataset
from fastpt.errors import DamagedData, FastptError, RecipeError
from fastpt.noise import add_noise
from fastpt.report.apart import compared
from fastpt.runs import read_runs
from fastpt.study import preregistration
from fastpt.study.claims import planned_arms
from fastpt.study.declaration import load_study
from fastpt.study.grid import StudyGrid
from fastpt.study.run import mixed_blocks, mixed_code
from fastpt.study.sets import WHERE, left_out, without
from tests.conftest import made_up, prepared
from tests.report.conftest import change_provenance, tune_results, write_run, write_tune

RECIPE = {
    "task": "supervised",
    "model": {"name": "resnet10_half", "args": {"channels": [8, 8, 16, 16]}},
    "optim": {"name": "adamw", "lr": 0.01},
    "schedule": {"epochs": 1},
    "batch_size": 8,
    "data": {"train": "data/train", "val": "data/train", "size": 32},
}
ID = [{"name": "pictures", "train": "data/train", "test": "data/train"}]
SLIGHT = {
    "name": "C1",
    "estimand": "mean - clean",
    "setting": "id",
    "method": "lp",
    "rates": [0.1],
    "side": "> 0",
    "margin": 0.5,
}
ENTRY = {"recipe": "tiny.yaml", "rates": [0, 0.1, 0.3], "seeds": [0, 1], "suites": ["suite.yaml"]}


@pytest.fixture
def here(captioned, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(captioned.path, tmp_path / "data" / "train")
    Path("tiny.yaml").write_text(yaml.safe_dump(RECIPE))
    Path("other.yaml").write_text(yaml.safe_dump(RECIPE))
    Path("suite.yaml").write_text(yaml.safe_dump({"name": "suite", "id": ID}))


def study(pretrain=(ENTRY,), claims=(SLIGHT,), **more):
    values = {"name": "s", "pretrain": [*pretrain], "claims": [*claims], "tune": {"methods": ["mlp"]}, **more}
    Path("study.yaml").write_text(yaml.safe_dump(values))
    return load_study(Path("study.yaml"))


def register(**changes) -> list[dict]:
    grid = StudyGrid(study(**changes))
    preregistration.record(grid, Path("page.html"))
    return json.loads((grid.folder / preregistration.FILE).read_bytes())


def begin(*runs: str) -> None:
    for run in runs:
        folder = Path("studies/s/runs") / run
        folder.mkdir(parents=True)
        (folder / "provenance.json").write_text("{}")


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


# --- noise seeds ----------------------------------------------------------------------------------------------------


def cells(**changes) -> list[str]:
    return [cell.train.name.rsplit("-", 1)[0] for cell in StudyGrid(study([{**ENTRY, **changes}])).cells]


def test_a_run_may_have_the_noise_of_its_training_seed(here):
    assert cells(rates=[0, 0.1], noise_seeds="same") == [
        "tiny-clean-s0",
        "tiny-symmetric-0.1-seed0-s0",
        "tiny-clean-s1",
        "tiny-symmetric-0.1-seed1-s1",
    ]


def annotated(name="human.csv") -> None:
    """A plan of labels that annotators gave, of which ten are wrong."""
    train = Dataset("data/train")
    wrong = [train.classes[(label + (row < 10)) % 4] for row, label in enumerate(train.clean_labels)]
    Path(name).write_text(
        "key,label\n" + "".join(f"{key},{label}\n" for key, label in zip(train.keys, wrong, strict=True))
    )
    add_noise(train, None, 0, "labels", "external", {"file": Path(name)})


HUMAN = {"recipe": "tiny.yaml", "plans": ["external-human"], "seeds": [0, 1], "suites": ["suite.yaml"]}
CLEAN = {**ENTRY, "rates": [0]}


def test_a_plan_of_annotators_is_a_condition_of_its_own_rate(here):
    annotated()
    told = study(pretrain=[CLEAN, HUMAN], claims=[{**SLIGHT, "rates": None}])
    (arm,) = planned_arms(told)
    assert (arm.kind, arm.by_rate, told.size) == ("external", {0: 2, 0.25: 2}, 4)
    names = [cell.train.name.rpartition("-")[0] for cell in StudyGrid(told).cells]
    assert names == ["tiny-clean-s0", "tiny-external-human-s0", "tiny-clean-s1", "tiny-external-human-s1"]


def test_training_on_the_right_part_of_a_plan_of_annotators_is_a_condition(here):
    annotated()
    (arm,) = planned_arms(study(pretrain=[CLEAN, HUMAN, {**HUMAN, "keep": "right"}], claims=[]))
    assert arm.right == {0.25: 2}


def test_a_plan_that_is_made_from_a_file_is_made_by_the_study(here):
    Path("matrix.csv").write_text("0,1,0,0\n0,0,1,0\n0,0,0,1\n1,0,0,0\n")
    entry = {**ENTRY, "kind": "asymmetric", "rates": [0.25], "files": {"matrix": "matrix.csv"}}
    names = [cell.train.name for cell in StudyGrid(study(pretrain=[entry], claims=[])).cells]
    assert names[0].startswith("tiny-asymmetric-0.25-seed0-s0-")
    Path("matrix.csv").write_text("0,0,1,0\n0,0,1,0\n0,0,0,1\n1,0,0,0\n")
    with pytest.raises(FastptError, match=r"was made from another file than matrix\.csv"):
        _ = StudyGrid(study(pretrain=[entry], claims=[])).cells


def test_pictures_of_another_split_are_a_condition_that_the_study_makes(here, tmp_path):
    names = ["x", "y"]
    lent = replace(made_up(40, classes=2), classes=names, class_names=names)
    other = prepared(tmp_path / "other", lent)
    entry = {**ENTRY, "kind": "open-set", "rates": [0, 0.25], "files": {"from": str(other.path)}}
    told = study(pretrain=[entry], claims=[])
    assert planned_arms(told)[0].kind == "open-set"
    names = [cell.train.name.rpartition("-")[0] for cell in StudyGrid(told).cells]
    assert names[:2] == ["tiny-clean-s0", "tiny-open-set-0.25-seed0-s0"]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"rates": [0.1]}, "neither or both of rates and plans"),
        ({"plans": []}, "neither or both of rates and plans"),
        ({"kind": "external"}, "plans have a kind, a file and a seed of their own"),
        ({"plans": ["external-human"] * 2}, "plans .* names something twice"),
        ({"plans": ["external-humans"]}, "no noise plan 'external-humans' for labels .found: external-human"),
        ({"plans": [], "rates": [0.1], "kind": "instance", "files": {"prediction": "x"}}, "mean predictions"),
    ],
)
def test_plans_that_cannot_be_are_told(here, changes, problem):
    annotated()
    with pytest.raises(FastptError, match=problem):
        study(pretrain=[CLEAN, {**HUMAN, **changes}], claims=[])


def test_noise_seeds_are_crossed_with_training_seeds_but_for_clean(here):
    assert cells(rates=[0, 0.1], noise_seeds=[5, 6]) == [
        "tiny-clean-s0",
        "tiny-symmetric-0.1-seed5-s0",
        "tiny-symmetric-0.1-seed6-s0",
        "tiny-clean-s1",
        "tiny-symmetric-0.1-seed5-s1",
        "tiny-symmetric-0.1-seed6-s1",
    ]
    (arm,) = planned_arms(study([{**ENTRY, "noise_seeds": [5, 6]}]))
    assert arm.by_rate == {0: 2, 0.1: 4, 0.3: 4}


def test_a_study_that_stops_is_balanced_over_the_entries_of_a_recipe(here):
    grid = StudyGrid(study([ENTRY, {**ENTRY, "rates": [0], "seeds": [1000, 1001]}]))
    names = [cell.train.name.rsplit("-", 1)[0].removeprefix("tiny-") for cell in grid.cells]
    assert names == [
        *("clean-s0", "symmetric-0.1-seed0-s0", "symmetric-0.3-seed0-s0", "clean-s1000"),
        *("clean-s1", "symmetric-0.1-seed0-s1", "symmetric-0.3-seed0-s1", "clean-s1001"),
    ]


# --- the record -----------------------------------------------------------------------------------------------------


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


# --- sets -----------------------------------------------------------------------------------------------------------


def write_pilot(lp: float) -> None:
    """A pilot of one clean run, tuned: LP reaches `lp` on the suite's only test."""
    Path("pilot.yaml").write_text(
        yaml.safe_dump({"name": "pilot", "pretrain": [{**ENTRY, "rates": [0], "seeds": [0]}]})
    )
    grid = StudyGrid(load_study(Path("pilot.yaml")), look_only=True)
    tune = {**tune_results({("id", "pictures", "train"): {"lp": [lp]}}), "suite": "suite"}
    path = grid.cells[0].train.result.parent
    write_run(Path(), "tiny", tune=tune, name="pilot")
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


def test_a_block_on_two_kinds_of_machine_is_told(here):
    grid = StudyGrid(study())
    first, second = grid.blocks
    for block, machines in ((first, ("A", "A", "B")), (second, ("B", "B", "B"))):
        for cell, machine in zip(block, machines, strict=True):
            change_provenance(write_run(Path("studies/s"), "tiny", name=cell.train.name), machine=machine)
    runs = read_runs(sorted(Path("studies/s/runs").iterdir()))
    assert mixed_blocks(grid, runs) == ["block 1 was trained on 2 kinds of machine: A; B."]


def test_runs_of_several_commits_are_told(here):
    for name, commit in (("a", "1" * 40), ("b", "1" * 40)):
        change_provenance(write_run(Path("studies/s"), "tiny", name=name), git=commit)
    assert mixed_code(read_runs(sorted(Path("studies/s/runs").iterdir()))) == []
    change_provenance(Path("studies/s/runs/b"), git="2" * 40 + "-dirty")
    assert mixed_code(read_runs(sorted(Path("studies/s/runs").iterdir()))) == [
        "its runs were trained by 2 commits: 111111111111, 222222222222-dirty. Keep to one clone if they are to be one "
        "study."
    ]


def test_tunings_whose_results_would_be_one_file_are_refused(here):
    with pytest.raises(RecipeError, match=r"tune\.1 has the name of another"):
        study(tune=[{"methods": ["mlp"]}, {"methods": ["nmtune"]}])


@pytest.mark.parametrize(
    ("seeds", "told"),
    [([0], "the same draw of noise"), ([0, 1], "share a draw of noise, or a training seed"), ("same", "")],
)
def test_how_far_verdicts_carry_over_draws_of_noise_is_told(here, seeds, told):
    found = preregistration.draws(study([{**ENTRY, "noise_seeds": seeds}]))
    assert told in found
    assert bool(found) == bool(told)
