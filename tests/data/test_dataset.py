import json
from dataclasses import replace

import numpy as np
import pytest

from fastpt import Dataset
from fastpt.errors import FastptError
from fastpt.noise import add_noise
from tests.conftest import made_up, prepared, stored


def test_stored_pictures_labels_and_keys_are_those_of_the_source(labelled):
    assert len(labelled) == 40
    for i, key in enumerate(labelled.keys):
        row = int(key[9:13])
        assert labelled.jpeg(i).tobytes() == stored(row)
        assert labelled.clean_labels[i] == row % 4
        assert (labelled.samples.width[i], labelled.samples.height[i]) == (80, 64)


@pytest.mark.parametrize("compiled", [True, False])
def test_many_pictures_read_at_once_are_those_read_one_by_one(labelled, monkeypatch, compiled):
    if not compiled:
        monkeypatch.setattr("fastpt.data.pictures.library", lambda: None)
    for ids in ([39, 0, 17, 17, 3], []):
        found = labelled.jpegs(np.array(ids, np.int64))
        assert [jpeg.tobytes() for jpeg in found] == [labelled.jpeg(i).tobytes() for i in ids]


def test_targets_by_rate_and_by_name_are_the_same_noise(labelled):
    noisy = labelled.targets(0.25)
    assert noisy.dtype == np.int64
    assert (noisy != labelled.targets()).sum() == 10  # of 40 in 4 classes
    assert np.array_equal(noisy, labelled.targets("symmetric-0.25-seed0"))
    assert np.array_equal(labelled.targets(0), labelled.clean_labels)


def test_caption_targets_are_rows_whose_caption_is_shown(captioned):
    rows = captioned.targets(0.2, of="captions")
    wrong = np.flatnonzero(rows != np.arange(40))
    assert len(wrong) == 8
    shown, own = captioned.captions(rows[wrong]), captioned.captions(wrong)
    assert all(a != b for a, b in zip(shown, own, strict=True))


def test_labels_and_captions_have_plans_of_their_own(captioned):
    assert captioned.noise_plan(0.2).kind == "symmetric"
    assert captioned.noise_plan(0.2, of="captions").kind == "swap"
    with pytest.raises(FastptError, match="changes captions, but labels"):
        captioned.targets("swap-0.2-seed0", of="labels")


def test_a_rate_without_a_plan_names_what_is_there_and_what_to_do(labelled):
    with pytest.raises(FastptError, match=r"no noise plan 0\.1 .*symmetric-0\.25-seed0.*fastpt noise"):
        labelled.targets(0.1)
    with pytest.raises(FastptError, match=r"no noise plan 'mine' .*fastpt noise .* --rate RATE"):
        labelled.targets("mine")


def test_two_plans_of_one_rate_must_be_named(tmp_path):
    dataset = prepared(tmp_path, made_up(20))
    add_noise(dataset, 0.5, seed=0)
    add_noise(dataset, 0.5, seed=1)
    with pytest.raises(FastptError, match="several noise plans"):
        dataset.targets(0.5)
    assert not np.array_equal(dataset.targets("symmetric-0.5-seed0"), dataset.targets("symmetric-0.5-seed1"))


def test_the_plan_says_what_the_array_holds(labelled):
    plan = labelled.noise_plan(0.25)
    clean = labelled.clean_labels
    assert plan.realised_rate == (plan.array != clean).mean()
    assert plan.realised_per_class == [(plan.array != clean)[clean == c].mean() for c in range(4)]
    document = json.loads((labelled.path / "noise/symmetric-0.25-seed0.json").read_text())
    assert set(document) == {
        "format",
        "of",
        "kind",
        "rate",
        "realised_rate",
        "realised_per_class",
        "largest_deviation",
        "seed",
        "samples_id",
        "array_sha256",
        "self_sha256",
    }


def test_a_plan_made_for_other_samples_is_refused(tmp_path):
    one = prepared(tmp_path / "one", made_up(20), [0.5])
    other = prepared(tmp_path / "other", made_up(24))
    (one.path / "noise").rename(other.path / "noise")
    with pytest.raises(FastptError, match="made for other samples"):
        other.targets(0.5)


def test_what_is_no_split_is_told_apart(tmp_path, labelled):
    with pytest.raises(FastptError, match="fastpt prep"):
        Dataset(tmp_path / "nothing")
    with pytest.raises(FastptError, match="is a folder of splits"):
        Dataset(labelled.path.parent)
    (tmp_path / "empty").mkdir()
    with pytest.raises(FastptError, match="no prepared split"):
        Dataset(tmp_path / "empty")
    with pytest.raises(FastptError, match=r"l\\udce9' is not UTF-8"):
        Dataset(tmp_path / "l\udce9")


@pytest.mark.parametrize("damage", ["truncate", "remove"])
def test_a_shard_that_is_not_as_written_is_named(tmp_path, damage):
    dataset = prepared(tmp_path, made_up(8))
    shard = dataset.path / "images" / "train-00000.beton"
    shard.write_bytes(shard.read_bytes()[:-1]) if damage == "truncate" else shard.unlink()
    with pytest.raises(FastptError, match=r"train-00000\.beton (has|is missing)"):
        dataset.jpeg(0)


def test_a_damaged_samples_table_is_one_clear_error(tmp_path):
    dataset = prepared(tmp_path, made_up(8))
    (dataset.path / "samples.parquet").write_bytes(b"PAR1")
    with pytest.raises(FastptError, match=r"samples\.parquet cannot be read"):
        _ = dataset.samples


def test_a_caption_of_the_same_text_is_no_wrong_one(tmp_path):
    listing = made_up(8, captions=True)
    split = prepared(tmp_path, replace(listing, captions=["alike"] * 4 + list(listing.captions)[4:]))
    plan = add_noise(split, 0.5, 0, of="captions")
    assert split.wrong(plan.name).mean() == plan.realised_rate  # a name stands for the plan, whatever it changes
    alike = [row for row, text in enumerate(split.captions(range(8))) if text == "alike"]
    shown = np.arange(8)
    shown[alike] = np.roll(alike, 1)
    assert not split.wrong_under(replace(plan, array=shown)).any()
