import open_clip
import pytest
import safetensors.torch
import timm
import torch

import fastpt.models  # noqa: F401
from fastpt.errors import FastptError
from fastpt.tuning.encoders import open_encoder, open_run, weights_sha256
from tests.tuning.conftest import finished_run


@pytest.fixture(scope="module")
def small_resnet():
    torch.manual_seed(0)
    return timm.create_model("resnet10_half", num_classes=7).eval()


def images(count: int = 3, size: int = 32) -> torch.Tensor:
    return torch.randint(0, 256, (count, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
def test_timm_features_are_the_pooled_ones_of_the_given_weights(small_resnet, tmp_path, suffix):
    path = tmp_path / f"weights{suffix}"
    save = safetensors.torch.save_file if suffix == ".safetensors" else torch.save
    save(small_resnet.state_dict(), path)
    encoder = open_encoder(f"timm:resnet10_half:{path}")
    with torch.inference_mode():
        config = small_resnet.pretrained_cfg
        mean, std = (torch.tensor(config[key]).view(3, 1, 1) for key in ("mean", "std"))
        pixels = (images().permute(0, 3, 1, 2) / 255 - mean) / std
        expected = small_resnet.forward_head(small_resnet.forward_features(pixels), pre_logits=True)
    found = encoder(images())
    assert found.shape == (3, 512)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_the_hash_is_that_of_the_tensors_in_use(small_resnet):
    one, other = (timm.create_model("resnet10_half", num_classes=0) for _ in range(2))
    assert weights_sha256(one) != weights_sha256(other)
    other.load_state_dict(one.state_dict())
    assert weights_sha256(one) == weights_sha256(other)


def test_a_run_is_seen_as_its_recipe_evaluates_it(tmp_path):
    encoder = open_run(finished_run(tmp_path))
    crop = encoder.preprocessing
    assert (crop.size, crop.crop_fraction, crop.filter) == (40, 0.9, "bilinear")
    assert encoder.name == "tiny-clean-s0"
    assert encoder(images(2, 40)).shape == (2, 512)
    (tmp_path / "tiny-clean-s0" / "recipe.yaml").unlink()
    assert open_run(tmp_path / "tiny-clean-s0").preprocessing.size == 64


def test_open_clip_gives_the_image_embedding(tmp_path, monkeypatch):
    vision = {"layers": 1, "width": 64, "head_width": 32, "patch_size": 16, "image_size": 32}
    text = {"width": 32, "heads": 2, "layers": 1, "context_length": 8, "vocab_size": 100}
    config = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}
    monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, "tiny-test", config)
    torch.manual_seed(0)
    model = open_clip.create_model("tiny-test").eval()
    safetensors.torch.save_file(model.state_dict(), tmp_path / "w.safetensors")
    encoder = open_encoder(f"open_clip:tiny-test:{tmp_path / 'w.safetensors'}")
    assert (encoder.preprocessing.size, encoder.preprocessing.crop_fraction) == (32, 1.0)
    mean, std = (torch.tensor(getattr(encoder.preprocessing, key)).view(3, 1, 1) for key in ("mean", "std"))
    with torch.inference_mode():
        expected = model.encode_image((images().permute(0, 3, 1, 2) / 255 - mean) / std)
    torch.testing.assert_close(encoder(images()), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(FastptError, match="names no weights"):
        open_encoder("open_clip:tiny-test")


def test_wrong_encoders_are_told_in_one_clear_error(small_resnet, tmp_path):
    wrong = tmp_path / "wrong.safetensors"
    state = {key: value for key, value in small_resnet.state_dict().items() if not key.startswith("layer4")}
    safetensors.torch.save_file(state, wrong)
    noise = tmp_path / "noise.safetensors"
    noise.write_bytes(b"not weights")
    for spec, message in {
        "resnet50": "names no encoder",
        "timm:": "names no encoder",
        "timm:resnet5O": "Close names: .*resnet50",
        "timm:resnet10_half:/nowhere.pt": "no weights file /nowhere.pt",
        f"timm:resnet10_half:{wrong}": r"another model: \d+ missing \(layer4",
        f"timm:resnet10_half:{noise}": "could not be loaded",
        "open_clip:RN5O": "Close names: .*RN50",
        f"open_clip:RN50:{noise}": "open_clip could not load RN50",
        "timm:resnet10_half": "could not be had .* local file",
    }.items():
        with pytest.raises(FastptError, match=message) as caught:
            open_encoder(spec)
        assert "\n" not in str(caught.value)


def test_a_run_without_an_export_is_told(tmp_path):
    with pytest.raises(FastptError, match="does not exist"):
        open_run(tmp_path / "gone")
    (tmp_path / "going").mkdir()
    with pytest.raises(FastptError, match="has not ended"):
        open_run(tmp_path / "going")
