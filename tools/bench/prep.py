#!/usr/bin/env python
"""Preparation against the writers of FFCV, litdata, streaming and webdataset: pictures a second, in one run.

    .venv/bin/python tools/bench/prep.py PHOTOS.tar [--count 4000] [--workers 2] [--rounds 1]

Everybody reads the same JPEGs from the same tar, in place, with the same number of worker processes. `re-encode` brings
them to at most 500 px at quality 90, 4:2:0; litdata, streaming and webdataset have no resizing of their own, so they
are given OpenCV's, the kernels that FFCV uses. `passthrough` stores the bytes as they are; FFCV's writer cannot and
encodes again, the others copy, fastpt decodes each picture to check it. sha256 of every file is on for fastpt and
streaming; the others have none. Each figure comes from a process of its own, start of workers included and imports not.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import click
import cv2
import numpy as np

from fastpt.processes import cores

MAX_SIDE, QUALITY = 500, 90
SHARD = 500  # pictures, ours: 8 shards of 4,000


class Photos:
    """The pictures of a tar, over and over, `count` in all."""

    def __init__(self, tar: Path, count: int):
        from fastpt.storage.files import open_files
        from fastpt.storage.names import is_image

        self.files, self.count = open_files(tar), count
        self.names = [name for name in self.files.names() if is_image(name)]

    def __call__(self, i: int) -> bytes:
        return self.files.read(self.names[i % len(self.names)])


def opencv(source: bytes) -> bytes:
    """Decode, resize by area, encode: with the kernels and the defaults of FFCV's writer."""
    picture = cv2.imdecode(np.frombuffer(source, np.uint8), cv2.IMREAD_COLOR)
    scale = min(1.0, MAX_SIDE / max(picture.shape[:2]))
    if scale < 1:
        size = [round(side * scale) for side in picture.shape[1::-1]]
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1].tobytes()


# --- The writers: each converts `photos` into `out` and may return what it wants told. ---


