"""Symmetric noise: a label becomes any other class with equal chance. The paper's ImageNet noise."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fastpt.data.hashes import Texts, xxh3_128
from fastpt.data.plan import Changed, NoisePlan, check_rate
from fastpt.errors import FastptError
from fastpt.noise.kinds import Made, NoiseKind
from fastpt.noise.ranking import first_of_each_class, rate_problems

if TYPE_CHECKING:
    from fastpt.data.dataset import Dataset


def symmetric(keys: Texts, labels: np.ndarray, classes: Sequence[str], rate: float, seed: int) -> np.ndarray:
    """Flip exactly round(rate * N) samples, of each class its share, uniformly to one of the *other* classes.

    labels: int [N], numbers of `classes`. Returns int32 [N], the labels to be shown.
    """
    check_rate(rate)
    if len(classes) < 2 and rate > 0:
        raise FastptError(f"symmetric noise flips to another class; found {len(classes)} class. Use rate 0.")
    ranks, draws = xxh3_128(keys, seed)
    noisy = np.array(labels, np.int32)
    for flipped in first_of_each_class(ranks, draws, labels, classes, rate, seed):
        draw = (draws[flipped] % np.uint64(len(classes) - 1)).astype(np.int32)
        noisy[flipped] = draw + (draw >= noisy[flipped])  # the draw skips the sample's own class
    return noisy


class Symmetric(NoiseKind):
    summary = "labels, each flipped to any other class with equal chance"
    of = frozenset({"labels"})

    def make(self, dataset: "Dataset", of: Changed, rate: float, seed: int, files: Mapping[str, Path]) -> Made:
        return Made(symmetric(dataset.stored_keys, dataset.clean_labels, dataset.classes, rate, seed))

    def check(self, plan: NoisePlan, dataset: "Dataset") -> list[str]:
        return rate_problems(dataset.clean_labels, plan.array, len(dataset.classes), plan.rate)


KIND = Symmetric()
