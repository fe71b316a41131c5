"""Asymmetric noise: a label becomes one of the classes that its own is confused with, by their weights."""

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


def asymmetric(
    keys: Texts, labels: np.ndarray, classes: Sequence[str], weights: np.ndarray, rate: float, seed: int
) -> np.ndarray:
    """Flip round(rate * N) samples, of each class c its share, to class d with probability weights[c, d] / sum_d.

    labels: int [N], numbers of the K `classes`. weights: float [K, K], at least 0; the diagonal does not count. A class
    whose row is 0 is confused with none and stays clean; N counts the samples of the others. Returns int32 [N], the
    labels to be shown.
    """
    check_rate(rate)
    weights = np.array(weights, np.float64)
    if weights.shape != (len(classes), len(classes)) or not np.isfinite(weights).all() or (weights < 0).any():
        raise FastptError(
            f"a confusion matrix of {len(classes)} classes is square, of finite weights of at least 0; "
            f"found shape {weights.shape}, "
            f"least {np.min(weights, initial=np.inf):g}, greatest {np.max(weights, initial=-np.inf):g}."
        )
    np.fill_diagonal(weights, 0)
    confused = np.any(weights > 0, axis=1)
    if rate > 0 and not confused.any():
        raise FastptError("the confusion matrix has no weight off its diagonal: no class is confused with another.")
    ranks, draws = xxh3_128(keys, seed)
    noisy = np.array(labels, np.int32)
    for label, flipped in enumerate(first_of_each_class(ranks, draws, labels, classes, rate, seed, confused)):
        if len(flipped):
            cumulative = np.cumsum(weights[label])
            uniform = (draws[flipped] >> np.uint64(11)) * 2.0**-53  # in [0, 1)
            # The next weight that is not 0: equal sums are passed over, and the last sum is not reached.
            noisy[flipped] = np.searchsorted(cumulative / cumulative[-1], uniform, side="right")
    return noisy


def nearest_classes(edges: list[tuple[str, str]], classes: list[str]) -> np.ndarray:
    """Weights for `asymmetric`: 1 for each of the classes nearest to a class in a hierarchy, else 0; float [K, K].

    edges: (parent, child) pairs. The distance of two classes is the length of the shortest path through a common
    ancestor (which may be one of the two). Raises FastptError if a class is not in the hierarchy.
    """
    parents: dict[str, list[str]] = {}
    for parent, child in edges:
        parents.setdefault(child, []).append(parent)
    nodes = parents.keys() | {parent for parent, _ in edges}
    missing = [name for name in classes if name not in nodes]
    if missing:
        raise FastptError(
            f"the hierarchy has no {', '.join(missing[:3])}{' ...' * (len(missing) > 3)} ({len(missing)} of "
            f"{len(classes)} classes). It names classes as the split does: by folder name or WordNet id."
        )
    heights = [_ancestors(name, parents) for name in classes]
    below: dict[str, list[tuple[int, int]]] = {}  # ancestor -> (class, steps up from it)
    for index, ancestors in enumerate(heights):
        for ancestor, steps in ancestors.items():
            below.setdefault(ancestor, []).append((index, steps))
    reach = {ancestor: np.array(found).T for ancestor, found in below.items()}  # int [2, those below]
    weights = np.zeros((len(classes), len(classes)))
    for index, ancestors in enumerate(heights):
        distance = np.full(len(classes), np.inf)
        for ancestor, steps in ancestors.items():
            others, down = reach[ancestor]
            distance[others] = np.minimum(distance[others], steps + down)
        distance[index] = np.inf
        if np.isfinite(distance).any():
            weights[index, distance == distance.min()] = 1
    return weights


def _ancestors(name: str, parents: dict[str, list[str]]) -> dict[str, int]:
    """`name` and all that is above it, with the least number of steps up."""
    found = {name: 0}
    level = [name]
    while level:
        level = [parent for node in level for parent in parents.get(node, ()) if parent not in found]
        found |= dict.fromkeys(level, max(found.values()) + 1)
    return found


class Asymmetric(NoiseKind):
    summary = "labels, flipped as classes are confused, by a matrix, a hierarchy or a model"
    of = frozenset({"labels"})
    files = {
        "matrix": "confusion matrix, .npy or CSV [K, K]",
        "hierarchy": "`parent child` lines; classes are confused with the nearest ones",
        "predictions": "suspects.parquet; classes are confused as its model does",
    }

    def make(self, dataset: "Dataset", of: Changed, rate: float, seed: int, files: Mapping[str, Path]) -> Made:
        from fastpt.noise.formats import odd_of_matrix, read_edges, read_matrix
        from fastpt.noise.predictions import read_predictions

        warnings = []
        if "matrix" in files:
            weights = read_matrix(files["matrix"], len(dataset.classes))
            warnings = odd_of_matrix(weights)
        elif "predictions" in files:
            weights = read_predictions(files["predictions"], dataset).confusion(len(dataset.classes))
        else:
            weights = nearest_classes(read_edges(files["hierarchy"]), dataset.classes)
        noisy = asymmetric(dataset.stored_keys, dataset.clean_labels, dataset.classes, weights, rate, seed)
        return Made(noisy, tuple(warnings))

    def check(self, plan: NoisePlan, dataset: "Dataset") -> list[str]:
        return rate_problems(dataset.clean_labels, plan.array, len(dataset.classes), plan.rate)


KIND = Asymmetric()