def fastpt(photos: Photos, out: Path, encode: bool, workers: int, write) -> dict:
    splits, options = write
    from datasets_prep.convert import prepare
    from datasets_prep.listing import Found

    list(prepare(Found.only(splits), out, "bench", options, [], workers, 0.0, lambda *_: None))
    return {"worker_peak_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024}


def ready_fastpt(photos: Photos, encode: bool):
    from datasets_prep.images.policy import ImagePolicy
    from datasets_prep.listing import SplitListing
    from datasets_prep.shard import Options

    keys = [f"{i:06d}" for i in range(photos.count)]
    split = SplitListing("train", keys, np.zeros(photos.count, np.int64), None, ["photo"], ["photo"], photos)
    return [split], Options(policy=ImagePolicy(MAX_SIDE if encode else None, QUALITY), shard_samples=SHARD)


class Decoded:
    """What FFCV's writer takes: an indexed dataset of (picture, label), as torchvision's ImageFolder is one."""

    def __init__(self, photos: Photos):
        self.photos = photos

    def __len__(self) -> int:
        return self.photos.count

    def __getitem__(self, i: int):
        import io

        from PIL import Image

        return Image.open(io.BytesIO(self.photos(i)), formats=["JPEG"]).convert("RGB"), 0


def ffcv(photos: Photos, out: Path, encode: bool, workers: int, write) -> None:
    DatasetWriter, fields = write
    DatasetWriter(str(out / "a.beton"), fields, num_workers=workers).from_indexed_dataset(Decoded(photos))


def ready_ffcv(photos: Photos, encode: bool):
    from ffcv.fields import IntField, RGBImageField
    from ffcv.writer import DatasetWriter

    image = RGBImageField(write_mode="jpg", max_resolution=MAX_SIDE if encode else None, jpeg_quality=QUALITY)
    return DatasetWriter, {"image": image, "label": IntField()}


def litdata_sample(photos: Photos, encode: bool, i: int) -> dict:
    return {"image": opencv(photos(i)) if encode else photos(i), "label": 0}


def litdata(photos: Photos, out: Path, encode: bool, workers: int, optimize) -> None:
    work = partial(litdata_sample, photos, encode)
    optimize(work, list(range(photos.count)), str(out), chunk_bytes="64MB", num_workers=workers, verbose=False)


def ready_litdata(photos: Photos, encode: bool):
    import litdata

    return litdata.optimize


def streaming(photos: Photos, out: Path, encode: bool, workers: int, write) -> None:
    _, merge_index = write
    _in_processes(streaming_part, photos, out, encode, workers, write[0])
    merge_index(str(out))


def streaming_part(MDSWriter, out: Path, photos: Photos, encode: bool, rows: range) -> None:
    columns = {"image": "bytes", "label": "int"}
    with MDSWriter(out=str(out), columns=columns, hashes=["sha256"], progress_bar=False) as writer:
        for i in rows:
            writer.write({"image": opencv(photos(i)) if encode else photos(i), "label": 0})


def ready_streaming(photos: Photos, encode: bool):
    from streaming import MDSWriter
    from streaming.base.util import merge_index

    return MDSWriter, merge_index


def webdataset(photos: Photos, out: Path, encode: bool, workers: int, ShardWriter) -> None:
    _in_processes(webdataset_part, photos, out, encode, workers, ShardWriter)


def webdataset_part(ShardWriter, out: Path, photos: Photos, encode: bool, rows: range) -> None:
    out.mkdir()
    with ShardWriter(str(out / "%06d.tar"), maxcount=SHARD, verbose=0) as writer:
        for i in rows:
            writer.write({"__key__": f"{i:06d}", "jpg": opencv(photos(i)) if encode else photos(i), "cls": 0})


def ready_webdataset(photos: Photos, encode: bool):
    from webdataset import ShardWriter

    return ShardWriter


def _in_processes(part, photos: Photos, out: Path, encode: bool, workers: int, writer) -> None:
    """Each of `workers` processes writes a folder of its own, as these libraries' documents advise."""
    cuts = np.linspace(0, photos.count, workers + 1).astype(int)
    with ProcessPoolExecutor(workers) as pool:
        done = [
            pool.submit(part, writer, out / f"{n}", photos, encode, range(start, stop))
            for n, (start, stop) in enumerate(pairwise(cuts))
        ]
        for future in done:
            future.result()


WRITERS = {
    "fastpt": (ready_fastpt, fastpt, "fastpt"),
    "FFCV DatasetWriter": (ready_ffcv, ffcv, "ffcv"),
    "webdataset ShardWriter": (ready_webdataset, webdataset, "webdataset"),
    "streaming MDSWriter": (ready_streaming, streaming, "mosaicml-streaming"),
    "litdata optimize": (ready_litdata, litdata, "litdata"),
}


# --- Where the time of one of our workers goes. ---


def stages(photos: Photos, out: Path, encode: bool) -> dict[str, float]:
    """Milliseconds a picture in each stage, in this process."""
    import hashlib

    import xxhash

    from datasets_prep.images import policy
    from datasets_prep.writers.beton import BetonWriter

    count = min(photos.count, 1000)
    spent = dict.fromkeys(("read", "check" if not encode else "decode, resize, encode", "xxh3", "write", "sha256"), 0.0)
    wanted = policy.ImagePolicy(MAX_SIDE if encode else None, QUALITY)

    def timed(stage: str, work):
        start = time.perf_counter()
        result = work()
        spent[stage] += (time.perf_counter() - start) / count * 1e3
        return result

    writing = BetonWriter.open(out / "a.beton", count, None)
    writer = writing.__enter__()
    for i in range(count):
        source = timed("read", lambda i=i: photos(i))
        stored = timed(list(spent)[1], lambda source=source: policy.encode(source, wanted))
        timed("xxh3", lambda stored=stored: xxhash.xxh3_64_intdigest(stored.jpeg))
        timed("write", lambda stored=stored: writer.add(stored.jpeg, stored.width, stored.height, None))
    timed("write", lambda: writing.__exit__(None, None, None))
    with (out / "a.beton").open("rb") as file:
        timed("sha256", lambda: hashlib.file_digest(file, "sha256"))
    return spent


@click.command()
@click.argument("photos", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--count", type=click.IntRange(1), default=4000, show_default=True, help="Pictures to convert.")
@click.option("--workers", type=click.IntRange(1), default=cores, show_default="all cores")
@click.option("--rounds", type=click.IntRange(1), default=1, show_default=True, help="The best of them counts.")
@click.option("--only", type=click.Choice(list(WRITERS)), multiple=True, help="These writers; repeatable.")
@click.option("--as-child", hidden=True, help="A JSON list: writer or 'stages', encode.")
def main(photos: Path, count: int, workers: int, rounds: int, only: tuple[str, ...], as_child: str | None) -> None:
    """Measure the preparation of PHOTOS, a tar of JPEGs that is repeated to --count pictures."""
    if as_child:
        print("\n" + json.dumps(measure(Photos(photos, count), workers, *json.loads(as_child))))
        return
    names = list(only or WRITERS)
    print(f"{count:,} pictures, {workers} workers on {cores()} cores; best of {rounds}")
    print(", ".join(f"{WRITERS[name][2]} {version(WRITERS[name][2])}" for name in names))
    here = [sys.executable, __file__, str(photos), "--count", str(count), "--workers", str(workers), "--as-child"]
    for encode in (True, False):
        print(f"\n{'re-encode' if encode else 'passthrough':24} pictures/s   of FFCV's writer")
        rates, told = {}, {}
        for name in names * rounds:
            result = _child([*here, json.dumps([name, encode])])
            rates[name] = max(rates.get(name, 0.0), result["rate"])
            told |= result["told"] or {}
        for name, rate in rates.items():
            ratio = f"{rate / rates['FFCV DatasetWriter']:10.2f}x" if "FFCV DatasetWriter" in rates else ""
            print(f"  {name:22} {rate:10,.0f} {ratio}")
        spent = _child([*here, json.dumps(["stages", encode])])
        print("  one worker of fastpt, ms a picture: " + ", ".join(f"{stage} {ms:.2f}" for stage, ms in spent.items()))
        print(f"  its peak memory, imports included: {told['worker_peak_mb']} MB" if told else "", flush=True)


def _child(command: list[str]) -> dict:
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{command[-1]} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(photos: Photos, workers: int, name: str, encode: bool) -> dict:
    cv2.setNumThreads(1)  # the workers are the threads
    with tempfile.TemporaryDirectory() as folder:
        for variable in ("DATA_OPTIMIZER_CACHE_FOLDER", "DATA_OPTIMIZER_DATA_CACHE_FOLDER"):
            os.environ[variable] = f"{folder}/{variable}"  # litdata empties its default, a folder that others may use
        out = Path(folder, "out")
        out.mkdir()
        if name == "stages":
            return stages(photos, out, encode)
        ready, convert, _ = WRITERS[name]
        writer = ready(photos, encode)
        start = time.perf_counter()
        told = convert(photos, out, encode, workers, writer)
        return {"rate": photos.count / (time.perf_counter() - start), "told": told}


if __name__ == "__main__":
    main()
