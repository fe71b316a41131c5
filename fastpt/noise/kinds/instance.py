"""Instance-dependent noise: what a model doubts is wrong more often, and as what the model takes it for."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fastpt.data.hashes import Texts, xxh3_128
from fastpt.data.plan import Changed, NoisePlan, check_rate
from fastpt.errors import FastptError
from fastpt.noise.kinds import Made, NoiseKind

if TYPE_CHECKING:
    from fastpt.data.dataset import Dataset

_UNIFORM = 2.0**-53


def instance(
    keys: Texts, labels: np.ndarray, classes: np.ndarray, probabilities: np.ndarray, rate: float, seed: int
) -> np.ndarray:
    """Flip exactly round(rate * N) samples, each with a chance of min(1, t w), t as the number has it.

    classes, int [N, M], and probabilities, float [N, M], are a model's most probable classes of each sample; w is what
    it gives those that are not the sample's own. Sample i is wrong before others by u_i / w_i, u_i in [0, 1) its hash
    (sequential Poisson sampling, Ohlsson 1998), so that what is wrong at a low rate is wrong at a higher one. The class
    shown is d with probability p_i(d) / w_i. Nothing but IEEE's exact arithmetic: it is the same on any machine.

    labels: int [N]. Returns int32 [N], the labels to be shown. Raises FastptError if too few have another class.
    """
    check_rate(rate)
    others = np.where(classes == np.asarray(labels)[:, None], 0.0, probabilities.astype(np.float64))
    cumulative = np.cumsum(others, axis=1)
    doubt = cumulative[:, -1]
    can_flip = int((doubt > 0).sum())
    wanted = round(rate * len(labels))
    if wanted > can_flip:
        raise FastptError(
            f"instance noise of {rate:g} cannot be reached: the predictions know of no other class for "
            f"{len(labels) - can_flip:,} samples. The maximum here is {can_flip / max(len(labels), 1):.4g}."
        )
    ranks, draws = xxh3_128(keys, seed)
    uniform = (ranks >> np.uint64(11)) * _UNIFORM
    place = np.divide(uniform, doubt, out=np.full(len(doubt), np.inf), where=doubt > 0)
    flipped = np.lexsort((draws, place))[:wanted]
    reached = (draws[flipped] >> np.uint64(11)) * _UNIFORM * doubt[flipped]
    column = (cumulative[flipped] <= reached[:, None]).sum(1)  # classes of probability 0 are passed over
    noisy = np.array(labels, np.int32)
    noisy[flipped] = classes[flipped, column]
    return noisy


class Instance(NoiseKind):
    summary = "labels, flipped where and as a model is in doubt, by its predictions"
    of = frozenset({"labels"})
    even = False
    files = {"predictions": "suspects.parquet, as `fastpt suspects` writes it of the split's own labels"}

    def make(self, dataset: "Dataset", of: Changed, rate: float, seed: int, files: Mapping[str, Path]) -> Made:
        from fastpt.noise.predictions import read_predictions

        found = read_predictions(files["predictions"], dataset)
        keys, labels = dataset.stored_keys, dataset.clean_labels
        return Made(instance(keys, labels, found.classes, found.probabilities, rate, seed))

    def check(self, plan: NoisePlan, dataset: "Dataset") -> list[str]:
        wrong = int((plan.array != dataset.clean_labels).sum())
        return [] if wrong == round(plan.rate * len(plan.array)) else ["does not reach its rate"]


KIND = Instance()
