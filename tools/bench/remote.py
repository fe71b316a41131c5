"""Preparation from a server against the same from a disk: pictures a second, requests, and seconds of the processor.

    python -m tools.bench.remote PHOTOS.tar [--count 4000] [--workers 2] [--rounds 3] [--layout webdataset]

The pictures of a tar, over and over, lie in WebDataset tars (or parquet files) of 1,000. They are re-encoded to at most
500 px at quality 90, in random order: from the disk, from a light server of the same files on the loopback address
(`range_server.py`, in a process of its own on the same machine), and from that with added latency before each answer.
Each figure is of `fastpt prep` in a process of its own, listing and start included, and of the best round. The server's
own seconds are told apart: a real one takes them elsewhere.
"""

import json
import os
import resource
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from multiprocessing import get_context
from pathlib import Path

import click

from fastpt.processes import cores
from tools.bench import machine

SHARD = 1000  # pictures of a shard that is made
HELD = 1000  # pictures of a tar or table of the source
AIMS = {0.0: 0.8, 0.1: 0.6}  # share of the disk's rate, by added latency in s


def make_source(photos: Path, folder: Path, layout: str, count: int) -> None:
    """`count` pictures with classes, as `layout` has them."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from fastpt.storage.files import open_files
    from fastpt.storage.names import is_image

    files = open_files(photos)
    pictures = [files.read(name) for name in files.names() if is_image(name)]
    folder.mkdir(parents=True)
    for number, first in enumerate(range(0, count, HELD)):
        rows = [(i, pictures[i % len(pictures)]) for i in range(first, min(first + HELD, count))]
        if layout == "parquet":
            image = [{"bytes": one, "path": f"{i}.jpg"} for i, one in rows]
            table = pa.table({"image": image, "label": [0] * len(rows)})
            pq.write_table(table, folder / f"train-{number:05d}.parquet", row_group_size=100, compression="none")
            continue
        with tarfile.open(folder / f"{number:05d}.tar", "w") as tar:
            for i, one in rows:
                for suffix, content in (("cls", b"0"), ("jpg", one)):
                    member = tarfile.TarInfo(f"{i:06d}.{suffix}")
                    member.size = len(content)
                    tar.addfile(member, BytesIO(content))


def serve(folder: Path, latency: float, pipe) -> None:
    from tools.bench.range_server import RangeServer

    with RangeServer(folder, latency) as server:
        pipe.send(server.url)
        while pipe.recv():
            used = resource.getrusage(resource.RUSAGE_SELF)
            pipe.send((len(server.requests), server.bytes_sent, used.ru_utime + used.ru_stime))


class Server:
    """A server in a process of its own."""

    def __init__(self, pipe, url: str):
        self._pipe, self.url = pipe, url

    def counts(self) -> tuple[int, int, float]:
        """Requests and bytes so far, and seconds of the processor."""
        self._pipe.send(True)
        return self._pipe.recv()


@contextmanager
def serving(folder: Path, latency: float) -> Iterator[Server]:
    context = get_context("spawn")
    here, there = context.Pipe()
    process = context.Process(target=serve, args=(folder, latency, there), daemon=True)
    process.start()
    try:
        yield Server(here, here.recv())
    finally:
        here.send(False)
        process.join(10)


def prepare(layout: str, place: object, out: Path, workers: int) -> tuple[float, float]:
    """Seconds, and those of the processor, of one preparation."""
    words = ["prep", "--workers", workers, "--shard-samples", SHARD, "--name", "x", layout]
    command = [sys.executable, "-m", "fastpt", *words, "--source", place, "--out", out]
    begun = time.monotonic()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    shutil.rmtree(out)
    return time.monotonic() - begun, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@click.command(context_settings={"show_default": True}, help=__doc__)
@click.argument("photos", type=click.Path(path_type=Path, exists=True))
@click.option("--count", default=4000)
@click.option("--workers", default=cores())
@click.option("--rounds", default=3)
@click.option("--layout", type=click.Choice(["webdataset", "parquet"]), default="webdataset")
@machine.told()
def main(photos: Path, count: int, workers: int, rounds: int, layout: str) -> None:
    import urllib3

    made_with = {"urllib3": urllib3.__version__}
    print(json.dumps({"count": count, "workers": workers, "layout": layout, "cores": os.cpu_count(), **made_with}))
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make_source(photos, folder / "source", layout, count)
        best: dict[str, float] = {}
        with serving(folder, 0.0) as near, serving(folder, 0.1) as far:
            for _ in range(rounds):
                for name, server in (("disk", None), ("server", near), ("server, 100 ms", far)):
                    before = server.counts() if server else (0, 0, 0.0)
                    place = f"{server.url}/source" if server else folder / "source"
                    seconds, used = prepare(layout, place, folder / "out", workers)
                    after = server.counts() if server else (0, 0, 0.0)
                    requests, size, theirs = (now - then for now, then in zip(after, before, strict=True))
                    best[name] = max(best.get(name, 0.0), count / seconds)
                    line = f"{name:15} {count / seconds:6.0f} pictures/s  {1000 * used / count:5.2f} ms of a core each"
                    if server:
                        line += f"  {requests:6,} requests  {size / 1e6:6.0f} MB"
                        line += f"  {1000 * theirs / count:5.2f} ms of the server"
                    print(line, flush=True)
        for (_, aim), name in zip(AIMS.items(), ("server", "server, 100 ms"), strict=True):
            share = best[name] / best["disk"]
            print(f"{name}: {share:.0%} of the disk's rate (aim {aim:.0%}): {'met' if share >= aim else 'missed'}")


if __name__ == "__main__":
    main()
