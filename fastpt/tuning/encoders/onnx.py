"""An ONNX model, whoever exported it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from fastpt.config import Precision
from fastpt.errors import FastptError
from fastpt.files import file_sha256
from fastpt.tuning.encoders import EncoderFile
from fastpt.tuning.encoders.encoder import Encoder, Preprocessing, cause

if TYPE_CHECKING:
    from torch import Tensor


class OnnxEncoder:
    form = "onnx:FILE"

    def open(self, name: str, overrides: dict[str, Any], device: str, precision: Precision) -> Encoder:
        """The first output of a model that takes pictures [B, 3, size, size] and gives [B, D].

        Its metadata must say the preprocessing, or `overrides` must.
        """
        import torch

        path = Path(name)
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
            raise FastptError(f"{path} is no ONNX model that can be run ({cause(error)}). Export it anew.") from None
        files = {entry.value for tensor in tensors for entry in tensor.external_data if entry.key == "location"}
        digest = hashlib.sha256()
        for file in (path, *(path.parent / other for other in sorted(files))):
            digest.update(bytes.fromhex(file_sha256(file)))

        (given, *others), output = session.get_inputs(), session.get_outputs()[0]
        if others or len(given.shape) != 4 or len(output.shape) != 2 or isinstance(given.shape[0], int):
            raise FastptError(
                f"{path} takes {[one.shape for one in session.get_inputs()]} and gives {output.shape}. An encoder "
                "takes pictures [batch, 3, size, size], with a batch of any size, and gives features [batch, D]. "
                "Export it so."
            )
        shape = {"size": given.shape[2]} if isinstance(given.shape[2], int) else {}
        known = shape | _metadata(path, session.get_modelmeta().custom_metadata_map) | overrides
        missing = [one.name for one in fields(Preprocessing) if one.name not in known]
        if missing:
            raise FastptError(
                f"{path} does not say its {', '.join(missing)}. Write a YAML file with `model: onnx:{path}` and these "
                "keys, and give it as --encoder."
            )

        def forward(pixels: Tensor) -> Tensor:
            return torch.from_numpy(session.run([output.name], {given.name: pixels.contiguous().numpy()})[0])

        return Encoder(
            f"onnx:{path.stem}", digest.hexdigest(), Preprocessing(**known), "onnx", forward, torch.device("cpu")
        )


KIND = OnnxEncoder()


def _metadata(path: Path, metadata: dict[str, str]) -> dict[str, Any]:
    """The keys of `EncoderFile` in the metadata of an ONNX file."""
    try:
        values = {key: json.loads(text) for key, text in metadata.items() if key in EncoderFile.model_fields}
        return EncoderFile.model_validate(values | {"model": "onnx"}).overrides()
    except (ValueError, ValidationError) as error:
        raise FastptError(
            f"the metadata of {path} cannot be read ({cause(error)}). Values are JSON, such as mean: [0.5, 0.5, 0.5]."
        ) from None
