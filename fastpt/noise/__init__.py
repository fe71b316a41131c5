"""Noise: which samples are shown a wrong target, and which. `add_noise` makes a plan; it loads on first use."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastpt.noise.store import add_noise

__all__ = ["add_noise"]


def __getattr__(name: str) -> Any:
    if name != "add_noise":
        raise AttributeError(f"module 'fastpt.noise' has no attribute {name!r}")
    from fastpt.noise.store import add_noise

    return add_noise
