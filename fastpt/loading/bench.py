"""How fast a prepared split loads on this machine, against the full decoding of its pictures and a model's rate."""

import math
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice

import cv2
import numpy as np
import torch

from fastpt.data.samples import ImageDataset
from fastpt.errors import FastptError
from fastpt.jpeg import entropy, kernel, whole
from fastpt.loading.batch import Batch
from fastpt.loading.crops import random_resized_crops
from fastpt.loading.decoders import DECODERS
from fastpt.loading.loader import Loader, default_threads
from fastpt.processes import cores

SIDES = (448, 400, 352, 320, 288, 256)  # what the stored pictures might be reduced to, pixels
PROBED = 200  # pictures that stand for all where the loader is not asked
CHUNK = 16  # pictures that a thread decodes whole at a time
FIRST_BATCHES = 3  # that do not count: they fill the pipeline
MARGIN = 1.2  # a loader this much faster than the model is not felt: batches do not take equal time


@dataclass(frozen=True)
class DecoderRate:
    """How fast a decoder loads, or why it cannot be had here."""

    decoder: str
    device: str
    """Of `decoder.devices`."""
    rate: float | None = None
    """Pictures a second."""
    missing: str | None = None

    @property
    def name(self) -> str:
        """For people."""
        return self.decoder if self.device == "cpu" else f"{self.decoder} on GPU"


@dataclass(frozen=True)
class Report:
    """What `benchmark` measured."""

    path: str
    samples: int
    size: int
    batch_size: int
    threads: int
    cores: int
    kernel: str
    full_decode: float
    """Pictures a second that libjpeg-turbo decodes whole."""
    decoders: list[DecoderRate]
    smaller: dict[int, float]
    """How many times faster decoding would be, by the side that the stored pictures might be reduced to."""

    def as_dict(self) -> dict:
        """Plain JSON."""
        decoders = {
            found.name: {"missing": found.missing}
            if found.rate is None
            else {"rate": found.rate, "of_full_decode": found.rate / self.full_decode}
            for found in self.decoders
        }
        return {**asdict(self), "decoders": decoders}


def benchmark(dataset: ImageDataset, size: int, batch_size: int, threads: int | None, seconds: float) -> Report:
    """Pictures a second of every decoder, on every device that it decodes on, and of full decoding.

    Each is measured for `seconds`. Raises FastptError if the split is empty.
    """
    if len(dataset) == 0:
        raise FastptError(f"{dataset.path} has no samples, so there is nothing to measure.")
    threads = threads or default_threads()
    some = np.random.default_rng(0).choice(len(dataset), min(PROBED, len(dataset)), replace=False)
    return Report(
        path=str(dataset.path),
        samples=len(dataset),
        size=size,
        batch_size=batch_size,
        threads=threads,
        cores=cores(),
        kernel=kernel.name(),
        full_decode=_rate(lambda: full_decodes(dataset, some, threads), seconds),
        decoders=[
            _decoder_rate(dataset, size, batch_size, threads, seconds, name, device)
            for device in ("cpu", *["cuda"] * torch.cuda.is_available())
            for name in DECODERS.names()
            if device in DECODERS.get(name).devices
        ],
        smaller=_smaller(dataset, some, size, seconds),
    )


def describe(report: Report) -> list[str]:
    """What was measured, for people; a line each."""
    lines = [
        f"{report.path}: crops of {report.size} px on {report.threads} threads ({report.cores} cores), "
        f"kernel: {report.kernel}"
    ]
    for found in report.decoders:
        if found.rate is None:
            lines.append(f"  {found.name:12} cannot be had: {found.missing}")
        else:
            share = found.rate / report.full_decode
            lines.append(f"  {found.name:12} {found.rate:10,.0f} pictures/s, {share:.2f} of full decode")
    lines.append(f"  {'full decode':12} {report.full_decode:10,.0f} pictures/s (libjpeg-turbo, whole pictures)")
    if report.smaller:
        gains = ", ".join(f"{side} px {gain:.2f}x" for side, gain in report.smaller.items())
        lines.append(f"  stored smaller (prep --max-side), decoding takes less: {gains}")
    return lines


