"""Labels that are suspected, on one HTML page: how many, between which classes, and the most doubtful pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastpt.data.dataset import Dataset
from fastpt.data.samples import ImageDataset
from fastpt.errors import FastptError
from fastpt.files import atomic_write
from fastpt.noise.predictions import UNKNOWN, Predictions
from fastpt.printable import one_line, percentage
from fastpt.report.pictures import thumbnail
from fastpt.report.template import render

MOST_PAIRS = 12


@dataclass(frozen=True)
class Suspect:
    """A sample: its picture as a data: URI (None if it does not decode), and what is said of it."""

    uri: str | None
    key: str
    given: str
    suggested: str
    truth: str | None


def check_page(path: Path) -> None:
    """Raise FastptError if a page cannot be written there."""
    if path.is_dir() or path.suffix != ".html":
        raise FastptError(f"{path} is to be one page: let its name end in .html.")


def write_suspects(
    path: Path,
    dataset: Dataset,
    shown: ImageDataset,
    predictions: Predictions,
    facts: Sequence[tuple[str, str]],
    pictures: int,
    truth: np.ndarray | None,
) -> None:
    """Write the page, with the pictures of `shown`. `facts` stand at its top; truth: int64 [N], the right labels where
    they are known, `UNKNOWN` of pictures that have none."""
    names = [one_line(name, 60) for name in dataset.class_names]
    doubted = np.flatnonzero(predictions.given != predictions.suggested)
    pairs, counts = np.unique(
        predictions.given[doubted] * len(names) + predictions.suggested[doubted], return_counts=True
    )
    most = np.argsort(-counts, kind="stable")[:MOST_PAIRS]
    page = render(
        "suspects.html",
        split=one_line(f"{dataset.name}/{dataset.split}"),
        facts=facts,
        pairs=[
            (names[pair // len(names)], names[pair % len(names)], count)
            for pair, count in zip(pairs[most].tolist(), counts[most].tolist(), strict=True)
        ],
        suspects=[
            _suspect(dataset, thumbnail(shown, row), predictions, names, row, truth)
            for row in predictions.order()[: min(pictures, len(doubted))].tolist()
        ],
    )
    with atomic_write(path, "w") as file:
        file.write(page)


def _suspect(
    dataset: Dataset,
    uri: str | None,
    predictions: Predictions,
    names: Sequence[str],
    row: int,
    truth: np.ndarray | None,
) -> Suspect:
    given, suggested = int(predictions.given[row]), int(predictions.suggested[row])
    classes, probabilities = predictions.classes[row].tolist(), predictions.probabilities[row].tolist()
    most = next(one for label, one in zip(classes, probabilities, strict=True) if label != given)
    known = {**dict(zip(classes, probabilities, strict=True)), given: most + float(predictions.margin[row])}
    return Suspect(
        uri,
        one_line(dataset.keys[row]),
        *(_told(names[label], known.get(label)) for label in (given, suggested)),
        truth=None if truth is None else "of no class here" if truth[row] == UNKNOWN else names[int(truth[row])],
    )


def _told(name: str, probability: float | None) -> str:
    """A class with its probability, where that is among those that are kept."""
    return name if probability is None else f"{name} · {percentage(round(probability, 3))}"
