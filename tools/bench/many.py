"""Preparation of millions of tiny pictures over Ray workers, some of which are killed: seconds, memory, the same bytes.

    python -m tools.bench.many DIR --count 1000000 --workers 4 --kills 3 --twice

The source (parquet tables of 16 px JPEGs with labels and captions, all different) is made below DIR and kept.
`fastpt prep --ray local` runs in a process of its own; the memory is that of its driver and of its largest worker. With
--twice the same is prepared by local processes without a kill, and every file of the two is compared. --minutes ends
it with SIGINT before that; the same command goes on where it stopped, source and preparation alike.
"""

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import click
import numpy as np

from fastpt.processes import cores, die_with
from tools.bench import machine

TABLE = 100_000  # pictures of a table of the source
GROUP = 2_000  # of a row group, which is read at once
SIDE = 16  # px
CLASSES = 1000


def make_table(folder: Path, count: int, number: int) -> None:
    """One table of the source, unless it is there."""
    import cv2
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / f"train-{number:05d}.parquet"
    if path.exists():
        return
    cv2.setNumThreads(1)
    first, rng = number * TABLE, np.random.default_rng(number)
    rows = range(first, min(first + TABLE, count))
    pictures = [
        {"bytes": cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes(), "path": f"{row:09d}.jpg"}
        for row, picture in zip(rows, _pictures(rng, len(rows)), strict=True)
    ]
    labels = pa.array(rng.integers(0, CLASSES, len(rows)))
    captions = [f"a photograph of something near the water on a fine day, number {row}" for row in rows]
    new = path.with_suffix(".new")
    pq.write_table(
        pa.table({"image": pictures, "label": labels, "caption": captions}),
        new,
        row_group_size=GROUP,
        compression="none",
    )
    new.replace(path)


def _pictures(rng: np.random.Generator, count: int):
    """Blocks of colour, uint8 [SIDE, SIDE, 3] each, all different."""
    for _ in range(count):
        yield rng.integers(0, 256, (SIDE // 8, SIDE // 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)


def children(process: int) -> list[int]:
    """All processes below one."""
    found = []
    for task in Path(f"/proc/{process}/task").glob("*/children"):
        for child in map(int, task.read_text().split()):
            found += [child, *children(child)]
    return found


def memory(process: int, field: str = "VmHWM") -> float:
    """MB of a process, at its most."""
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith(field)), 0) / 1024


def is_worker(process: int) -> bool:
    """Whether a process is a Ray worker that makes a shard."""
    return Path(f"/proc/{process}/cmdline").read_bytes().startswith(b"ray::_ray_task")


class Watched:
    """A preparation under way: its memory, and its workers, of which some are killed."""

    def __init__(self, command: list[str], kills: int, every: float, ends: float):
        self.driver = self.worker = 0.0
        self.killed: list[int] = []
        self.began = time.monotonic()
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, preexec_fn=partial(die_with, os.getpid()))
        next_kill, asked = self.began + every, False
        while self._process.poll() is None:
            time.sleep(0.5)
            workers = self._look()
            if workers and len(self.killed) < kills and time.monotonic() > next_kill:
                self.killed.append(random.choice(workers))
                os.kill(self.killed[-1], signal.SIGKILL)
                next_kill += every
            if time.monotonic() > ends and not asked:
                self._process.send_signal(signal.SIGINT)
                asked = True
        self.seconds, self.code = time.monotonic() - self.began, self._process.returncode
        self.stopped = asked

    def _look(self) -> list[int]:
        """Note the memory; the workers at work."""
        workers = []
        for child in (self._process.pid, *children(self._process.pid)):
            try:
                if child == self._process.pid:
                    self.driver = max(self.driver, memory(child))
                elif is_worker(child):
                    self.worker = max(self.worker, memory(child, "VmRSS"))
                    workers.append(child)
            except (OSError, ValueError):  # it ended
                continue
        return workers


def sums(folder: Path) -> dict[str, str]:
    """sha256 of each file."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                found[str(path.relative_to(folder))] = hashlib.file_digest(file, "sha256").hexdigest()
    return found


@click.command(context_settings={"show_default": True}, help=__doc__)
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--count", type=click.IntRange(1), default=1_000_000)
@click.option("--shard-samples", type=click.IntRange(1), default=20_000)
@click.option("--workers", type=click.IntRange(1), default=cores())
@click.option("--kills", type=click.IntRange(0), default=3, help="Workers to kill on the way.")
@click.option("--every", type=click.FloatRange(0), default=20.0, help="Seconds between them.")
@click.option("--minutes", type=click.FloatRange(0), default=1e6, help="After which it is stopped, to go on later.")
@click.option("--twice", is_flag=True, help="Prepare once more without Ray and kills, and compare.")
@machine.told()
def main(
    folder: Path,
    count: int,
    shard_samples: int,
    workers: int,
    kills: int,
    every: float,
    minutes: float,
    twice: bool,
) -> None:
    began, ends = time.monotonic(), time.monotonic() + 60 * minutes
    folder = folder / str(count)
    source, ray, plain = folder / "source", folder / "ray", folder / "plain"
    source.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(cores()) as pool:
        list(pool.map(partial(make_table, source, count), range(-(-count // TABLE))))
    size = sum(file.stat().st_size for file in source.iterdir())
    print(f"source: {count:,} pictures of {SIDE} px, {size / 1e9:.2f} GB, {time.monotonic() - began:.0f} s", flush=True)

    def prepare(out: Path, where: list[str], kills: int) -> None:
        if (out / "train" / "dataset.json").exists():
            print(f"{out.name}: done before", flush=True)
            return
        words = ["prep", *where, "--shard-samples", shard_samples, "--name", "many", "--max-side", "none", "parquet"]
        command = [sys.executable, "-m", "fastpt", *map(str, words), "--source", str(source), "--out", str(out)]
        found = Watched(command, kills, every, ends)
        parts = len(list((out / "train" / ".parts").glob("*.parquet")))
        told = f"{out.name}: {found.seconds:.0f} s, {count / found.seconds:,.0f} pictures/s, "
        if found.stopped:
            told = f"{out.name}: stopped after {found.seconds:.0f} s with {parts:,} shards; the same command goes on. "
        print(
            f"{told}driver at most {found.driver:.0f} MB, largest worker {found.worker:.0f} MB, killed "
            f"{len(found.killed)}, exit code {found.code}",
            flush=True,
        )
        if found.code:
            raise SystemExit(found.code)

    prepare(ray, ["--ray", "local", "--workers", str(workers)], kills)
    if not twice:
        return
    prepare(plain, ["--workers", str(workers)], 0)
    one, other = sums(ray), sums(plain)
    differ = sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))
    print(f"{len(one):,} files; {f'{len(differ)} differ: {differ[:3]}' if differ else 'every one the same'}")
    if not differ:
        shutil.rmtree(plain)
    raise SystemExit(bool(differ))


if __name__ == "__main__":
    main()
