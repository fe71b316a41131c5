"""What a model says of samples that it was not trained on, and which labels it doubts: `fastpt suspects` writes it.

suspects.parquet (see `keyed`) has a row a sample: `given_label`, the label in question; `label`, what the model has in
its place where it doubts it, else the given one; `rank`, from 1, the most doubtful first; `margin`, the probability of
the given class less the largest of another; and the most probable classes, `class_1` ... and `probability_1` ... . As
it has `key` and `label`, it is also a list for `fastpt noise --kind external`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa

from fastpt.data.dataset import Dataset
from fastpt.noise.keyed import KeyedFile, numbers, texts_by, texts_of, write_keyed

FORMAT = "2.1"
UNKNOWN = -1
"""In place of a label, in what is true of samples: a picture of no class that is known, which has no right one."""
MOST_CLASSES = 10
"""Classes a sample whose probabilities are kept."""
NO_SCORES: Mapping[str, np.ndarray] = MappingProxyType({})
_MARK = b"fastpt.predictions"
_ADVICE = "no file of predictions, which `fastpt suspects DIR --out FILE` writes."


@dataclass(frozen=True)
class Predictions:
    """Out-of-sample predictions for the N samples of a split, of its K classes those with the largest probabilities."""

    given: np.ndarray
    """int64 [N], the labels that the model was trained on and that were in question."""
    suggested: np.ndarray
    """int64 [N], `given` where it is not doubted."""
    margin: np.ndarray
    """float32 [N], the probability of the given class less the largest of another, in [-1, 1]."""
    classes: np.ndarray
    """int64 [N, min(K, MOST_CLASSES)], by falling probability."""
    probabilities: np.ndarray
    """float32 [N, min(K, MOST_CLASSES)]."""

    def confusion(self, classes: int) -> np.ndarray:
        """The probabilities of each class, summed over the samples of each label (row): float64 [K, K].

        Of those that are kept: a class that is among no sample's first has none.
        """
        total = np.zeros((classes, classes))
        for label, probability in zip(self.classes.T, self.probabilities.T, strict=True):
            np.add.at(total, (self.given, label), probability)
        return total

    def order(self) -> np.ndarray:
        """All rows, the most doubtful first, those that have another label suggested before all others: int64 [N]."""
        return np.lexsort((np.arange(len(self.given)), self.margin, self.given == self.suggested))


def write_predictions(
    path: Path,
    dataset: Dataset,
    predictions: Predictions,
    made_with: dict[str, Any],
    scores: Mapping[str, np.ndarray] = NO_SCORES,
) -> str:
    """Write the file. `made_with` is what made them, for people, as are `scores`: further columns, float64 [N].

    Returns the file's identity, a sha256.
    """
    names = pa.array(dataset.classes, pa.large_string())
    rank = np.empty(len(dataset), np.int64)
    rank[predictions.order()] = np.arange(1, len(dataset) + 1)
    columns = {
        "given_label": texts_by(names, predictions.given),
        "label": texts_by(names, predictions.suggested),
        "rank": numbers(rank),
        "margin": numbers(predictions.margin),
    }
    for place in range(predictions.classes.shape[1]):
        columns[f"class_{place + 1}"] = texts_by(names, predictions.classes[:, place])
        columns[f"probability_{place + 1}"] = numbers(predictions.probabilities[:, place])
    columns |= {name: numbers(values) for name, values in scores.items()}
    stated = {"format": FORMAT, "classes": dataset.classes, "made_with": made_with}
    return write_keyed(path, _MARK, texts_of(dataset, "key"), columns, stated)


def read_predictions(path: Path, dataset: Dataset) -> Predictions:
    """The predictions of a file, for a split of the same samples.

    Raises FastptError if it is no such file, or of other keys, classes or labels than the split's own; DamagedData if
    it is not what was written.
    """
    file = KeyedFile(path, _MARK, FORMAT, _ADVICE, _nonsense)
    rows = file.rows(dataset)
    names = pa.array(dataset.classes, pa.large_string())
    given = file.positions("given_label", names)[rows]
    file.check_labels(dataset, given, "labels that were in question")
    places = range(1, min(len(dataset.classes), MOST_CLASSES) + 1)
    classes = [file.positions(f"class_{place}", names)[rows] for place in places]
    probabilities = [file.column(f"probability_{place}").to_numpy()[rows] for place in places]
    margin = file.column("margin").to_numpy()[rows]
    for values in (margin, *probabilities):
        if values.dtype != np.float32 or not (np.abs(values) <= 1).all():
            raise file.damaged("a probability is no number from 0 to 1")
    suggested = file.positions("label", names)[rows]
    return Predictions(given, suggested, margin, np.stack(classes, 1), np.stack(probabilities, 1))


def _nonsense(stated: dict[str, Any]) -> str | None:
    """What in a sealed document nobody writes. Raises what Python raises where something is missing."""
    most = min(len(stated["classes"]), MOST_CLASSES)
    numbered = {f"{name}_{place + 1}" for name in ("class", "probability") for place in range(most)}
    expected = {"key", "given_label", "label", "rank", "margin", *numbered}
    found = set(stated["columns"])
    return None if found >= expected else f"its columns are {', '.join(sorted(map(str, found)))}"
