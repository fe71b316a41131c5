"""The image tower of any open_clip model: its embedding."""

from __future__ import annotations

import sys
from functools import cache, partial
from typing import TYPE_CHECKING, Any

from fastpt.errors import FastptError, suggestion
from fastpt.tuning.encoders.encoder import LibraryEncoder, Loaded, cause, library_preprocessing

if TYPE_CHECKING:
    import torch


def load_open_clip(name: str, weights: str) -> Loaded:
    """An open_clip model. `name` may be open_clip's `local-dir:FOLDER`, which holds its weights."""
    import open_clip

    import fastpt.models  # noqa: F401  (the image tower may be one of our ResNets)

    local = name.startswith("local-dir:")
    if not local and name not in open_clip.list_models():
        raise FastptError(f"open_clip has no model {name!r}; {suggestion(name, open_clip.list_models(), most=3)}")
    if not local and not weights:
        raise FastptError(f"open_clip:{name} names no weights. Give a local file: --encoder open_clip:{name}:WEIGHTS.")
    try:
        model = open_clip.create_model(name, pretrained=weights or None, weights_only=True)
        other_size = _resized(model, weights) if weights else None
    except Exception as error:
        raise FastptError(
            f"open_clip could not load {name} from {weights or name} ({cause(error)}). "
            "Give the weights file of this very model."
        ) from None
    if other_size:
        raise FastptError(
            f"{weights} holds {other_size}, which open_clip would resize: it is of another resolution or length of "
            f"texts, such as that of a -336 model. Give the weights of {name}."
        )
    if weights and (other := f"{name}-quickgelu") in open_clip.list_models():
        print(
            f"tune: {other} has the tensors of {name} and another activation, which OpenAI's weights, for one, were "
            "trained with. The file does not say which it is of.",
            file=sys.stderr,
        )
    config = open_clip.get_model_preprocess_cfg(model)
    size = config["size"]
    preprocessing = library_preprocessing(config, size if isinstance(size, int) else size[0], 1.0)
    return Loaded(model, preprocessing, cache(partial(open_clip.get_tokenizer, name)))


def _resized(model: torch.nn.Module, weights: str) -> str | None:
    """A tensor of a file whose shape is another than the model's, with both shapes."""
    from open_clip.factory import load_state_dict

    ours = model.state_dict()
    state: Any = load_state_dict(weights, weights_only=True)
    for key, value in state.items():
        if key in ours and value.dim() and value.shape != ours[key].shape:
            return f"{key} of {list(value.shape)} where the model has {list(ours[key].shape)}"
    return None


KIND = LibraryEncoder("open_clip", "open_clip:NAME:WEIGHTS", load_open_clip)
