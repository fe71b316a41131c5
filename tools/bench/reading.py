"""What an epoch in each order asks of the disk: bytes, requests and their length, and what the page cache must hold.

    python -m tools.bench.reading simulate --samples 1281167 --bytes 110000
    python -m tools.bench.reading measure data/imagenet/train

`simulate` goes through one epoch of an imagined split and counts what a disk would be asked for under a page cache that
evicts what was used longest ago: samples one by one, or for quasi_random with reading ahead, blocks as a whole. A
request that does not begin where the last one ended is a seek. The last column is a model, not a measurement: a disk
of --seek-ms a seek and --disk-mbs MB/s.

`measure` reads a split with the Loader after throwing it out of this machine's page cache, and shows what the block
device did meanwhile (/proc/diskstats, so run it alone) and how much of the files was resident after an epoch.
"""

import os
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path
from unittest.mock import patch

import click
import numpy as np

from fastpt import Dataset, Loader
from fastpt.data.beton import PAGE_SIZE
from fastpt.loading import loader as loader_module
from fastpt.loading.order import OPEN_BLOCKS, Order, epoch_order
from fastpt.loading.readahead import LEAD, PIECE, openings
from tools.bench import machine
from tools.bench.page_cache import resident


@click.group(help=__doc__)
def main() -> None:
    pass


# --- simulate ---------------------------------------------------------------------------------------------------


class Disk:
    """Counts what is read through a page cache of `cache` bytes; what is cached is a sample or a block, whole."""

    def __init__(self, cache: float):
        self.cache, self.held, self.holding = cache, 0, OrderedDict()
        self.bytes = self.seeks = self.head = 0

    def read(self, start: int, size: int) -> None:
        self.seeks += start != self.head
        self.head = start + size
        self.bytes += size

    def hold(self, key: int, size: int) -> None:
        self.holding[key] = size
        self.held += size
        while self.held > self.cache:
            self.held -= self.holding.popitem(last=False)[1]

    def has(self, key: int) -> bool:
        if key not in self.holding:
            return False
        self.holding.move_to_end(key)
        return True


