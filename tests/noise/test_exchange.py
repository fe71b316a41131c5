import json
import shutil
from dataclasses import replace

import numpy as np
import pyarrow.parquet as pq
import pytest

from datasets_prep.images.policy import ImagePolicy
from fastpt import Dataset
from fastpt.errors import DamagedData, FastptError
from fastpt.files import file_sha256, sealed
from fastpt.noise import add_noise
from fastpt.noise.exchange import export_plan, import_plan
from fastpt.noise.verify import verify_plans
from tests.conftest import made_up, prepared
from tests.noise.conftest import flips

COUNT = 40
METADATA = b"fastpt.noise_plan"


@pytest.fixture(scope="module")
def split(tmp_path_factory) -> Dataset:
    return prepared(tmp_path_factory.mktemp("ours"), made_up(COUNT, captions=True), shard_samples=16)


@pytest.fixture(scope="module")
def other_preparation(tmp_path_factory) -> Dataset:
    smaller = ImagePolicy(max_side=40)
    folder, samples = tmp_path_factory.mktemp("theirs"), made_up(COUNT, captions=True)
    return prepared(folder, samples, format="wds", shard_samples=7, seed=3, policy=smaller)


@pytest.fixture
def theirs(other_preparation) -> Dataset:
    """The same samples in tars, smaller, in another order, without a plan."""
    shutil.rmtree(other_preparation.path / "noise", ignore_errors=True)
    return other_preparation


def exported(split, path, kind="symmetric", rate=0.3):
    plan = add_noise(split, rate, 0, kind=kind)
    export_plan(split, plan, path)
    return plan


@pytest.mark.parametrize("kind", ["symmetric", "swap", "pairswap"])
def test_a_plan_taken_over_by_a_split_of_another_format_size_and_order_is_exported_as_the_same_file(
    split, theirs, tmp_path, kind
):
    ours = exported(split, tmp_path / "plan.parquet", kind)
    taken = import_plan(theirs, tmp_path / "plan.parquet")
    assert taken.plan_sha256 == export_plan(theirs, taken.plan, tmp_path / "again.parquet")
    assert file_sha256(tmp_path / "again.parquet") == file_sha256(tmp_path / "plan.parquet")
    assert theirs.keys != split.keys
    assert (taken.plan.name, taken.plan.realised_rate) == (ours.name, ours.realised_rate)


@pytest.mark.parametrize("kind", ["symmetric", "swap"])
def test_a_plan_taken_over_is_the_one_that_is_made_here(split, theirs, tmp_path, kind):
    exported(split, tmp_path / "plan.parquet", kind)
    taken = import_plan(theirs, tmp_path / "plan.parquet").plan
    files = [theirs.path / "noise" / f"{taken.name}.{suffix}" for suffix in ("json", "npy")]
    sums = [file_sha256(file) for file in files]
    assert verify_plans(theirs) == []
    for file in files:
        file.unlink()
    add_noise(theirs, 0.3, 0, kind=kind)
    assert [file_sha256(file) for file in files] == sums


def test_a_plan_that_is_there_already_is_found(split, tmp_path):
    plan = exported(split, tmp_path / "plan.parquet")
    assert import_plan(split, tmp_path / "plan.parquet").plan.array_sha256 == plan.array_sha256


def test_another_plan_of_this_name_is_not_replaced(split, theirs, tmp_path):
    (tmp_path / "l.csv").write_text(f"key,label\n{split.keys[0]},class {(split.clean_labels[0] + 1) % 4}\n")
    plan = add_noise(split, None, 0, "labels", "external", {"file": tmp_path / "l.csv"})
    export_plan(split, plan, tmp_path / "plan.parquet")
    (tmp_path / "l.csv").write_text(f"key,label\n{split.keys[0]},class {(split.clean_labels[0] + 2) % 4}\n")
    add_noise(theirs, None, 0, "labels", "external", {"file": tmp_path / "l.csv"})
    with pytest.raises(FastptError, match=r"has another plan external-l than .*plan\.parquet"):
        import_plan(theirs, tmp_path / "plan.parquet")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        (
            {"keys": [f"p/{i}.jpg" for i in range(COUNT)]},
            r"keys differ: 40 are only in the file, such as 'pictures/0000\.jpg' and 40 are only in the split",
        ),
        ({"classes": ["a", "class 1", "class 2", "class 3"]}, "classes differ: 1 are only in the file, such as 'class"),
        (
            {"classes": [f"class {i}" for i in (1, 0, 2, 3)]},
            "classes have another order: number 0 is 'class 0' in the file and 'class 1' in the split",
        ),
        (
            {"labels": np.r_[3, np.arange(1, COUNT) % 4]},
            r"clean labels of 1 samples differ: 'pictures/0000\.jpg' has 'class 0' in the file and 'class 3' here",
        ),
    ],
    ids=["keys", "classes", "order of classes", "clean labels"],
)
def test_a_plan_for_other_samples_is_refused_with_what_differs_and_where(split, tmp_path, fields, said):
    exported(split, tmp_path / "plan.parquet")
    other = prepared(tmp_path / "other", replace(made_up(COUNT, captions=True), **fields))
    with pytest.raises(FastptError, match=said):
        import_plan(other, tmp_path / "plan.parquet")
    assert other.noise_plans() == []


