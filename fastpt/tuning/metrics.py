"""What is measured of answers. N samples, K classes; labels int64 [N]; a share is in [0, 1].

Scores are those of a head, float [N, K], the largest its answer; probabilities are shares of each class, rows that sum
to 1. A class ranks samples by the log-odds of its probabilities, log p / (1 − p): in the same order, and still in one
where probabilities round to 1. Where a test has nothing that a measure could be of, it is None: no value is made up.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

BINS = 15
"""Of confidences, for the calibration error: as many as Guo et al. have."""
LEAST_PROBABILITY = 1e-12
"""A class that a head holds for impossible counts as if it had given it this: one sample makes no mean infinite."""


def accuracy(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Share of right answers int64 [N]."""
    return float((predicted == labels).mean())


def mean_per_class(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the classes that occur in `labels` of the share of right answers in each."""
    counts = np.bincount(labels)
    right = np.bincount(labels, weights=predicted == labels)
    return float((right[counts > 0] / counts[counts > 0]).mean())


def auroc(scores: np.ndarray, members: np.ndarray) -> float | None:
    """Mean over classes of the area under the ROC curve, each class against the rest (Provost & Domingos 2000).

    It is the chance that a sample of the class scores higher than one that is not, ties counting half. members: bool
    [N, K], of which a row may have several or none (multi-label). Classes of which all samples are, or none, have no
    curve and are left out; None if no class has one.
    """
    areas = []
    for column, mine in zip(scores.T, members.T, strict=True):
        inside, outside = column[mine], np.sort(column[~mine])
        if len(inside) and len(outside):
            below, reached = (np.searchsorted(outside, inside, side) for side in ("left", "right"))
            areas.append((below + reached).mean() / (2 * len(outside)))
    return float(np.mean(areas)) if areas else None


def average_precision(scores: np.ndarray, members: np.ndarray) -> float | None:
    """Mean over classes of the area under precision and recall, not interpolated: Σ_n (R_n − R_{n−1}) P_n.

    It is the mean, over samples of the class, of the share of them among those that score no lower. members as in
    `auroc`. Classes that no sample is of are left out; None if there is no other.
    """
    areas = []
    for column, mine in zip(scores.T, members.T, strict=True):
        inside, every = np.sort(column[mine]), np.sort(column)
        if len(inside):
            right = len(inside) - np.searchsorted(inside, inside)
            areas.append((right / (len(every) - np.searchsorted(every, inside))).mean())
    return float(np.mean(areas)) if areas else None


def expected_calibration_error(confidence: np.ndarray, right: np.ndarray, bins: int = BINS) -> float:
    """ECE = Σ_m |B_m| / N · |accuracy(B_m) − mean confidence(B_m)| (Guo et al. 2017, equation 3).

    B_m are the samples whose confidence is in ((m − 1) / bins, m / bins]. confidence: float [N], the probability of the
    answer; right: bool [N].
    """
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(place, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))


def negative_log_likelihood(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean of −log p_y in nats, the cross entropy of the test; p is at least `LEAST_PROBABILITY`."""
    given = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(given, LEAST_PROBABILITY)).mean())


@dataclass(frozen=True, eq=False)
class Answers:
    """What a head says of a test of K classes."""

    predicted: np.ndarray
    """int64 [N], the classes it answers."""
    labels: np.ndarray
    """int64 [N], the true ones."""
    scores: np.ndarray
    """float [N, K], by which a class ranks samples: the log-odds of its probabilities, where there are any."""
    has_probabilities: bool
    classes: np.ndarray | None = None
    """int64 [K], the number that each class has in the test's list; None: the same."""

    @property
    def members(self) -> np.ndarray:
        """bool [N, K]: which class a sample is of."""
        return self.labels[:, None] == np.arange(self.scores.shape[1])

    @property
    def named(self) -> np.ndarray:
        """int64 [N], the answers as numbers of the test's list of classes."""
        return self.predicted if self.classes is None else self.classes[self.predicted]

    @property
    def probabilities(self) -> np.ndarray:
        """float [N, K], where there are any."""
        return expit(self.scores)

    def confidence(self) -> tuple[np.ndarray, np.ndarray]:
        """Of each answer its probability, and whether it is right."""
        return expit(self.scores[np.arange(len(self.predicted)), self.predicted]), self.predicted == self.labels


@dataclass(frozen=True)
class Measure:
    """A number of a head on a test."""

    label: str
    of: Callable[[Answers], float | None]
    is_share: bool = True
    """In [0, 1], shown in per cent."""
    needs_probabilities: bool = False


MEASURES = {
    "accuracy": Measure("accuracy", lambda one: accuracy(one.predicted, one.labels)),
    "mean_per_class": Measure("mean per class", lambda one: mean_per_class(one.predicted, one.labels)),
    "auroc": Measure("AUROC", lambda one: auroc(one.scores, one.members)),
    "average_precision": Measure("average precision", lambda one: average_precision(one.scores, one.members)),
    "ece": Measure("ECE", lambda one: expected_calibration_error(*one.confidence()), needs_probabilities=True),
    "nll": Measure("NLL", lambda one: negative_log_likelihood(one.probabilities, one.labels), False, True),
}
"""All that is measured of every head on every test. A suite's `metric` is one of the first two."""


def measured(answers: Answers) -> dict[str, float | None]:
    """Every measure by name; None of those that need probabilities where the head gives none."""
    return {
        name: measure.of(answers) if answers.has_probabilities or not measure.needs_probabilities else None
        for name, measure in MEASURES.items()
    }
