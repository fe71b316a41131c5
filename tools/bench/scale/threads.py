"""How many pictures a second more threads would give: a model, from what one and two threads of this machine show.

    rate(T) = min(T / native, 1 / python, bandwidth / moved)

`native` and `python` are seconds of processor time a picture, of the threads that read and decode and of the one that
Python runs in (plans, waits, hands over), measured with as many threads as there are cores; `moved` are the bytes that
a picture takes through memory at least: the stored bytes twice (file cache, buffer), the batch's row twice (written by
us, read by whoever is next). `bandwidth` is what copies of large arrays reach here by all cores; --bandwidth gives that
of another machine, in GB/s. What the model leaves out: cores that share units (SMT), clocks that fall as more cores
work, threads on another NUMA node, and contention for the pool's one atomic word; two cores can show none of these.
"""

import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import numpy as np

from fastpt.processes import cores
from tools.bench.options import DATA
from tools.bench.pictures import prepared

KINDS = {
    "photos of 500 px to 224": ("photos_fullsize.tar", 500, 224, 64),
    "64 px": ("sign_digits_64.tar", None, 64, 256),
}
COUNTS = (1, 2, 4, 8, 16, 32, 64)


def costs(path: Path, size: int, batch_size: int, seconds: float) -> tuple[float, float]:
    """Seconds of processor time a picture: of the native threads, and of Python's."""
    from fastpt import Dataset, Loader

    dataset = Dataset(path)
    with Loader(dataset, batch_size, size, seed=0, threads=cores()) as loader:
        sum(len(batch.images) for batch in loader)
        count, all_of_it, own, began = 0, time.process_time(), time.thread_time(), time.monotonic()
        while time.monotonic() - began < seconds:
            count += sum(len(batch.images) for batch in loader)
        python = time.thread_time() - own
        return (time.process_time() - all_of_it - python) / count, python / count


def bandwidth() -> float:
    """Bytes a second that all cores read and write together, copying arrays that no cache holds."""
    source = [np.ones(1 << 25) for _ in range(cores())]  # 256 MB each
    target = [np.empty_like(one) for one in source]
    with ThreadPoolExecutor(cores()) as pool:
        best = 0.0
        for _ in range(4):
            began = time.perf_counter()
            list(pool.map(np.copyto, target, source))
            best = max(best, 2 * sum(one.nbytes for one in source) / (time.perf_counter() - began))
    return best


@click.command(help=__doc__)
@click.option(
    "--data", envvar=DATA, required=True, type=click.Path(exists=True, path_type=Path), help=f"Tars ({DATA})."
)
@click.option("--seconds", default=4.0, show_default=True)
@click.option("--bandwidth", "given", type=float, help="GB/s of another machine.")
def threads(data: Path, seconds: float, given: float | None) -> None:
    reached = bandwidth()
    print(f"copies by {cores()} cores: {reached / 1e9:.1f} GB/s")
    there = given * 1e9 if given else reached
    with tempfile.TemporaryDirectory() as scratch:
        for name, (tar, max_side, size, batch_size) in KINDS.items():
            dataset = prepared(data / tar, Path(scratch) / name.replace(" ", "-"), 2048, max_side)
            native, python = costs(dataset.path, size, batch_size, seconds)
            moved = 2 * float(dataset.samples.size.mean()) + 2 * 3 * size * size
            print(
                f"\n{name}: {native * 1e6:.1f} us of native threads and {python * 1e6:.2f} us of Python a picture, "
                f"{moved / 1e3:.0f} kB through memory; Python's thread is full at {native / python + 1:.0f} threads, "
                f"memory at {there / moved * native:.0f}\n\n| threads | pictures/s | bound by |\n| ---: | ---: | --- |"
            )
            for count in COUNTS:
                bounds = {"threads": count / native, "Python": 1 / python, "memory": there / moved}
                bound = min(bounds, key=lambda one: bounds[one])
                print(f"| {count} | {bounds[bound]:,.0f} | {bound} |")
