"""Parquet files of pictures, opened: what stands beside the pictures, and how to read them.

A parquet file can only be read a row group at a time, so random order shuffles the row groups and, within each, the
rows. Pages that carry a checksum are held to it.
"""

import json
import os
import re
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import product
from pathlib import Path
from threading import Lock

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datasets_prep.inventory import find_containers
from datasets_prep.splits import splits_of_files
from datasets_prep.texts import Texts, repeated
from fastpt.data.hashes import BATCH
from fastpt.errors import DamagedData, FastptError
from fastpt.storage.names import told_apart
from fastpt.storage.opened import Stamp
from fastpt.storage.opening import for_arrow, open_unchanged, stamp_at

SUFFIX = ".parquet"
IMAGE_NAMES = ("image", "jpg", "img")
CHUNK = 64  # rows of a row group that one array has: its bytes are counted in 31 bits
KEPT_ROWS = 128  # of the row groups behind the oldest that is kept; more than are read ahead
PARQUET_ERRORS = (OSError, ValueError, pa.ArrowException)  # ValueError: text that is not UTF-8


@dataclass(frozen=True)
class Table:
    """The rows of one split: what is there beside the pictures, and where the pictures are."""

    split: str
    files: list[Path]
    stamps: list[Stamp]  # of each
    image: str  # the column of pictures
    keys: Sequence[str]  # unique: the pictures' paths, or file and row
    paths: Sequence[str]  # what the file calls each picture, or ""
    values: Mapping[str, Sequence[object]]  # the columns that were asked for and are there
    groups: np.ndarray  # int64 [N], the row group of each row, counted over all files
    starts: np.ndarray  # int64 [groups], the first row of each
    places: list[tuple[int, int]]  # file and row group of each

    def column(self, name: str) -> Sequence[object]:
        """The values of a column, None where the files of this split do not have it."""
        return self.values.get(name) or [None] * len(self.keys)

    def reader(self) -> "_Reader":
        rows = np.arange(len(self.groups))
        inside = rows - self.starts[self.groups]
        return _Reader(self.files, self.stamps, self.image, self.places, self.groups, inside)


@dataclass(frozen=True)
class Tables:
    """The splits of parquet files, and what else lies in their folders."""

    tables: list[Table]
    class_names: Mapping[str, list[str]]  # of the columns that were asked for, where the metadata has them
    others: int  # files that are no tables
    beside: dict[str, Counter[str]]
    warnings: list[str]


_Pictures = Future[pa.ChunkedArray]  # of a row group


@dataclass
class _Reader:
    files: list[Path]
    stamp: list[Stamp]  # of each
    image: str
    places: list[tuple[int, int]]
    groups: np.ndarray  # of each row
    inside: np.ndarray  # row inside its group
    _read_groups: OrderedDict[int, _Pictures] = field(default_factory=OrderedDict, repr=False)  # the last ones
    _lock: Lock = field(default_factory=Lock, repr=False)

    def __call__(self, i: int) -> bytes:
        value = self._group(int(self.groups[i]))[int(self.inside[i])].as_py()
        if value is None:
            raise OSError("the cell of its picture is empty")
        return value

    def _group(self, group: int) -> pa.ChunkedArray:
        """The pictures of a row group, which one thread reads and the others wait for."""
        with self._lock:
            found = self._read_groups.get(group)
            if mine := found is None:
                found = self._read_groups[group] = Future()
        if mine:
            try:
                found.set_result(self._read(*self.places[group]))
            except BaseException as error:
                found.set_exception(error)
            with self._lock:
                while sum(len(one.result()) for one in self._behind_oldest()) >= KEPT_ROWS:
                    self._read_groups.popitem(last=False)
        return found.result()

    def _behind_oldest(self) -> list[_Pictures]:
        return [one for one in list(self._read_groups.values())[1:] if one.done() and not one.exception()]

    def _read(self, file: int, group: int) -> pa.ChunkedArray:
        try:
            open_unchanged(self.files[file], self.stamp[file]).close()
            with _open(self.files[file]) as parquet:
                batches = parquet.iter_batches(CHUNK, [group], [self.image])
                return pa.chunked_array([_encoded(batch.column(self.image)) for batch in batches])
        except PARQUET_ERRORS as error:
            raise OSError(f"{self.files[file].name} is damaged ({error})") from None

    def holder(self, i: int) -> str:
        return self._called[self.places[int(self.groups[i])][0]]

    def stamps(self) -> dict[str, Stamp]:
        return dict(zip(self._called, self.stamp, strict=True))

    @cached_property
    def _called(self) -> list[str]:
        return told_apart(self.files, parts=2)

    def take(self, rows: Iterable[int]) -> "_Reader":
        rows = np.asarray(rows, np.int64)
        return replace(
            self, groups=self.groups[rows], inside=self.inside[rows], _read_groups=OrderedDict(), _lock=Lock()
        )

    def __reduce__(self):
        return _Reader, (self.files, self.stamp, self.image, self.places, self.groups, self.inside)


