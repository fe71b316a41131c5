"""Pictures with captions in a list: CSV, TSV or JSON lines, beside the pictures or inside their archive."""

import csv
import io
import sys
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import click
import numpy as np

from datasets_prep.inventory import take_inventory
from datasets_prep.listing import Found, Reader, SplitListing
from datasets_prep.records import RecordFormat, caption_options, parse_record
from datasets_prep.sources import Request, Source
from fastpt.errors import FastptError
from fastpt.storage.files import open_all
from fastpt.storage.kind import Storage
from fastpt.storage.names import well_formed

DELIMITERS = {".csv": ",", ".tsv": "\t", ".jsonl": None}


def list_options(required: bool) -> tuple[click.Option, ...]:
    """--list and --image-pattern, of sources that read a list of pictures."""
    return (
        click.Option(
            ["--list", "list_file"],
            metavar="FILE",
            required=required,
            help=".csv, .tsv or .jsonl, on disk or inside the source.",
        ),
        click.Option(
            ["--image-pattern"], required=required, help="The picture of a row of the list: 'images/{id}.jpg'."
        ),
    )


class Captions(Source):
    summary = "pictures with captions in a list: CSV, TSV or JSON lines"
    example = "fastpt prep captions --source shop.tar --list captions.csv --image-pattern 'images/{id}.jpg'"
    options = (
        *list_options(required=True),
        *caption_options(strip_markup=False),
        click.Option(["--label-column"], help="Column with class names, for zero-shot evaluation."),
    )

    def list_splits(
        self, request: Request, list_file: str, image_pattern: str, label_column: str | None, **captions: Any
    ) -> Found:
        files = open_all(request.places, request.unpack_dir, ignore_damage=request.ignore_damage)
        return caption_splits(files, list_file, image_pattern, RecordFormat(**captions), label_column)


def caption_splits(
    files: Storage, list_file: str, image_pattern: str, record_format: RecordFormat, label_column: str | None = None
) -> Found:
    """One split, `train`, of the rows of `list_file` (looked up on disk, then in the source).

    `image_pattern` names the picture of a row, with columns in braces: `images/{id}.jpg`. Rows without a caption, and
    second rows of one picture, are left out by name. Raises FastptError if the file or a column is not there.
    """
    rows = _rows(list_file, _content(files, list_file))
    first = next(rows, None)
    if first is None:
        raise FastptError(f"--list {list_file} has no rows.")
    wanted = [*record_format.caption_columns, *filter(None, (label_column, record_format.id_column))]
    for column in wanted:
        if column not in first:
            raise FastptError(f"--list {list_file} has no column {column!r}; it has: {', '.join(map(str, first))}.")

    there = set(files.names())
    keys, captions, labels, rejected, pictureless, seen, outside = [], [], [], [], [], set(), set()
    for row in chain([first], rows):
        try:
            name = well_formed(image_pattern.format(**row))
        except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
            raise FastptError(
                f"--image-pattern {image_pattern!r} does not fit the columns of {list_file} "
                f"({', '.join(map(str, row))}): {error!r}."
            ) from None
        if not record_format.in_subset(row, name):
            outside.add(name)
            continue
        caption, label = record_format.caption(row), row.get(label_column)
        reason = None
        if None in row or None in row.values():
            reason = "its row in the list has other columns than the header"
        elif name in seen:
            reason = "a second row for the same picture"
        elif name not in there:
            reason = "missing from the source"
        elif not caption:
            reason = "no caption"
        elif label_column and label in (None, ""):
            reason = f"no {label_column}"
        if reason:
            (rejected if name in there and name not in seen else pictureless).append((name, reason))
        seen.add(name)
        if reason:
            continue
        keys.append(name)
        captions.append(caption)
        labels.append(str(label))
    classes = sorted(set(labels)) if label_column else []
    number = {label: i for i, label in enumerate(classes)}
    inventory = take_inventory(files, (list_file,), seen | outside)
    for name in inventory.pictures:
        if name not in seen:
            inventory.pass_over("not in the subset" if name in outside else "named by no row of the list", name)
    split = SplitListing(
        name="train",
        keys=keys,
        labels=np.array([number[label] for label in labels], np.int64) if label_column else None,
        captions=captions,
        classes=classes,
        class_names=classes,
        read=Reader(files, keys),
        is_train=True,
        rejected=tuple(rejected),
        pictureless=tuple(pictureless),
        note=_broken_text_note(captions),
    )
    return inventory.found([record_format.annotate(split)])


def _broken_text_note(captions: Iterable[str]) -> str:
    broken = sum("\N{REPLACEMENT CHARACTER}" in caption for caption in captions)
    return f"{broken:,} captions hold bytes that are not UTF-8, stored as \N{REPLACEMENT CHARACTER}" if broken else ""


def _content(files: Storage, list_file: str) -> io.TextIOBase:
    """The list as text, bytes that are not UTF-8 replaced."""
    try:
        binary = Path(list_file).open("rb") if Path(list_file).is_file() else io.BytesIO(files.read(list_file))  # noqa: SIM115 - closed with the text
    except (KeyError, OSError):
        raise FastptError(f"--list {list_file} was found neither on disk nor inside {files.root}.") from None
    return io.TextIOWrapper(binary, "utf-8-sig", errors="replace", newline="")


def _rows(list_file: str, text: io.TextIOBase) -> Iterator[dict]:
    """The rows of the list, one after another. Raises FastptError where it does not parse."""
    suffix = Path(list_file).suffix.lower()
    if suffix not in DELIMITERS:
        raise FastptError(f"--list {list_file} is neither .csv nor .tsv nor .jsonl. Name it after what it is.")
    delimiter = DELIMITERS[suffix]
    with text:
        try:
            if delimiter is None:
                for line in text:
                    if line.strip():
                        yield parse_record(line)
                return
            csv.field_size_limit(sys.maxsize)  # a caption of a megabyte is odd, but no reason to stop
            quoting = csv.QUOTE_MINIMAL if delimiter == "," else csv.QUOTE_NONE  # in a TSV a quote is only a quote
            yield from csv.DictReader(text, delimiter=delimiter, quoting=quoting, strict=True)
        except csv.Error as error:
            raise FastptError(f"--list {list_file} cannot be read: {error}. Mend its quotes.") from None
        except ValueError as error:
            raise FastptError(f"--list {list_file} has a line that is no JSON object: {error}. Mend it.") from None


SOURCE = Captions()
