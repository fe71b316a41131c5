"""One step on made-up splits of ten times as many rows each, in processes of their own.

Processor time (which other work on the machine lengthens little; of workers, too) and memory of the process beyond the
imports, at its peak. What a
step costs at the smallest size counts as its start; from what the two largest take beyond that follow the exponent (1
is linear) and what 10^8 rows would take, where they were not tried: on from the largest size by the exponent, or in
proportion where that is below 1. What is found is kept in the file of --json
step by step; --minutes ends it between two steps, and the same command goes on.
"""

import json
import math
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click

from tools.bench import machine
from tools.bench.made_up import forget_peak, made_up, resident
from tools.bench.page import put, source

LARGEST = 100_000_000
Work = Callable[[], object]


# --- The steps: each is given a split, imports what it needs, and returns what is measured. ---


def index(path: Path) -> Work:
    from fastpt import Dataset

    def work() -> object:
        dataset = Dataset(path)
        return dataset.samples, dataset.targets(None, "labels")

    return work


def order(path: Path) -> Work:
    from fastpt.loading.order import epoch_order

    count = int(path.name)
    return lambda: epoch_order(count, 0, 0, "random", 256)


def quasi_random_order(path: Path) -> Work:
    from fastpt.loading.order import epoch_order

    count = int(path.name)
    return lambda: epoch_order(count, 0, 0, "quasi_random", 256)


