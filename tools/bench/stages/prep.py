"""Preparation: the same JPEGs of a tar, in place, converted by everybody's own writer with as many processes.

`re-encoded` brings them to at most 500 px at quality 90. img2dataset has a resizer and a writer, which are called on
what it would have downloaded; litdata, streaming, webdataset and LanceDB have no resizing of their own, so they are
given OpenCV's, the kernels that FFCV and img2dataset use. `passed through` stores them as they are: FFCV's
writer cannot and encodes again, others copy, fastpt checks each to its last bit.
"""

import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np

from fastpt.processes import cores
from tools.bench.contest import Contest, Entry
from tools.bench.options import Options
from tools.bench.pictures import Photos, listing

MAX_SIDE, QUALITY = 500, 90
SHARD = 500  # pictures
Convert = Callable[[], int]

PEERS = {
    "fastpt": ("fastpt", "ours"),
    "FFCV DatasetWriter": ("ffcv", "ffcv"),
    "webdataset ShardWriter": ("webdataset", "webdataset"),
    "streaming MDSWriter": ("streaming", "streaming"),
    "litdata optimize": ("litdata", "litdata"),
    "LanceDB": ("lance", "lance"),
    "img2dataset": ("img2dataset", "img2dataset"),
}
COPIES = "it copies bytes: nothing is decoded, summed or waited for on the disk"


def contests(options: Options, scratch: Path) -> Iterator[Contest]:
    """Photos, re-encoded and passed through."""
    tar, count = options.tar("photos_fullsize.tar"), options.sized(1000, 250)
    for name, encode in (("photos re-encoded to 500 px", True), ("photos passed through", False)):
        shared = {"tar": str(tar), "count": count, "encode": encode, "workers": cores(), "scratch": str(scratch)}
        what = (
            f"{count:,} JPEGs of about 640 x 480 and 83 kB, {cores()} processes. sha256 of every file is on for fastpt "
            "and streaming; the others have none. "
        )
        what += (
            "To at most 500 px at quality 90: FFCV, img2dataset and fastpt by their own means, the others by OpenCV."
            if encode
            else "Stored as they are, but by FFCV, which encodes again. fastpt alone reads each to its last bit, notes "
            "its entry points and waits until it is on the disk."
        )
        why = "" if encode else COPIES
        entries = [Entry(label, f"{__name__}:{make}", peer, shared, why) for label, (peer, make) in PEERS.items()]
        yield Contest("prep", name, what, "pictures/s", entries, least=count)


