"""WebDataset tars, as img2dataset writes them too: the members of one sample share a key and differ in extension.

The picture is `.jpg` (or another picture's extension), the caption is `.txt`, else "caption" in `.json`, and the label
is `.cls`. YFCC15M usually lies on disks in this form.
"""

import json
import os
import tarfile
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from datasets_prep.sources import SourceSplit
from datasets_prep.sources.files import IMAGE_SUFFIXES
from fastpt.errors import FastptError


@dataclass
class _Sample:
    key: str
    tar: int
    picture: tuple[int, int] | None = None  # offset and size in its tar, bytes
    caption: str | None = None
    label: int | None = None
    problem: str | None = None


@dataclass
class _Reader:
    tars: list[Path]
    where: list[tuple[int, int, int]] = field(repr=False)  # tar, offset, size

    def __call__(self, i: int) -> bytes:
        tar, offset, size = self.where[i]
        with self.tars[tar].open("rb") as file:
            return os.pread(file.fileno(), size, offset)


def webdataset_splits(root: Path) -> list[SourceSplit]:
    """One split, `train`, of a tar or of all tars below a folder.

    If any sample has a caption (a label), those without are left out by name. Raises FastptError if none has a target.
    """
    tars = sorted(root.rglob("*.tar")) if root.is_dir() else [root]
    if not tars or not root.exists():
        raise FastptError(f"--source {root} holds no .tar files. Give a tar, or a folder of them.")
    samples = [sample for number, path in enumerate(tars) for sample in _samples(path, number)]
    has_captions = any(sample.caption is not None for sample in samples)
    has_labels = any(sample.label is not None for sample in samples)
    if not has_captions and not has_labels:
        raise FastptError(
            f"--source {root}: no sample has a .txt, a .json with a caption, or a .cls beside its picture."
        )
    reasons = [sample.problem or _lack(sample, has_captions, has_labels) for sample in samples]
    good = [sample for sample, reason in zip(samples, reasons, strict=True) if reason is None]
    classes = [str(i) for i in range(max((sample.label for sample in good), default=-1) + 1)] if has_labels else []
    return [
        SourceSplit(
            name="train",
            keys=[sample.key for sample in good],
            labels=np.array([sample.label for sample in good], np.int64) if has_labels else None,
            captions=[sample.caption for sample in good] if has_captions else None,
            classes=classes,
            class_names=classes,
            read=_Reader(tars, [(sample.tar, *sample.picture) for sample in good]),
            trains=True,
            left_out=tuple((s.key, reason) for s, reason in zip(samples, reasons, strict=True) if reason),
        )
    ]


def _lack(sample: _Sample, has_captions: bool, has_labels: bool) -> str | None:
    if sample.picture is None:
        return "no picture"
    if has_captions and not sample.caption:
        return "no caption"
    if has_labels and sample.label is None:
        return "no label"
    return None


def _samples(path: Path, number: int) -> list[_Sample]:
    """The samples of one tar; small members are read on the way. Keys are `<tar>/<key>`, since tars may repeat keys."""
    samples: dict[str, _Sample] = {}
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                folder, _, base = member.name.rpartition("/")
                stem, _, extension = base.partition(".")
                if not member.isreg() or not stem:
                    continue
                key = f"{path.stem}/{folder + '/' if folder else ''}{stem}"
                sample = samples.setdefault(key, _Sample(key, number))
                if f".{extension.lower()}" in IMAGE_SUFFIXES:
                    sample.picture = (member.offset_data, member.size)
                elif extension in ("txt", "json", "cls"):
                    _take_target(sample, extension, tar.extractfile(member).read())
    except (OSError, tarfile.TarError) as error:
        raise FastptError(f"{path} cannot be read as a .tar ({error}). Fetch it anew, or take it away.") from None
    return list(samples.values())


def _take_target(sample: _Sample, extension: str, content: bytes) -> None:
    try:
        if extension == "txt":
            sample.caption = content.decode("utf-8", errors="replace").strip()
        elif extension == "json" and sample.caption is None:
            caption = json.loads(content).get("caption")
            sample.caption = caption.strip() if isinstance(caption, str) else None
        elif extension == "cls":
            sample.label = int(content)
            if sample.label < 0:
                raise ValueError("negative")
    except (ValueError, AttributeError):
        sample.problem = f"its .{extension} does not parse"
