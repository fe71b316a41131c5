"""Pictures that show what they are, and the folders, tars and tables that sources are made of.

The upper half of a picture has the colour that its class or caption names, the lower half is its number in 16 bars, so
a wrong label, or a wrong picture, can be seen in what was stored.
"""

import io
import json
import tarfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from fastpt import Dataset

COLOURS = {"red": (200, 40, 40), "green": (40, 170, 60), "blue": (50, 70, 200), "amber": (240, 180, 30)}
RGB = ("red", "green", "blue")
Members = list[tuple[str, bytes]]  # names and contents, of files in a folder or an archive


def numbered(number: int, colour: str, format: str = "JPEG") -> bytes:
    """A picture of 64 x 64: its colour above, its number below."""
    pixels = np.empty((64, 64, 3), np.uint8)
    pixels[:32] = COLOURS[colour]
    bars = np.array([number >> bit & 1 for bit in range(16)], np.uint8).reshape(2, 8)
    pixels[32:] = 255 * bars.repeat(16, 0).repeat(8, 1)[..., None]
    return encoded(Image.fromarray(pixels), format)


def encoded(image: Image.Image, format: str) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format)
    return buffer.getvalue()


class Shown(NamedTuple):
    """What a stored picture shows, and what is said of it."""

    key: str
    target: str  # its class, else its caption
    colour: str
    number: int


def stored(split: Path) -> list[Shown]:
    """The samples of a prepared split."""
    dataset = Dataset(split)
    if dataset.has_labels:
        targets = [dataset.classes[label] for label in dataset.clean_labels]
    else:
        targets = dataset.captions(range(len(dataset)))
    read = (pixels_of(dataset, i) for i in range(len(dataset)))
    return [Shown(key, target, *shown(pixels)) for key, target, pixels in zip(dataset.keys, targets, read, strict=True)]


def pixels_of(dataset: Dataset, sample_id: int) -> np.ndarray:
    """uint8 [H, W, 3]."""
    return np.asarray(Image.open(io.BytesIO(dataset.jpeg(sample_id).tobytes())).convert("RGB"))


def shown(pixels: np.ndarray) -> tuple[str, int]:
    """The colour and the number of a picture made by `numbered`."""
    above = pixels[4:28].mean((0, 1))
    colour = min(COLOURS, key=lambda name: np.abs(above - COLOURS[name]).sum())
    bars = pixels[32:, :, 1].reshape(2, 16, 8, 8).mean((1, 3)).ravel() > 127
    return colour, int((bars << np.arange(16)).sum())


def left_out(split: Path) -> str:
    """What rejected.jsonl of a prepared split says."""
    return (split / "rejected.jsonl").read_text()


def class_folders(prefix: str = "", count: int = 3, classes: Iterable[str] = RGB, first: int = 0) -> Members:
    """`count` pictures in each of the class folders below `prefix`."""
    return [(f"{prefix}{name}/{i:03d}.jpg", numbered(i, name)) for name in classes for i in range(first, first + count)]


def samples(colour: str, count: int = 4, first: int = 0, number: int = 0, label: int | None = None) -> Members:
    """WebDataset samples: keys count from `first`, pictures from `number`; a .cls if a label is given, else a .txt."""
    members: Members = []
    for i in range(count):
        suffix, target = ("txt", f"{colour} {number + i}") if label is None else ("cls", str(label))
        members += [
            (f"{first + i:06d}.jpg", numbered(number + i, colour)),
            (f"{first + i:06d}.{suffix}", target.encode()),
        ]
    return members


def table(colour: str, numbers: Iterable[int], labels: Iterable | None = None, **columns: pa.Array) -> pa.Table:
    """Rows as Hugging Face stores them: a struct of bytes and path, and a column `label` if labels are given."""
    rows = {"image": pa.array([{"bytes": numbered(i, colour), "path": f"{colour}_{i}.jpg"} for i in numbers])}
    if labels is not None:
        rows["label"] = pa.array(labels)
    return pa.table(rows | columns)


def named(rows: pa.Table, **names: list[str]) -> pa.Table:
    """The table with class names of columns in its metadata, as Hugging Face's `datasets` writes them."""
    features = {column: {"names": classes, "_type": "ClassLabel"} for column, classes in names.items()}
    return rows.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def write_parquet(file: Path, rows: pa.Table) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(rows, file)


def write_folder(root: Path, members: Members) -> Path:
    for name, content in members:
        write(root / name, content)
    return root


def write(file: Path, content: bytes | str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def tar_of(members: Members) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def header_offsets(tar: bytes) -> list[int]:
    """Where the header of each member begins."""
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        return [member.offset for member in opened]
