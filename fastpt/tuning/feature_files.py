"""Features that somebody else has computed, such as text embeddings from an API: files of numbers with labels.

    .npy           features [N, D]; the labels [N] are in another file
    .safetensors   tensors `features` [N, D] and `labels` [N]
    .parquet       columns `features` (lists of equal length) and `labels`

Labels are integers from 0, numbers of one list of classes that training and test share. A file of labels may be of
another kind than its features.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from fastpt.errors import DamagedData, FastptError

SUFFIXES = (".npy", ".safetensors", ".parquet")


@dataclass(frozen=True)
class FeatureSet:
    """Features with labels, checked; it stands where a prepared split could."""

    path: Path
    values: np.ndarray
    """float32 [N, D], finite."""
    labels: np.ndarray
    """int64 [N], 0 or more."""

    def __len__(self) -> int:
        return len(self.labels)

    has_labels = True

    @property
    def classes(self) -> range:
        """The classes, which are numbers."""
        return range(int(self.labels.max()) + 1)


def read_features(features: Path, labels: Path | None = None) -> FeatureSet:
    """Read features and labels, by default from one file.

    Raises DamagedData if a file does not parse, FastptError if what it holds cannot be trained on.
    """
    from fastpt.tuning.arrays import checked_features  # it brings torch, which reading a suite shall not wait for

    if labels is None and features.suffix == ".npy":
        raise FastptError(
            f"{features} holds features only. Name the file of their labels: {{features: ..., labels: ...}}."
        )
    values, truth = _read(features, "features"), _read(labels or features, "labels")
    try:
        values = checked_features(values).numpy()
    except (FastptError, TypeError) as error:
        raise FastptError(f"{features}: {error}") from None
    are_labels = truth.shape == values.shape[:1] and truth.dtype.kind in "iu"
    if not are_labels or truth.min() < 0 or truth.max() >= 2**31:  # which is an id, a hash or a fault
        raise FastptError(
            f"{labels or features} should hold {len(values)} labels, integers from 0, one for each row of {features}; "
            f"it holds {truth.dtype} of shape {list(truth.shape)}"
            + (f", from {truth.min()} to {truth.max()}." if truth.size and truth.dtype.kind in "iu" else ".")
        )
    return FeatureSet(features, values, truth.astype(np.int64))


def _tensors(path: Path) -> dict[str, np.ndarray]:
    """The tensors of a file; bfloat16, which numpy lacks, as float32."""
    import torch
    from safetensors.torch import load_file

    return {
        name: (one.float() if one.dtype == torch.bfloat16 else one).numpy() for name, one in load_file(path).items()
    }


def _read(path: Path, what: str) -> np.ndarray:
    if path.suffix not in SUFFIXES:
        raise FastptError(f"{path} is none of {', '.join(SUFFIXES)}. Store the {what} in one of these.")
    if path.exists() and not path.is_file():  # a pipe would be waited for
        raise FastptError(f"{path} is no file. Store the {what} in one.")
    try:
        if path.suffix == ".npy":
            return np.load(path)
        values = _tensors(path) if path.suffix == ".safetensors" else pq.read_table(path)
    except Exception as error:  # of three libraries
        kind = FastptError if "allow_pickle" in str(error) else DamagedData  # Python's objects are no damage
        raise kind(
            f"{what} cannot be read from {path} ({type(error).__name__}: {error}). Write the file anew."
        ) from None
    known = values if isinstance(values, dict) else values.column_names
    if what not in known:
        raise FastptError(f"{path} holds no {what!r}, only {', '.join(known)}. Store the {what} under that name.")
    if isinstance(values, dict):
        return values[what]
    if absent := values.column(what).null_count:
        raise FastptError(f"{path}: {absent:,} of {len(values):,} rows have no {what}. Leave these rows out.")
    column = values.column(what).to_numpy()
    if (
        what == "labels" or column.dtype != object or len({len(one) for one in column}) > 1
    ):  # lists of different lengths make no array
        return column
    return np.stack(column)
