"""What the ranks of a job read in one epoch, simulated: bytes and requests of each machine, memory, processor time.

Every rank takes its positions of one global order, as the loader does; the ranks of a machine share a page cache that
evicts what was used longest ago. In quasi-random order a machine asks ahead for the samples of a block that its ranks
draw, over what lies between them where that is short. The last column is what the network must give a machine while
each rank takes --rate pictures a second.
"""

import time

import click
import numpy as np

from fastpt.data.beton import PAGE_SIZE
from fastpt.loading.order import OPEN_BLOCKS, Order, epoch_order
from tools.bench.reading import Disk, epoch

INDEX, ORDER = 30, 5  # bytes a sample of a process: where its pictures lie with their labels, and an epoch's order

TRIED = 15_000_000  # samples whose order is made, at most


@click.command(help=__doc__)
@click.option("--samples", default=200_000, show_default=True)
@click.option("--bytes", "mean", default=110_000, show_default=True, help="Mean size of a picture.")
@click.option("--cache-gb", default=1.0, show_default=True, help="Page cache of a machine.")
@click.option("--a-machine", "most", default=8, show_default=True, help="Ranks of a machine, at most.")
@click.option("--rate", default=2500.0, show_default=True, help="Pictures a second of a rank.")
def ranks(samples: int, mean: int, cache_gb: float, most: int, rate: float) -> None:
    sizes = np.random.default_rng(0).gamma(4, mean / 4, samples).astype(np.int64)
    block = int(np.clip(PAGE_SIZE // mean, 16, 256))
    total = int(sizes.sum())
    print(
        f"{samples:,} samples, {total / 1e9:.1f} GB, blocks of {block}, {OPEN_BLOCKS} of them open; page cache "
        f"{cache_gb:g} GB a machine\n\n"
        "| ranks | machines | order | a machine reads | of all | requests | all machines read | network a machine |\n"
        "| ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: |"
    )
    for world in (1, 2, 4, 8, 16, 32, 64):
        machines = -(-world // most)
        for order in ("random", "quasi_random"):
            disk = read_by_machine(order, sizes, block, cache_gb * 1e9, world, world // machines)
            seconds = samples / (rate * world)
            print(
                f"| {world} | {machines} | {order} | {disk.bytes / 1e9:.2f} GB | {disk.bytes / total:.1%} | "
                f"{disk.seeks:,} | {machines * disk.bytes / total:.2f} x the set | "
                f"{disk.bytes / seconds / 1e9:.2f} GB/s |"
            )
    print("\n| samples | an order takes | memory of 1 rank | of 8 ranks of a machine |\n| ---: | ---: | ---: | ---: |")
    for count in (1_281_167, 15_000_000, 100_000_000):
        seconds = min(_order_seconds(min(count, TRIED), block) for _ in range(3)) * max(1.0, count / TRIED)
        own = count * (INDEX + ORDER) / 1e9
        print(f"| {count:,} | {seconds:.2f} s of a core, an epoch and rank | {own:.2f} GB | {8 * own:.1f} GB |")
    print(f"\n(More than {TRIED:,} in proportion.)")


def _order_seconds(count: int, block: int) -> float:
    began = time.thread_time()
    epoch_order(count, 0, 0, "random", block)
    return time.thread_time() - began


def read_by_machine(order: Order, sizes: np.ndarray, block: int, cache: float, world: int, share: int) -> Disk:
    """What the first machine reads, whose ranks are 0 to `share` - 1 of `world`."""
    return epoch(order, sizes, block, cache, order == "quasi_random", world, share)
