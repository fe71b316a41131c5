"""Pictures with captions in a CSV file, which may lie beside the pictures or inside their archive."""

import csv
import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from datasets_prep.sources import SourceSplit
from datasets_prep.sources.files import Files, Reader
from fastpt.errors import FastptError


def caption_splits(
    files: Files, csv_file: str, image_pattern: str, caption_column: str, label_column: str | None = None
) -> list[SourceSplit]:
    """One split, `train`, of the rows of `csv_file` (looked up on disk, then in the source).

    `image_pattern` names the picture of a row, with columns in braces: `images/{id}.jpg`. Rows without a caption, and
    second rows of one picture, are left out by name. Raises FastptError if the file or a column is not there.
    """
    rows = _read_csv(files, csv_file)
    if not rows:
        raise FastptError(f"--csv {csv_file} has no rows below its header.")
    wanted = [caption_column] + ([label_column] if label_column else [])
    for column in wanted:
        if column not in rows[0]:
            raise FastptError(f"--csv {csv_file} has no column {column!r}; it has: {', '.join(map(str, rows[0]))}.")
    try:
        names = [image_pattern.format(**row) for row in rows]
    except (KeyError, IndexError, ValueError) as error:
        raise FastptError(
            f"--image-pattern {image_pattern!r} does not fit the columns of {csv_file} "
            f"({', '.join(map(str, rows[0]))}): {error}."
        ) from None

    kept, left_out, seen = [], [], set()
    for i, (name, row) in enumerate(zip(names, rows, strict=True)):
        reason = None
        if None in row or None in row.values():
            reason = "its row in the CSV file has other columns than the header"
        elif name in seen:
            reason = "a second row for the same picture"
        elif not (row[caption_column] or "").strip():
            reason = "no caption"
        elif label_column and not row[label_column]:
            reason = f"no {label_column}"
        seen.add(name)
        if reason:
            left_out.append((name, reason))
        else:
            kept.append(i)
    classes = sorted({rows[i][label_column] for i in kept}) if label_column else []
    number = {label: i for i, label in enumerate(classes)}
    return [
        SourceSplit(
            name="train",
            keys=[names[i] for i in kept],
            labels=np.array([number[rows[i][label_column]] for i in kept], np.int64) if label_column else None,
            captions=[rows[i][caption_column].strip() for i in kept],
            classes=classes,
            class_names=classes,
            read=Reader(files, [names[i] for i in kept]),
            trains=True,
            left_out=tuple(left_out),
            remark=_broken_text_remark(rows[i][caption_column] for i in kept),
        )
    ]


def _broken_text_remark(captions: Iterable[str]) -> str:
    broken = sum("\N{REPLACEMENT CHARACTER}" in caption for caption in captions)
    return f"{broken:,} captions hold bytes that are not UTF-8, stored as \N{REPLACEMENT CHARACTER}" if broken else ""


def _read_csv(files: Files, csv_file: str) -> list[dict[str, str]]:
    try:
        content = Path(csv_file).read_bytes() if Path(csv_file).is_file() else files.read(csv_file)
    except (KeyError, OSError):
        raise FastptError(f"--csv {csv_file} was found neither on disk nor inside {files.root}.") from None
    try:
        return list(csv.DictReader(io.StringIO(content.decode("utf-8-sig", errors="replace"), newline=""), strict=True))
    except csv.Error as error:
        raise FastptError(f"--csv {csv_file} is no CSV file that can be read: {error}. Mend its quotes.") from None
