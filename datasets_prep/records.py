"""Records beside pictures (rows of a list, the JSON of a WebDataset sample): which belong, and their captions."""

import html
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote_plus

import click

from datasets_prep.listing import SplitListing
from fastpt.data.json_records import parse_record
from fastpt.data.list_text import text_lines
from fastpt.errors import FastptError
from fastpt.files import file_sha256
from fastpt.storage.names import well_formed

TAG = re.compile(r"<[a-zA-Z/!][^<>]*>")
# Nothing else stands in what was encoded for a URL, and a `+` or `%20` does.
URL_ENCODED = re.compile(r"(?=.*(\+|%[0-9a-f]{2}))([\w.~*!'()+-]|%[0-9a-f]{2})+", re.ASCII | re.IGNORECASE)


def caption_options(strip_markup: bool, columns: tuple[str, ...] = ("caption",)) -> tuple[click.Option, ...]:
    """--caption-column and --strip-markup, with their defaults; they fill the fields of `RecordFormat`."""
    return (
        click.Option(
            ["--caption-column", "caption_columns"],
            multiple=True,
            default=columns,
            show_default=bool(columns),
            help="Column with the text; repeatable, several are joined by a space.",
        ),
        click.Option(
            ["--strip-markup/--raw-captions"],
            default=strip_markup,
            show_default=True,
            help="Captions without URL encoding, HTML and extra spaces, or as they are.",
        ),
    )


@dataclass(frozen=True)
class IdList:
    """A list of ids that names a part of a dataset, such as OpenAI's or DeCLIP's YFCC15M."""

    name: str
    ids: frozenset[str]
    sha256: str  # of the file that lists them


@dataclass(frozen=True)
class RecordFormat:
    """How records are read. Captions are the `caption_columns`, joined by a space, `without_markup` if asked for.

    With a `subset`, only records whose id it holds belong: the id is the `id_column`, or else the name of the picture
    without folder and extension.
    """

    caption_columns: tuple[str, ...] = ("caption",)
    strip_markup: bool = False
    subset: IdList | None = None
    id_column: str | None = None

    def caption(self, record: Mapping[str, object]) -> str | None:
        """The caption, or None if the record has none of the columns; "" if they are empty."""
        texts = [text for text in map(_as_text, map(record.get, self.caption_columns)) if text is not None]
        if not texts:
            return None
        texts = [without_markup(text) if self.strip_markup else text.strip() for text in map(well_formed, texts)]
        return " ".join(text for text in texts if text)

    def problem(self, record: Mapping[str, object]) -> str | None:
        """What is wrong with the columns of the caption, if one of them holds what is no text."""
        for column in self.caption_columns:
            value = record.get(column)
            if isinstance(value, list | dict | bytes | bool):
                return f"its {column} is a {type(value).__name__}"
        return None

    def in_subset(self, record: Mapping[str, object], picture: str) -> bool:
        """Whether the record of `picture`, a file name, is in the subset."""
        if self.subset is None:
            return True
        value = record.get(self.id_column) if self.id_column else picture.rpartition("/")[2].partition(".")[0]
        return str(value) in self.subset.ids

    def none_in_subset(self, subset: IdList, columns: Sequence[str] = ()) -> FastptError:
        """The error if no record is in the subset; `columns` are those that records have, as far as they are known."""
        there = f" (records have the columns {', '.join(columns)})" if self.id_column and columns else ""
        return FastptError(
            f"none of the source's records is in the subset {subset.name}; the id of a record is "
            f"{f'its {self.id_column}{there}' if self.id_column else 'the name of its picture'}, the subset has ids "
            f"such as {min(subset.ids)}. Name another --id-column or --subset-ids."
        )

    def annotate(self, split: SplitListing) -> SplitListing:
        """The split with these settings recorded, and its coverage of the subset shown. Raises FastptError if none."""
        settings = {}
        if split.captions is not None:
            settings |= {"caption_columns": list(self.caption_columns), "markup_stripped": self.strip_markup}
        notes = [split.note] if split.note else []
        if self.subset is not None:
            found, all_ids = len(split) + len(split.rejected) + len(split.pictureless), len(self.subset.ids)
            if not found:
                raise self.none_in_subset(self.subset)
            settings["subset"] = {
                "name": self.subset.name,
                "sha256": self.subset.sha256,
                "ids": all_ids,
                "found": found,
            }
            notes.append(
                f"subset {self.subset.name}: {found:,} of its {all_ids:,} ids ({found / all_ids:.2%}) are in the source"
            )
        return replace(split, settings={**split.settings, **settings}, note="; ".join(notes))


def _as_text(value: object) -> str | None:
    """A text, or a number as text; None for anything else."""
    if isinstance(value, bool) or value != value:  # NaN
        return None
    return str(value) if isinstance(value, str | int | float) else None


def caption_warnings(captions: Iterable[str]) -> list[str]:
    """What to say of captions that are a word for nothing, as str() of a missing value gives one."""
    counts = Counter(text for text in captions if text.lower() in ("nan", "none", "null", "<na>"))
    return [f"{count:,} captions are {text!r}" for text, count in counts.items()]


def broken_text_note(captions: Sequence[str]) -> str:
    """What to note of captions whose bytes were not UTF-8; "" if there are none."""
    broken = sum("\N{REPLACEMENT CHARACTER}" in caption for caption in captions)
    return f"{broken:,} captions hold bytes that are not UTF-8, stored as \N{REPLACEMENT CHARACTER}" if broken else ""


def without_markup(text: str) -> str:
    """A caption without URL encoding (if nothing else stands in it), HTML entities, tags, and extra spaces."""
    if URL_ENCODED.fullmatch(text.strip()):
        text = unquote_plus(text)
    return " ".join(TAG.sub(" ", html.unescape(text)).split())


def read_subset(name: str, path: Path) -> IdList:
    """Read the ids of `path`, which may be packed. Raises FastptError if there are none.

    A line is an id; or fields with tabs between, of which the second is the id, as in OpenAI's
    yfcc100m_subset_data.tsv; or a JSON object whose `photoid`, or else the stem of whose `filename`, is the id.
    """
    called = f"--subset-ids {path}"
    ids: set[str] = set()
    for number, line in enumerate(text_lines(path, called), 1):
        try:
            ids.update([_id(line.strip())] if line.strip() else [])
        except ValueError as error:
            raise FastptError(f"{called}, line {number:,}, is no JSON object with an id: {error}. Mend it.") from None
    if not ids:
        raise FastptError(f"{called} lists no ids.")
    return IdList(name, frozenset(ids), file_sha256(path))


def _id(line: str) -> str:
    if line.startswith("{"):
        record = parse_record(line)
        if "photoid" not in record and "filename" not in record:
            raise ValueError(f"it has neither photoid nor filename, but {', '.join(record)}")
        return str(record["photoid"]) if "photoid" in record else Path(str(record["filename"])).stem
    fields = line.split("\t")
    return fields[1] if len(fields) > 1 else line
