#!/usr/bin/env python
"""Loading against FFCV's own Loader, DALI, torchvision, webdataset, litdata and streaming; start and memory at scale.

    .venv/bin/python tools/bench/loading.py peers PHOTOS.tar [--threads 2] [--max-side 400] [--quality 75] [--size 224]
    .venv/bin/python tools/bench/loading.py index PHOTOS.tar --samples 15000000
    .venv/bin/python tools/bench/loading.py epochs PHOTOS.tar --epochs 20
    .venv/bin/python tools/bench/loading.py handover SMALL_PHOTOS.tar --size 64

`peers`: everybody reads the same stored JPEGs (prepared once from PHOTOS, repeated to --count) and gives batches of
uint8 pictures, cropped as RandomResizedCrop, resized and flipped, on the CPU. Each peer lives in a process of its own
and loads an epoch before the first one that counts, so imports, compiling and start of workers are outside; they are
shown as "first epoch". Epochs of all peers are interleaved: `rounds` of each; median and range are shown. "full decode"
is libjpeg-turbo decoding whole pictures from a pool of threads and doing nothing else.
"""

import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from importlib.metadata import PackageNotFoundError, version
from multiprocessing import get_context
from pathlib import Path

import click

from fastpt.loading.order import Order
from fastpt.processes import cores

BATCH = 64
LOADERS: dict[int, Callable[[], int]] = {}  # in a peer's process: its loader for each number of threads


def prepared(photos: Path, out: Path, count: int, max_side: int | None, quality: int, format: str):
    """The pictures of a tar, repeated to `count`, as a prepared split of one shard."""
    import numpy as np

    from datasets_prep.convert import prepare
    from datasets_prep.images.policy import ImagePolicy
    from datasets_prep.listing import Found, SplitListing
    from datasets_prep.shard import Options
    from fastpt.storage.files import open_files
    from fastpt.storage.names import is_image

    files = open_files(photos)
    names = [name for name in files.names() if is_image(name)]
    keys = [f"{i:06d}" for i in range(count)]
    labels = np.zeros(count, np.int64)
    split = SplitListing("train", keys, labels, None, ["photo"], ["photo"], lambda i: files.read(names[i % len(names)]))
    options = Options(policy=ImagePolicy(max_side, quality), format=format, shard_samples=count)
    ((dataset, _),) = prepare(Found.only([split]), out, "bench", options, [], 1, 0.0, lambda *_: None)
    return dataset


# --- The peers: each makes a function that goes through an epoch and returns how many pictures came. ---


def fastpt(folder: Path, size: int, threads: int, format: str = "ffcv", decoder: str = "cpu", native: bool = True):
    from fastpt import Dataset, Loader
    from fastpt.jpeg import kernel

    if native and decoder == "cpu" and kernel.kernel() is None:
        raise click.ClickException("fastpt's kernel was not built; run tools/setup")
    if not native:
        kernel.kernel = lambda: None
    loader = Loader(
        Dataset(folder / format / "train"), BATCH, size, seed=0, decoder=decoder, threads=threads, drop_last=False
    )
    return lambda: sum(len(batch.images) for batch in loader)


def ffcv(folder: Path, size: int, threads: int):
    from ffcv.fields.rgb_image import RandomResizedCropRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import RandomHorizontalFlip, ToTensor

    (shard,) = (folder / "ffcv/train/images").glob("*.beton")
    decode = [RandomResizedCropRGBImageDecoder((size, size)), RandomHorizontalFlip(), ToTensor()]
    loader = Loader(
        str(shard),
        BATCH,
        num_workers=threads,
        os_cache=True,
        order=OrderOption.RANDOM,
        drop_last=False,
        pipelines={"image": decode, "clean_label": None},
    )
    return lambda: sum(len(images) for (images,) in loader)


