"""Frozen encoders: a run of ours, any timm, open_clip or ONNX model. Each maps pictures to feature vectors.

    a run folder                 its export/, with the evaluation crop of its recipe
    timm:NAME[:WEIGHTS]          pooled features before the classifier; without WEIGHTS, timm's pre-trained ones
    open_clip:NAME:WEIGHTS       the image tower's embedding
    onnx:FILE                    the first output of an ONNX model
    FILE.yaml                    one of these, with the preprocessing that it wants; see `EncoderFile`

WEIGHTS is a local file: safetensors, or a torch file that holds nothing but tensors.
"""

import difflib
import hashlib
import json
import sys
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, Strict, ValidationError
from torch import Tensor

from fastpt.config import Section, load_strict
from fastpt.errors import FastptError
from fastpt.files import file_sha256
from fastpt.recipe import load_recipe
from fastpt.runs import EXPORT, RECIPE

Precision = Literal["fp32", "bf16"]
Channels = Annotated[tuple[float, float, float], Strict(False)]  # YAML and JSON have lists only


@dataclass(frozen=True)
class Preprocessing:
    """How a stored picture becomes the encoder's input: centre crop, resize, then (x / 255 − mean) / std."""

    size: int
    """Side of the input, pixels."""
    crop_fraction: float
    """Share of the picture's short side that the centre crop keeps."""
    interpolation: str
    """Resampling filter: area, bilinear or bicubic."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def as_dict(self) -> dict:
        return asdict(self)


class EncoderFile(Section):
    """An encoder and what it wants to see, where that is not what its library or its metadata says.

        model: timm:tf_efficientnet_lite0:weights/efficientnet_lite0.pth
        mean: [0.498, 0.498, 0.498]
        std: [0.502, 0.502, 0.502]

    An ONNX file may carry the same keys but `model` as metadata, its values written as JSON.
    """

    model: str
    """timm:NAME[:WEIGHTS], open_clip:NAME:WEIGHTS or onnx:FILE; paths are relative to the current folder."""
    size: int | None = Field(None, ge=1)
    """Side of the input, pixels."""
    crop_fraction: float | None = Field(None, gt=0, le=1)
    """Share of the picture's short side that the centre crop keeps."""
    interpolation: Literal["area", "bilinear", "bicubic"] | None = None
    """Resampling filter."""
    mean: Channels | None = None
    """Subtracted from x / 255, for red, green and blue."""
    std: Channels | None = None
    """Divides the difference."""

    def said(self) -> dict[str, Any]:
        """The keys of the preprocessing that are there."""
        return {key: value for key, value in self if key != "model" and value is not None}


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

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """Pictures, uint8 [B, H, W, 3], cropped and resized -> features, float32 [B, D], on the encoder's device."""
        return self.features(images)

    def features(self, images: Tensor) -> Tensor:
        """The same, to be differentiated by the model's weights."""
        mean, std = (
            torch.tensor(values, device=self.device).view(1, 3, 1, 1)
            for values in (self.preprocessing.mean, self.preprocessing.std)
        )
        # The memory stays channels last, which is how convolutions are fastest.
        pixels = images.to(self.device, non_blocking=True).permute(0, 3, 1, 2).float()
        pixels = pixels.div_(255).sub_(mean).div_(std)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            return self.forward(pixels).float()


def open_encoder(spec: str, device: str = "cpu", precision: Precision = "fp32") -> Encoder:
    """The encoder that `spec` names; the head of this module lists the kinds. Raises FastptError."""
    if spec.endswith((".yaml", ".yml")):
        file = load_strict(EncoderFile, Path(spec))
        return _open(file.model, file.said(), Path(spec).stem, device, precision)
    return _open(spec, {}, None, device, precision)


