import json
import subprocess
import sys

import open_clip
import pytest
import safetensors.torch

import fastpt.models  # noqa: F401
from fastpt.errors import FastptError
from fastpt.files import seal_folder
from fastpt.runs.folder import EXPORT_FORMAT
from fastpt.tuning.encoders import open_encoder
from tests.tuning.conftest import finished_run
from tests.tuning.encoders.conftest import images


def test_a_run_is_seen_as_its_recipe_evaluates_it(tmp_path):
    encoder = open_encoder(f"run:{finished_run(tmp_path)}")
    crop = encoder.preprocessing
    assert (crop.size, crop.crop_fraction, crop.interpolation) == (40, 0.9, "bilinear")
    assert encoder.name == "tiny-clean-s0"
    assert encoder(images(2, 40)).shape == (2, 512)
    (tmp_path / "tiny-clean-s0" / "recipe.yaml").unlink()
    assert open_encoder(f"run:{tmp_path}/tiny-clean-s0").preprocessing.size == 64


def test_a_clip_run_with_a_tower_of_ours_loads_in_a_fresh_process(tmp_path):
    text = {"width": 32, "heads": 2, "layers": 1, "context_length": 8, "vocab_size": 100}
    vision = {"image_size": 32, "timm_model_name": "resnet10_narrow", "timm_pool": "avg", "timm_proj": "linear"}
    config = {"embed_dim": 16, "vision_cfg": vision, "text_cfg": text}
    export = tmp_path / "export"
    export.mkdir()
    preprocess = {"mean": [0.5] * 3, "std": [0.5] * 3, "interpolation": "bicubic", "resize_mode": "shortest"}
    (export / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
    weights = open_clip.CLIP(**config).state_dict()
    safetensors.torch.save_file(weights, export / "open_clip_model.safetensors", {"format": "pt"})
    seal_folder(export, EXPORT_FORMAT)
    script = "import sys; from fastpt.tuning.encoders import open_encoder; open_encoder(f'run:{sys.argv[1]}')"
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_run_without_an_export_is_told(tmp_path):
    with pytest.raises(FastptError, match="does not exist"):
        open_encoder(f"run:{tmp_path}/gone")
    (tmp_path / "going").mkdir()
    with pytest.raises(FastptError, match="has not ended"):
        open_encoder(f"run:{tmp_path}/going")
