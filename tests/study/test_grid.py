"""The conditions that a study's grid crosses, and runs of it that do not go together."""

from dataclasses import replace
from pathlib import Path

import pytest

from fastpt import Dataset
from fastpt.errors import FastptError
from fastpt.noise import add_noise
from fastpt.runs import read_runs
from fastpt.study.claims import planned_arms
from fastpt.study.grid import StudyGrid
from fastpt.study.run import mixed_blocks, mixed_code
from tests.conftest import made_up, prepared
from tests.report.conftest import change_provenance, write_run
from tests.study.conftest import ENTRY, SLIGHT, study


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
