"""Loading: batches of random crops from the same stored JPEGs, by everybody's own loader.

Everybody gives batches of uint8 pictures on the CPU, cropped as RandomResizedCrop, resized, flipped. The JPEGs are
stored once at 500 px and quality 90, or as they came, and written in each peer's own format by its own writer.
"""

import io
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

from fastpt.processes import cores
from tools.bench.contest import Contest, Entry
from tools.bench.options import Options
from tools.bench.pictures import prepared

BATCH = 64
Epoch = Callable[[], int]

PEERS = {
    "fastpt": ("fastpt", "ours", {}),
    "fastpt, tars": ("fastpt", "ours", {"format": "wds"}),
    "fastpt without its kernel": ("fastpt", "ours", {"native": False}),
    "fastpt, decoder dali": ("fastpt", "ours", {"decoder": "dali"}),
    "whole decode (libjpeg-turbo)": ("fastpt", "whole_decode", {}),
    "FFCV Loader": ("ffcv", "ffcv", {}),
    "DALI": ("dali", "dali", {}),
    "torchvision + DataLoader": ("torchvision", "torchvision", {}),
    "torchvision decode_jpeg": ("torchvision", "decode_jpeg", {}),
    "webdataset": ("webdataset", "webdataset", {}),
    "SPDL, decode_jpeg": ("spdl", "spdl", {}),
    "torchcodec": ("torchcodec", "torchcodec", {}),
    "grain": ("grain", "grain", {}),
    "litdata": ("litdata", "litdata", {}),
    "streaming": ("streaming", "streaming", {}),
    "LanceDB": ("lance", "lance", {}),
}
FEW = (
    "fastpt",
    "whole decode (libjpeg-turbo)",
    "FFCV Loader",
    "DALI",
    "torchvision + DataLoader",
    "webdataset",
    "torchcodec",
)


def contests(options: Options, scratch: Path) -> Iterator[Contest]:
    """Photos at 500 px, originals and tiny pictures, by threads; photos also from a cold page cache."""
    photos, cold = "photos_fullsize.tar", " Files are thrown out of the page cache before each epoch."
    few = " Only the fastest and the best known: everybody is in the first contest."
    everybody = ("all threads", {"threads": cores()}, "", tuple(PEERS))
    some = ("all threads", {"threads": cores()}, few, FEW)
    fewer = [(f"{number} threads", {"threads": number}, few, FEW[:4]) for number in sorted({1, 2} - {cores()})]
    rows = [
        ("photos of 500 px", photos, 500, 224, options.sized(1024, 512), [everybody, *fewer]),
        ("originals", photos, None, 224, options.sized(768, 256), [some]),
        ("tiny pictures", "sign_digits_64.tar", None, 64, 8192, [some]),
    ]
    for name, tar, max_side, size, count, ways in rows:
        folder = scratch / name.replace(" ", "-")
        dataset = prepared(options.tar(tar), folder / "ffcv", count, max_side)
        prepared(options.tar(tar), folder / "wds", count, max_side, format="wds")
        store_files(dataset, folder / "files")
        samples = dataset.samples
        what = (
            f"{count:,} stored pictures, mean {samples.width.mean():.0f} x {samples.height.mean():.0f} and "
            f"{samples.size.mean() / 1e3:.0f} kB, to RandomResizedCrop {size}, batches of {BATCH}. Crops are resized "
            "by area (fastpt, FFCV) or by an antialiased triangle (the others)."
        )
        if max_side:
            ways = [*ways, ("cold", {"threads": cores(), "cold": str(folder)}, cold + few, FEW)]
        for way, given, more, who in ways:
            among = entries({"folder": str(folder), "size": size, **given}, who)
            told = f"{what} {given['threads']} threads or workers.{more}"
            yield Contest("loading", f"{name}, {way}", told, "pictures/s", among, least=count)


def entries(shared: dict, who: tuple[str, ...]) -> list[Entry]:
    return [
        Entry(label, f"{__name__}:{PEERS[label][1]}", PEERS[label][0], {**_own(shared, label), **PEERS[label][2]})
        for label in who
    ]


def _own(shared: dict, label: str) -> dict:
    """What a contestant is given: from a cold cache files of its own, as what another has mapped stays in the cache."""
    if "cold" not in shared:
        return shared
    folder = Path(f"{shared['folder']}-{label.replace(' ', '-')}")
    if not folder.exists():
        shutil.copytree(shared["folder"], folder)
    alone = {"os_cache": False} if label == "FFCV Loader" else {}
    return {**shared, "folder": str(folder), "cold": str(folder), **alone}


def store_files(dataset, folder: Path) -> None:
    """The stored JPEGs as files of a class."""
    (folder / "photo").mkdir(parents=True)
    for i in range(len(dataset)):
        (folder / "photo" / f"{i:06d}.jpg").write_bytes(dataset.jpeg(i).tobytes())


