import dataclasses

import numpy as np
import pytest
import torch

from fastpt import Loader
from fastpt.errors import FastptError
from fastpt.tuning.encoders import Encoder, Preprocessing
from fastpt.tuning.features import cache_key, features_of
from tests.conftest import made_up, prepared

CROP = Preprocessing(size=32, crop_fraction=0.875, filter="bilinear", mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))


class Corners(torch.nn.Module):
    """The colours of a picture's corners; counts its calls."""

    calls = 0

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return pixels[:, :, ::31, ::31].flatten(1)


@pytest.fixture
def encoder() -> Encoder:
    return Encoder("corners", "a" * 64, CROP, "Corners()", Corners(), torch.device("cpu"))


def test_features_are_those_of_the_centre_crops_by_sample_id(labelled, encoder, tmp_path):
    features = features_of(encoder, labelled, cache=tmp_path, batch_size=16)
    assert features.sample_ids.tolist() == list(range(40))
    with Loader(
        labelled,
        1,
        32,
        crop="center",
        crop_fraction=0.875,
        filter="bilinear",
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


@pytest.mark.parametrize("damage", ["truncated", "flipped", "emptied"])
def test_a_damaged_cache_is_noticed_and_computed_anew(labelled, encoder, tmp_path, capsys, damage):
    first = features_of(encoder, labelled, cache=tmp_path)
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    content[-7] ^= 1
    path.write_bytes({"truncated": content[:-100], "flipped": bytes(content), "emptied": b""}[damage])
    again = features_of(encoder, labelled, cache=tmp_path)
    assert np.array_equal(first.values, again.values)
    assert "damaged" in capsys.readouterr().err


def test_the_cache_key_changes_with_all_that_features_depend_on(labelled, captioned, encoder, tmp_path):
    same_samples = prepared(tmp_path, made_up(40), shard_samples=16, seed=1)
    others = [
        cache_key(dataclasses.replace(encoder, weights_sha256="b" * 64), labelled, "ffcv"),
        cache_key(dataclasses.replace(encoder, architecture="Centres()"), labelled, "ffcv"),
        cache_key(dataclasses.replace(encoder, preprocessing=dataclasses.replace(CROP, size=31)), labelled, "ffcv"),
        cache_key(encoder, captioned, "ffcv"),
        cache_key(encoder, same_samples, "ffcv"),
        cache_key(encoder, labelled, "dali"),
    ]
    assert len({cache_key(encoder, labelled, "ffcv"), *others}) == len(others) + 1
    assert cache_key(dataclasses.replace(encoder, name="renamed"), labelled, "ffcv") not in others


def test_damaged_pictures_are_left_out_and_told(encoder, tmp_path, capsys):
    dataset = prepared(tmp_path / "data", made_up(10))
    samples = dataset.samples
    path = dataset.path / "images" / dataset.manifest["shards"][0]["name"]
    content = bytearray(path.read_bytes())
    for i in (3, 9):
        content[int(samples.offset[i]) + int(samples.size[i]) // 2] ^= 1
    path.write_bytes(content)
    features = features_of(encoder, dataset, cache=tmp_path / "cache", batch_size=9)
    assert features.sample_ids.tolist() == [0, 1, 2, 4, 5, 6, 7, 8]
    assert "2 of 10 pictures" in capsys.readouterr().err


def test_features_that_are_not_finite_are_refused(labelled, encoder, tmp_path):
    broken = dataclasses.replace(encoder, forward=lambda pixels: pixels.flatten(1)[:, :2] * float("nan"))
    with pytest.raises(FastptError, match="NaN or infinity for 40 of 40 pictures"):
        features_of(broken, labelled, cache=tmp_path)
    assert not list(tmp_path.iterdir())