def _encoded(pictures: pa.Array) -> pa.Array:
    """The bytes of pictures."""
    return pictures.field("bytes") if pa.types.is_struct(pictures.type) else pictures


def _open(file: Path) -> pq.ParquetFile:
    return pq.ParquetFile(for_arrow(file), page_checksum_verification=True)


def open_tables(
    roots: Sequence[Path],
    columns: Sequence[str],
    image_column: str | None = None,
    split: str | None = None,
    ignore_damage: bool = False,
) -> Tables:
    """The splits of parquet files, and of all of them below folders, with those of `columns` that are there.

    `split` is that of files whose names do not tell. Raises FastptError where a split or the column of pictures is
    unclear or columns differ, DamagedData for a file that is none unless `ignore_damage`.
    """
    found = find_containers(roots, SUFFIX)
    files, beside, warnings = found.files, found.beside, found.warnings
    if not files:
        raise FastptError(f"--source {', '.join(map(str, roots))} holds no .parquet files.")
    schemas: dict[Path, pa.Schema] = {}
    for file in files:
        try:
            with _open(file) as parquet:
                schemas[file] = parquet.metadata.schema.to_arrow_schema()
        except PARQUET_ERRORS as error:
            if not ignore_damage:
                raise _damaged(file, error) from None
            warnings.append(f"{file} cannot be read as parquet ({error}): it is left out")
            beside["damaged"][file.name] += 1
    others = sum(map(Counter.total, beside.values()))
    splits = splits_of_files({file: files[file] for file in schemas}, split, warnings)
    if not splits:
        raise DamagedData(f"--source {', '.join(map(str, roots))}: no file can be read as parquet.")
    if split is None:
        for name, mine in splits.items():
            _refuse_configurations(name, mine, files)
    image = _image_column(schemas, image_column, warnings)
    names = {column: found for column in columns if (found := _class_names(schemas, column, warnings)) is not None}
    made = [_table(name, mine, files, schemas, columns, image) for name, mine in splits.items()]
    return Tables(made, names, others, dict(beside), warnings)


def _damaged(file: Path, error: Exception) -> DamagedData:
    return DamagedData(
        f"--source {file} cannot be read as parquet ({error}). Fetch it anew, or go on without it: --ignore-damage."
    )


def _refuse_configurations(split: str, files: Sequence[Path], roots: Mapping[Path, Path]) -> None:
    """Raises FastptError if folders of one place hold files of one name, as configurations of a dataset do."""
    there: dict[tuple[Path, str], Path] = {}
    for file in files:
        other = there.setdefault((roots[file], re.sub(r"-of-\d+$", "", file.stem).lower()), file)
        if other.parent != file.parent:
            shared = type(file)(os.path.commonpath([str(other.parent), str(file.parent)]))
            folders = [shared.joinpath(*one.parent.relative_to(shared).parts[:1]) for one in (other, file)]
            raise FastptError(
                f"--source: split {split} is in {folders[0]} and in {folders[1]}, under one file name, as "
                f"configurations of a dataset are. Give one of them (--source {folders[0]}), or each to take them "
                "together."
            )


