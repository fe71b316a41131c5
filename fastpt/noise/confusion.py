"""What a noise plan does, class by class: how often each class is shown as which."""

from dataclasses import dataclass

import numpy as np

from fastpt.data.dataset import Dataset
from fastpt.data.plan import NoisePlan


@dataclass(frozen=True)
class Confusion:
    """How many samples of class `clean` are shown as class `shown`, for the P pairs of which there are any."""

    clean: np.ndarray
    """int64 [P], rising; of equal ones, `shown` rises."""
    shown: np.ndarray
    """int64 [P]."""
    count: np.ndarray
    """int64 [P], from 1."""
    classes: int

    @property
    def wrong(self) -> "Confusion":
        """The pairs of two classes."""
        off = self.clean != self.shown
        return Confusion(self.clean[off], self.shown[off], self.count[off], self.classes)

    def samples(self) -> np.ndarray:
        """How many samples each class has: int64 [K]."""
        return _sums(self.clean, self.count, self.classes)

    def showing(self) -> np.ndarray:
        """How many samples are shown as each class: int64 [K]."""
        return _sums(self.shown, self.count, self.classes)

    def of(self, label: int) -> list[tuple[int, int]]:
        """What else the samples of a class are shown as: class and count, the most frequent first."""
        return self._ranked(self.clean == label, self.shown)

    def origins(self, label: int) -> list[tuple[int, int]]:
        """What other classes have samples that are shown as this one: class and count, the most frequent first."""
        return self._ranked(self.shown == label, self.clean)

    def _ranked(self, these: np.ndarray, others: np.ndarray) -> list[tuple[int, int]]:
        these = these & (self.clean != self.shown)
        pairs = zip(others[these].tolist(), self.count[these].tolist(), strict=True)
        return sorted(pairs, key=lambda pair: (-pair[1], pair[0]))

    def grouped(self, groups: int) -> np.ndarray:
        """The counts as a matrix, int64 [groups, groups]: neighbouring classes stand together where there are more.

        Class c is in group c * groups // K.
        """
        clean, shown = (one * groups // self.classes for one in (self.clean, self.shown))
        return _sums(clean * groups + shown, self.count, groups * groups).reshape(groups, groups)


def confusion(dataset: Dataset, plan: NoisePlan) -> Confusion | None:
    """What a plan of labels does to classes; of captions, of which class the sample is whose caption is shown.

    None if the split has no labels, or if pictures are replaced: what is shown then is of none of its classes.
    """
    if not dataset.has_labels or plan.of == "pictures":
        return None
    clean, classes = dataset.clean_labels, len(dataset.classes)
    shown = plan.array if plan.of == "labels" else clean[plan.array]
    pairs, count = np.unique(clean * classes + shown, return_counts=True)
    return Confusion(pairs // classes, pairs % classes, count, classes)


def _sums(places: np.ndarray, count: np.ndarray, length: int) -> np.ndarray:
    total = np.zeros(length, np.int64)
    np.add.at(total, places, count)
    return total
