"""Frozen encoders: a run of ours, any timm model, any open_clip model. Each maps pictures to feature vectors.

    a run folder                 its export/, with the evaluation crop of its recipe
    timm:NAME[:WEIGHTS]          pooled features before the classifier; without WEIGHTS, timm's pre-trained ones
    open_clip:NAME:WEIGHTS       the image tower's embedding

WEIGHTS is a local file: safetensors, or a torch file that holds nothing but tensors.
"""

import difflib
import hashlib
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from fastpt.errors import FastptError
from fastpt.recipe import load_recipe


@dataclass(frozen=True)
class Preprocessing:
    """How a stored picture becomes the encoder's input: centre crop, resize, then (x / 255 − mean) / std."""

    size: int
    """Side of the input, pixels."""
    crop_fraction: float
    """Share of the picture's short side that the centre crop keeps."""
    filter: str
    """Resampling filter: area, bilinear or bicubic."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def as_dict(self) -> dict:
        return asdict(self)


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
    """Normalised float32 [B, 3, H, W] -> float32 [B, D]."""
    device: torch.device
    run: Path | None = None
    """The run folder it comes from."""

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """Pictures, uint8 [B, H, W, 3], cropped and resized -> features, float32 [B, D], on the encoder's device."""
        mean, std = (
            torch.tensor(values, device=self.device).view(1, 3, 1, 1)
            for values in (self.preprocessing.mean, self.preprocessing.std)
        )
        # The memory stays channels last, which is how convolutions are fastest.
        pixels = images.to(self.device, non_blocking=True).permute(0, 3, 1, 2).float()
        return self.forward(pixels.div_(255).sub_(mean).div_(std)).float()


def open_encoder(spec: str, device: str = "cpu") -> Encoder:
    """The encoder that `timm:NAME[:WEIGHTS]` or `open_clip:NAME:WEIGHTS` names. Raises FastptError."""
    kind, _, rest = spec.partition(":")
    name, _, weights = rest.partition(":")
    if kind not in ("timm", "open_clip") or not name:
        raise FastptError(f"--encoder {spec!r} names no encoder. Write timm:NAME[:WEIGHTS] or open_clip:NAME:WEIGHTS.")
    if weights and not Path(weights).is_file():
        raise FastptError(f"--encoder {spec}: there is no weights file {weights}. Give the path of a local file.")
    model, preprocessing = (_timm if kind == "timm" else _open_clip)(name, weights)
    return _freeze(f"{kind}:{name}", model, preprocessing, device)


def open_run(run: Path, device: str = "cpu") -> Encoder:
    """The encoder that a finished run exported, with the evaluation crop of its recipe. Raises FastptError."""
    export = run / "export"
    if (export / "open_clip_config.json").is_file():
        model, preprocessing = _open_clip(f"local-dir:{export}", "")
    elif (export / "config.json").is_file():
        model, preprocessing = _timm(f"local-dir:{export}", "")
    else:
        state = "has no export yet: its training has not ended" if run.is_dir() else "does not exist"
        raise FastptError(f"run {run} {state}. Train it with `fastpt train`, or write its export with `fastpt export`.")
    recipe = run / "recipe.yaml"
    if recipe.is_file():
        data = load_recipe(recipe).data
        preprocessing = Preprocessing(
            data.eval_size or data.size, data.crop_fraction, data.eval_filter, preprocessing.mean, preprocessing.std
        )
    return _freeze(run.resolve().name, model, preprocessing, device, run)


def _freeze(
    name: str, model: torch.nn.Module, preprocessing: Preprocessing, device: str, run: Path | None = None
) -> Encoder:
    model = model.eval().requires_grad_(False)
    sha256 = weights_sha256(model)
    model = model.to(device, memory_format=torch.channels_last)
    forward = model.encode_image if hasattr(model, "encode_image") else model
    return Encoder(name, sha256, preprocessing, repr(model), forward, torch.device(device), run)


