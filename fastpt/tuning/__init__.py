"""Tuning of frozen encoders: linear probe (LP), MLP tuning and NMTune, and the spectrum of their features."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastpt.tuning.classifier import NMTuneClassifier as NMTuneClassifier


def __getattr__(name: str) -> Any:
    """Fetch `NMTuneClassifier` on first use, so that `import fastpt.tuning` alone does not import torch."""
    if name == "NMTuneClassifier":
        from fastpt.tuning.classifier import NMTuneClassifier

        return NMTuneClassifier
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