def resume(path: Path) -> Work:
    """A loader that goes on in the middle of an epoch, up to its first batch; decoding left out."""
    from fastpt import Dataset, Loader

    def work() -> object:
        dataset = Dataset(path)
        size = min(256, len(dataset) // 2)
        loader = Loader(dataset, size, 8, seed=0, decoder="synthetic")
        loader.load_state_dict({**loader.state_dict(), "epoch": 3, "position": len(dataset) // 2 // size * size})
        return loader, next(iter(loader))

    return work


def noise_of_labels(path: Path) -> Work:
    from fastpt import Dataset
    from fastpt.noise import add_noise

    return lambda: add_noise(Dataset(path), 0.1, 0, "labels")


def noise_of_captions(path: Path) -> Work:
    from fastpt import Dataset
    from fastpt.noise import add_noise

    return lambda: add_noise(Dataset(path), 0.1, 0, "captions")


def tokens(path: Path) -> Work:
    """The first time; by as many processes as there are cores where there are many captions."""
    from fastpt import Dataset
    from fastpt.training.tokens import Tokens

    return lambda: Tokens([Dataset(path)], 32, path.parent / "tokens")


def tokens_again(path: Path) -> Work:
    """They are there, and held against their sum."""
    from fastpt import Dataset
    from fastpt.training.tokens import Tokens

    Tokens([Dataset(path)], 32, path.parent / "tokens")
    return lambda: Tokens([Dataset(path)], 32, path.parent / "tokens")


def verify(path: Path) -> Work:
    """The tables of a split and its plans; its pictures, which are not there, cost as their bytes."""
    from fastpt.data import verify as verification

    return lambda: verification.verify(path)


STEPS = {
    "open, with every picture's place and the labels": (index, LARGEST),
    "an epoch's order, random": (order, LARGEST),
    "an epoch's order, quasi-random": (quasi_random_order, LARGEST),
    "resume in mid-epoch, to the first batch": (resume, LARGEST),
    "a noise plan of labels": (noise_of_labels, LARGEST),
    "a noise plan of captions": (noise_of_captions, LARGEST),
    "tokens of all captions, 32 each": (tokens, 1_000_000),
    "tokens that are there": (tokens_again, 1_000_000),
    "verify the tables": (verify, LARGEST),
}
"""By name, with the most rows that the step is tried with."""


def measured(name: str, path: Path) -> dict[str, float]:
    """Do a step in this process: seconds of processors, this one's and its children's, and MB at the peak."""
    work = STEPS[name][0](path)
    forget_peak()
    before, began = resident(), _spent()
    started = time.perf_counter()
    kept = work()
    found = {"cpu": _spent() - began, "wall": time.perf_counter() - started, "peak": resident("VmHWM") - before}
    del kept
    return found


def _spent() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


@click.command(help=__doc__)
@click.option("--most", default=10_000_000, show_default=True, help="Rows; 10^8 takes 12 GB of disk and of memory.")
@click.option("--only", multiple=True, help="Steps whose name has this; repeatable.")
@click.option(
    "--json", "out", type=click.Path(path_type=Path), help="Keep what is found in this file, and go on there."
)
@click.option("--minutes", type=click.FloatRange(0), default=1e6, help="After which no step begins.")
@click.option("--page", "to", type=click.Path(exists=True, path_type=Path), help="Put the table into this page.")
def rows(most: int, only: tuple[str, ...], out: Path | None, minutes: float, to: Path | None) -> None:
    if to and not out:
        raise click.UsageError("--page tells from which file its figures come; name one by --json")
    ends = time.monotonic() + 60 * minutes
    record = json.loads(out.read_text()) if out and out.exists() else {"machine": machine.facts(), "steps": {}}
    found: dict[str, dict[str, dict[str, float]]] = record["steps"]
    names = [name for name in STEPS if not only or any(part in name for part in only)]
    for power in range(3, round(math.log10(most)) + 1):
        count = 10**power
        todo = [name for name in names if count <= STEPS[name][1] and str(count) not in found.get(name, {})]
        if not todo or time.monotonic() > ends:
            continue
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch, str(count))
            if any("order" not in name for name in todo):
                subprocess.run([sys.executable, "-m", "tools.bench.scale", "make", str(path)], check=True)
            for name in todo:
                if time.monotonic() > ends:
                    break
                command = [sys.executable, "-m", "tools.bench.scale", "one", name, str(path)]
                done = subprocess.run(command, capture_output=True, text=True)
                if done.returncode:
                    print(f"{name}, {count:,}: {done.stderr.strip().splitlines()[-1:]}", flush=True)
                    continue
                found.setdefault(name, {})[str(count)] = json.loads(done.stdout.splitlines()[-1])
                print(f"{name}, {count:,}: {found[name][str(count)]}", flush=True)
                shutil.rmtree(path / "noise", ignore_errors=True)
                if out:
                    out.write_text(json.dumps(record, indent=1) + "\n")
    print(table(found))
    if to and out:
        command = "python -m tools.bench.scale rows"
        put(to, "rows", f"{source(out, record['machine'], 0.0, command)}\n\n{table(found)}")


def table(found: dict[str, dict[str, dict[str, float]]]) -> str:
    """Time and memory by rows, the exponents of both, and what 10^8 rows took, or would take."""
    sizes = sorted({int(size) for by_size in found.values() for size in by_size} - {LARGEST})
    lines = [f"| step | {' | '.join(f'{size:,}' for size in sizes)} | exponent | 10^8 rows |"]
    lines += [f"| --- | {'---: | ' * len(sizes)}---: | ---: |"]
    for name, by_size in found.items():
        cells = []
        for size in sizes:
            one = by_size.get(str(size))
            cells.append(_cost(one["cpu"], one["peak"]) if one else "")
        time, memory = (_growth({int(size): one[key] for size, one in by_size.items()}) for key in ("cpu", "peak"))
        last = _cost(time[1], memory[1]) + (" (measured)" if str(LARGEST) in by_size else "")
        exponents = ", ".join("-" if math.isnan(one[0]) else f"{one[0]:.2f}" for one in (time, memory))
        lines.append(f"| {name} | {' | '.join(cells)} | {exponents} | {last} |")
    return "\n".join(lines)


def _growth(costs: dict[int, float]) -> tuple[float, float]:
    """The exponent of what a step takes beyond its start, NaN where nothing grows, and what LARGEST rows would take."""
    start, (*_, size) = costs[min(costs)], sorted(costs)
    rest, before = costs[size] - start, sorted(costs)[-2:][0]
    exponent = math.nan
    if rest > 0 and costs[before] > start:
        exponent = math.log(rest / (costs[before] - start)) / math.log(size / before)
    return exponent, start + max(rest, 0.0) * (LARGEST / size) ** (exponent if exponent > 1 else 1.0)


def _cost(seconds: float, megabytes: float) -> str:
    time = f"{1e3 * seconds:.2g} ms" if seconds < 0.1 else f"{seconds:.3g} s" if seconds < 100 else f"{seconds:,.0f} s"
    return f"{time}, {megabytes:,.0f} MB" if megabytes < 1000 else f"{time}, {megabytes / 1000:,.1f} GB"


@click.command(hidden=True)
@click.argument("name")
@click.argument("path", type=click.Path(path_type=Path))
def one(name: str, path: Path) -> None:
    print(json.dumps(measured(name, path)))


@click.command(hidden=True)
@click.argument("path", type=click.Path(path_type=Path))
def make(path: Path) -> None:
    made_up(path, int(path.name))