def weights_sha256(model: torch.nn.Module) -> str:
    """SHA-256 over names, types, shapes and bytes of a model's parameters and buffers, in their order."""
    digest = hashlib.sha256()
    for name, value in model.state_dict().items():
        digest.update(f"{name} {value.dtype} {list(value.shape)}\n".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _timm(name: str, weights: str) -> tuple[torch.nn.Module, Preprocessing]:
    """A timm model without its classifier. `name` may be timm's `local-dir:FOLDER`."""
    import timm

    import fastpt.models  # noqa: F401  (registers the small-image ResNets)

    if not name.startswith("local-dir:") and not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        raise FastptError(f"timm has no model {name!r}. Close names: {', '.join(near) or 'none'}.")
    if weights:
        model = timm.create_model(name, num_classes=0)
        _load_timm(model, weights)
    else:
        try:
            model = timm.create_model(name, pretrained=True, num_classes=0)
        except Exception as error:
            # Hub, network and file errors come in many classes; each means that there are no weights.
            raise FastptError(
                f"the weights of timm model {name} could not be had ({_line(error)}). "
                "Give a local file: --encoder timm:NAME:WEIGHTS."
            ) from None
    config = timm.data.resolve_model_data_config(model)
    return model, Preprocessing(
        config["input_size"][-1], config["crop_pct"], _filter(config["interpolation"]),
        tuple(config["mean"]), tuple(config["std"]),
    )  # fmt: skip


def _open_clip(name: str, weights: str) -> tuple[torch.nn.Module, Preprocessing]:
    """An open_clip model. `name` may be open_clip's `local-dir:FOLDER`, which holds its weights."""
    import open_clip

    local = name.startswith("local-dir:")
    if not local and name not in open_clip.list_models():
        near = difflib.get_close_matches(name, open_clip.list_models(), n=3)
        raise FastptError(f"open_clip has no model {name!r}. Close names: {', '.join(near) or 'none'}.")
    if not local and not weights:
        raise FastptError(f"open_clip:{name} names no weights. Give a local file: --encoder open_clip:{name}:WEIGHTS.")
    try:
        model = open_clip.create_model(name, pretrained=weights or None, weights_only=True)
    except Exception as error:
        raise FastptError(
            f"open_clip could not load {name} from {weights or name} ({_line(error)}). "
            "Give the weights file of this very model."
        ) from None
    config = open_clip.get_model_preprocess_cfg(model)
    size = config["size"]
    return model, Preprocessing(
        size if isinstance(size, int) else size[0], 1.0, _filter(config["interpolation"]),
        tuple(config["mean"]), tuple(config["std"]),
    )  # fmt: skip


def _load_timm(model: torch.nn.Module, weights: str) -> None:
    """Load a file whose only surplus over the model may be a classifier."""
    from timm.models import load_state_dict

    try:
        missing, unknown = model.load_state_dict(
            load_state_dict(weights, use_ema=False, weights_only=True), strict=False
        )
    except Exception as error:  # not a weights file, or tensors of other shapes
        raise FastptError(f"{weights} could not be loaded ({_line(error)}). Give the weights of this model.") from None
    classifier = model.pretrained_cfg.get("classifier") or ()
    names = (classifier,) if isinstance(classifier, str) else classifier
    unknown = [key for key in unknown if not key.startswith(tuple(f"{name}." for name in names))]
    if missing or unknown:
        raise FastptError(
            f"{weights} holds the weights of another model: {len(missing)} missing ({', '.join(missing[:3])}), "
            f"{len(unknown)} unknown ({', '.join(unknown[:3])}). Give the weights of this model."
        )


def _filter(interpolation: str) -> str:
    if interpolation not in ("bilinear", "bicubic"):
        warnings.warn(f"the encoder asks for {interpolation} resampling; bicubic is used", stacklevel=2)
        return "bicubic"
    return interpolation


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
