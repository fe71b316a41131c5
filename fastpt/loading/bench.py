"""How fast a prepared split loads on this machine, against the full decoding of its pictures and a model's rate."""

import math
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

import cv2
import numpy as np
import torch

from fastpt.data.dataset import Dataset
from fastpt.errors import FastptError
from fastpt.jpeg import kernel
from fastpt.loading.batch import Batch
from fastpt.loading.crops import random_resized_crops
from fastpt.loading.decoders import cpu
from fastpt.loading.loader import Loader, default_threads
from fastpt.processes import cores

DECODERS = {"cpu": ("cpu", "cpu"), "dali": ("dali", "cpu"), "synthetic": ("synthetic", "cpu")}
ON_GPU = {"dali on GPU": ("dali", "cuda")}
SIDES = (448, 400, 352, 320, 288, 256)  # what the stored pictures might be reduced to, pixels
PROBED = 200  # pictures that stand for all where the loader is not asked
MARGIN = 1.2  # a loader this much faster than the model is not felt: batches do not take equal time


def measure(dataset: Dataset, size: int, batch_size: int, threads: int | None, seconds: float) -> dict:
    """Pictures a second (`rate`) of every decoder and of full decoding, each measured for `seconds`.

    `smaller` holds, for sides below those of the stored pictures, how many times faster decoding would be. A decoder
    that cannot be had has the reason as `missing`. Raises FastptError if the split is empty.
    """
    if len(dataset) == 0:
        raise FastptError(f"{dataset.path} has no samples, so there is nothing to measure.")
    threads = threads or default_threads()
    some = np.random.default_rng(0).choice(len(dataset), min(PROBED, len(dataset)), replace=False)
    full_decode = _repeated(lambda: full_decodes(dataset, some, threads), seconds)
    decoders = {}
    for name, (decoder, device) in (DECODERS | (ON_GPU if torch.cuda.is_available() else {})).items():
        try:
            rate = _loading_rate(dataset, size, batch_size, threads, seconds, decoder, device)
        except ImportError as error:
            decoders[name] = {"missing": str(error)}
        else:
            decoders[name] = {"rate": rate, "of_full_decode": rate / full_decode}
    return {
        "path": str(dataset.path),
        "samples": len(dataset),
        "size": size,
        "batch_size": batch_size,
        "threads": threads,
        "cores": cores(),
        "kernel": "libjpeg-turbo regions" if kernel.kernel() else "libffcv (fastpt's own was not built)",
        "full_decode": full_decode,
        "decoders": decoders,
        "smaller": _smaller(dataset, some, size, seconds),
    }


def describe(report: dict) -> list[str]:
    """What was measured, for people; a line each."""
    lines = [
        f"{report['path']}: crops of {report['size']} px on {report['threads']} threads ({report['cores']} cores), "
        f"kernel: {report['kernel']}"
    ]
    for name, found in report["decoders"].items():
        if "rate" in found:
            lines.append(f"  {name:12} {found['rate']:10,.0f} pictures/s, {found['of_full_decode']:.2f} of full decode")
        else:
            lines.append(f"  {name:12} cannot be had: {found['missing']}")
    lines.append(f"  {'full decode':12} {report['full_decode']:10,.0f} pictures/s (libjpeg-turbo, whole pictures)")
    if report["smaller"]:
        gains = ", ".join(f"{side} px {gain:.2f}x" for side, gain in report["smaller"].items())
        lines.append(f"  stored smaller (prep --max-side), decoding takes less: {gains}")
    return lines


def judge(report: dict, model_rate: float) -> list[str]:
    """Whether a model that takes `model_rate` pictures a second waits for data, and what helps; a line each."""
    lines = []
    rates = {name: found["rate"] for name, found in report["decoders"].items() if "rate" in found}
    for name, rate in rates.items():
        if name != "synthetic":
            free = rate >= MARGIN * model_rate
            verdict = "the model is the limit" if free else "DATA-BOUND" if rate < model_rate else "barely enough"
            lines.append(f"{name}: {rate / model_rate:.2f}x of what the model takes: {verdict}")
    best = rates["cpu"]
    needed = math.ceil(report["threads"] * MARGIN * model_rate / best)
    if best >= MARGIN * model_rate:
        if needed < report["threads"]:
            lines.append(f"{needed} of {report['threads']} threads would do for decoder cpu")
        return lines
    if needed <= report["cores"]:
        lines.append(f"use {needed} threads")
    else:
        lines.append(f"about {needed} cores would be needed; this process may use {report['cores']}")
    enough = [side for side, gain in report["smaller"].items() if gain * best >= MARGIN * model_rate]
    if enough:
        lines.append(f"or prepare with --max-side {enough[0]}: about {report['smaller'][enough[0]]:.1f}x faster")
    if not ON_GPU.keys() & rates.keys():
        lines.append("or decode on a GPU: decoder dali with device cuda")
    return lines


