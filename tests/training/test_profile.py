from types import SimpleNamespace

import pytest
from torch._C._autograd import DeviceType

from tools.bench.profile_step import summary


def event(name, start, end, *kernels, device=DeviceType.CPU):
    span = SimpleNamespace(start=start, end=end, elapsed_us=lambda: end - start)
    return SimpleNamespace(name=name, time_range=span, device_type=device, kernels=kernels)


def kernel(name, duration):
    return SimpleNamespace(name=name, duration=duration)


def test_kernels_and_gaps_are_told_by_part():
    """Two steps in 10 ms, in which a GPU runs 2 ms, rests, then runs 4 and 1 ms, the last two overlapping by 1."""
    host = [
        event("part: forward pass", 0, 1000, kernel("part: forward pass", 2000)),
        event("aten::conv2d", 500, 700, kernel("conv", 2000)),
        event("part: optimiser", 2000, 2500),
        event("aten::_foreach_add_", 2100, 2200, kernel("add", 4000), kernel("add", 1000)),
        event("aten::add_", 3000, 3100),
    ]
    gpu = [
        event("part: forward pass", 1000, 3000, device=DeviceType.CUDA),
        event("conv", 1000, 3000, device=DeviceType.CUDA),
        event("add", 6000, 10000, device=DeviceType.CUDA),
        event("add", 7000, 8000, device=DeviceType.CUDA),
    ]
    found = summary([*host, *gpu], steps=2)
    assert (found.seconds, found.kernels) == (0.005, 2)
    assert found.idle == pytest.approx(0.4)
    assert found.parts["forward pass"] == {"host_ms": 0.5, "kernels": 0.5, "gpu_ms": 1.0}
    assert found.parts["optimiser"] == {"host_ms": 0.25, "kernels": 1.0, "gpu_ms": 2.5}
