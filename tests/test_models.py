import pytest
import timm
import torch

import fastpt.models


@pytest.mark.parametrize("name", fastpt.models.ARCHITECTURES)
def test_small_stems_keep_more_of_a_small_picture(name):
    model = timm.create_model(name, num_classes=3, channels=(8, 8, 16, 16))
    maps = timm.create_model(name, features_only=True, channels=(8, 8, 16, 16))
    picture = torch.randn(2, 3, 32, 32)
    sides = [16, 16, 8, 4, 2]
    assert [feature.shape[-1] for feature in maps(picture)] == sides
    assert [32 // info["reduction"] for info in model.feature_info] == sides
    assert model(picture).shape == (2, 3)