def epoch(
    order: Order, sizes: np.ndarray, block: int, cache: float, ahead: bool, world_size: int = 1, ranks: int = 1
) -> Disk:
    """One epoch over samples of `sizes` bytes that lie one after the other, by the first `ranks` of all."""
    ids = epoch_order(len(sizes), 0, 0, order, block)[0]
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    own = np.zeros(len(sizes), bool)
    own[ids[np.arange(len(ids)) % world_size < ranks]] = True
    disk = Disk(cache)
    blocks, positions = openings(ids, block) if ahead else (np.empty(0, int), np.empty(0, int))
    opened = 0
    for position, sample in enumerate(ids.tolist()):
        while opened < len(blocks) and positions[opened] <= position + LEAD * block:
            which = int(blocks[opened])
            if not disk.has(which):
                runs = list(_runs(which, block, own, offsets))
                for start, stop in runs:
                    disk.read(start, stop - start)
                disk.hold(which, sum(stop - start for start, stop in runs))
            opened += 1
        if position % world_size < ranks and not (ahead and disk.has(sample // block)):
            disk.read(int(offsets[sample]), int(sizes[sample]))
    return disk


def _runs(which: int, block: int, own: np.ndarray, offsets: np.ndarray) -> Iterator[tuple[int, int]]:
    """What is asked for of a block: from where to where, over gaps that are short."""
    mine = which * block + np.flatnonzero(own[which * block : (which + 1) * block])
    apart = offsets[mine[1:]] - offsets[mine[:-1] + 1] > PIECE
    for run in np.split(mine, np.flatnonzero(apart) + 1):
        if len(run):
            yield int(offsets[run[0]]), int(offsets[run[-1] + 1])


@main.command()
@click.option("--samples", default=1_281_167, show_default=True)
@click.option("--bytes", "mean", default=110_000, show_default=True, help="Mean size of a picture.")
@click.option("--cache-gb", default=1.0, show_default=True, help="Page cache.")
@click.option("--seek-ms", default=8.0, show_default=True)
@click.option("--disk-mbs", default=200.0, show_default=True)
def simulate(samples: int, mean: int, cache_gb: float, seek_ms: float, disk_mbs: float) -> None:
    sizes = np.random.default_rng(0).gamma(4, mean / 4, samples).astype(np.int64)
    block = int(np.clip(PAGE_SIZE // mean, 16, 256))  # as preparation chooses it
    total = int(sizes.sum())
    print(
        f"{samples:,} samples, {total / 1e9:.1f} GB, blocks of {block}; {OPEN_BLOCKS} open blocks hold "
        f"{OPEN_BLOCKS * block * mean / 1e6:.0f} MB; page cache {cache_gb:g} GB"
    )
    print(f"{'order':35} {'read':>7} {'seeks':>10} {'MB a seek':>10} {'img/s of the model':>19}")
    for name, order, ahead, cache in (
        ("sequential", "sequential", False, cache_gb),
        ("random", "random", False, cache_gb),
        ("quasi_random, no reading ahead", "quasi_random", False, cache_gb),
        ("quasi_random", "quasi_random", True, cache_gb),
        ("quasi_random, cache 1/4 of open", "quasi_random", True, OPEN_BLOCKS * block * mean / 4e9),
    ):
        disk = epoch(order, sizes, block, cache * 1e9, ahead)
        seconds = disk.seeks * seek_ms / 1e3 + disk.bytes / (disk_mbs * 1e6)
        print(
            f"{name:35} {disk.bytes / total:6.2f}x {disk.seeks:>10,} {disk.bytes / (disk.seeks + 1) / 1e6:>10.2f} "
            f"{samples / seconds:>19,.0f}"
        )


# --- measure ----------------------------------------------------------------------------------------------------


def drop(files: list[Path]) -> None:
    """Throw files out of the page cache."""
    for file in files:
        with file.open("rb") as opened:
            os.fsync(opened.fileno())
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def disk_reads(device: str) -> tuple[int, int]:
    """Reads that a block device has completed, and their bytes."""
    for line in Path("/proc/diskstats").read_text().splitlines():
        fields = line.split()
        if fields[2] == device:
            return int(fields[3]), int(fields[5]) * 512
    raise click.ClickException(f"/proc/diskstats knows no device {device}")


def device_of(file: Path) -> str:
    number = file.stat().st_dev
    return Path(f"/sys/dev/block/{os.major(number)}:{os.minor(number)}").resolve().name


@main.command()
@click.argument("split", type=Path)
@click.option("--batch-size", default=64, show_default=True)
@click.option("--size", default=64, show_default=True, help="Side of the crops: small ones let reading be the bound.")
@machine.told()
def measure(split: Path, batch_size: int, size: int) -> None:
    dataset = Dataset(split)
    files = [dataset.shard_path(i) for i in range(len(dataset.manifest["shards"]))]
    device, stored = device_of(files[0]), int(dataset.samples.size.sum(dtype=np.int64))
    print(f"{len(dataset):,} samples of {stored / len(dataset) / 1e3:.0f} kB, blocks of {dataset.block}, on {device}")
    print(f"{'order':32} {'read':>7} {'requests':>9} {'kB each':>8} {'first batch':>12} {'epoch':>8} {'resident':>9}")
    for name, order, ahead in (
        ("sequential", "sequential", False),
        ("random", "random", False),
        ("quasi_random, no reading ahead", "quasi_random", False),
        ("quasi_random", "quasi_random", True),
    ):
        read_ahead = loader_module.read_ahead if ahead else _nothing_ahead
        with (
            Loader(dataset, batch_size, size, seed=0, order=order) as loader,
            patch.object(loader_module, "read_ahead", read_ahead),
        ):
            drop(files)
            cold, before, start = resident(files), disk_reads(device), time.perf_counter()
            batches = iter(loader)
            next(batches)
            first = time.perf_counter() - start
            for _ in batches:
                pass
            seconds = time.perf_counter() - start
            count, read = (after - then for after, then in zip(disk_reads(device), before, strict=True))
        print(
            f"{name:32} {read / stored:6.2f}x {count:>9,} {read / max(count, 1) / 1e3:>8.0f} {first:>10.2f} s "
            f"{seconds:>6.1f} s {cold:>3.0%} -> {resident(files):.0%}"
        )


def _nothing_ahead(dataset: Dataset, sample_ids: np.ndarray, positions: Iterable[np.ndarray], start: int):
    return positions


if __name__ == "__main__":
    main()