def judge(report: Report, model_rate: float) -> list[str]:
    """Whether a model that takes `model_rate` pictures a second waits for data, and what helps; a line each."""
    rates = {found: found.rate for found in report.decoders if found.rate and DECODERS.get(found.decoder).reads}
    lines = []
    for found, rate in rates.items():
        free = rate >= MARGIN * model_rate
        verdict = "the model is the limit" if free else "DATA-BOUND" if rate < model_rate else "barely enough"
        lines.append(f"{found.name}: {rate / model_rate:.2f}x of what the model takes: {verdict}")
    best, decoder = max((rate, found.decoder) for found, rate in rates.items() if found.device == "cpu")
    needed = math.ceil(report.threads * MARGIN * model_rate / best)
    if best >= MARGIN * model_rate:
        if needed < report.threads:
            lines.append(f"{needed} of {report.threads} threads would do for decoder {decoder}")
        return lines
    if needed <= report.cores:
        lines.append(f"use {needed} threads")
    else:
        lines.append(f"about {needed} cores would be needed; this process may use {report.cores}")
    enough = [side for side, gain in report.smaller.items() if gain * best >= MARGIN * model_rate]
    if enough:
        lines.append(f"or prepare with --max-side {enough[0]}: about {report.smaller[enough[0]]:.1f}x faster")
    if all(found.device == "cpu" for found in rates):
        there = " or ".join(name for name in DECODERS.names() if "cuda" in DECODERS.get(name).devices)
        lines.append(f"or decode on a GPU: decoder {there} with device cuda")
    return lines


def full_decodes(dataset: ImageDataset, ids: np.ndarray, threads: int) -> int:
    """Decode whole pictures, int [N], by libjpeg-turbo from `threads` threads and drop them; returns how many."""
    samples = dataset.samples

    def decode(ids: np.ndarray) -> None:
        heights, widths = samples.height[ids].tolist(), samples.width[ids].tolist()
        memory = np.empty(3 * max(h * w for h, w in zip(heights, widths, strict=True)), np.uint8)
        for jpeg in dataset.jpegs(ids):
            whole.decode(jpeg, memory)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(decode, np.array_split(ids, max(1, len(ids) // CHUNK))))
    return len(ids)


def _decoder_rate(
    dataset: ImageDataset, size: int, batch_size: int, threads: int, seconds: float, decoder: str, device: str
) -> DecoderRate:
    settings = {"seed": 0, "decoder": decoder, "device": device, "threads": threads, "drop_last": False}
    try:
        loader = Loader(dataset, min(batch_size, len(dataset)), size, **settings)
    except FastptError as error:
        return DecoderRate(decoder, device, missing=str(error))
    with loader:
        batches = _forever(loader)
        for _ in islice(batches, FIRST_BATCHES):
            pass
        rate = _rate(lambda: len(next(batches).images), seconds)
        batches.close()
    return DecoderRate(decoder, device, rate)


def _forever(loader: Loader) -> Generator[Batch, None, None]:
    while True:
        yield from loader


def _rate(work: Callable[[], int], seconds: float) -> float:
    """Pictures a second of calling `work`, which returns how many it did, for `seconds`."""
    count, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds:
        count += work()
    return count / spent


def _smaller(dataset: ImageDataset, ids: np.ndarray, size: int, seconds: float) -> dict[int, float]:
    """How many times faster one thread decodes the pictures if their sides are reduced to those of SIDES."""
    if kernel.kernel() is None:
        return {}
    stored = dataset.jpegs(ids)
    longest = int(np.median(np.maximum(dataset.samples.width[ids], dataset.samples.height[ids])))
    sides = [side for side in SIDES if size <= side < longest]
    rates = [_probe(pictures, ids, size, seconds / 4) for pictures in (stored, *(_reduced(stored, s) for s in sides))]
    return {side: rate / rates[0] for side, rate in zip(sides, rates[1:], strict=True)}


def _reduced(stored: list[np.ndarray], side: int) -> list[np.ndarray]:
    """The pictures as `prep --max-side` would store them."""
    reduced = []
    for jpeg in stored:
        picture = _decoded(jpeg)
        scale = side / max(picture.shape[:2])
        if scale < 1:
            picture = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            encoded = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 90])[1].tobytes()
            jpeg = np.frombuffer(entropy.note_entry_points(encoded, picture.shape[1::-1]).jpeg, np.uint8)
        reduced.append(jpeg)
    return reduced


def _probe(stored: list[np.ndarray], ids: np.ndarray, size: int, seconds: float) -> float:
    """Pictures a second of one thread, for random crops of `stored`."""
    shapes = np.array([_decoded(jpeg).shape[:2] for jpeg in stored])
    boxes, flips = random_resized_crops(shapes[:, 1], shapes[:, 0], ids, np.zeros_like(ids), 0, 0)
    images, rows = np.empty((len(ids), size, size, 3), np.uint8), np.arange(len(ids))
    return _rate(lambda: len(kernel.decode(stored, shapes, boxes, flips, "area", images, rows)), seconds)


def _decoded(jpeg: np.ndarray) -> np.ndarray:
    picture = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
    assert picture is not None  # the preparation decoded it
    return picture
