import json
from dataclasses import replace

import numpy as np
import pytest

from fastpt.data.plan import ClassNoise, NoisePlan, check_rate, load_plan, plan_names, plans_of_rate, write_plan
from fastpt.errors import DamagedData, FastptError
from fastpt.files import file_sha256, write_sealed_json
from fastpt.registry import Origin

PLAN = NoisePlan(
    name="mine",
    of="labels",
    kind="made-up",
    rate=0.25,
    realised_rate=0.5,
    realised_per_class=None,
    largest_deviation=None,
    seed=None,
    source=None,
    source_sha256=None,
    package=None,
    array=np.array([1, 0, 2], np.int32),
)


def write(folder, **changes) -> NoisePlan:
    plan = replace(PLAN, **changes)
    write_plan(folder, "samples", plan)
    return plan


STATED = {
    "realised_per_class": [0.5, 1.0],
    "largest_deviation": ClassNoise("cat", 3, 2),
    "source": "theirs.npy",
    "source_sha256": "c0",
    "package": Origin("made-up", "theirs", "1.5"),
}


@pytest.mark.parametrize(
    "more", [{}, STATED, {"of": "pictures", "pictures": "../other"}, {"name": "made-up-0.25-seed3", "seed": 3}]
)
def test_a_plan_read_is_the_plan_written(tmp_path, more):
    written = write(tmp_path, **more)
    read = load_plan(tmp_path, written.name, "samples")
    assert read.array.tolist() == [1, 0, 2]
    assert read.array_sha256 == file_sha256(tmp_path / f"{written.name}.npy")
    assert read == replace(written, array=read.array, array_sha256=read.array_sha256)


def test_a_rate_stands_for_the_plans_that_say_it_whatever_they_are_called(tmp_path):
    write(tmp_path, name="one")
    write(tmp_path, name="two", rate=0.3)
    write(tmp_path, name="three", of="captions")
    assert plan_names(tmp_path) == ["one", "three", "two"]
    assert plans_of_rate(tmp_path, "labels", 0.25) == ["one"]
    assert plans_of_rate(tmp_path, "labels", 0.1 + 0.2) == ["two"]
    assert plans_of_rate(tmp_path, "labels", 0.5) == []


@pytest.mark.parametrize("file", ["mine.json", "mine.npy"])
def test_a_changed_plan_is_damaged_data(tmp_path, file):
    write(tmp_path)
    content = bytearray((tmp_path / file).read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / file).write_bytes(content)
    with pytest.raises(DamagedData, match=file):
        load_plan(tmp_path, "mine", "samples")


def test_a_plan_without_its_array_is_damaged_data(tmp_path):
    write(tmp_path)
    (tmp_path / "mine.npy").unlink()
    with pytest.raises(DamagedData, match=r"mine\.npy is missing"):
        load_plan(tmp_path, "mine", "samples")


@pytest.mark.parametrize("samples", [10**9, 10**13, 2**62])
def test_an_array_that_claims_more_than_its_file_holds_is_damaged_data(tmp_path, samples):
    write(tmp_path)
    array, plan = tmp_path / "mine.npy", tmp_path / "mine.json"
    with array.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "<i4", "fortran_order": False, "shape": (samples,)})
    values = json.loads(plan.read_text())
    del values["self_sha256"]
    write_sealed_json(plan, {**values, "array_sha256": file_sha256(array)})
    with pytest.raises(DamagedData, match="are not those of a plan"):
        load_plan(tmp_path, "mine", "samples")


def test_a_plan_of_another_format_is_refused_with_what_to_do(tmp_path):
    write(tmp_path)
    plan = json.loads((tmp_path / "mine.json").read_text())
    del plan["self_sha256"]
    write_sealed_json(tmp_path / "mine.json", {**plan, "format": 1})
    with pytest.raises(FastptError, match=r"format version 1; .* make it anew"):
        load_plan(tmp_path, "mine", "samples")


@pytest.mark.parametrize(("rate", "hint"), [(5, "write 0.05"), (-0.1, "share"), (1, "share"), (float("nan"), "share")])
def test_a_rate_that_is_no_share_is_refused(rate, hint):
    with pytest.raises(FastptError, match=hint):
        check_rate(rate)
