"""Encoders: where the frozen models come from that make features of pictures. A kind of encoder is a file of this room.

    run:FOLDER                   a run's export, with the evaluation crop of its recipe
    timm:NAME[:WEIGHTS]          pooled features before the classifier; without WEIGHTS, timm's pre-trained ones
    open_clip:NAME:WEIGHTS       the image tower's embedding
    onnx:FILE                    the first output of an ONNX model
    FILE.yaml                    one of these, with the preprocessing that it wants; see `EncoderFile`

WEIGHTS is a local file: safetensors, or a torch file that holds nothing but tensors. A new kind is a file here, a line
in `ENCODERS` and a test; or an installed package names it under the entry point group `fastpt.encoders`. Its module
imports torch and the like inside its functions.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Protocol

from pydantic import Field, Strict

from fastpt.config import Precision, Section, load_strict
from fastpt.errors import FastptError
from fastpt.jpeg import Interpolation
from fastpt.printable import one_line
from fastpt.registry import Registry

if TYPE_CHECKING:
    from fastpt.tuning.encoders.encoder import Encoder

Channels = Annotated[tuple[float, float, float], Strict(False)]  # YAML and JSON have lists only


class EncoderFile(Section):
    """An encoder and what it wants to see, where that is not what its library or its metadata says.

        model: timm:tf_efficientnet_lite0:weights/efficientnet_lite0.pth
        mean: [0.498, 0.498, 0.498]
        std: [0.502, 0.502, 0.502]

    An ONNX file may carry the same keys but `model` as metadata, its values written as JSON.
    """

    model: str
    """KIND:NAME of an encoder; paths are relative to the current folder."""
    size: int | None = Field(default=None, ge=1)
    """Side of the input, pixels."""
    crop_fraction: float | None = Field(default=None, gt=0, le=1)
    """Share of the picture's short side that the centre crop keeps."""
    interpolation: Interpolation | None = None
    """Resampling filter."""
    mean: Channels | None = None
    """Subtracted from x / 255, for red, green and blue."""
    std: Channels | None = None
    """Divides the difference."""

    def overrides(self) -> dict[str, Any]:
        """The keys of the preprocessing that are there."""
        return {key: value for key, value in self if key != "model" and value is not None}


class EncoderKind(Protocol):
    """A library or format that models come from."""

    form: str
    """How one is written, such as timm:NAME[:WEIGHTS]."""

    def open(self, name: str, overrides: dict[str, Any], device: str, precision: Precision) -> Encoder:
        """The encoder called `name`, what stands behind KIND: and is not empty; `overrides` are of `Preprocessing`.

        Raises FastptError if there is none, or if it is not whole.
        """
        ...


ENCODERS: Registry[EncoderKind] = Registry(
    "kind of encoder",
    {
        "run": "fastpt.tuning.encoders.run:KIND",
        "timm": "fastpt.tuning.encoders.timm:KIND",
        "open_clip": "fastpt.tuning.encoders.open_clip:KIND",
        "onnx": "fastpt.tuning.encoders.onnx:KIND",
    },
    "fastpt.encoders",
    EncoderKind,
)


def open_encoder(spec: str, device: str = "cpu", precision: Precision = "fp32") -> Encoder:
    """The encoder that `spec` names; the head of this module lists the kinds. Raises FastptError."""
    if not spec.endswith((".yaml", ".yml")):
        return _open(spec, {}, device, precision)
    file = load_strict(EncoderFile, Path(spec))
    return replace(_open(file.model, file.overrides(), device, precision), name=Path(spec).stem)


def _open(spec: str, overrides: dict[str, Any], device: str, precision: Precision) -> Encoder:
    kind, _, name = spec.partition(":")
    if not name or (kind not in ENCODERS.table and kind not in ENCODERS.names()):
        forms = [ENCODERS.get(known).form for known in ENCODERS.table]
        forms += [f"{known}:NAME" for known in ENCODERS.names() if known not in ENCODERS.table]
        raise FastptError(f"--encoder {spec!r} names no encoder. Write {', '.join(forms)} or a YAML file.")
    member = ENCODERS.get(kind)
    with ENCODERS.blaming(kind):
        encoder = replace(member.open(name, overrides, device, precision), origin=ENCODERS.origin(kind))
        _try(encoder, is_ours=kind in ENCODERS.table)
        return encoder


def _try(encoder: Encoder, is_ours: bool) -> None:
    """Look at one grey picture. Raises FastptError where the encoder cannot, as of another size than it was made for;
    what one of a package raises is told as a fault of the package."""
    import torch

    size = encoder.preprocessing.size
    try:
        shape = list(encoder(torch.full((1, size, size, 3), 127, dtype=torch.uint8)).shape)
    except Exception as error:
        if not is_ours:
            raise
        raise FastptError(
            f"encoder {encoder.name} cannot look at pictures of {size} px ({one_line(error)}). Give the size, and the "
            "input, that it was made for."
        ) from None
    if len(shape) != 2 or shape[0] != 1:
        raise FastptError(f"encoder {encoder.name} gives {shape} for one picture; features are [1, D].")