def full_decodes(dataset: Dataset, ids: Sequence[int], threads: int) -> int:
    """Decode whole pictures by libjpeg-turbo from `threads` threads and drop them; returns how many."""
    library, samples = cpu.libffcv(), dataset.samples

    def decode(ids: np.ndarray) -> None:
        heights, widths = samples.height[ids].tolist(), samples.width[ids].tolist()
        memory = np.empty(3 * max(h * w for h, w in zip(heights, widths, strict=True)), np.uint8)
        for sample_id, height, width in zip(ids.tolist(), heights, widths, strict=True):
            stored = dataset.jpeg(sample_id)
            library.imdecode(
                stored.ctypes.data,
                stored.size,
                height,
                width,
                memory.ctypes.data,
                height,
                width,
                0,
                0,
                1,
                1,
                False,
                False,
            )

    ids = np.asarray(ids)
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(decode, np.array_split(ids, max(1, len(ids) // cpu.CHUNK))))
    return len(ids)


def _loading_rate(
    dataset: Dataset, size: int, batch_size: int, threads: int, seconds: float, decoder: str, device: str
) -> float:
    settings = {"seed": 0, "decoder": decoder, "device": device, "threads": threads, "drop_last": False}
    with Loader(dataset, min(batch_size, len(dataset)), size, **settings) as loader:
        batches = _forever(loader)
        for _ in islice(batches, cpu.AHEAD + 1):  # these fill the pipeline
            pass
        rate = _repeated(lambda: len(next(batches).images), seconds)
        batches.close()
    return rate


def _forever(loader: Loader) -> Iterator[Batch]:
    while True:
        yield from loader


def _repeated(work, seconds: float) -> float:
    """Pictures a second of calling `work`, which returns how many it did, for `seconds`."""
    count, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds:
        count += work()
    return count / spent


def _smaller(dataset: Dataset, ids: np.ndarray, size: int, seconds: float) -> dict[int, float]:
    """How many times faster one thread decodes the pictures if their sides are reduced to those of SIDES."""
    if kernel.kernel() is None:
        return {}
    stored = [dataset.jpeg(i) for i in ids.tolist()]
    longest = int(np.median(np.maximum(dataset.samples.width[ids], dataset.samples.height[ids])))
    sides = [side for side in SIDES if max(size, 1) <= side < longest]
    rates = [_probe(pictures, ids, size, seconds / 4) for pictures in (stored, *(_reduced(stored, s) for s in sides))]
    return {side: rate / rates[0] for side, rate in zip(sides, rates[1:], strict=True)}


def _reduced(stored: list[np.ndarray], side: int) -> list[np.ndarray]:
    """The pictures as `prep --max-side` would store them."""
    reduced = []
    for each in stored:
        picture = cv2.imdecode(each, cv2.IMREAD_COLOR)
        scale = side / max(picture.shape[:2])
        if scale < 1:
            picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            each = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])[1]
        reduced.append(each)
    return reduced


def _probe(stored: list[np.ndarray], ids: np.ndarray, size: int, seconds: float) -> float:
    """Pictures a second of one thread, for random crops of `stored`."""
    shapes = np.array([cv2.imdecode(each, cv2.IMREAD_COLOR).shape[:2] for each in stored])
    boxes, flips = random_resized_crops(shapes[:, 1], shapes[:, 0], ids, np.zeros_like(ids), 0, 0)
    images, rows = np.empty((len(ids), size, size, 3), np.uint8), np.arange(len(ids))
    return _repeated(lambda: len(kernel.decode(stored, shapes, boxes, flips, "area", images, rows)), seconds)
