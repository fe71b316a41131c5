import numpy as np
import pytest

from fastpt.errors import FastptError
from fastpt.noise import add_noise
from fastpt.noise.formats import write_csv
from tests.conftest import made_up, prepared


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("noise"), made_up(40, captions=True), shard_samples=16)


def write(path, column, rows):
    path.write_text(f"key,{column}\n" + "".join(f"{key},{value}\n" for key, value in rows))
    return {"file": path}


def test_external_labels_come_by_folder_name_readable_name_or_number(split, tmp_path, caplog):
    keys = split.keys
    wanted = (split.clean_labels + 1) % 4
    rows = [(keys[0], f"class {wanted[0]}"), (keys[1], wanted[1]), (keys[2], f"class {split.clean_labels[2]}")]
    plan = add_noise(split, None, 0, kind="external", files=write(tmp_path / "people.csv", "label", rows))
    assert plan.name == "external-people"
    assert plan.array[:2].tolist() == wanted[:2].tolist()
    assert np.array_equal(plan.array[2:], split.clean_labels[2:])
    assert plan.realised_rate == plan.rate == 2 / 40
    assert "37 of 40 samples; they stay clean" in caplog.text
    assert np.array_equal(split.targets("external-people"), plan.array)


@pytest.mark.parametrize(
    ("column", "rows", "said"),
    [
        ("label", [("nobody", 0)], "1 keys that the split does not have, such as 'nobody'"),
        (
            "label",
            [("{0}", "zebra")],
            "label of '{0}' in row 1, 'zebra', is no class of the split. Known here: class 0, class 1",
        ),
        ("label", [("{0}", 1), ("{0}", 2)], "two things of '{0}' in row 1 and row 2"),
        ("wrong", [("{0}", 1)], "has no column 'label'; it has: key, wrong"),
    ],
)
def test_an_external_file_for_other_samples_is_refused(split, tmp_path, column, rows, said):
    rows = [(key.format(split.keys[0]), value) for key, value in rows]
    with pytest.raises(FastptError, match=said.format(split.keys[0])):
        add_noise(split, None, 0, kind="external", files=write(tmp_path / "bad.csv", column, rows))
    assert "external-bad" not in split.noise_plans()


def test_external_arrays_follow_the_order_of_the_split(split, tmp_path):
    given = np.where(np.arange(40) < 5, (split.clean_labels + 1) % 4, -1)
    np.save(tmp_path / "array.npy", given)
    plan = add_noise(split, None, 0, kind="external", files={"file": tmp_path / "array.npy"})
    assert plan.array.tolist() == np.where(given < 0, split.clean_labels, given).tolist()
    np.save(tmp_path / "short.npy", given[:-1])
    with pytest.raises(FastptError, match=r"integers \[40\]"):
        add_noise(split, None, 0, kind="external", files={"file": tmp_path / "short.npy"})


@pytest.mark.parametrize("kind", ["symmetric", "swap"])
def test_a_plan_written_as_csv_comes_back_as_the_same_targets(split, tmp_path, kind):
    plan = add_noise(split, 0.3, 0, kind=kind)
    file = tmp_path / f"{kind}.csv"
    write_csv(file, plan.of, split.table(["key"])["key"], plan.array, split.classes)
    back = add_noise(split, None, 0, of=plan.of, kind="external", files={"file": file})
    assert np.array_equal(back.array, plan.array)
    assert back.array.dtype == plan.array.dtype
    assert back.realised_rate == plan.realised_rate


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUM",
        b"\x93NUMPY\1\0v\0{'descr': '<i8', 'fortran_order': False, 'shape': (1000000000000,), }".ljust(200),
    ],
    ids=["empty", "cut off", "a header that claims 8 TB"],
)
def test_an_array_file_that_is_damaged_is_named(split, tmp_path, content):
    (tmp_path / "odd.npy").write_bytes(content)
    with pytest.raises(FastptError, match=r"odd\.npy is no array of numbers"):
        add_noise(split, None, 0, kind="external", files={"file": tmp_path / "odd.npy"})