# --- columns ------------------------------------------------------------------------------------------------------


def _image_column(schemas: Mapping[Path, pa.Schema], asked: str | None, warnings: list[str]) -> str:
    """The column of pictures, which all files have. Raises FastptError if there is none, or more than one may be it."""
    file, schema = next(iter(schemas.items()))
    pictures = [field.name for field in schema if _may_be_pictures(field.type)]
    named = [name for name in IMAGE_NAMES if name in schema.names]
    structs = [name for name in pictures if pa.types.is_struct(schema.field(name).type)]
    candidates = [asked] if asked else named or (structs if len(pictures) == 1 or len(structs) > 1 else [])
    if len(candidates) > 1:
        raise FastptError(
            f"--source {file}: which column has the pictures, {' or '.join(candidates)}? Say --image-column."
        )
    if not candidates:
        near = f" Say --image-column, if it is {' or '.join(pictures)}." if pictures else ""
        lists = [one.name for one in schema if pa.types.is_list(one.type) and _may_be_pictures(one.type.value_type)]
        near += f" Column {lists[0]!r} has lists of pictures; a row needs one picture." if lists else ""
        raise FastptError(
            f"--source {file} has no column of pictures called {', '.join(IMAGE_NAMES)}; it has: "
            f"{', '.join(schema.names)}.{near}"
        )
    name = candidates[0]
    for file, schema in schemas.items():
        if schema.names.count(name) != 1:
            raise _not_one(file, schema, name)
        kind = schema.field(name).type
        if not _may_be_pictures(kind):
            hint = " Use `fastpt prep list` for files that a column names." if _is_text(kind) else ""
            raise FastptError(
                f"--source {file}: column {name!r} has no pictures (bytes, or struct<bytes, path>): it is {kind}.{hint}"
            )
    others = [other for other in pictures if other != name]
    if others and not asked:
        warnings.append(
            f"pictures are those of column {name!r}, not of {' or '.join(map(repr, others))} (--image-column)"
        )
    return name


def _may_be_pictures(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        return _may_be_pictures(kind.value_type)
    if pa.types.is_struct(kind):
        return kind.get_field_index("bytes") >= 0 and _may_be_pictures(kind.field("bytes").type)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind)


def _is_text(kind: pa.DataType) -> bool:
    return pa.types.is_string(kind) or pa.types.is_large_string(kind)


def _class_names(schemas: Mapping[Path, pa.Schema], column: str, warnings: list[str]) -> list[str] | None:
    """The names of a column's classes, from the features that Hugging Face's datasets keep in the metadata.

    Raises FastptError if files name them differently.
    """
    found: dict[Path, list[str]] = {}
    for file, schema in schemas.items():
        try:
            features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
            names = features[column]["names"]
            if isinstance(names, dict):  # {"0": "cat", "1": "dog"}
                names = [names[str(i)] for i in range(len(names))]
        except (KeyError, TypeError, ValueError, RecursionError):
            continue
        if isinstance(names, list) and names and all(isinstance(name, str) for name in names):
            found[file] = names
    if not found:
        return None
    first, names = next(iter(found.items()))
    for file, others in found.items():
        if others != names:
            i = next(
                (i for i, (a, b) in enumerate(zip(names, others, strict=False)) if a != b), min(len(names), len(others))
            )
            a, b = (repr(one[i]) if i < len(one) else "nothing" for one in (names, others))
            raise FastptError(
                f"the classes of column {column!r} have other names in {first} than in {file}: class {i} is {a} and "
                f"{b}. Prepare them apart, or mend the metadata."
            )
    if len(found) < len(schemas):
        lacks = next(file for file in schemas if file not in found)
        warnings.append(f"the names of the classes of column {column!r} are from {first.name}; {lacks.name} has none")
    return names


