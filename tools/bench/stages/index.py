"""Opening millions of samples: seconds until all that a loader needs is there, and the memory that it adds."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from tools.bench.contest import Contest, Entry
from tools.bench.made_up import made_up, resident
from tools.bench.options import Options

Part = Literal["seconds", "memory"]


def contests(options: Options, scratch: Path) -> Iterator[Contest]:
    """A split of few samples, and of YFCC15M's size."""
    for count in [1000, 100_000 if options.quick else 15_000_000]:
        path = str(made_up(scratch / str(count), count))
        what = (
            f"A split of {count:,} samples: manifest, where every picture lies, its clean targets, and the "
            "first epoch's order; in a fresh process, after its imports."
        )
        for name, unit, part in (("seconds to open", "s", "seconds"), ("memory added", "MB", "memory")):
            entry = Entry("fastpt", f"{__name__}:opened", "fastpt", {"path": path, "part": part})
            yield Contest("index", f"{count:,} samples, {name}", what, unit, [entry], measure="value", fresh=True)


def opened(path: str, part: Part) -> Callable[[], float]:
    """Opens a split and makes an order."""
    from fastpt import Dataset
    from fastpt.loading.order import epoch_order

    before = resident()

    def run() -> float:
        start = time.perf_counter()
        dataset = Dataset(path)
        kept = dataset.samples, dataset.targets(None), epoch_order(len(dataset), 0, 0, "random", dataset.block)
        found = {"seconds": time.perf_counter() - start, "memory": resident() - before}
        del kept
        return found[part]

    return run
