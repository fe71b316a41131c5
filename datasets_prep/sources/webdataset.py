"""WebDataset tars, as img2dataset writes them too: the members of one sample share a key and differ in extension.

The picture is `.jpg` (or another picture's extension), the caption is `.txt`, else "caption" in `.json` (or the columns
of it that are asked for), and the label is `.cls`. YFCC15M usually lies on disks in this form.
"""

import multiprocessing
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from datasets_prep.listing import Found, SplitListing
from datasets_prep.records import RecordFormat, caption_options, parse_record
from datasets_prep.sources import Request, Source
from fastpt.errors import FastptError
from fastpt.storage.tar import keyed_files, open_tar

LARGEST_TARGET = 1 << 20  # bytes of a .txt, .json or .cls


class WebDataset(Source):
    summary = "tars of .jpg with .txt, .json or .cls"
    example = "fastpt prep webdataset --source shards"
    options = caption_options(strip_markup=False)

    def list_splits(self, request: Request, **captions: Any) -> Found:
        return webdataset_splits(request.places, RecordFormat(**captions), request.workers)


@dataclass
class _Sample:
    key: str
    tar: int
    picture: tuple[int, int] | None = None  # offset and size in its tar, bytes
    caption: str | None = None
    label: int | None = None
    problem: str | None = None


@dataclass(frozen=True)
class _Reader:
    tars: list[Path]
    where: list[tuple[int, int, int]] = field(repr=False)  # tar, offset, size

    def __call__(self, i: int) -> bytes:
        tar, offset, size = self.where[i]
        with self.tars[tar].open("rb") as file:
            return os.pread(file.fileno(), size, offset)

    def take(self, rows: Iterable[int]) -> "_Reader":
        return _Reader(self.tars, [self.where[i] for i in rows])


def webdataset_splits(roots: Sequence[Path], record_format: RecordFormat, workers: int = 1) -> Found:
    """One split, `train`, of tars and of all tars below folders, listed by `workers` processes.

    If any sample has a caption (a label), those without are left out by name. Raises FastptError if none has a target.
    """
    root = ", ".join(map(str, roots))
    tars = [path for root in roots for path in (sorted(root.rglob("*.tar")) if root.is_dir() else [root])]
    if not tars or not all(root.exists() for root in roots):
        raise FastptError(f"--source {root} holds no .tar files. Give a tar, or a folder of them.")
    stems = {}
    for path in tars:
        other = stems.setdefault(path.stem, path)
        if other is not path:
            raise FastptError(f"{path} and {other} have one name, so their keys would be the same. Rename one.")
    samples = [sample for listed in _listed(tars, record_format, workers) for sample in listed]
    has_captions = any(sample.caption is not None for sample in samples)
    has_labels = any(sample.label is not None for sample in samples)
    if not has_captions and not has_labels:
        raise FastptError(
            f"--source {root}: no sample has a .txt, a .json with a caption, or a .cls beside its picture."
        )
    reasons = [sample.problem or _lack(sample, has_captions, has_labels) for sample in samples]
    good = [sample for sample, reason in zip(samples, reasons, strict=True) if reason is None]
    labels = [sample.label for sample in good if sample.label is not None]
    classes = [str(i) for i in range(max(labels, default=-1) + 1)]
    split = SplitListing(
        name="train",
        keys=[sample.key for sample in good],
        labels=np.array(labels, np.int64) if has_labels else None,
        captions=[sample.caption for sample in good if sample.caption] if has_captions else None,
        classes=classes,
        class_names=classes,
        read=_Reader(tars, [(sample.tar, *sample.picture) for sample in good if sample.picture]),
        is_train=True,
        rejected=tuple((s.key, reason) for s, reason in zip(samples, reasons, strict=True) if reason and s.picture),
        pictureless=tuple(
            (s.key, reason) for s, reason in zip(samples, reasons, strict=True) if reason and not s.picture
        ),
    )
    return Found.only([record_format.annotate(split)])


def _listed(tars: list[Path], record_format: RecordFormat, workers: int) -> Iterable[list[_Sample]]:
    """The samples of each tar. Reading the headers of a tar costs 0.2 ms a sample, an hour for 15 million."""
    if min(workers, len(tars)) == 1:
        return [_samples(record_format, path, number) for number, path in enumerate(tars)]
    context = multiprocessing.get_context("fork")  # what is read, with a subset of millions of ids, is inherited
    work = partial(_samples, record_format)
    with ProcessPoolExecutor(min(workers, len(tars)), context, _start_listing, (work,)) as pool:
        return list(pool.map(_list_one, tars, range(len(tars))))


def _start_listing(work) -> None:
    global _list
    _list = work


def _list_one(path: Path, number: int) -> list[_Sample]:
    return _list(path, number)


def _lack(sample: _Sample, has_captions: bool, has_labels: bool) -> str | None:
    if sample.picture is None:
        return "no picture"
    if has_captions and not sample.caption:
        return "no caption"
    if has_labels and sample.label is None:
        return "no label"
    return None


def _samples(record_format: RecordFormat, path: Path, number: int) -> list[_Sample]:
    """The samples of one tar that belong; small members are read on the way."""
    samples: dict[str, _Sample] = {}
    records: dict[str, dict] = {}
    tar = open_tar(path)
    for file in keyed_files(tar):
        sample = samples.setdefault(file.key, _Sample(file.key, number))
        if file.is_picture:
            sample.picture = tar.where[file.name]
        elif file.suffix in (".txt", ".json", ".cls"):
            _take_target(sample, file.suffix, tar.head(file.name, LARGEST_TARGET), records)
    for key, record in records.items():
        samples[key].caption = record_format.caption(record)
    return [s for s in samples.values() if s.problem or record_format.in_subset(records.get(s.key, {}), s.key)]


def _take_target(sample: _Sample, suffix: str, content: bytes, records: dict[str, dict]) -> None:
    try:
        if suffix == ".txt":  # it goes before the caption in the .json
            records.setdefault(sample.key, {})["caption"] = content.decode("utf-8", errors="replace")
        elif suffix == ".json":
            records[sample.key] = parse_record(content) | records.get(sample.key, {})
        else:
            sample.label = int(content)
            if sample.label < 0:
                raise ValueError("negative")
    except ValueError:
        sample.problem = f"its {suffix} does not parse"


SOURCE = WebDataset()
