import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch

from fastpt import Loader
from fastpt.errors import FastptError
from fastpt.files import cache_dir
from fastpt.tuning import features as features_module
from fastpt.tuning.encoders.encoder import Encoder, Preprocessing
from fastpt.tuning.feature_cache import verify_features
from fastpt.tuning.features import Extraction, View, compute_share, features_of, training_view
from tests.conftest import made_up, prepared

CROP = Preprocessing(size=32, crop_fraction=0.875, interpolation="bilinear", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


class Corners(torch.nn.Module):
    """The colours of a picture's corners; counts its calls."""

    calls = 0

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return pixels[:, :, ::31, ::31].flatten(1)


@pytest.fixture
def encoder() -> Encoder:
    return Encoder("corners", "a" * 64, CROP, "Corners()", Corners(), torch.device("cpu"))


@pytest.fixture
def chunks_of_8(monkeypatch):
    """5 chunks of 2 batches for 40 samples."""
    monkeypatch.setattr(features_module, "BATCH", 4)
    monkeypatch.setattr(features_module, "CHUNK", 8)


def test_features_are_those_of_the_centre_crops_by_sample_id(labelled, encoder, chunks_of_8, tmp_path):
    features = features_of(encoder, labelled, cache=tmp_path)
    assert features.sample_ids.tolist() == list(range(40))
    with Loader(
        labelled,
        1,
        32,
        crop="center",
        crop_fraction=0.875,
        interpolation="bilinear",
        order="sequential",
        seed=1,
        drop_last=False,
    ) as loader:
        for batch in loader:
            expected = (batch.images[0, ::31, ::31].permute(2, 0, 1).flatten() / 255 - 0.5) / 0.5
            np.testing.assert_allclose(features.values[batch.sample_ids[0]], expected, atol=1e-5)


def test_features_are_computed_once(labelled, encoder, tmp_path):
    first = features_of(encoder, labelled, cache=tmp_path)
    calls = encoder.forward.calls
    again = features_of(encoder, labelled, cache=tmp_path)
    assert encoder.forward.calls == calls
    assert np.array_equal(first.values, again.values)
    assert len(list(tmp_path.iterdir())) == 1


def test_a_stopped_extraction_goes_on_with_the_missing_chunks(labelled, encoder, chunks_of_8, tmp_path):
    whole = features_of(encoder, labelled, cache=tmp_path / "whole")
    pictures = []

    def stops(pixels):
        pictures.append(len(pixels))
        if sum(pictures) == 28:  # inside the fourth chunk
            raise KeyboardInterrupt
        return encoder.forward(pixels)

    with pytest.raises(KeyboardInterrupt):
        features_of(dataclasses.replace(encoder, forward=stops), labelled, cache=tmp_path / "stopped")
    resumed = features_of(dataclasses.replace(encoder, forward=stops), labelled, cache=tmp_path / "stopped")
    assert sum(pictures) == 28 + 16
    assert np.array_equal(resumed.values, whole.values)
    assert resumed.sample_ids.tolist() == list(range(40))


@pytest.mark.parametrize("damage", ["truncated", "flipped", "emptied"])
def test_a_damaged_chunk_is_noticed_and_computed_anew(labelled, encoder, chunks_of_8, tmp_path, capsys, damage):
    first = features_of(encoder, labelled, cache=tmp_path)
    calls = encoder.forward.calls
    for path in (next(tmp_path.glob(f"*/{name}-*.safetensors")) for name in ("000000008", "000000024")):
        content = bytearray(path.read_bytes())
        content[-7] ^= 1
        path.write_bytes({"truncated": content[:-100], "flipped": bytes(content), "emptied": b""}[damage])
    again = features_of(encoder, labelled, cache=tmp_path)
    assert encoder.forward.calls == calls + 2 * 2
    assert np.array_equal(first.values, again.values)
    assert "000000008-000000016.safetensors are damaged" in capsys.readouterr().err


def test_kept_features_that_changed_places_are_noticed(labelled, encoder, chunks_of_8, tmp_path, capsys):
    first = features_of(encoder, labelled, cache=tmp_path)
    other = features_of(dataclasses.replace(encoder, weights_sha256="b" * 64), labelled, cache=tmp_path)
    one, two, *_ = sorted(tmp_path.glob("*/000000008-*.safetensors"))
    three = one.with_name("000000016-000000024.safetensors")
    one.rename(tmp_path / "aside"), two.rename(one), three.rename(two), (tmp_path / "aside").rename(three)
    again = features_of(encoder, labelled, cache=tmp_path)
    others = features_of(dataclasses.replace(encoder, weights_sha256="b" * 64), labelled, cache=tmp_path)
    assert np.array_equal(first.values, again.values)
    assert np.array_equal(other.values, others.values)
    assert capsys.readouterr().err.count("are damaged") == 3


def test_kept_features_of_an_encoder_are_verified_and_left_as_they_are(
    labelled, encoder, chunks_of_8, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    features_of(encoder, labelled)
    assert verify_features(["a" * 64]) == []
    (folder,) = cache_dir("features").iterdir()
    changed = folder / "000000008-000000016.safetensors"
    content = changed.read_bytes()
    changed.write_bytes(content[:-1])
    shutil.copy(folder / "000000016-000000024.safetensors", folder / "000000000-000000008.safetensors")
    problems = verify_features(["a" * 64])
    assert [problem.split(" ")[0] for problem in problems] == [
        str(folder / "000000000-000000008.safetensors"),
        str(changed),
    ]
    assert changed.exists()
    assert verify_features(["b" * 64]) == []


@pytest.mark.parametrize("world_size", [2, 3, 8])
def test_several_processes_write_the_files_that_one_would(labelled, encoder, chunks_of_8, tmp_path, world_size):
    features_of(encoder, labelled, cache=tmp_path / "one")
    calls = encoder.forward.calls
    for rank in reversed(range(world_size)):
        compute_share(encoder, labelled, cache=tmp_path / "several", rank=rank, world_size=world_size)
    assert encoder.forward.calls == calls + 10  # no sample twice
    files = {path.relative_to(tmp_path / "one") for path in (tmp_path / "one").rglob("*") if path.is_file()}
    assert len(files) == 6
    for path in files:
        assert (tmp_path / "several" / path).read_bytes() == (tmp_path / "one" / path).read_bytes()


def test_a_share_goes_on_with_the_files_that_are_missing_of_it_alone(labelled, encoder, chunks_of_8, tmp_path):
    compute_share(encoder, labelled, cache=tmp_path, rank=1, world_size=2)  # the last 3 of 5 files
    next(tmp_path.glob("*/000000024-*.safetensors")).unlink()
    calls = encoder.forward.calls
    compute_share(encoder, labelled, cache=tmp_path, rank=1, world_size=2)
    assert encoder.forward.calls == calls + 2
    assert len(list(tmp_path.glob("*/*.safetensors"))) == 3


def test_files_that_are_no_pieces_or_overlap_do_no_harm(labelled, encoder, chunks_of_8, tmp_path):
    first = features_of(encoder, labelled, cache=tmp_path)
    one = next(tmp_path.glob("*/000000008-*.safetensors"))
    for name in ("x", "000000009-000000016", "000000012-000000020", "000000040-000000048", "000000008-000000016-1"):
        shutil.copy(one, one.with_name(f"{name}.safetensors"))
    again = features_of(encoder, labelled, cache=tmp_path)
    assert np.array_equal(first.values, again.values)
    assert again.sample_ids.tolist() == list(range(40))


def test_a_view_is_a_random_crop_that_stays_the_same(labelled, encoder, chunks_of_8, tmp_path):
    centre = features_of(encoder, labelled, cache=tmp_path)
    views = [features_of(encoder, labelled, cache=tmp_path, view=View(i, (0.8, 1.0), True)) for i in (0, 1)]
    again = features_of(encoder, labelled, cache=tmp_path / "again", view=View(1, (0.8, 1.0), True))
    assert np.array_equal(views[1].values, again.values)
    for one, other in ((centre, views[0]), (views[0], views[1])):
        assert np.abs(one.values - other.values).max(1).min() > 0
        assert one.sample_ids.tolist() == other.sample_ids.tolist()


def test_encoders_of_captions_see_lighter_views(encoder):
    captions = torch.nn.Module()
    captions.encode_image = None
    assert training_view(encoder, 3) == View(3, (0.8, 1.0), True)
    assert training_view(dataclasses.replace(encoder, model=captions), 3) == View(3, (0.9, 1.0), False)


def test_the_cache_key_changes_with_all_that_features_depend_on(labelled, captioned, encoder, tmp_path):
    same_samples = prepared(tmp_path, made_up(40), shard_samples=16, seed=1)
    key = Extraction(encoder, labelled).key
    others = [
        Extraction(dataclasses.replace(encoder, weights_sha256="b" * 64), labelled).key,
        Extraction(dataclasses.replace(encoder, architecture="Centres()"), labelled).key,
        Extraction(dataclasses.replace(encoder, preprocessing=dataclasses.replace(CROP, size=31)), labelled).key,
        Extraction(dataclasses.replace(encoder, precision="bf16"), labelled).key,
        Extraction(encoder, captioned).key,
        Extraction(encoder, same_samples).key,
        Extraction(encoder, labelled, "dali").key,
        *(Extraction(encoder, labelled, view=View(i, (low, 1.0), False)).key for i in (0, 1) for low in (0.8, 0.9)),
    ]
    texts = {json.dumps(one) for one in (key, *others)}
    assert len(texts) == len(others) + 1
    assert Extraction(dataclasses.replace(encoder, name="renamed"), labelled).key == key


def test_damaged_pictures_are_left_out_and_told(encoder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(features_module, "BATCH", 3)
    monkeypatch.setattr(features_module, "CHUNK", 9)
    dataset = prepared(tmp_path / "data", made_up(10))
    samples = dataset.samples
    path = dataset.path / "images" / dataset.manifest["shards"][0]["name"]
    content = bytearray(path.read_bytes())
    for i in (3, 9):
        content[int(samples.offset[i]) + int(samples.size[i]) // 2] ^= 1
    path.write_bytes(content)
    features = features_of(encoder, dataset, cache=tmp_path / "cache")
    assert features.sample_ids.tolist() == [0, 1, 2, 4, 5, 6, 7, 8]
    assert "2 of 10 pictures" in capsys.readouterr().err
    for i in (3, 9):  # mended
        content[int(samples.offset[i]) + int(samples.size[i]) // 2] ^= 1
    path.write_bytes(content)
    assert features_of(encoder, dataset, cache=tmp_path / "cache").sample_ids.tolist() == list(range(10))


def test_features_that_are_not_finite_are_refused(labelled, encoder, tmp_path):
    broken = dataclasses.replace(encoder, forward=lambda pixels: pixels.flatten(1)[:, :2] * float("nan"))
    with pytest.raises(FastptError, match="NaN or infinity for 40 of 40 pictures"):
        features_of(broken, labelled, cache=tmp_path)
    assert not list(tmp_path.glob("*/*.safetensors"))