def stored_files(folder: str) -> list[Path]:
    return sorted(Path(folder, "files", "photo").iterdir())


# --- The contestants: each makes a function that goes through an epoch and returns how many pictures came. ---


def ours(
    folder: str, size: int, threads: int, format: str = "ffcv", decoder: str = "cpu", native: bool = True
) -> Epoch:
    from fastpt import Dataset, Loader
    from fastpt.jpeg import kernel

    if native and decoder == "cpu" and kernel.kernel() is None:
        raise RuntimeError("fastpt's kernel was not built; run tools/setup")
    if not native:
        kernel.kernel = lambda: None
    loader = Loader(
        Dataset(Path(folder, format, "train")), BATCH, size, seed=0, decoder=decoder, threads=threads, drop_last=False
    )
    return lambda: sum(len(batch.images) for batch in loader)


def whole_decode(folder: str, size: int, threads: int) -> Epoch:
    import numpy as np

    from fastpt import Dataset
    from fastpt.loading.bench import full_decodes

    dataset = Dataset(Path(folder, "ffcv", "train"))
    return lambda: full_decodes(dataset, np.arange(len(dataset)), threads)


def ffcv(folder: str, size: int, threads: int, os_cache: bool = True) -> Epoch:
    from ffcv.fields.rgb_image import RandomResizedCropRGBImageDecoder
    from ffcv.loader import Loader, OrderOption
    from ffcv.transforms import RandomHorizontalFlip, ToTensor

    (shard,) = Path(folder, "ffcv/train/images").glob("*.beton")
    decode = [RandomResizedCropRGBImageDecoder((size, size)), RandomHorizontalFlip(), ToTensor()]
    loader = Loader(
        str(shard),
        BATCH,
        num_workers=threads,
        os_cache=os_cache,
        order=OrderOption.RANDOM,
        drop_last=False,
        pipelines={"image": decode, "clean_label": None},
    )
    return lambda: sum(len(images) for (images,) in loader)


def dali(folder: str, size: int, threads: int) -> Epoch:
    from nvidia.dali import fn, pipeline_def

    (tar,) = Path(folder, "wds/train/images").glob("*.tar")
    (index,) = Path(folder, "wds/train/images").glob("*.idx")

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


def _transform(size: int) -> Callable:
    from torchvision.transforms import Compose, PILToTensor, RandomHorizontalFlip, RandomResizedCrop

    return Compose([RandomResizedCrop(size), RandomHorizontalFlip(), PILToTensor()])


class FromBytes:
    """Decodes with Pillow and transforms; can be sent to workers."""

    def __init__(self, size: int):
        self.transform = _transform(size)

    def __call__(self, stored: bytes):
        from PIL import Image

        return self.transform(Image.open(io.BytesIO(stored), formats=["JPEG"]).convert("RGB"))


class FromTensor:
    """Decodes into a tensor by a function of bytes, and transforms that; can be sent to workers."""

    def __init__(self, decode: str, size: int):
        from torchvision.transforms import v2

        self.decode = decode
        self.transform = v2.Compose([v2.RandomResizedCrop(size, antialias=True), v2.RandomHorizontalFlip()])

    def __call__(self, stored: bytes):
        import torch

        data = torch.frombuffer(bytearray(stored), dtype=torch.uint8)
        if self.decode == "torchcodec":
            from torchcodec.decoders import decode_jpeg  # the successor of torchvision's
        else:
            from torchvision.io import decode_jpeg
        return self.transform(decode_jpeg(data))


class Files:
    """The files of a folder, each through a function of its bytes; torch's map-style data set."""

    def __init__(self, folder: str, decode: Callable):
        self.files, self.decode = stored_files(folder), decode

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int):
        return self.decode(self.files[i].read_bytes())


def _data_loader(dataset, threads: int, **more) -> Epoch:
    from torch.utils.data import DataLoader

    loader = DataLoader(dataset, BATCH, num_workers=threads, persistent_workers=True, **more)
    return lambda: sum(len(images[0] if isinstance(images, list) else images) for images in loader)


def torchvision(folder: str, size: int, threads: int) -> Epoch:
    from torchvision.datasets import ImageFolder

    return _data_loader(ImageFolder(Path(folder, "files"), _transform(size)), threads, shuffle=True)


def decode_jpeg(folder: str, size: int, threads: int) -> Epoch:
    return _data_loader(Files(folder, FromTensor("torchvision", size)), threads, shuffle=True)


def torchcodec(folder: str, size: int, threads: int) -> Epoch:
    import torchcodec.decoders

    if not hasattr(torchcodec.decoders, "decode_jpeg"):
        raise RuntimeError("this version has no JPEG decoder")
    return _data_loader(Files(folder, FromTensor("torchcodec", size)), threads, shuffle=True)