def dali(folder: Path, size: int, threads: int):
    from nvidia.dali import fn, pipeline_def

    (tar,) = (folder / "wds/train/images").glob("*.tar")
    (index,) = (folder / "wds/train/images").glob("*.idx")

    @pipeline_def(batch_size=BATCH, num_threads=threads, device_id=None, prefetch_queue_depth=2)
    def graph():
        jpegs = fn.readers.webdataset(
            paths=str(tar), index_paths=str(index), ext=["jpg"], random_shuffle=True, name="reader"
        )
        images = fn.decoders.image_random_crop(jpegs, random_area=[0.08, 1.0], random_aspect_ratio=[3 / 4, 4 / 3])
        images = fn.resize(images, size=[size, size])
        return fn.flip(images, horizontal=fn.random.coin_flip())

    pipeline = graph()
    pipeline.build()
    steps = -(-pipeline.epoch_size("reader") // BATCH)
    return lambda: sum(len(pipeline.run()[0]) for _ in range(steps))


def transform(size: int) -> Callable:
    from torchvision.transforms import Compose, PILToTensor, RandomHorizontalFlip, RandomResizedCrop

    return Compose([RandomResizedCrop(size), RandomHorizontalFlip(), PILToTensor()])


class FromBytes:
    """Decodes with Pillow and transforms; can be sent to workers."""

    def __init__(self, size: int):
        self.transform = transform(size)

    def __call__(self, stored: bytes):
        from PIL import Image

        return self.transform(Image.open(io.BytesIO(stored), formats=["JPEG"]).convert("RGB"))


def torchvision(folder: Path, size: int, threads: int):
    from torch.utils.data import DataLoader
    from torchvision.datasets import ImageFolder

    loader = DataLoader(
        ImageFolder(folder / "files", transform(size)),
        BATCH,
        shuffle=True,
        num_workers=threads,
        persistent_workers=True,
    )
    return lambda: sum(len(images) for images, _ in loader)


def webdataset(folder: Path, size: int, threads: int):
    import webdataset as wds

    # One tar for each worker: a tar is read by one.
    tars = sorted(str(tar) for tar in (folder / f"tars{threads}").glob("*.tar"))
    dataset = wds.WebDataset(tars, shardshuffle=len(tars), seed=0).shuffle(1000).to_tuple("jpg")
    dataset = dataset.map_tuple(FromBytes(size)).batched(BATCH)
    loader = wds.WebLoader(dataset, batch_size=None, num_workers=threads, persistent_workers=True)
    return lambda: sum(len(images) for (images,) in loader)


def litdata(folder: Path, size: int, threads: int):
    from litdata import StreamingDataLoader, StreamingDataset

    dataset = StreamingDataset(str(folder / "litdata"), shuffle=True, transform=FromBytes(size))
    loader = StreamingDataLoader(dataset, batch_size=BATCH, num_workers=threads, persistent_workers=True)
    return lambda: sum(len(images) for images in loader)


class Together:
    """Decodes and transforms the samples of a batch; can be sent to workers."""

    def __init__(self, size: int):
        self.decode = FromBytes(size)

    def __call__(self, samples: list[dict]):
        import torch

        return torch.stack([self.decode(sample["image"]) for sample in samples])


def streaming(folder: Path, size: int, threads: int):
    from streaming import StreamingDataset
    from torch.utils.data import DataLoader

    dataset = StreamingDataset(local=str(folder / "mds"), shuffle=True, batch_size=BATCH)
    loader = DataLoader(dataset, BATCH, num_workers=threads, collate_fn=Together(size), persistent_workers=True)
    return lambda: sum(len(images) for images in loader)


def full_decode(folder: Path, size: int, threads: int):
    import numpy as np

    from fastpt import Dataset
    from fastpt.loading.bench import full_decodes

    dataset = Dataset(folder / "ffcv/train")
    return lambda: full_decodes(dataset, np.arange(len(dataset)), threads)


PEERS: dict[str, tuple[Callable, dict, str]] = {
    "fastpt": (fastpt, {}, "fastpt"),
    "fastpt, tars": (fastpt, {"format": "wds"}, "fastpt"),
    "fastpt, Pillow only": (fastpt, {"native": False}, "fastpt"),
    "fastpt, decoder dali": (fastpt, {"decoder": "dali"}, "fastpt"),
    "FFCV Loader": (ffcv, {}, "ffcv"),
    "DALI": (dali, {}, "nvidia-dali-cuda130"),
    "torchvision": (torchvision, {}, "torchvision"),
    "webdataset": (webdataset, {}, "webdataset"),
    "litdata": (litdata, {}, "litdata"),
    "streaming": (streaming, {}, "mosaicml-streaming"),
    "full decode": (full_decode, {}, "ffcv"),
}


def store_for_peers(dataset, folder: Path, threads: list[int]) -> None:
    """The same JPEGs as a folder of files, and in the formats of those who read neither FFCV files nor tars."""
    import webdataset as wds

    stored = [(f"{i:06d}", dataset.jpeg(i).tobytes()) for i in range(len(dataset))]
    files = folder / "files/photo"
    files.mkdir(parents=True)
    for key, jpeg in stored:
        (files / f"{key}.jpg").write_bytes(jpeg)
    for count in threads:
        (folder / f"tars{count}").mkdir()
        for part in range(count):
            with wds.TarWriter(str(folder / f"tars{count}/{part}.tar")) as tar:
                for key, jpeg in stored[part::count]:
                    tar.write({"__key__": key, "jpg": jpeg})
    try:
        from streaming import MDSWriter

        with MDSWriter(out=str(folder / "mds"), columns={"image": "bytes"}, progress_bar=False) as writer:
            for _, jpeg in stored:
                writer.write({"image": jpeg})
    except ImportError:
        pass  # told when its turn comes
    try:
        import litdata

        litdata.optimize(
            lambda path: Path(path).read_bytes(),
            sorted(map(str, files.iterdir())),
            str(folder / "litdata"),
            chunk_bytes="64MB",
            num_workers=1,
            start_method="fork",
            verbose=False,
        )
    except ImportError:
        pass


def epoch(peer: str, folder: Path, size: int, threads: int) -> float:
    """Pictures a second of one epoch, in a peer's process."""
    make, settings, _ = PEERS[peer]
    start = time.perf_counter()
    if threads not in LOADERS:
        LOADERS[threads] = make(folder, size, threads, **settings)
    count = LOADERS[threads]()
    return count / (time.perf_counter() - start)


def in_turns(peers: list[str], folder: Path, size: int, threads: list[int], rounds: int) -> Iterator[tuple]:
    """(peer, threads, round, pictures a second, or the error that keeps a peer out); round 0 does not count."""
    pools = {peer: ProcessPoolExecutor(1, get_context("spawn")) for peer in peers}
    for turn in range(rounds + 1):
        for count in threads:
            for peer in list(pools):
                try:
                    yield peer, count, turn, pools[peer].submit(epoch, peer, folder, size, count).result()
                except Exception as error:
                    pools.pop(peer).shutdown()
                    yield peer, count, turn, error
    for pool in pools.values():
        pool.shutdown()


@click.group()
def main() -> None:
    pass


PHOTOS = click.argument("photos", type=click.Path(exists=True, path_type=Path))
COUNT = click.option("--count", type=click.IntRange(BATCH), default=3000, show_default=True, help="Pictures stored.")
MAX_SIDE = click.option("--max-side", type=int, default=500, show_default=True, help="Of stored pictures; 0 for none.")
QUALITY = click.option("--quality", type=int, default=90, show_default=True)
SIZE = click.option("--size", type=int, default=224, show_default=True, help="Of the batches, pixels.")


@main.command()
@PHOTOS
@COUNT
@MAX_SIDE
@QUALITY
@SIZE
@click.option("--threads", type=click.IntRange(1), multiple=True, default=(1, 2), show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
@click.option("--only", type=click.Choice(list(PEERS)), multiple=True, help="These peers; repeatable.")
def peers(photos, count, max_side, quality, size, threads, rounds, only) -> None:
    """Pictures a second of each peer on the same stored pictures."""
    names = list(only or PEERS)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for variable in ("DATA_OPTIMIZER_CACHE_FOLDER", "DATA_OPTIMIZER_DATA_CACHE_FOLDER"):
            os.environ[variable] = f"{folder}/{variable}"  # litdata empties its default, a folder that others may use
        dataset = prepared(photos, folder / "ffcv", count, max_side or None, quality, "ffcv")
        if "fastpt, tars" in names or "DALI" in names:
            prepared(photos, folder / "wds", count, max_side or None, quality, "wds")
        if {"torchvision", "webdataset", "litdata", "streaming"} & set(names):
            store_for_peers(dataset, folder, list(threads))
        stored = dataset.samples
        print(
            f"{count:,} stored pictures, mean {stored.width.mean():.0f} x {stored.height.mean():.0f} and "
            f"{stored.size.mean() / 1e3:.0f} kB, to RandomResizedCrop {size}, batches of {BATCH}; "
            f"{cores()} cores; medians of {rounds} interleaved epochs (range)"
        )
        print(", ".join(dict.fromkeys(f"{PEERS[name][2]} {_version(PEERS[name][2])}" for name in names)))
        rates: dict[tuple, list] = {}
        for name, workers, turn, rate in in_turns(names, folder, size, list(threads), rounds):
            if isinstance(rate, Exception):
                print(f"{name} takes no part: {type(rate).__name__}: {str(rate)[:200]}", flush=True)
            else:
                rates.setdefault((workers, name), []).append((turn, rate))
    for workers in threads:
        print(f"\n{f'{workers} threads or workers':24} pictures/s  (range)           fastpt is    first epoch")
        ours = _median(rates.get((workers, "fastpt"), []))
        for name in names:
            if len(found := rates.get((workers, name), [])) > 1:
                counted = [rate for _, rate in found[1:]]
                print(
                    f"  {name:22} {_median(found):10,.0f}  ({min(counted):,.0f} to {max(counted):,.0f})".ljust(57)
                    + f"{ours / _median(found):6.2f}x {count / found[0][1]:10.1f} s"
                )


def _median(found: list) -> float:
    return statistics.median(rate for turn, rate in found if turn) if len(found) > 1 else float("nan")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


@main.command()
@PHOTOS
@click.option("--samples", type=click.IntRange(1000), default=15_000_000, show_default=True)
@click.option("--order", type=click.Choice(["random", "quasi_random"]), default="random", show_default=True)
def index(photos, samples, order) -> None:
    """Seconds to the first batch, and memory added, with an index of --samples rows (over few stored pictures)."""
    with tempfile.TemporaryDirectory() as folder:
        dataset = prepared(photos, Path(folder), 1000, 500, 90, "ffcv")
        path = enlarged(dataset, samples) if samples > len(dataset) else dataset.path
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            seconds, added, peak, second = pool.submit(first_batch, path, order).result()
    print(
        f"{samples:,} samples, order {order}: first batch after {seconds:.2f} s, first of the next epoch after "
        f"{second:.2f} s; memory added {added:.0f} MB, at its peak {peak:.0f} MB"
    )


def enlarged(dataset, samples: int) -> Path:
    """The split with its rows repeated to `samples`."""
    import pyarrow as pa

    from fastpt.data import manifest
    from fastpt.data.samples import Samples

    table = dataset.table(["key", "clean_label", *Samples.COLUMNS])
    table = pa.concat_tables([table] * -(-samples // len(table))).slice(0, samples).combine_chunks()
    table = table.set_column(0, "key", pa.array(map(str, range(samples))))
    kept = {name: dataset.manifest[name] for name in ("name", "split", "note", "settings", "classes", "class_names")}
    manifest.write(dataset.path, table, [], dataset.manifest["shards"], **kept)
    return dataset.path


def first_batch(path: Path, order: Order) -> tuple[float, float, float, float]:
    """Seconds to the first batch, MB added then and at the peak, and seconds to the next epoch's first batch."""
    from fastpt import Dataset, Loader

    before = _resident()
    Path("/proc/self/clear_refs").write_text("5")  # the peak from here on
    start = time.perf_counter()
    loader = Loader(Dataset(path), 256, 224, seed=0, order=order)
    under_way = iter(loader)  # held, and with it the order of the epoch
    next(under_way)
    seconds, added = time.perf_counter() - start, _resident() - before
    start = time.perf_counter()
    loader.set_epoch(1)
    next(iter(loader))
    second = time.perf_counter() - start
    return seconds, added, _resident("VmHWM") - before, second


def _resident(which: str = "VmRSS") -> float:
    """MB of this process."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(which)) / 1024


@main.command()
@PHOTOS
@COUNT
@click.option("--epochs", type=click.IntRange(2), default=20, show_default=True)
def epochs(photos, count, epochs) -> None:
    """Pictures a second and memory from the first epoch to the last."""
    from fastpt import Loader

    with tempfile.TemporaryDirectory() as folder:
        loader = Loader(prepared(photos, Path(folder), count, 500, 90, "ffcv"), BATCH, 224, seed=0)
        for number in range(1, epochs + 1):
            start = time.perf_counter()
            seen = sum(len(batch.images) for batch in loader)
            rate = seen / (time.perf_counter() - start)
            print(f"epoch {number:3}: {rate:8,.0f} pictures/s, {_resident():6.0f} MB", flush=True)


@main.command()
@PHOTOS
@COUNT
@SIZE
@click.option("--batch", type=click.IntRange(1), default=256, show_default=True)
@click.option("--threads", type=click.IntRange(1), multiple=True, default=(1, 2, 4, 8), show_default=True)
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--seconds", type=float, default=2.0, show_default=True, help="Of each measurement.")
def handover(photos, count, size, batch, threads, rounds, seconds) -> None:
    """What a picture costs beside its decoding: planned, read, checked and handed over, with decoding left out.

    Small pictures show it best. The consumer's thread is the one that Python runs in: what it computes a picture is at
    most Python's share; the rest of the processor time is that of the native threads.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = prepared(photos, Path(folder), count, None, 90, "ffcv").path
        found: dict[tuple[bool, int], list] = {}
        for _ in range(rounds):
            for decoding in (False, True):
                for number in threads:
                    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                        rate = pool.submit(handed_over, path, size, batch, number, decoding, seconds).result()
                    found.setdefault((decoding, number), []).append(rate)
    print(f"{count:,} pictures to {size} px, batches of {batch}; {cores()} cores; medians of {rounds} (range)")
    for (decoding, number), rates in found.items():
        rate, processor, consumer = (statistics.median(column) for column in zip(*rates, strict=True))
        least, most = min(rate for rate, *_ in rates), max(rate for rate, *_ in rates)
        print(
            f"  {number:2} threads, decoding {'left out' if not decoding else 'done':8} {rate:10,.0f} pictures/s "
            f"({least:,.0f} to {most:,.0f}), {processor:6.2f} us of processor time a picture, of them "
            f"{consumer:5.2f} in the consumer's thread ({consumer / processor:.0%})"
        )


def handed_over(path: Path, size: int, batch: int, threads: int, decoding: bool, seconds: float) -> tuple:
    """Pictures a second, us of processor time a picture, and us of it in the consumer's thread."""
    from fastpt import Dataset, Loader
    from fastpt.jpeg import kernel

    if not decoding:
        kernel.functions = lambda: kernel.Functions(0, 0, 0)
    loader = Loader(Dataset(path), batch, size, seed=0, threads=threads)
    for _ in loader:
        pass
    count, processor, consumer, start = 0, time.process_time(), time.thread_time(), time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds:
        count += sum(len(batch.images) for batch in loader)
    return (
        count / spent,
        (time.process_time() - processor) / count * 1e6,
        (time.thread_time() - consumer) / count * 1e6,
    )


if __name__ == "__main__":
    main()