def _open(spec: str, said: dict[str, Any], name: str | None, device: str, precision: Precision) -> Encoder:
    """`said` goes before what the library or the metadata says; `name`, by default, is the model's."""
    kind, _, rest = spec.partition(":")
    model_name, _, weights = rest.partition(":")
    if kind == "onnx" and rest:
        return _onnx(Path(rest), said, name, device, precision)
    if kind not in ("timm", "open_clip") or not model_name:
        raise FastptError(
            f"--encoder {spec!r} names no encoder. "
            "Write timm:NAME[:WEIGHTS], open_clip:NAME:WEIGHTS, onnx:FILE or a YAML file."
        )
    if weights and not Path(weights).is_file():
        raise FastptError(f"--encoder {spec}: there is no weights file {weights}. Give the path of a local file.")
    model, preprocessing = (_timm if kind == "timm" else _open_clip)(model_name, weights)
    preprocessing = replace(preprocessing, **said)
    return _freeze(name or f"{kind}:{model_name}", model, preprocessing, device, precision)


def open_run(run: Path, device: str = "cpu", precision: Precision = "fp32") -> Encoder:
    """The encoder that a finished run exported, with the evaluation crop of its recipe. Raises FastptError."""
    export = run / EXPORT
    if (export / "open_clip_config.json").is_file():
        model, preprocessing = _open_clip(f"local-dir:{export}", "")
    elif (export / "config.json").is_file():
        model, preprocessing = _timm(f"local-dir:{export}", "")
    else:
        state = "has no export yet: its training has not ended" if run.is_dir() else "does not exist"
        raise FastptError(f"run {run} {state}. Train it with `fastpt train`, or write its export with `fastpt export`.")
    recipe = run / RECIPE
    if recipe.is_file():
        data = load_recipe(recipe).data
        preprocessing = Preprocessing(
            data.eval_size or data.size,
            data.crop_fraction,
            data.eval_interpolation,
            preprocessing.mean,
            preprocessing.std,
        )
    return _freeze(run.resolve().name, model, preprocessing, device, precision, run)


def _freeze(
    name: str,
    model: torch.nn.Module,
    preprocessing: Preprocessing,
    device: str,
    precision: Precision,
    run: Path | None = None,
) -> Encoder:
    model = model.eval().requires_grad_(False)
    sha256 = weights_sha256(model)
    model = model.to(device, memory_format=torch.channels_last)
    forward = model.encode_image if hasattr(model, "encode_image") else model
    return Encoder(name, sha256, preprocessing, repr(model), forward, torch.device(device), run, precision, model)


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
        config["input_size"][-1],
        config["crop_pct"],
        _filter(config["interpolation"]),
        tuple(config["mean"]),
        tuple(config["std"]),
    )


def _open_clip(name: str, weights: str) -> tuple[torch.nn.Module, Preprocessing]:
    """An open_clip model. `name` may be open_clip's `local-dir:FOLDER`, which holds its weights."""
    import open_clip

    import fastpt.models  # noqa: F401  (the image tower may be one of the small-picture ResNets)

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
        size if isinstance(size, int) else size[0],
        1.0,
        _filter(config["interpolation"]),
        tuple(config["mean"]),
        tuple(config["std"]),
    )


