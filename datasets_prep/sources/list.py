"""Pictures with labels or captions in a list: CSV, TSV, JSON or parquet, beside the pictures or inside their archive.

A row names its picture and says what it shows. Labels of annotators in a second column become a noise plan.
"""

import posixpath
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from datasets_prep.columns import Columns
from datasets_prep.inventory import take_inventory
from datasets_prep.listing import Found, NoisyLabels, Reader, SplitListing
from datasets_prep.picture_names import Alike, PictureNames, no_picture
from datasets_prep.records import RecordFormat, broken_text_note, caption_options, caption_warnings
from datasets_prep.sources import Request, Source
from datasets_prep.splits import looks_like_split, named, split_of
from datasets_prep.targets import Labels, read_labels
from fastpt.data.labels import NO_LABEL
from fastpt.errors import FastptError
from fastpt.storage.files import open_all
from fastpt.storage.kind import Storage
from fastpt.storage.names import is_plain

if TYPE_CHECKING:
    from fastpt.data.lists import ListFile

MISSING = "missing from the source"
MOST_SPLITS = 100  # in a column
MOST_TRIED = 1000  # rows whose picture is missing, for which one like it is looked for


class ListOption(click.ParamType):
    """FILE or SPLIT=FILE: (split or None, file)."""

    name = "list"

    def convert(self, value, param, ctx):
        try:
            return named(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def list_options(required: bool) -> tuple[click.Option, ...]:
    """--list, how its rows name their pictures, and --list-quotes: of sources that read a list of pictures."""
    return (
        click.Option(
            ["--list", "lists"],
            type=ListOption(),
            multiple=True,
            metavar="[SPLIT=]FILE",
            required=required,
            help=".csv, .tsv, .jsonl, .json or .parquet, on disk or inside the source; repeatable.",
        ),
        click.Option(["--path-column"], help="Column with the name of the picture."),
        click.Option(["--image-pattern"], help="Or its name, with columns in braces: 'images/{id}.jpg'."),
        click.Option(
            ["--list-quotes"],
            type=click.Choice(["csv", "plain"]),
            help="Quotes in a .csv or .tsv enclose fields, or are plain characters (default: told by the list).",
        ),
    )


SPLIT_COLUMN = click.Option(["--split-column"], help="Column with the name of the split.")


class List(Source):
    summary = "pictures with labels or captions in a list: CSV, JSON, ..."
    example = """\
fastpt prep list --source photos --list labels.csv --path-column file --label-column class
fastpt prep list --source photos --list train=train.csv --list val=val.csv --path-column file --label-column class
fastpt prep list --source photos --list human.csv --path-column file --clean-label-column true \\
    --noisy-label-column given"""
    options = (
        *list_options(required=True),
        click.Option(["--label-column", "--clean-label-column", "label_column"], help="Column with the class."),
        click.Option(
            ["--noisy-label-column"], help="Column with what annotators said: it becomes an external noise plan."
        ),
        SPLIT_COLUMN,
        *caption_options(strip_markup=False, columns=()),
    )

    def list_splits(
        self,
        request: Request,
        lists: Sequence[tuple[str | None, str]],
        caption_columns: tuple[str, ...],
        strip_markup: bool,
        **columns: Any,
    ) -> Found:
        if not columns["label_column"] and not caption_columns:
            raise click.UsageError("say what is meant to be learned: --label-column or --caption-column")
        return listed_splits(request, lists, Columns(**columns, records=RecordFormat(caption_columns, strip_markup)))


@dataclass
class _Rows:
    """The rows whose picture is there, each picture once, and what is to be said of the others."""

    files: list[str] = field(default_factory=list)
    splits: list[str] = field(default_factory=list)
    captions: list[str | None] = field(default_factory=list)
    labels: list[object] = field(default_factory=list)
    noisy: list[object] = field(default_factory=list)
    row_of: dict[str, int] = field(default_factory=dict)  # by picture
    lacking: list[tuple[str, str, str]] = field(default_factory=list)  # split, picture, and why its row is of no use
    clashing: dict[str, str] = field(default_factory=dict)  # pictures whose rows differ, and in what
    again: Counter[str] = field(default_factory=Counter)  # pictures with more rows that say the same
    missing: list[str] = field(default_factory=list)  # what rows name that is not there
    outside: set[str] = field(default_factory=set)  # of the subset
    spellings: dict[str, set[str]] = field(default_factory=dict)  # of splits
    count: int = 0

    def add(self, file: str, split: str, caption: str | None, label: object, noisy: object) -> None:
        """A row that has all that it needs."""
        if file not in self.row_of:
            self.row_of[file] = len(self.files)
            self.files.append(file)
            self.splits.append(split)
            self.captions.append(caption)
            self.labels.append(label)
            self.noisy.append(noisy)
            return
        i = self.row_of[file]
        before = {"split": self.splits[i], "caption": self.captions[i], "label": self.labels[i], "noisy": self.noisy[i]}
        now = {"split": split, "caption": caption, "label": label, "noisy": noisy}
        differ = [what for what, value in now.items() if repr(value) != repr(before[what])]  # NaN is NaN
        if differ:
            both = " and ".join(f"{str(one[differ[0]])[:40]!r}" for one in (before, now))
            self.clashing.setdefault(file, f"its rows in the list differ: {differ[0]} {both}")
            self.lacking.append((split, file, "a second row for the same picture, which differs"))
        else:
            self.again[file] += 1


def listed_splits(request: Request, lists: Sequence[tuple[str | None, str]], columns: Columns) -> Found:
    """The splits of the rows of `lists`, each with its split or None, looked up on disk, then in the source.

    The split of a row is that of its list, or its `split_column`, or what the list's name tells, or train. Its picture
    is the file of that name. Where there is none, one of the same name without `./` or blanks around it, with `/` for a
    backslash, in another Unicode form, or on the same path from the list's folder or the root is taken, and told with a
    count. A picture has one target: rows that differ reject it, rows that do not are told. Raises FastptError if a list
    or a column is missing, or no row can be used.
    """
    from fastpt.data.lists import open_list

    files = open_all(request.places, request.unpack_dir, ignore_damage=request.ignore_damage)
    pictures = PictureNames(set(files.names()), [_absolute(place) for place in request.places if place.is_dir()])
    rows, warnings, names = _Rows(), [], [name for _, name in lists]
    for name, split in zip(names, _splits_of_lists(lists, columns.split_column), strict=True):
        opened = open_list(files, name, columns.wanted, columns.list_quotes)
        folder = posixpath.dirname(_absolute(Path(name)) if Path(name).is_file() else name)
        _read(opened, split, columns, rows, lambda row, folder=folder: pictures.find(row, folder))
        warnings += opened.warnings
    alike = pictures.alike(rows.missing[:MOST_TRIED])
    if rows.count and len(rows.missing) == rows.count:
        wrong = no_picture(files, rows.missing, alike, columns.path_column, columns.image_pattern)
        raise FastptError(f"--list {', '.join(names)}: none of its {rows.count:,} rows {wrong}")
    found = _found(files, names, rows, columns, alike)
    return replace(found, warnings=(*warnings, *pictures.warnings(), *found.warnings))


def _read(
    opened: "ListFile", split: str | None, columns: Columns, rows: _Rows, find: Callable[[str], str | None]
) -> None:
    """Take the rows of a list. `find` gives the file that a row names."""
    records, before = columns.records, rows.count + len(rows.outside)
    if opened.columns:  # those of JSON are known at its end
        columns.check_header(opened, find)
    for row in opened.rows:
        values, reason = row.values, row.problem or records.problem(row.values)
        try:
            name = columns.picture(values)
        except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
            raise FastptError(
                f"--image-pattern {columns.image_pattern!r} does not fit row {row.number:,} of "
                f"{opened.name}: {error!r}."
            ) from None
        file = find(name) if name is not None else None
        if name is not None and not records.in_subset(values, name):
            rows.outside.add(file or name)
            continue
        rows.count += 1
        its_split = split or _split_of_row(opened.name, str(columns.split_column), values, rows.spellings)
        caption = records.caption(values)
        if not reason:
            if name is None:
                reason = columns.no_name(values)
            elif file is None:
                rows.missing.append(name)
                reason = MISSING
            elif not its_split:
                reason = f"no {columns.split_column}"
            elif records.caption_columns and not caption:
                reason = "no caption"
        if reason or file is None:
            rows.lacking.append((its_split, file or name or f"{opened.name}, row {row.number}", str(reason)))
        else:
            label = values.get(columns.label_column) if columns.label_column else None
            noisy = values.get(columns.noisy_label_column) if columns.noisy_label_column else None
            rows.add(file, its_split, caption, label, noisy)
    if rows.count + len(rows.outside) == before:
        raise FastptError(f"--list {opened.name} has no rows.")
    opened.require(columns.wanted)


def _found(files: Storage, names: Sequence[str], rows: _Rows, columns: Columns, alike: Alike) -> Found:
    """The splits of the rows, and what lies beside them."""
    there = set(files.names())
    rejected, pictureless = _left_out(there, rows, alike)
    named = {*rows.row_of, *(file for _, file, _ in rows.lacking)}
    inventory = take_inventory(files, names, (named | rows.outside) & there)
    for name in inventory.pictures:
        if name not in named:
            inventory.pass_over("not in the subset" if name in rows.outside else "named by no row of the list", name)
    kept = [i for i, file in enumerate(rows.files) if file not in rows.clashing]
    labels = _labels(rows, columns, kept)
    warnings = [*labels.warnings, *_warnings(rows)]
    splits = []
    for name in dict.fromkeys([*rows.splits, *filter(None, (split for split, _, _ in rows.lacking))]) or ["train"]:
        mine = [k for k, i in enumerate(kept) if rows.splits[i] == name]
        split = _split(name, files, names, rows, columns, labels, [(k, kept[k]) for k in mine])
        if columns.label_column and split.labels is None and mine:
            left = f"none of the {len(mine):,} rows of split {name} has a label"
            warnings.append(f"{left}: it is {'left out' if split.captions is None else 'prepared without'}")
            if split.captions is None:
                for k in mine:
                    inventory.pass_over(f"without a label, in {name}", rows.files[kept[k]])
                continue
        if columns.noisy_label_column and split.noisy_labels and (split.noisy_labels.labels < 0).all():
            warnings.append(
                f"column {columns.noisy_label_column!r} has no label in split {name}: it gives no noise plan"
            )
        rejected[name] += split.rejected
        if len(split) or not rows.count:
            splits.append(split)
        else:
            warnings.append(f"no row of split {name} can be used: it is left out")
    if not splits:
        reasons = [pair for pairs in (*rejected.values(), *pictureless.values()) for pair in pairs]
        why = f"the first: {reasons[0][0]}: {reasons[0][1]}" if reasons else "none has a label"
        raise FastptError(f"--list {', '.join(names)}: none of its {rows.count:,} rows can be used ({why}).")
    for split in splits[:1]:  # it tells of the rows of no split, and of splits that are left out
        for left in (rejected, pictureless):
            for name in left.keys() - {one.name for one in splits}:
                left[split.name] += left[name]
    splits = [
        replace(split, rejected=tuple(rejected[split.name]), pictureless=tuple(pictureless[split.name]))
        for split in splits
    ]
    return inventory.found([columns.records.annotate(split) for split in splits], tuple(warnings))


def _left_out(there: set[str], rows: _Rows, alike: Alike) -> tuple[defaultdict[str, list], defaultdict[str, list]]:
    """The pictures that are rejected with their reason, and the rows without a picture of their own, by split."""
    rejected, pictureless = defaultdict(list), defaultdict(list)
    for file, reason in rows.clashing.items():
        rejected[rows.splits[rows.row_of[file]]].append((file, reason))
    named = set(rows.row_of)
    for split, file, reason in rows.lacking:
        if reason == MISSING and file in alike:
            reason = f"{MISSING}, which has {alike[file].file} ({alike[file].how})"
        (rejected if file in there and file not in named else pictureless)[split].append((file, reason))
        named.add(file)
    return rejected, pictureless


def _split(
    name: str,
    files: Storage,
    names: Sequence[str],
    rows: _Rows,
    columns: Columns,
    labels: Labels,
    mine: list[tuple[int, int]],  # of each row of the split: where its label is, and where its picture
) -> SplitListing:
    """A split, and what it rejects for want of a label; without labels if no row has one."""
    numbers = labels.numbers[[k for k, _ in mine]] if mine else np.array([], np.int64)
    has_labels = bool((numbers >= 0).any())
    rejected = [(rows.files[i], labels.missing[k]) for k, i in mine if has_labels and k in labels.missing]
    good = [(k, i) for k, i in mine if not has_labels or k not in labels.missing]
    keys = [rows.files[i] for _, i in good]
    captions = [str(rows.captions[i]) for _, i in good] if columns.records.caption_columns else None
    noisy = None
    if columns.noisy_label_column and has_labels:
        behind = len(labels.numbers) // 2  # those of annotators
        where = f"column {columns.noisy_label_column!r} of {', '.join(Path(name).name for name in names)}"
        noisy = NoisyLabels(columns.noisy_label_column, where, labels.numbers[[behind + k for k, _ in good]])
    return SplitListing(
        name=name,
        keys=keys,
        labels=numbers[numbers >= 0] if has_labels else None,
        captions=captions,
        classes=labels.classes,
        class_names=labels.classes,
        read=Reader(files, keys),
        is_train=name == "train",
        rejected=tuple(rejected),
        note=broken_text_note(captions or ()),
        noisy_labels=noisy,
    )


def _labels(rows: _Rows, columns: Columns, kept: list[int]) -> Labels:
    """The labels of the rows that are kept; if there are noisy ones, those of annotators come behind them."""
    if columns.label_column is None:
        return Labels([], np.full(len(kept), -1), {})
    files = [rows.files[i] for i in kept]
    values = [rows.labels[i] for i in kept]
    column = f"column {columns.label_column!r}"
    if columns.noisy_label_column is None:
        return read_labels(values, column, files)
    column = f"columns {columns.label_column!r} and {columns.noisy_label_column!r}"
    labels = read_labels([*values, *(rows.noisy[i] for i in kept)], column, [*files, *files])
    clean, noisy = (set(some[some >= 0].tolist()) for some in np.split(labels.numbers, 2))
    if clean and noisy and clean.isdisjoint(noisy):
        first, second = (labels.classes[min(numbers)] for numbers in (clean, noisy))
        raise FastptError(f"{column} have no class in common ({first!r}, {second!r}). Both have to use the same names.")
    return labels


def _warnings(rows: _Rows) -> list[str]:
    warnings = caption_warnings(caption for caption in rows.captions if caption)
    warnings += [
        f"split {split} is written as {' and '.join(sorted(spelled))}"
        for split, spelled in rows.spellings.items()
        if len(spelled) > 1
    ]
    if rows.again:
        warnings.append(
            f"{len(rows.again):,} pictures have several rows that say the same, such as {next(iter(rows.again))}: each "
            "is taken once"
        )
    return warnings


# --- splits -------------------------------------------------------------------------------------------------------


def _splits_of_lists(lists: Sequence[tuple[str | None, str]], split_column: str | None) -> list[str | None]:
    """The split of each list; None where a column says it."""
    named = [split for split, _ in lists if split is not None]
    if named and (len(named) < len(lists) or split_column):
        raise click.UsageError(
            "either all --list name their split (train=FILE), or none does; --split-column goes alone"
        )
    if named or split_column:
        return [split for split, _ in lists]
    found: list[str | None] = []
    for _, name in lists:
        words = re.split(r"[-_. ]", Path(name).name.partition(".")[0].lower())
        splits = {split for word in words if (split := split_of(word.rstrip("0123456789")))}
        if len(splits) > 1 or (not splits and any(map(looks_like_split, words))):
            raise FastptError(f"--list {name}: which split is it? Say --list SPLIT={name}.")
        found.append(splits.pop() if splits else None)
    if None in found and any(found):
        which = lists[found.index(None)][1]
        raise FastptError(f"--list {which}: which split is it? Give all lists as SPLIT=FILE.")
    return [split or "train" for split in found]


def _split_of_row(where: str, column: str, values: Mapping[str, object], spellings: dict[str, set[str]]) -> str:
    """The split that a row names; "" if it names none. Raises FastptError if it cannot be the name of one."""
    value = values.get(column)
    text = spelled = "" if value is None or value != value else str(value).strip()
    if text.lower() in NO_LABEL:
        text = ""
    elif whole := re.fullmatch(r"(\d+)\.0+", text):  # of a column of numbers in which some are missing
        text = whole[1]
    split = split_of(text) or text
    if split and not is_plain(split):
        raise FastptError(f"--list {where}: {text[:60]!r} in column {column!r} cannot be the name of a split.")
    if split:
        spellings.setdefault(split, set()).add(spelled)
        if len(spellings) > MOST_SPLITS:
            raise FastptError(
                f"--list {where}: column {column!r} names more than {MOST_SPLITS} splits. Name another column."
            )
    return split


def _absolute(path: Path) -> str:
    return posixpath.normpath(path.absolute().as_posix())


SOURCE = List()
