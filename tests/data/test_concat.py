import numpy as np
import pytest

from fastpt import Dataset, Loader
from fastpt.data.concat import ConcatDataset
from fastpt.data.subset import Subset
from fastpt.errors import FastptError
from fastpt.noise import add_noise
from fastpt.testing import assert_resumes_everywhere
from tests.conftest import made_up, prepared


@pytest.fixture(scope="module")
def other(tmp_path_factory) -> Dataset:
    """10 pictures with captions in 2 shards, with a plan at 20 %."""
    listing = made_up(10, classes=0, captions=True, special=None)
    listing.keys[:] = [f"other/{i}" for i in range(10)]
    return prepared(tmp_path_factory.mktemp("other"), listing, [0.2], shard_samples=6)


@pytest.fixture
def union(captioned, other) -> ConcatDataset:
    """40 samples once and 10 three times."""
    return ConcatDataset([captioned.path, other.path], [1, 3])


def test_samples_lie_behind_one_another_and_repeats_behind_all(union, captioned, other):
    assert len(union) == 40 + 3 * 10
    for sample_id, (part, row) in {
        0: (captioned, 0),
        39: (captioned, 39),
        40: (other, 0),
        49: (other, 9),
        50: (other, 0),
        69: (other, 9),
    }.items():
        assert np.array_equal(union.jpegs(np.array([sample_id]))[0], part.jpeg(row))
        assert union.samples.xxh3[sample_id] == part.samples.xxh3[row]
        assert union.shard_name(union.samples.shard[sample_id]) == part.shard_name(part.samples.shard[row])


def test_many_pictures_of_all_parts_are_read_at_once_in_their_order(union, captioned, other):
    found = union.jpegs(np.array([69, 0, 45, 39, 50, 0]))
    expected = [other.jpeg(9), captioned.jpeg(0), other.jpeg(5), captioned.jpeg(39), other.jpeg(0), captioned.jpeg(0)]
    assert [jpeg.tobytes() for jpeg in found] == [jpeg.tobytes() for jpeg in expected]


def test_a_noise_plan_of_each_split_is_one_plan_of_all(union, captioned, other):
    plan, targets = union.noise_plan(0.2), union.targets(0.2)
    parts = captioned.targets(0.2, of="captions"), other.targets(0.2, of="captions") + 40
    assert np.array_equal(targets, np.concatenate([*parts, parts[1], parts[1]]))
    assert np.array_equal(plan.array, targets)
    clean = union.targets(None)
    assert plan.realised_rate == pytest.approx((targets != clean).mean())
    assert plan.provenance()["plan"] == "swap-0.2-seed0"
    assert union.noise_plan(None) is None


def test_plans_that_files_gave_have_the_rate_of_all(tmp_path):
    parts = [prepared(tmp_path / name, made_up(20)) for name in "ab"]
    for part, count in zip(parts, (8, 2), strict=True):
        (tmp_path / "told.npy").write_bytes(b"")
        np.save(tmp_path / "told.npy", np.where(np.arange(20) < count, (part.clean_labels + 1) % 4, part.clean_labels))
        add_noise(part, None, 0, kind="external", files={"file": tmp_path / "told.npy"})
    for order in (parts, parts[::-1]):
        plan = ConcatDataset([part.path for part in order], [1, 1]).noise_plan("external-told", "labels")
        assert plan.rate == plan.realised_rate == 0.25


def test_plans_of_one_rate_that_are_of_other_kinds_or_seeds_are_no_one_noise(tmp_path):
    for folder, noise in (("kind", {"seed": 0, "kind": "pairswap"}), ("seed", {"seed": 1})):
        parts = [prepared(tmp_path / folder / name, made_up(20, captions=True)) for name in "ab"]
        add_noise(parts[0], 0.2, 0, "captions")
        other = add_noise(parts[1], 0.2, of="captions", **noise)
        union = ConcatDataset([part.path for part in parts], [1, 1])
        with pytest.raises(FastptError, match=rf"are swap-0\.2-seed0 and {other.name}\. Choose one by name"):
            union.noise_plan(0.2)
        add_noise(parts[0], 0.2, of="captions", **noise)
        assert union.noise_plan(other.name).name == other.name


