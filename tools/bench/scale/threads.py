"""How many pictures a second more threads would give: a model, from what the threads of this machine show.

    rate(T) = min(T / (native + python), 1 / python, bandwidth / moved)

T threads on as many cores. `native` and `python` are seconds of processor time a picture, of the threads that read and
decode and of the one that Python runs in (plans, waits, hands over), measured with as many threads as there are cores;
`moved` are the bytes that a picture takes through memory at least: the stored bytes twice (file cache, buffer), the
batch's row twice (written by us, read by whoever is next). `bandwidth` is what copies of large arrays reach here by all
cores; --bandwidth gives that of another machine, in GB/s. What the model leaves out: cores that share units (SMT),
clocks that fall as more cores work, threads on another NUMA node, and contention for the pool's one atomic word. What
was measured stands beside it for as many threads as there are cores. Some two minutes.
"""

import json
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
import numpy as np

from fastpt.processes import cores
from tools.bench import machine
from tools.bench.options import DATA, MissingData, Options
from tools.bench.page import put, source
from tools.bench.pictures import prepared

KINDS = {
    "photos of 500 px to 224": ("photos_fullsize.tar", 500, 224, 64),
    "64 px": ("sign_digits_64.tar", None, 64, 256),
}
COUNTS = (1, 2, 4, 8, 16, 32, 64)
Found = dict[str, Any]


def costs(path: Path, size: int, batch_size: int, threads: int, seconds: float) -> dict[str, float]:
    """Pictures a second, and seconds of processor time a picture: of the native threads, and of Python's."""
    from fastpt import Dataset, Loader

    with Loader(Dataset(path), batch_size, size, seed=0, threads=threads) as loader:
        sum(len(batch.images) for batch in loader)
        count, all_of_it, own, began = 0, time.process_time(), time.thread_time(), time.monotonic()
        while (took := time.monotonic() - began) < seconds:
            count += sum(len(batch.images) for batch in loader)
        python = time.thread_time() - own
        native = time.process_time() - all_of_it - python
        return {"rate": count / took, "native": native / count, "python": python / count}


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


def measure(options: Options, seconds: float, rounds: int) -> Found:
    """Each kind of picture by one thread and more, in turns."""
    kinds: dict[str, Found] = {}
    with tempfile.TemporaryDirectory() as scratch:
        for name, (tar, max_side, size, batch_size) in KINDS.items():
            dataset = prepared(options.tar(tar), Path(scratch) / name.replace(" ", "-"), 2048, max_side)
            counts = range(1, cores() + 1)
            turns = [
                {count: costs(dataset.path, size, batch_size, count, seconds) for count in counts}
                for _ in range(rounds)
            ]
            moved = 2 * float(dataset.samples.size.mean()) + 2 * 3 * size * size
            kinds[name] = {"moved": moved, "threads": {str(count): [turn[count] for turn in turns] for count in counts}}
    return {"bandwidth": bandwidth(), "kinds": kinds}


def bounds(kind: Found, threads: int, bandwidth: float) -> dict[str, float]:
    """Pictures a second that the threads, Python's thread and the memory allow."""
    native, python = (_median(kind, max(kind["threads"], key=int), what) for what in ("native", "python"))
    return {"threads": threads / (native + python), "Python": 1 / python, "memory": bandwidth / kind["moved"]}


def _median(kind: Found, threads: str, what: str) -> float:
    return statistics.median(one[what] for one in kind["threads"][threads])


def table(found: Found, given: float | None = None) -> str:
    """What was measured and the model, in Markdown; `given` is another machine's bandwidth in bytes a second."""
    there = given or found["bandwidth"]
    lines = [f"Copies by all cores: {found['bandwidth'] / 1e9:.1f} GB/s."]
    if given:
        lines[0] += f" The model is for {given / 1e9:g} GB/s."
    for name, kind in found["kinds"].items():
        few, most = min(kind["threads"], key=int), max(kind["threads"], key=int)
        native, python = (_median(kind, most, what) for what in ("native", "python"))
        grown = native / _median(kind, few, "native")
        limits = bounds(kind, 1, there)
        lines += [
            f"\n**{name}**: {native * 1e6:.1f} us of native threads ({grown:.2f} times those of {few} thread) and "
            f"{python * 1e6:.2f} us of Python a picture, {kind['moved'] / 1e3:.0f} kB through memory. Python's thread "
            f"is full at {limits['Python'] / limits['threads']:,.0f} threads, memory at "
            f"{limits['memory'] / limits['threads']:,.0f}.\n",
            "| threads | the model: pictures/s | bound by | measured (range) |",
            "| ---: | ---: | --- | ---: |",
        ]
        for count in COUNTS:
            by = bounds(kind, count, there)
            bound = min(by, key=lambda one: by[one])
            rates = [one["rate"] for one in kind["threads"].get(str(count), [])]
            seen = f"{statistics.median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f})" if rates else ""
            lines.append(f"| {count} | {by[bound]:,.0f} | {bound} | {seen} |")
    return "\n".join(lines)


@click.command(help=__doc__)
@click.option(
    "--data", envvar=DATA, required=True, type=click.Path(exists=True, path_type=Path), help=f"Tars ({DATA})."
)
@click.option("--seconds", default=4.0, show_default=True, help="Of each measurement.")
@click.option("--rounds", default=3, show_default=True, help="In which numbers of threads take turns.")
@click.option("--bandwidth", "given", type=float, help="GB/s of another machine.")
@machine.BUSY
@click.option("--json", "out", type=click.Path(path_type=Path), help="Keep what is found in this file.")
@click.option("--page", "to", type=click.Path(exists=True, path_type=Path), help="Put the table into this page.")
@machine.told()
def threads(
    data: Path, seconds: float, rounds: int, given: float | None, busy: bool, out: Path | None, to: Path | None
) -> None:
    if to and not out:
        raise click.UsageError("--page tells from which file its figures come; name one by --json")
    machine.refuse_if_busy(busy)
    before = machine.load()
    command = f"python -m tools.bench.scale threads --seconds {seconds:g} --rounds {rounds}"
    try:
        measured = measure(Options(data, quick=False), seconds, rounds)
    except MissingData as error:
        raise click.ClickException(str(error)) from None
    found = {"machine": machine.facts(), "busy": before, "command": command, **measured}
    print(table(found, given and given * 1e9))
    if out:
        out.write_text(json.dumps(found, indent=1) + "\n")
    if to and out:
        put(to, "threads", f"{source(out, found['machine'], before, command)}\n\n{table(found)}")
