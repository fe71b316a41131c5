"""Captions swapped with replacement: the procedure of the paper's code, for comparison."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fastpt.data.hashes import Texts, xxh3_128
from fastpt.data.plan import Changed, NoisePlan, check_rate
from fastpt.errors import FastptError
from fastpt.noise.kinds import Made, NoiseKind
from fastpt.noise.ranking import keyed_order

if TYPE_CHECKING:
    from fastpt.data.dataset import Dataset


def pairswap(keys: Texts, rate: float, seed: int) -> np.ndarray:
    """The procedure of the paper's code: N * rate times, swap what two random samples are shown, with replacement.

    A sample may be drawn again, come back to its own caption, or get an equal text; so the share of wrong captions is
    about 1 - exp(-2 * rate), and plans of different rates are not nested. Returns int64 [N]: the row whose caption each
    sample is shown.
    """
    check_rate(rate)
    count = len(keys)
    swaps = round(rate * count)
    rows = np.arange(count, dtype=np.int64)
    if swaps == 0:
        return rows
    if count < 2:
        raise FastptError("captions are swapped between two samples; found one. Use rate 0.")
    order = keyed_order(*xxh3_128(keys, seed))  # what is drawn are places in this order: keyed, like all noise
    raw = np.random.PCG64(seed).random_raw(2 * swaps).reshape(-1, 2)  # a stream that numpy promises to keep
    pairs = np.stack([raw[:, 0] % np.uint64(count), raw[:, 1] % np.uint64(count - 1)], 1).astype(np.int64)
    pairs[:, 1] += pairs[:, 1] >= pairs[:, 0]  # two different samples
    pairs = order[pairs]
    # One after the other gives the same as all at once of those that no earlier one touches, until none is left.
    earliest = np.empty(count, np.int64)
    while len(pairs):
        numbers = np.arange(len(pairs))
        earliest[pairs[::-1].ravel()] = np.repeat(numbers[::-1], 2)  # of equal indices the last is assigned
        ready = (earliest[pairs] == numbers[:, None]).all(axis=1)
        these = pairs[ready]
        rows[these] = rows[these[:, ::-1]]
        pairs = pairs[~ready]
    return rows


class Pairswap(NoiseKind):
    summary = "captions, N * rate random swaps with replacement, as the paper's code does"
    of = frozenset({"captions"})

    def make(self, dataset: "Dataset", of: Changed, rate: float, seed: int, files: Mapping[str, Path]) -> Made:
        dataset.require_captions()
        return Made(pairswap(dataset.stored_keys, rate, seed))

    def check(self, plan: NoisePlan, dataset: "Dataset") -> list[str]:
        dealt = np.array_equal(np.sort(plan.array), np.arange(len(plan.array)))
        return [] if dealt else ["does not show each caption once"]


KIND = Pairswap()