def test_a_split_without_the_plan_is_named(union):
    with pytest.raises(FastptError, match=r"has no noise plan 0\.3"):
        union.noise_plan(0.3)


def test_weights_are_part_of_the_identity(captioned, other):
    ids = {ConcatDataset([captioned.path, other.path], weights).samples_id for weights in ([1, 1], [1, 2], [2, 1])}
    assert len(ids) == 3


def test_an_epoch_holds_each_sample_as_often_as_it_weighs(union):
    with Loader(union, 7, 16, seed=0, threads=1) as loader:
        seen = np.concatenate([batch.sample_ids.numpy() for batch in loader])
    assert sorted(seen) == list(range(70))


def test_repeats_have_crops_of_their_own(union):
    with Loader(union, 70, 16, seed=0, threads=1) as loader:
        (batch,) = loader
    row = {int(sample_id): row for row, sample_id in enumerate(batch.sample_ids)}
    assert not np.array_equal(batch.images[row[41]], batch.images[row[51]])


def _loader(paths: list, rank: int, world_size: int) -> Loader:
    return Loader(
        ConcatDataset(paths, [1, 3]),
        10 // world_size,
        16,
        seed=0,
        order="quasi_random",
        rank=rank,
        world_size=world_size,
        threads=1,
        decoder="synthetic",
    )


def test_it_resumes_at_every_step(captioned, other):
    paths = [captioned.path, other.path]
    assert_resumes_everywhere(lambda rank, world_size: _loader(paths, rank, world_size), 2, (1, 2))


def test_a_weight_below_one_is_told(captioned, other):
    with pytest.raises(FastptError, match="is a whole number from 1"):
        ConcatDataset([captioned.path, other.path], [0, 1])


def test_a_subset_is_some_samples_in_their_order(union):
    some = Subset(union, np.array([45, 3, 69]))
    with Loader(some, 3, 16, seed=0, threads=1, crop="center", order="sequential", drop_last=False) as loader:
        (found,) = loader
    with Loader(union, 70, 16, seed=0, threads=1, crop="center", order="sequential", drop_last=False) as loader:
        (whole,) = loader
    assert np.array_equal(found.images, whole.images[[45, 3, 69]])


@pytest.fixture(scope="module")
def labelled_too(tmp_path_factory) -> Dataset:
    """8 other pictures of the same four classes, with a plan at 25 %."""
    listing = made_up(8)
    listing.keys[:] = [f"other/{i}" for i in range(8)]
    return prepared(tmp_path_factory.mktemp("too"), listing, [0.25])


def test_labels_of_splits_with_the_same_classes_are_one(labelled, labelled_too):
    union = ConcatDataset([labelled.path, labelled_too.path], [1, 2])
    assert union.classes == labelled.classes
    assert union.class_names == labelled.class_names
    clean, noisy = union.targets(None, "labels"), union.targets(0.25, "labels")
    assert clean.tolist() == [*labelled.clean_labels, *labelled_too.clean_labels, *labelled_too.clean_labels]
    assert (
        noisy.tolist() == np.concatenate([one.targets(0.25) for one in (labelled, labelled_too, labelled_too)]).tolist()
    )
    assert union.clean_labels.tolist() == clean.tolist()
    assert union.noise_plan(0.25, "labels").realised_rate == pytest.approx((clean != noisy).mean())


def test_labels_of_splits_with_other_classes_are_refused(labelled, tmp_path):
    three = prepared(tmp_path, made_up(9, classes=3))
    union = ConcatDataset([labelled.path, three.path], [1, 1])
    assert union.classes == []
    with pytest.raises(FastptError, match=r"differ in their classes \(4, 3\).* same classes in the same order"):
        union.targets(None, "labels")


def test_a_split_without_labels_is_named(labelled, other):
    with pytest.raises(FastptError, match=f"{other.path} has no labels"):
        ConcatDataset([labelled.path, other.path], [1, 1]).targets(None, "labels")
