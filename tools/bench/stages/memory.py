"""Memory of a loader at work: what it adds to a process that has imported everything, batches not counted."""

from collections.abc import Callable, Iterator
from pathlib import Path

from fastpt.processes import cores
from tools.bench.contest import Contest, Entry
from tools.bench.made_up import forget_peak, resident
from tools.bench.options import Options
from tools.bench.pictures import prepared
from tools.bench.stages.loading import BATCH

EPOCHS = 3


def contests(options: Options, scratch: Path) -> Iterator[Contest]:
    """Photos, by threads."""
    tar = options.tar("photos_fullsize.tar")
    path = str(prepared(tar, scratch, options.sized(1024, 256)).path)
    for threads in sorted({1, cores()}):
        what = (
            f"Photos of 500 px to 224, batches of {BATCH}, {threads} decoding threads: resident memory at its peak "
            f"over {EPOCHS} epochs, beyond that of the process with all imports; of it, a batch takes 9.6 MB."
        )
        entry = Entry("fastpt", f"{__name__}:ours", "fastpt", {"path": path, "threads": threads})
        yield Contest("memory", f"loader, {threads} threads", what, "MB", [entry], measure="value", fresh=True)


def ours(path: str, threads: int) -> Callable[[], float]:
    import fastpt.loading.decoders.cpu  # noqa: F401  (what the first batch would import)
    from fastpt import Dataset, Loader

    forget_peak()
    before = resident()

    def run() -> float:
        loader = Loader(Dataset(path), BATCH, 224, seed=0, threads=threads)
        for _ in range(EPOCHS):
            for batch in loader:
                del batch
        return resident("VmHWM") - before

    return run
