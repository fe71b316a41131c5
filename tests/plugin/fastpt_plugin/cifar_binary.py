"""CIFAR-10 in its binary form: data_batch_1.bin, ..., test_batch.bin and batches.meta.txt in a folder.

A batch is records of 3,073 bytes: the class, then 32 x 32 pixels as a red, a green and a blue plane.
"""

import io
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np

from datasets_prep.listing import Found, SplitListing
from datasets_prep.sources import Request, Source
from fastpt.errors import DamagedData, FastptError

PLANES = (3, 32, 32)
RECORD = 1 + 3 * 32 * 32  # bytes


class CifarBinary(Source):
    summary = "CIFAR-10's binary batches"
    example = "fastpt prep cifar-binary --source cifar-10-batches-bin --name cifar10"
    places = "one"
    options = (click.Option(["--batches"], type=click.IntRange(1), help="Training batches to take (default: all)."),)

    def list_splits(self, request: Request, batches: int | None) -> Found:
        (root,) = request.places
        train, names = sorted(root.glob("data_batch_*.bin"))[:batches], root / "batches.meta.txt"
        if not train or not names.exists():
            raise FastptError(f"--source {root} lacks data_batch_1.bin or batches.meta.txt. Give CIFAR-10's folder.")
        classes = names.read_text().split()
        splits = [_split("train", train, classes), _split("test", [root / "test_batch.bin"], classes)]
        return Found.only(splits)


@dataclass(frozen=True)
class Pictures:
    """`read` of a split: row i as a PNG, which loses nothing."""

    records: np.ndarray  # uint8 [N, RECORD]

    def __call__(self, i: int) -> bytes:
        from PIL import Image

        pixels = self.records[i, 1:].reshape(PLANES).transpose(1, 2, 0)
        png = io.BytesIO()
        Image.fromarray(pixels).save(png, "PNG")
        return png.getvalue()

    def take(self, rows: np.ndarray) -> "Pictures":
        return Pictures(self.records[rows])


def _split(name: str, files: list[Path], classes: list[str]) -> SplitListing:
    batches = [_records(file) for file in files]
    records = np.concatenate(batches)
    labels = records[:, 0].astype(np.int64)
    if labels.max() >= len(classes):
        raise DamagedData(f"split {name} has class {labels.max()}, batches.meta.txt names {len(classes)}. Fetch both.")
    return SplitListing(
        name=name,
        keys=[f"{file.stem}/{i:05d}" for file, batch in zip(files, batches, strict=True) for i in range(len(batch))],
        labels=labels,
        captions=None,
        classes=classes,
        class_names=classes,
        read=Pictures(records),
        is_train=name == "train",
    )


def _records(file: Path) -> np.ndarray:
    content = np.fromfile(file, np.uint8)
    if len(content) == 0 or len(content) % RECORD:
        raise DamagedData(f"{file} has {len(content)} bytes, which is no multiple of {RECORD}. Fetch it anew.")
    return content.reshape(-1, RECORD)


SOURCE = CifarBinary()
