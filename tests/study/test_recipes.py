"""The studies of the repository."""

from pathlib import Path

import pytest

from fastpt.study.claims import planned_arms
from fastpt.study.declaration import load_study

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "recipes").glob("study_*.yaml")))
def test_they_are_followed(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert load_study(Path("recipes", f"{name}.yaml")).size > 0


@pytest.mark.parametrize("name", ["labels", "captions"])
def test_those_that_decide_are_twelve_blocks_of_eight(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    study = load_study(Path(f"recipes/study_{name}.yaml"))
    (arm,) = planned_arms(study)
    assert arm.by_rate == {0: 24, 0.05: 12, 0.1: 12, 0.2: 12, 0.3: 12}
    assert arm.right == {0.1: 12, 0.3: 12}
    assert [one.name.split()[0] for one in study.claims] == [f"C{number}" for number in range(1, 8)]
    assert all(one.noise_seeds == "same" for one in study.pretrain if any(one.rates))