def _table(
    split: str,
    files: list[Path],
    roots: Mapping[Path, Path],
    schemas: Mapping[Path, pa.Schema],
    columns: Sequence[str],
    image: str,
) -> Table:
    there = list(dict.fromkeys(name for name in columns if any(name in schemas[file].names for file in files)))
    for file, name in product(files, there):
        if schemas[file].names.count(name) != 1:
            raise _not_one(file, schemas[file], name)
    texts = {name for name in there if all(_is_text(schemas[file].field(name).type) for file in files)}
    values = {name: Texts[str | None]() if name in texts else list[object]() for name in there}
    paths, counts = Texts[str](), []
    sizes, places = [], []
    called = _names_in_keys(files, roots)
    stamps: list[Stamp] = []
    for number, file in enumerate(files):
        kind = schemas[file].field(image).type
        path = [f"{image}.path"] if pa.types.is_struct(kind) and kind.get_field_index("path") >= 0 else []
        try:
            stamps.append(stamp_at(file))
            with _open(file) as parquet:
                meta = parquet.metadata
                rows, read = meta.num_rows, 0
                for batch in parquet.iter_batches(BATCH, columns=[*there, *path]):
                    read += len(batch)
                    found = batch.column(image).field("path").to_pylist() if path else [None] * len(batch)
                    paths.extend(one if isinstance(one, str) else "" for one in found)
                    for name in there:
                        values[name].extend(batch.column(name).to_pylist())
            if there and read != rows:
                raise OSError(f"{read:,} of {rows:,} rows are there")
            paths.extend([""] * (rows - read))
        except PARQUET_ERRORS as error:
            raise _damaged(file, error) from None
        counts.append(rows)
        sizes += [meta.row_group(group).num_rows for group in range(meta.num_row_groups)]
        places += [(number, group) for group in range(meta.num_row_groups)]
    keys = paths
    if not all(paths) or repeated(paths) is not None:
        keys = Texts(f"{name}/{row}" for name, rows in zip(called, counts, strict=True) for row in range(rows))
    starts = np.cumsum([0, *sizes[:-1]])
    groups = np.repeat(np.arange(len(sizes)), sizes)
    return Table(split, files, stamps, image, keys, paths, values, groups, starts, places)


def _names_in_keys(files: Sequence[Path], roots: Mapping[Path, Path]) -> list[str]:
    """What keys call each file: its name, or as much of its path as tells it from the others."""
    stems = [file.stem for file in files]
    inside = [file.relative_to(roots[file]).with_suffix("").as_posix() for file in files]
    whole = [f"{roots[file].absolute().name}/{name}" for file, name in zip(files, inside, strict=True)]
    for names in (stems, inside, whole):
        if len(set(names)) == len(files):
            return names
    first, second = [file for file, name in zip(files, whole, strict=True) if whole.count(name) > 1][:2]
    raise FastptError(f"{first} and {second} have one name, so their keys would be the same. Rename a folder.")


def _not_one(file: Path, schema: pa.Schema, column: str) -> FastptError:
    times = schema.names.count(column)
    return FastptError(
        f"--source {file} has {f'{times} columns' if times else 'no column'} {column!r}, and needs one; it has: "
        f"{', '.join(schema.names)}."
    )


def missing_column(table: Table, *columns: str) -> FastptError:
    """The error for columns of which the files of a split have none."""
    with _open(table.files[0]) as parquet:
        there = parquet.metadata.schema.to_arrow_schema().names
    return FastptError(
        f"--source {table.files[0]} has no column {' and none '.join(map(repr, columns))}; it has: {', '.join(there)}. "
        "Say --label-column or --caption-column, or give the files that have it."
    )
