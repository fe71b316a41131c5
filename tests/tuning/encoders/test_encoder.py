import importlib.util
import subprocess
import sys
from dataclasses import replace

import open_clip
import pytest
import safetensors.torch
import timm
import torch
import yaml

import fastpt.models  # noqa: F401
from fastpt.errors import FastptError
from fastpt.registry import Origin
from fastpt.tuning.encoders import open_encoder
from fastpt.tuning.encoders.encoder import library_preprocessing, weights_sha256
from tests.tuning.encoders.conftest import images


def test_the_hash_is_that_of_the_tensors_in_use(small_resnet):
    one, other = (timm.create_model("resnet10_half", num_classes=0) for _ in range(2))
    assert weights_sha256(one) != weights_sha256(other)
    other.load_state_dict(one.state_dict())
    assert weights_sha256(one) == weights_sha256(other)


def test_a_yaml_file_goes_before_the_library(small_resnet, tmp_path):
    safetensors.torch.save_file(small_resnet.state_dict(), tmp_path / "w.safetensors")
    plain = open_encoder(f"timm:resnet10_half:{tmp_path / 'w.safetensors'}")
    file = {"model": f"timm:resnet10_half:{tmp_path / 'w.safetensors'}", "mean": [0.1, 0.2, 0.3], "size": 48}
    (tmp_path / "e.yaml").write_text(yaml.safe_dump(file))
    crop = open_encoder(str(tmp_path / "e.yaml")).preprocessing
    assert (crop.size, crop.mean) == (48, (0.1, 0.2, 0.3))
    assert (crop.std, crop.interpolation) == (plain.preprocessing.std, plain.preprocessing.interpolation)
    (tmp_path / "e.yaml").write_text(yaml.safe_dump({**file, "stdev": 1}))
    with pytest.raises(FastptError, match="unknown key stdev"):
        open_encoder(str(tmp_path / "e.yaml"))


def test_a_size_that_the_encoder_was_not_made_for_is_told_before_the_work(tmp_path):
    vit = timm.create_model("vit_tiny_patch16_224", num_classes=0)
    safetensors.torch.save_file(vit.state_dict(), tmp_path / "w.safetensors")
    file = {"model": f"timm:vit_tiny_patch16_224:{tmp_path / 'w.safetensors'}", "size": 96}
    (tmp_path / "e.yaml").write_text(yaml.safe_dump(file))
    with pytest.raises(FastptError, match="cannot look at pictures of 96 px"):
        open_encoder(str(tmp_path / "e.yaml"))


def test_pictures_that_are_not_to_be_cropped_are_told():
    config = {"interpolation": "box", "crop_mode": "squash", "mean": (0, 0, 0), "std": (1, 1, 1)}
    with pytest.warns(UserWarning, match="made to fit by squash; centre crops are used"):
        assert library_preprocessing(config, 224, 1.0).interpolation == "area"


def test_what_runs_the_weights_is_part_of_what_features_depend_on(small_resnet, tmp_path):
    safetensors.torch.save_file(small_resnet.state_dict(), tmp_path / "w.safetensors")
    ours = open_encoder(f"timm:resnet10_half:{tmp_path / 'w.safetensors'}")
    assert ours.code == {"timm": "1.0", "open_clip_torch": open_clip.__version__.rpartition(".")[0]}
    (tmp_path / "own_model.py").write_text("import torch\n\n\nclass Own(torch.nn.Flatten):\n    pass\n")
    spec = importlib.util.spec_from_file_location("own_model", tmp_path / "own_model.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["own_model"] = module
    spec.loader.exec_module(module)
    own = replace(ours, model=module.Own(), origin=Origin("own", "a-package", "1.2"))
    assert own.code["origin"] == ["own", "a-package", "1.2"]
    before = own.code["file_sha256"]
    with (tmp_path / "own_model.py").open("a") as file:
        file.write("# changed\n")
    assert own.code["file_sha256"] != before


def test_bf16_features_are_near_those_of_fp32(small_resnet, tmp_path):
    safetensors.torch.save_file(small_resnet.state_dict(), tmp_path / "w.safetensors")
    spec = f"timm:resnet10_half:{tmp_path / 'w.safetensors'}"
    exact, rough = open_encoder(spec)(images()), open_encoder(spec, precision="bf16")(images())
    assert rough.dtype == torch.float32
    assert 0 < (rough - exact).norm() / exact.norm() < 0.05


def test_wrong_encoders_are_told_in_one_clear_error(small_resnet, tmp_path):
    wrong = tmp_path / "wrong.safetensors"
    state = {key: value for key, value in small_resnet.state_dict().items() if not key.startswith("layer4")}
    safetensors.torch.save_file(state, wrong)
    noise = tmp_path / "noise.safetensors"
    noise.write_bytes(b"not weights")
    for spec, message in {
        "resnet50": "names no encoder",
        "timm:": "names no encoder",
        "timm:resnet5O": "did you mean .*resnet50",
        "timm:resnet10_half:/nowhere.pt": "no weights file /nowhere.pt",
        f"timm:resnet10_half:{wrong}": r"another model: \d+ missing \(layer4",
        f"timm:resnet10_half:{noise}": "could not be loaded",
        "open_clip:RN5O": "did you mean .*RN50",
        f"open_clip:RN50:{noise}": "open_clip could not load RN50",
        "timm:resnet10_half": "could not be had .* local file",
    }.items():
        with pytest.raises(FastptError, match=message) as caught:
            open_encoder(spec)
        assert "\n" not in str(caught.value)


def test_kinds_are_asked_for_without_torch():
    script = (
        "import sys; from fastpt.tuning.encoders import ENCODERS as E; print(*(E.get(name).form for name in E.names()))"
    )
    code = f"{script}; assert not {{'torch', 'timm', 'open_clip', 'onnx'}} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
