"""The order of an epoch, beside plain permutations, which no seed of another library repeats on another machine."""

from collections.abc import Callable, Iterator
from pathlib import Path

from tools.bench.contest import Contest, Entry
from tools.bench.options import Options

A_STATE = "it permutes by the state of a generator, which gives no epoch by itself and no views"


def contests(options: Options, scratch: Path) -> Iterator[Contest]:
    """A thousand samples and a million, or YFCC15M's; for more see tools/bench/scale."""
    for count in [1000, 1_000_000 if options.quick else 15_000_000]:
        given = {"count": count}
        what = (
            f"The order of {count:,} samples. Ours is a pure function of seed and epoch with views, the same on every "
            "machine; numpy's and torch's are permutations of a generator's state."
        )
        entries = [
            Entry("fastpt, random", f"{__name__}:ours", "fastpt", {**given, "kind": "random"}),
            Entry("fastpt, quasi-random", f"{__name__}:ours", "fastpt", {**given, "kind": "quasi_random"}),
            Entry("numpy permutation", f"{__name__}:of_numpy", "numpy", given, A_STATE),
            Entry("torch randperm", f"{__name__}:of_torch", "torch", given, A_STATE),
        ]
        yield Contest("order", f"{count:,} samples", what, "s", entries, measure="seconds")


def ours(count: int, kind: str) -> Callable[[], int]:
    from fastpt.loading.order import epoch_order

    epochs = iter(range(1 << 30))
    return lambda: len(epoch_order(count, 0, next(epochs), kind, 256)[0])  # type: ignore[arg-type]


def of_numpy(count: int) -> Callable[[], int]:
    import numpy as np

    rng = np.random.default_rng(0)
    return lambda: len(rng.permutation(count))


def of_torch(count: int) -> Callable[[], int]:
    import torch

    return lambda: len(torch.randperm(count))
