"""What an encoder is, whatever it comes from: preprocessing, a feature function, and what tells it from another."""

from __future__ import annotations

import hashlib
import inspect
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from fastpt.config import Precision
from fastpt.errors import FastptError
from fastpt.files import file_sha256
from fastpt.jpeg import Interpolation
from fastpt.printable import one_line
from fastpt.registry import Origin

if TYPE_CHECKING:
    import torch
    from torch import Tensor

TEXTS = 256  # that a text tower sees at a time


@dataclass(frozen=True)
class Preprocessing:
    """How a stored picture becomes the encoder's input: centre crop, resize, then (x / 255 − mean) / std."""

    size: int
    """Side of the input, pixels."""
    crop_fraction: float
    """Share of the picture's short side that the centre crop keeps."""
    interpolation: Interpolation
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


Tokenizer = Callable[[list[str]], "Tensor"]
"""Texts -> int64 [T, context]."""


class Loaded(NamedTuple):
    """A model of a library, and what it wants to see."""

    model: torch.nn.Module
    preprocessing: Preprocessing
    tokenizer: Callable[[], Tokenizer] | None = None
    """Gives the tokenizer of a CLIP model's texts, which may want a file that is not there; the model has `encode_text`
    of tokens and `logit_scale`, as open_clip's have."""


@dataclass(frozen=True)
class Encoder:
    """A frozen feature function with what is needed to tell its features from another's."""

    name: str
    weights_sha256: str
    """Of the tensors in memory and their names, so that it does not depend on how they were stored."""
    preprocessing: Preprocessing
    architecture: str
    """What torch prints of the model: equal weights may sit in models of other strides or activations."""
    forward: Callable[[Tensor], Tensor]
    """Normalised float32 [B, 3, H, W] -> [B, D]."""
    device: torch.device
    run: Path | None = None
    """The run folder it comes from."""
    precision: Precision = "fp32"
    """bf16: under autocast; the features are float32 all the same."""
    model: torch.nn.Module | None = field(default=None, repr=False)
    """What `forward` calls, where that is a torch model."""
    tokenizer: Callable[[], Tokenizer] | None = field(default=None, repr=False)
    """Of the texts of a CLIP model."""
    origin: Origin | None = None
    """The installed package that its kind is of, where that is another."""

    @property
    def code(self) -> dict[str, Any]:
        """What runs the weights, as far as it may differ for equal ones: minor versions of timm and open_clip; of what
        a package brings, its version and the sum of the file that has the model's class."""
        found: dict[str, Any] = {name: minor_version(name) for name in ("timm", "open_clip_torch")}
        if self.origin:
            found["origin"] = list(self.origin)
        own = type(self.model).__module__.partition(".")[0] not in ("builtins", "torch", "timm", "open_clip", "fastpt")
        if self.model is not None and own and (file := inspect.getsourcefile(type(self.model))):
            found["file_sha256"] = file_sha256(Path(file))
        return found

    def __call__(self, images: Tensor) -> Tensor:
        """Pictures, uint8 [B, H, W, 3], cropped and resized -> features, float32 [B, D], on the encoder's device."""
        import torch

        with torch.inference_mode():
            return self.features(images)

    def features(self, images: Tensor) -> Tensor:
        """The same, to be differentiated by the model's weights."""
        import torch

        from fastpt.augment.transforms import normalize

        crop = self.preprocessing
        pixels = normalize(images.to(self.device, non_blocking=True), crop.mean, crop.std)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            return self.forward(pixels).float()

    @property
    def temperature(self) -> float | None:
        """What cosines of a CLIP model are multiplied by to be logits of a softmax; None of one that learned to tell
        pairs apart by a sigmoid (SigLIP), whose classes have no shares."""
        model: Any = self.model
        return None if getattr(model, "logit_bias", None) is not None else float(model.logit_scale.exp())

    def embed(self, texts: list[str]) -> Tensor:
        """Unit embeddings float32 [T, D] of texts by the text tower of a CLIP model, on the encoder's device.

        Raises FastptError if the model has none, or if its tokenizer is not to be had.
        """
        import torch
        from torch.nn.functional import normalize

        model, tokenizer = check_has_words(self)
        parts = [tokenizer(texts[start : start + TEXTS]) for start in range(0, len(texts), TEXTS)]
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, self.precision == "bf16"):
            found = [model.encode_text(part.to(self.device)) for part in parts]
        return normalize(torch.cat(found).float(), dim=1)


def minor_version(package: str) -> str:
    """'1.0' of 1.0.31: another patch release gives the same features, another minor one may not."""
    return ".".join(version(package).split(".")[:2])


