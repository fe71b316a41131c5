"""A kind of noise: every class is confused with the next one, and the last with the first."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fastpt.data.hashes import Texts, xxh3_128
from fastpt.data.plan import Changed, NoisePlan, check_rate
from fastpt.noise.kinds import Made, NoiseKind
from fastpt.noise.ranking import first_of_each_class

if TYPE_CHECKING:
    from fastpt.data.dataset import Dataset


def confusion(keys: Texts, labels: np.ndarray, classes: Sequence[str], rate: float, seed: int) -> np.ndarray:
    """Labels int64 [N] of `classes`, round(rate * N) of them flipped to the class that follows: int32 [N]."""
    noisy = np.array(labels, np.int32)
    for flipped in first_of_each_class(*xxh3_128(keys, seed), labels, classes, check_rate(rate), seed):
        noisy[flipped] = (noisy[flipped] + 1) % len(classes)
    return noisy


class Confusion(NoiseKind):
    summary = "labels, each flipped to the next class"
    of = frozenset({"labels"})

    def make(self, dataset: "Dataset", of: Changed, rate: float, seed: int, files: Mapping[str, Path]) -> Made:
        return Made(confusion(dataset.stored_keys, dataset.clean_labels, dataset.classes, rate, seed))

    def check(self, plan: NoisePlan, dataset: "Dataset") -> list[str]:
        steps = (plan.array - dataset.clean_labels) % len(dataset.classes)
        return [] if (steps <= 1).all() else ["does not flip to the next class alone"]


KIND = Confusion()