def webdataset(folder: str, size: int, threads: int) -> Epoch:
    import webdataset as wds

    tars = Path(folder, f"tars{threads}")
    if not tars.exists():  # one tar for each worker: a tar is read by one
        tars.mkdir()
        for part in range(threads):
            with tarfile.open(tars / f"{part}.tar", "w") as tar:
                for file in stored_files(folder)[part::threads]:
                    tar.add(file, file.name)
    names = sorted(map(str, tars.iterdir()))
    dataset = wds.WebDataset(names, shardshuffle=len(names), seed=0).shuffle(1000).to_tuple("jpg")
    dataset = dataset.map_tuple(FromBytes(size)).batched(BATCH)
    loader = wds.WebLoader(dataset, batch_size=None, num_workers=threads, persistent_workers=True)
    return lambda: sum(len(images) for (images,) in loader)


def spdl(folder: str, size: int, threads: int) -> Epoch:
    """Its pipeline of threads, with torchvision's decoder, which lets go of Python's lock: its own wants FFmpeg."""
    import random

    import torch

    torch.set_num_threads(1)  # its threads are the pipeline's
    from spdl.pipeline import PipelineBuilder

    decode, files = FromTensor("torchvision", size), stored_files(folder)

    def source() -> Iterator[Path]:
        yield from random.sample(files, len(files))

    def epoch() -> int:
        builder = (
            PipelineBuilder().add_source(source()).pipe(lambda path: decode(path.read_bytes()), concurrency=threads)
        )
        pipeline = builder.aggregate(BATCH).pipe(torch.stack).add_sink(3).build(num_threads=threads + 1)
        with pipeline.auto_stop():
            return sum(len(images) for images in pipeline.get_iterator())

    return epoch


def grain(folder: str, size: int, threads: int) -> Epoch:
    import grain.python as pygrain
    import numpy as np

    decode = FromBytes(size)
    files = stored_files(folder)

    def epoch() -> int:
        dataset = (
            pygrain.MapDataset.range(len(files))
            .shuffle(seed=0)
            .map(lambda i: np.asarray(decode(files[i].read_bytes())))
            .to_iter_dataset(pygrain.ReadOptions(num_threads=threads))
            .batch(BATCH)
        )
        return sum(len(images) for images in dataset)

    return epoch


def litdata(folder: str, size: int, threads: int) -> Epoch:
    for variable in ("DATA_OPTIMIZER_CACHE_FOLDER", "DATA_OPTIMIZER_DATA_CACHE_FOLDER"):
        os.environ[variable] = f"{folder}/{variable}"  # it empties its default, a folder that others may use
    import litdata as lit

    if not Path(folder, "litdata").exists():
        lit.optimize(
            read_file,
            list(map(str, stored_files(folder))),
            f"{folder}/litdata",
            chunk_bytes="64MB",
            num_workers=1,
            start_method="fork",
            verbose=False,
        )
    dataset = lit.StreamingDataset(f"{folder}/litdata", shuffle=True, transform=FromBytes(size))
    loader = lit.StreamingDataLoader(dataset, batch_size=BATCH, num_workers=threads, persistent_workers=True)
    return lambda: sum(len(images) for images in loader)


def read_file(path: str) -> bytes:
    return Path(path).read_bytes()


class Together:
    """Decodes and transforms the samples of a batch; can be sent to workers."""

    def __init__(self, size: int):
        self.decode = FromBytes(size)

    def __call__(self, samples: list):
        import torch

        return torch.stack([self.decode(sample["image"]) for sample in samples])


def streaming(folder: str, size: int, threads: int) -> Epoch:
    from streaming import MDSWriter, StreamingDataset

    if not Path(folder, "mds").exists():
        with MDSWriter(out=f"{folder}/mds", columns={"image": "bytes"}, progress_bar=False) as writer:
            for file in stored_files(folder):
                writer.write({"image": file.read_bytes()})
    dataset = StreamingDataset(local=f"{folder}/mds", shuffle=True, batch_size=BATCH)
    return _data_loader(dataset, threads, collate_fn=Together(size))


def lance(folder: str, size: int, threads: int) -> Epoch:
    import lance as lancedb
    import pyarrow as pa

    place = f"{folder}/pictures.lance"
    if not Path(place).exists():
        lancedb.write_dataset(pa.table({"image": [file.read_bytes() for file in stored_files(folder)]}), place)
    rows = LanceRows(place, FromBytes(size))  # it does not survive a fork
    return _data_loader(rows, threads, shuffle=True, multiprocessing_context="spawn")


class LanceRows:
    """Rows of a Lance table, opened in the worker; torch's map-style data set."""

    def __init__(self, place: str, decode: Callable):
        import lance as lancedb

        self.place, self.decode, self._table = place, decode, None
        self._count = lancedb.dataset(place).count_rows()

    def __len__(self) -> int:
        return self._count

    def __getitems__(self, rows: list[int]) -> list:
        import lance as lancedb

        if self._table is None:
            self._table = lancedb.dataset(self.place)
        return [self.decode(stored) for stored in self._table.take(rows, columns=["image"])["image"].to_pylist()]