def freeze(
    name: str,
    model: torch.nn.Module,
    preprocessing: Preprocessing,
    device: str,
    precision: Precision,
    tokenizer: Callable[[], Tokenizer] | None = None,
) -> Encoder:
    """The encoder that a torch model is; of a CLIP model, its image tower."""
    import torch

    frozen: Any = model.eval().requires_grad_(False)
    sha256 = weights_sha256(frozen)
    frozen = frozen.to(device, memory_format=torch.channels_last)  # which is how convolutions are fastest
    forward = frozen.encode_image if hasattr(frozen, "encode_image") else frozen
    where = torch.device(device)
    return Encoder(
        name, sha256, preprocessing, repr(frozen), forward, where, None, precision, frozen, tokenizer=tokenizer
    )


def weights_sha256(model: torch.nn.Module) -> str:
    """SHA-256 over names, types, shapes and bytes of a model's parameters and buffers, in their order."""
    import torch

    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def default_device() -> str:
    """Where encoders and heads compute."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def check_trainable(encoder: Encoder | None) -> torch.nn.Module:
    """The torch model of an encoder. Raises FastptError if there is none: in a suite of features, or of ONNX."""
    if encoder is None:
        raise FastptError("a suite of features has no encoder to fine-tune. Leave --finetune out.")
    if encoder.model is None:
        raise FastptError(
            f"encoder {encoder.name} is an ONNX model, which has no gradients to fine-tune by. "
            "Leave --finetune out, or give a run, a timm or an open_clip model."
        )
    return encoder.model


def check_has_words(encoder: Encoder | None) -> tuple[Any, Tokenizer]:
    """The CLIP model of an encoder, and its tokenizer. Raises FastptError if there is none."""
    if encoder is None:
        raise FastptError("a suite of features has no text tower to name classes by. Leave --zero-shot out.")
    if encoder.tokenizer is None:
        raise FastptError(
            f"encoder {encoder.name} has no text tower to name classes by. "
            "Leave --zero-shot out, or give a run of CLIP or an open_clip model."
        )
    try:
        return encoder.model, encoder.tokenizer()
    except Exception as error:  # of the hub, the network or a library that is not there
        raise FastptError(
            f"the tokenizer of {encoder.name} could not be had ({cause(error)}). Leave --zero-shot out, or fetch it to "
            "the hub's cache first."
        ) from None


def library_preprocessing(config: dict[str, Any], size: int, crop_fraction: float) -> Preprocessing:
    """What timm and open_clip say of a model, which both say in the same words."""
    interpolation = {"box": "area"}.get(config["interpolation"], config["interpolation"])
    shape = [config.get(key, usual) for key, usual in (("crop_mode", "center"), ("resize_mode", "shortest"))]
    if shape != ["center", "shortest"]:
        asked = " and ".join(one for one in shape if one not in ("center", "shortest"))
        warnings.warn(
            f"the encoder asks for pictures that are made to fit by {asked}; centre crops are used", stacklevel=2
        )
    if interpolation not in ("area", "bilinear", "bicubic"):
        warnings.warn(f"the encoder asks for {interpolation} resampling; bicubic is used", stacklevel=2)
        interpolation = "bicubic"
    return Preprocessing(size, crop_fraction, interpolation, tuple(config["mean"]), tuple(config["std"]))


@dataclass(frozen=True)
class LibraryEncoder:
    """Models of a library, whose `load` takes a name and the path of weights, which is empty where there is none."""

    library: str
    form: str
    load: Callable[[str, str], Loaded | tuple[torch.nn.Module, Preprocessing]]

    def open(self, name: str, overrides: dict[str, Any], device: str, precision: Precision) -> Encoder:
        """NAME[:WEIGHTS]. Raises FastptError if the weights are no local file."""
        name, _, weights = name.partition(":")
        spec = f"{self.library}:{name}"
        if weights and not Path(weights).is_file():
            raise FastptError(f"--encoder {spec}: there is no weights file {weights}. Give the path of a local file.")
        found = self.load(name, weights)
        loaded = found if isinstance(found, Loaded) else Loaded(*found)
        chosen = replace(loaded.preprocessing, **overrides)
        if weights and not {"mean", "std"} <= overrides.keys():
            print(
                f"tune: {spec}: pictures have mean {_rounded(chosen.mean)} and std {_rounded(chosen.std)}, as "
                f"{self.library} has it for this name; the file does not say what its weights want. An --encoder "
                "FILE.yaml does.",
                file=sys.stderr,
            )
        return freeze(spec, loaded.model, chosen, device, precision, loaded.tokenizer)


def _rounded(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.3f}" for value in values)


def cause(error: Exception) -> str:
    """A line of what a library raised, for an error of ours."""
    return one_line(f"{type(error).__name__}: {error}", 300)
