"""What a picture costs beside its decoding: planned, read, checked and handed over, with decoding left out.

The consumer's thread is the one that Python runs in: what it computes a picture is at most Python's share; the rest of
the processor time is that of the native threads.
"""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal

from fastpt.processes import cores
from tools.bench.contest import Contest, Entry
from tools.bench.options import Options
from tools.bench.pictures import prepared

BATCH, SIZE = 256, 64


def contests(options: Options, scratch: Path) -> Iterator[Contest]:
    """Small pictures, which show it best."""
    tar, count = options.tar("sign_digits_64.tar"), options.sized(4096, 1024)
    path = str(prepared(tar, scratch, count, None).path)
    what = f"{count:,} pictures of 64 px and 2 kB, batches of {BATCH}, {{}} decoding threads; decoding left out."
    for threads in sorted({1, cores()}):
        shared = {"path": path, "threads": threads, "seconds": 1}
        yield Contest(
            "handover",
            f"pictures handed over, {threads} threads",
            what.format(threads),
            "pictures/s",
            [Entry("fastpt", f"{__name__}:epochs", "fastpt", {**shared, "what": "rate"})],
            measure="value",
        )
        yield Contest(
            "handover",
            f"Python a picture, {threads} threads",
            what.format(threads) + " Processor time of the thread that Python runs in.",
            "us",
            [Entry("fastpt", f"{__name__}:epochs", "fastpt", {**shared, "what": "python"})],
            measure="value",
        )


def epochs(path: str, threads: int, seconds: float, what: Literal["rate", "python"]) -> Callable[[], float]:
    """Goes through epochs for some seconds: pictures a second, or us of the consumer's thread a picture."""
    from fastpt import Dataset, Loader
    from fastpt.jpeg import kernel

    kernel.functions = lambda: kernel.Functions(0, 0, 0)
    loader = Loader(Dataset(path), BATCH, SIZE, seed=0, threads=threads)

    def run() -> float:
        count, consumer, start = 0, time.thread_time(), time.perf_counter()
        while (spent := time.perf_counter() - start) < seconds:
            count += sum(len(batch.images) for batch in loader)
        return count / spent if what == "rate" else (time.thread_time() - consumer) / count * 1e6

    return run
