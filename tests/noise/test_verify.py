import json

import numpy as np
import pytest

from fastpt import Dataset
from fastpt.files import file_sha256, write_sealed_json
from fastpt.noise import add_noise
from fastpt.noise.store import realised_rates
from fastpt.noise.verify import verify_plans
from tests.conftest import made_up, prepared


@pytest.fixture
def split(tmp_path) -> Dataset:
    return prepared(tmp_path, made_up(12, captions=True), [0.5])


def rewritten(split: Dataset, name: str, array: np.ndarray | None = None, **changes) -> None:
    """Write a plan anew, checksums and all: what a faulty writer would have left."""
    path = split.path / "noise" / f"{name}.json"
    plan = json.loads(path.read_text())
    del plan["self_sha256"]
    if array is not None:
        np.save(path.with_suffix(".npy"), array)
        changes["array_sha256"] = file_sha256(path.with_suffix(".npy"))
    write_sealed_json(path, {**plan, **changes})


def flipped(split: Dataset, array: np.ndarray, rate: float) -> dict:
    """What a plan of labels states of `array`."""
    realised = realised_rates(split, "labels", array, rate)
    return {
        "array": array.astype(np.int32),
        "realised_rate": realised.rate,
        "realised_per_class": realised.per_class,
        "largest_deviation": dict(zip(("name", "samples", "wrong"), realised.largest_deviation or (), strict=True)),
    }


def test_plans_of_every_kind_pass(split, tmp_path):
    np.save(tmp_path / "ones.npy", np.ones((4, 4)))
    np.save(tmp_path / "zeros.npy", np.zeros(12, int))
    add_noise(split, 0.3, 1, kind="pairswap")
    add_noise(split, 0.3, 1, kind="asymmetric", files={"matrix": tmp_path / "ones.npy"})
    add_noise(split, None, 0, kind="external", files={"file": tmp_path / "zeros.npy"})
    assert len(split.noise_plans()) == 5
    assert verify_plans(split) == []


def test_other_realised_rates_than_stated_are_named(split):
    rewritten(split, "symmetric-0.5-seed0", realised_rate=0.4)
    (problem,) = verify_plans(split)
    assert problem == f"{split.path}: noise plan symmetric-0.5-seed0 states other realised rates than it has."


def test_an_array_that_is_not_the_noise_of_its_rate_and_seed_is_named(split):
    array = split.noise_plan("symmetric-0.5-seed0").array
    other = (array + (array != split.clean_labels)) % 4  # other wrong labels
    rewritten(split, "symmetric-0.5-seed0", **flipped(split, other, 0.5))
    (problem,) = verify_plans(split)
    assert "is not the symmetric noise of its rate and seed" in problem


def test_a_plan_whose_file_is_gone_is_held_against_what_its_kind_promises(split, tmp_path):
    np.save(tmp_path / "ones.npy", np.ones((4, 4)))
    plan = add_noise(split, 0.3, 1, kind="asymmetric", files={"matrix": tmp_path / "ones.npy"})
    rewritten(split, plan.name, **flipped(split, (split.clean_labels + 1) % 4, 0.3))
    (problem,) = verify_plans(split)
    assert "does not reach its rate" in problem


def test_an_array_of_another_shape_is_named(split):
    rewritten(split, "symmetric-0.5-seed0", np.zeros(11, np.int32))
    (problem,) = verify_plans(split)
    assert "is no array of 12 numbers from 0 to 3" in problem


def test_a_plan_of_a_package_that_is_gone_cannot_be_checked(split):
    package = {"name": "their-kind", "distribution": "theirs", "version": "1.5"}
    rewritten(split, "symmetric-0.5-seed0", kind="their-kind", package=package)
    for suffix in ("json", "npy"):
        (split.path / f"noise/symmetric-0.5-seed0.{suffix}").rename(split.path / f"noise/their-kind-0.5-seed0.{suffix}")
    (problem,) = verify_plans(split)
    assert "cannot be checked without its kind, of theirs 1.5: there is no kind of noise 'their-kind'" in problem


@pytest.mark.parametrize(
    "change",
    [
        {"kind": 3},
        {"rate": "0.5"},
        {"rate": None},
        {"realised_rate": {}, "largest_deviation": {"name": "class 0"}},
        {"package": "theirs"},
        {"array": np.array([None] * 12)},
    ],
    ids=str,
)
def test_a_plan_that_is_none_though_its_seals_are_whole_is_damaged(split, change):
    rewritten(split, "symmetric-0.5-seed0", **change)
    (problem,) = verify_plans(split)
    assert "symmetric-0.5-seed0.json" in problem
    assert "Name it so, or make it anew" in problem or "are not those of a plan" in problem


@pytest.mark.parametrize("content", [b"", b"rubbish"])
def test_a_file_that_is_no_array_though_its_seal_is_whole_is_damaged(split, content):
    path = split.path / "noise/symmetric-0.5-seed0.npy"
    path.write_bytes(content)
    rewritten(split, path.stem, array_sha256=file_sha256(path))
    (problem,) = verify_plans(split)
    assert "are not those of a plan" in problem


def test_a_plan_without_the_seed_that_its_kind_takes_is_named(split):
    rewritten(split, "symmetric-0.5-seed0", seed=None)
    (problem,) = verify_plans(split)
    assert problem.endswith("noise plan symmetric-0.5-seed0 states no seed.")
