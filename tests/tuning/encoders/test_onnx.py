import json

import pytest
import torch
import yaml

import fastpt.models  # noqa: F401
from fastpt.errors import FastptError
from fastpt.tuning.encoders import open_encoder
from fastpt.tuning.encoders.encoder import Preprocessing
from tests.tuning.encoders.conftest import images


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
