import open_clip
import pytest
import safetensors.torch
import torch

import fastpt.models  # noqa: F401
from fastpt.errors import FastptError
from fastpt.tuning.encoders import open_encoder
from tests.tuning.encoders.conftest import images


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


def test_weights_of_another_resolution_are_refused(tmp_path, monkeypatch):
    text = {"width": 32, "heads": 2, "layers": 1, "context_length": 8, "vocab_size": 100}
    for name, size in (("tiny-test", 32), ("tiny-test-48", 48)):
        vision = {"layers": 1, "width": 64, "head_width": 32, "patch_size": 16, "image_size": size}
        config = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, name, config)
    weights = tmp_path / "w.safetensors"
    safetensors.torch.save_file(open_clip.create_model("tiny-test-48").state_dict(), weights)
    with pytest.raises(FastptError, match=r"positional_embedding of \[10, 64\] where the model has \[5, 64\]"):
        open_encoder(f"open_clip:tiny-test:{weights}")


def test_what_a_file_of_weights_does_not_say_is_told(tmp_path, monkeypatch, capsys):
    vision = {"layers": 1, "width": 64, "head_width": 32, "patch_size": 16, "image_size": 32}
    text = {"width": 32, "heads": 2, "layers": 1, "context_length": 8, "vocab_size": 100}
    config = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}
    for name in ("tiny-test", "tiny-test-quickgelu"):
        monkeypatch.setitem(open_clip.factory._MODEL_CONFIGS, name, config)
    weights = tmp_path / "w.safetensors"
    safetensors.torch.save_file(open_clip.create_model("tiny-test").state_dict(), weights)
    capsys.readouterr()
    open_encoder(f"open_clip:tiny-test:{weights}")
    activation, normalisation = capsys.readouterr().err.splitlines()
    assert activation.startswith("tune: tiny-test-quickgelu has the tensors of tiny-test and another activation")
    assert "pictures have mean 0.481 0.458 0.408 and std 0.269 0.261 0.276, as open_clip has it" in normalisation
    (tmp_path / "e.yaml").write_text(f"model: open_clip:tiny-test-quickgelu:{weights}\nmean: [0.5, 0.5, 0.5]\n")
    with (tmp_path / "e.yaml").open("a") as file:
        file.write("std: [0.5, 0.5, 0.5]\n")
    open_encoder(str(tmp_path / "e.yaml"))
    assert capsys.readouterr().err == ""