def test_a_split_that_lacks_some_samples_is_refused(split, tmp_path):
    exported(split, tmp_path / "plan.parquet")
    fewer = prepared(tmp_path / "fewer", made_up(COUNT - 3, captions=True))
    with pytest.raises(FastptError, match=r"keys differ: 3 are only in the file, such as 'pictures/00"):
        import_plan(fewer, tmp_path / "plan.parquet")


def test_captions_that_differ_are_refused_with_both_texts(split, tmp_path):
    exported(split, tmp_path / "plan.parquet", "swap")
    texts = [f"picture {i} of class {i % 4}" for i in range(COUNT)]
    other = prepared(tmp_path / "other", replace(made_up(COUNT), captions=["a cat", *texts[1:]]))
    with pytest.raises(FastptError, match="has 'picture 0 of class 0' in the file and 'a cat' here"):
        import_plan(other, tmp_path / "plan.parquet")


def test_a_plan_of_targets_that_the_split_lacks_is_refused(split, tmp_path):
    exported(split, tmp_path / "labels.parquet")
    exported(split, tmp_path / "captions.parquet", "swap")
    with pytest.raises(FastptError, match="has only captions"):
        import_plan(prepared(tmp_path / "a", made_up(COUNT, 0, captions=True)), tmp_path / "labels.parquet")
    with pytest.raises(FastptError, match="has no captions"):
        import_plan(prepared(tmp_path / "b", made_up(COUNT)), tmp_path / "captions.parquet")


def test_any_byte_that_changed_is_noticed_or_changes_nothing(split, theirs, tmp_path):
    path = tmp_path / "plan.parquet"
    plan = exported(split, path)
    noticed = 0
    for _ in flips(path):
        try:
            taken = import_plan(theirs, path).plan
            assert dict(zip(theirs.keys, taken.array, strict=True)) == dict(zip(split.keys, plan.array, strict=True))
        except FastptError:
            noticed += 1
    assert noticed > 30


@pytest.mark.parametrize("size", [0, 3, 100, -100, -1])
def test_a_file_that_was_cut_short_is_damaged(split, theirs, tmp_path, size):
    path = tmp_path / "plan.parquet"
    exported(split, path)
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(DamagedData, match=r"plan\.parquet is damaged: it cannot be read"):
        import_plan(theirs, path)


def edited(path, column=None, **changes):
    """The file with another column, or with other things said of it under a good seal."""
    table = pq.read_table(path)
    if column:
        table = table.set_column(2, "noisy_label", [column])
    stated = json.loads(pq.read_metadata(path).metadata[METADATA])
    if changes:
        stated = sealed({key: value for key, value in (stated | changes).items() if key != "self_sha256"})
    pq.write_table(table.replace_schema_metadata({METADATA: json.dumps(stated)}), path)


def test_a_label_that_was_edited_is_noticed(split, theirs, tmp_path):
    exported(split, tmp_path / "plan.parquet")
    edited(tmp_path / "plan.parquet", ["class 0"] * COUNT)
    with pytest.raises(DamagedData, match="its column noisy_label is not the one that was written"):
        import_plan(theirs, tmp_path / "plan.parquet")


@pytest.mark.parametrize(
    "changes",
    [
        {"rate": 0.2},
        {"realised_rate": 0.5},
        {"name": "../../escaped"},
        {"name": "../x", "seed": None},
        {"kind": 3},
        {"of": "pixels"},
        {"columns": {}},
        {"columns": None},
        {"samples": 39},
        {"package": {"name": "x"}},
        {"source": 5},
        {"seed": "a"},
        {"classes": 7},
    ],
    ids=str,
)
def test_what_no_export_says_is_damage_though_its_seal_is_whole(split, theirs, tmp_path, changes):
    exported(split, tmp_path / "plan.parquet")
    edited(tmp_path / "plan.parquet", **changes)
    with pytest.raises(DamagedData, match=r"plan\.parquet is damaged"):
        import_plan(theirs, tmp_path / "plan.parquet")
    assert theirs.noise_plans() == []


def test_another_format_is_refused_with_what_to_do(split, theirs, tmp_path):
    exported(split, tmp_path / "plan.parquet")
    edited(tmp_path / "plan.parquet", format="9.9")
    with pytest.raises(FastptError, match=r"format version '9\.9'"):
        import_plan(theirs, tmp_path / "plan.parquet")


def test_any_other_parquet_is_told_where_it_may_be_taken(split, theirs, tmp_path):
    exported(split, tmp_path / "plan.parquet")
    pq.write_table(
        pq.read_table(tmp_path / "plan.parquet").select(["key"]).replace_schema_metadata(), tmp_path / "l.parquet"
    )
    with pytest.raises(FastptError, match=r"is no noise plan .* --kind external --file LIST"):
        import_plan(theirs, tmp_path / "l.parquet")


def test_a_file_that_is_not_there_is_no_damage(theirs, tmp_path):
    for path in (tmp_path / "nowhere.parquet", tmp_path):
        with pytest.raises(FastptError, match="is no file") as told:
            import_plan(theirs, path)
        assert not isinstance(told.value, DamagedData)
