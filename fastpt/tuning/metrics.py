"""What is measured of answers: predicted and true labels, int64 [N], give a share in [0, 1]."""

import numpy as np


def accuracy(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Share of right answers."""
    return float((predicted == labels).mean())


def mean_per_class(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the classes that occur in `labels` of the share of right answers in each."""
    counts = np.bincount(labels)
    right = np.bincount(labels, weights=predicted == labels)
    return float((right[counts > 0] / counts[counts > 0]).mean())


METRICS = {"accuracy": accuracy, "mean_per_class": mean_per_class}
