import pytest
import timm
import torch

import fastpt.models  # noqa: F401


@pytest.fixture(scope="module")
def small_resnet():
    torch.manual_seed(0)
    return timm.create_model("resnet10_half", num_classes=7).eval()


def images(count: int = 3, size: int = 32) -> torch.Tensor:
    return torch.randint(0, 256, (count, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