def _onnx(path: Path, said: dict[str, Any], name: str | None, device: str, precision: Precision) -> Encoder:
    """The first output of an ONNX model, which takes pictures [B, 3, size, size] and gives [B, D]."""
    try:
        import onnx
        import onnxruntime
    except ImportError as error:
        raise FastptError(f"onnx:{path} needs {error.name}. Install it: pip install 'fastpt[onnx]'.") from None
    if not path.is_file():
        raise FastptError(f"there is no ONNX file {path}. Give the path of a local file.")
    if precision != "fp32":
        raise FastptError(f"onnx:{path} computes in the precision that it was exported in. Leave --precision out.")
    wanted = ["CUDAExecutionProvider"] * (device == "cuda") + ["CPUExecutionProvider"]
    providers = [one for one in wanted if one in onnxruntime.get_available_providers()]
    try:
        session = onnxruntime.InferenceSession(path, providers=providers)
        tensors = onnx.load(path, load_external_data=False).graph.initializer
    except Exception as error:  # its errors are of many classes
        raise FastptError(f"{path} is no ONNX model that can be run ({_line(error)}). Export it anew.") from None
    files = {entry.value for tensor in tensors for entry in tensor.external_data if entry.key == "location"}
    digest = hashlib.sha256()
    for file in (path, *(path.parent / other for other in sorted(files))):
        digest.update(bytes.fromhex(file_sha256(file)))

    (given, *others), output = session.get_inputs(), session.get_outputs()[0]
    if others or len(given.shape) != 4 or len(output.shape) != 2 or isinstance(given.shape[0], int):
        raise FastptError(
            f"{path} takes {[one.shape for one in session.get_inputs()]} and gives {output.shape}. An encoder takes "
            "pictures [batch, 3, size, size], with a batch of any size, and gives features [batch, D]. Export it so."
        )
    shape = {"size": given.shape[2]} if isinstance(given.shape[2], int) else {}
    known = shape | _metadata(path, session.get_modelmeta().custom_metadata_map) | said
    missing = [one.name for one in fields(Preprocessing) if one.name not in known]
    if missing:
        raise FastptError(
            f"{path} does not say its {', '.join(missing)}. Write a YAML file with `model: onnx:{path}` and these "
            "keys, and give it as --encoder."
        )

    def forward(pixels: Tensor) -> Tensor:
        return torch.from_numpy(session.run([output.name], {given.name: pixels.contiguous().numpy()})[0])

    return Encoder(
        name or f"onnx:{path.stem}", digest.hexdigest(), Preprocessing(**known), "onnx", forward, torch.device("cpu")
    )


def _metadata(path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    """The keys of `EncoderFile` in the metadata of an ONNX file."""
    try:
        values = {key: json.loads(text) for key, text in metadata.items() if key in EncoderFile.model_fields}
        return EncoderFile(**(values | {"model": "onnx"})).said()
    except (ValueError, ValidationError) as error:
        raise FastptError(
            f"the metadata of {path} cannot be read ({_line(error)}). Values are JSON, such as mean: [0.5, 0.5, 0.5]."
        ) from None


def _load_timm(model: torch.nn.Module, weights: str) -> None:
    """Load a file whose only surplus over the model may be a classifier."""
    from timm.models import load_state_dict

    try:
        state = load_state_dict(weights, use_ema=False, weights_only=True)
        missing, unknown = model.load_state_dict(_renamed(state, model.state_dict()) or state, strict=False)
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


def _renamed(state: dict[str, Tensor], model: dict[str, Tensor]) -> dict[str, Tensor] | None:
    """The tensors of another port of the model under the model's names; None if the file is not one.

    Ports of one architecture list the same layers in the same order under names of their own. They are matched if no
    name of a weight is shared, and if in order each has the shape and the last name (weight, running_var) of its
    counterpart; a classifier may follow.
    """
    count = "num_batches_tracked"  # plays no part in evaluation, and older files lack it
    theirs = [key for key in state if not key.endswith(count)]
    ours = [key for key in model if not key.endswith(count)]
    if set(theirs) & set(ours) or not 0 <= len(theirs) - len(ours) <= 2:
        return None
    pairs = list(zip(ours, theirs, strict=False))
    if any(state[b].shape != model[a].shape or b.rpartition(".")[2] != a.rpartition(".")[2] for a, b in pairs):
        return None
    print(f"tune: the weights bear other names ({theirs[0]} for {ours[0]}); they are matched by order", file=sys.stderr)
    return {a: state[b] for a, b in pairs} | {key: model[key] for key in model if key.endswith(count)}


def _filter(interpolation: str) -> str:
    if interpolation not in ("bilinear", "bicubic"):
        warnings.warn(f"the encoder asks for {interpolation} resampling; bicubic is used", stacklevel=2)
        return "bicubic"
    return interpolation


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
