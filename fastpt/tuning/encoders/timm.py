"""Any timm model without its classifier: pooled features."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from fastpt.errors import FastptError, suggestion
from fastpt.tuning.encoders.encoder import LibraryEncoder, Loaded, cause, library_preprocessing

if TYPE_CHECKING:
    from torch import Tensor


def load_timm(name: str, weights: str) -> Loaded:
    """A timm model without its classifier. `name` may be timm's `local-dir:FOLDER`."""
    import timm
    from timm.data.config import resolve_model_data_config

    import fastpt.models  # noqa: F401  (registers our ResNets)

    if not name.startswith("local-dir:") and not timm.is_model(name):
        raise FastptError(f"timm has no model {name!r}; {suggestion(name, timm.list_models(), most=3)}")
    if weights:
        model = timm.create_model(name, num_classes=0)
        _load(model, weights)
    else:
        try:
            model = timm.create_model(name, pretrained=True, num_classes=0)
        except Exception as error:
            # Hub, network and file errors come in many classes; each means that there are no weights.
            raise FastptError(
                f"the weights of timm model {name} could not be had ({cause(error)}). "
                "Give a local file: --encoder timm:NAME:WEIGHTS."
            ) from None
    config = resolve_model_data_config(model)
    return Loaded(model, library_preprocessing(config, config["input_size"][-1], config["crop_pct"]))


KIND = LibraryEncoder("timm", "timm:NAME[:WEIGHTS]", load_timm)


def _load(model: Any, weights: str) -> None:
    """Load a file whose only surplus over the model may be a classifier."""
    from timm.models import load_state_dict

    try:
        state = load_state_dict(weights, use_ema=False, weights_only=True)
        missing, unknown = model.load_state_dict(_renamed(state, model.state_dict()) or state, strict=False)
    except Exception as error:  # not a weights file, or tensors of other shapes
        raise FastptError(f"{weights} could not be loaded ({cause(error)}). Give the weights of this model.") from None
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
