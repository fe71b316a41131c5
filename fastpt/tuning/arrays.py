"""Checks of the arrays that users hand to tuning: features [N, D] and labels [N]."""

import warnings

import numpy as np
import torch
from torch import Tensor

from fastpt.errors import FastptError


def validate(
    features: np.ndarray | Tensor, labels: np.ndarray | Tensor, classes: int | None = None
) -> tuple[Tensor, Tensor, int]:
    """Float32 features [N, D] or [V, N, D] (views), int64 labels [N] and the number of classes.

    Raises FastptError if they cannot be trained on.
    """
    features = as_tensor(features, "features")
    if features.ndim == 3 and len(features):
        features = torch.stack([checked_features(view) for view in features])
    else:
        features = checked_features(features)
    labels = as_tensor(labels, "labels")
    if labels.shape != features.shape[-2:-1]:
        raise FastptError(
            f"There are {features.shape[-2]} rows of features, but the labels have shape {list(labels.shape)}. "
            "Give one label a row."
        )
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise FastptError(f"The labels are {labels.dtype}. Give integers from 0 to the number of classes - 1.")
    labels = labels.long()
    low, high, found = int(labels.min()), int(labels.max()), len(labels.unique())
    classes = high + 1 if classes is None else classes
    if low < 0 or high >= classes:
        raise FastptError(f"The labels go from {low} to {high}, but there are {classes} classes: 0 to {classes - 1}.")
    if found < 2:
        raise FastptError(f"All {len(labels)} samples have the label {low}. A classifier needs at least two classes.")
    if len(labels) < classes:
        raise FastptError(f"There are {len(labels)} samples for {classes} classes. Give at least one sample a class.")
    return features, labels, classes


def checked_features(
    features: np.ndarray | Tensor, dim: int | None = None, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Features [N, D] as a tensor of `dtype`; FastptError if they are empty, not finite, or not of `dim` dimensions."""
    features = as_tensor(features, "features")
    if features.ndim != 2 or 0 in features.shape:
        raise FastptError(f"The features have shape {list(features.shape)}. Give at least one row: [N, D].")
    if features.is_complex():
        raise FastptError(f"The features are {features.dtype}. Give real numbers.")
    if dim is not None and features.shape[1] != dim:
        raise FastptError(
            f"The features have {features.shape[1]} dimensions, but the heads were trained on {dim}. "
            "Give features of the same encoder."
        )
    features = features.to(dtype)
    bad = (~features.isfinite()).any(1).nonzero().flatten()
    if len(bad):
        raise FastptError(
            f"{len(bad)} of {len(features)} rows of features hold NaN or infinity, the first is row {int(bad[0])} "
            f"(read as {str(dtype).removeprefix('torch.')}). Leave these rows out, or look for the fault in the "
            "encoder."
        )
    return features


def as_tensor(values: np.ndarray | Tensor, what: str) -> Tensor:
    """A tensor of an array, or of what numpy makes one of; FastptError if it does not hold numbers."""
    if isinstance(values, Tensor):
        return values.detach()
    try:
        array = np.asarray(values)
    except ValueError as error:  # lists of different lengths
        raise FastptError(f"The {what} are no array ({error}). Give numbers.") from None
    if array.dtype.kind not in "biufc":
        raise FastptError(f"The {what} are {array.dtype}. Give numbers.")
    # torch knows neither long double nor foreign byte orders, nor rows that run backwards.
    simple = np.float64 if array.dtype.kind == "f" and array.dtype.itemsize > 8 else array.dtype.newbyteorder("=")
    array = array.astype(simple, copy=any(stride < 0 for stride in array.strides))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nor is it written to
        return torch.as_tensor(array)