def opencv(source: bytes) -> bytes:
    """Decode, resize by area, encode: with the kernels and the defaults of FFCV's writer."""
    import cv2

    cv2.setNumThreads(1)  # the processes are the threads
    picture = cv2.imdecode(np.frombuffer(source, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    scale = min(1.0, MAX_SIDE / max(picture.shape[:2]))
    if scale < 1:
        size = [round(side * scale) for side in picture.shape[1::-1]]
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


def stored(photos: Photos, encode: bool, i: int) -> bytes:
    """What a peer without resizing of its own stores of a picture."""
    return opencv(photos(i)) if encode else photos(i)


@contextmanager
def _folder(scratch: str) -> Iterator[Path]:
    """A folder that is gone afterwards."""
    folder = Path(tempfile.mkdtemp(dir=scratch))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


# --- The contestants: each makes a function that converts all pictures and returns how many. ---


def ours(tar: str, count: int, encode: bool, workers: int, scratch: str) -> Convert:
    from datasets_prep.convert import prepare
    from datasets_prep.images.policy import ImagePolicy
    from datasets_prep.listing import Found
    from datasets_prep.shard import Options as Prep

    split = listing(Photos(tar, count))
    options = Prep(policy=ImagePolicy(MAX_SIDE if encode else None, QUALITY), shard_samples=SHARD)

    def convert() -> int:
        with _folder(scratch) as out:
            done = prepare(Found.only([split]), out, "bench", options, [], workers, 0.0, lambda *_: None)
            return sum(len(dataset) for dataset, _ in done)

    return convert


class Decoded:
    """What FFCV's writer takes: an indexed data set of (picture, label), as torchvision's ImageFolder is one."""

    def __init__(self, photos: Photos):
        self.photos = photos

    def __len__(self) -> int:
        return len(self.photos)

    def __getitem__(self, i: int):
        from PIL import Image

        return Image.open(io.BytesIO(self.photos(i)), formats=["JPEG"]).convert("RGB"), 0


def ffcv(tar: str, count: int, encode: bool, workers: int, scratch: str) -> Convert:
    from ffcv.fields import IntField, RGBImageField
    from ffcv.writer import DatasetWriter

    photos = Photos(tar, count)

    def convert() -> int:
        image = RGBImageField(write_mode="jpg", max_resolution=MAX_SIDE if encode else None, jpeg_quality=QUALITY)
        with _folder(scratch) as out:
            writer = DatasetWriter(str(out / "a.beton"), {"image": image, "label": IntField()}, num_workers=workers)
            writer.from_indexed_dataset(Decoded(photos))
        return count

    return convert


def _by_processes(part: Callable, tar: str, count: int, encode: bool, workers: int, scratch: str) -> Convert:
    """Each of `workers` processes writes a folder of its own, as these libraries' documents advise."""
    photos, cuts = Photos(tar, count), np.linspace(0, count, workers + 1).astype(int).tolist()

    def convert() -> int:
        with _folder(scratch) as out, ProcessPoolExecutor(workers) as pool:
            done = [
                pool.submit(part, out / f"{n}", photos, encode, range(start, stop))
                for n, (start, stop) in enumerate(pairwise(cuts))
            ]
            return sum(future.result() for future in done)

    return convert


def webdataset(**given) -> Convert:
    import webdataset as wds

    assert wds
    return _by_processes(webdataset_part, **given)


def webdataset_part(out: Path, photos: Photos, encode: bool, rows: range) -> int:
    from webdataset import ShardWriter

    out.mkdir()
    with ShardWriter(str(out / "%06d.tar"), maxcount=SHARD, verbose=0) as writer:
        for i in rows:
            writer.write({"__key__": f"{i:06d}", "jpg": stored(photos, encode, i), "cls": 0})
    return len(rows)


def img2dataset(**given) -> Convert:
    import img2dataset as downloader

    assert downloader
    return _by_processes(img2dataset_part, **given)


def img2dataset_part(out: Path, photos: Photos, encode: bool, rows: range) -> int:
    import pyarrow as pa
    from img2dataset.resizer import Resizer
    from img2dataset.writer import WebDatasetSampleWriter

    out.mkdir()
    resize = Resizer(MAX_SIDE, "keep_ratio_largest", True, encode_quality=QUALITY, disable_all_reencoding=not encode)
    schema = pa.schema([("key", pa.string())])
    for shard, start in enumerate(range(rows.start, rows.stop, SHARD)):
        writer = WebDatasetSampleWriter(shard, str(out), False, 5, schema, "jpg")
        for i in range(start, min(start + SHARD, rows.stop)):
            stored, *_, error = resize(io.BytesIO(photos(i)))
            if error:
                raise RuntimeError(error)
            writer.write(stored, f"{i:06d}", None, {"key": f"{i:06d}"})
        writer.close()
    return len(rows)


def streaming(**given) -> Convert:
    import streaming as mosaic

    assert mosaic
    return _by_processes(streaming_part, **given)


def streaming_part(out: Path, photos: Photos, encode: bool, rows: range) -> int:
    from streaming import MDSWriter

    columns = {"image": "bytes", "label": "int"}
    with MDSWriter(out=str(out), columns=columns, hashes=["sha256"], progress_bar=False) as writer:
        for i in rows:
            writer.write({"image": stored(photos, encode, i), "label": 0})
    return len(rows)


def lance(**given) -> Convert:
    import lance as lancedb

    assert lancedb
    return _by_processes(lance_part, **given)


def lance_part(out: Path, photos: Photos, encode: bool, rows: range) -> int:
    import lance as lancedb
    import pyarrow as pa

    schema = pa.schema([("image", pa.binary()), ("label", pa.int64())])

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(rows.start, rows.stop, SHARD):
            part = range(start, min(start + SHARD, rows.stop))
            pictures = [stored(photos, encode, i) for i in part]
            yield pa.record_batch([pictures, [0] * len(part)], schema=schema)

    lancedb.write_dataset(batches(), str(out), schema=schema)
    return len(rows)


def litdata_sample(photos: Photos, encode: bool, i: int) -> dict:
    return {"image": stored(photos, encode, i), "label": 0}


def litdata(tar: str, count: int, encode: bool, workers: int, scratch: str) -> Convert:
    for variable in ("DATA_OPTIMIZER_CACHE_FOLDER", "DATA_OPTIMIZER_DATA_CACHE_FOLDER"):
        os.environ[variable] = f"{scratch}/{variable}"  # it empties its default, a folder that others may use
    import litdata as lit

    work = partial(litdata_sample, Photos(tar, count), encode)

    def convert() -> int:
        with _folder(scratch) as out:
            lit.optimize(work, list(range(count)), str(out), chunk_bytes="64MB", num_workers=workers, verbose=False)
        return count

    return convert
