"""Noise made elsewhere, such as what annotators said: lists and arrays of the label or caption that samples are shown.

A list is a CSV, TSV, JSON or parquet file (see `data.lists`) with the columns `key` and `label` (a class's folder name
or WordNet id, its readable name, or its number) or `key` and `caption_of` (the key of the sample whose caption is
shown). An .npy holds a class number or a row a sample, in the order of the split. What has no label (-1, null, NaN, "",
or no row of the list) stays clean and is told with its count, as are rows of pictures that were rejected.
"""

import re
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastpt.data.labels import CODE, INFINITIES, NUMBER, PERHAPS_NO_LABEL, LabelReader
from fastpt.data.lists import open_list
from fastpt.data.manifest import read_rejected
from fastpt.data.plan import Targets
from fastpt.errors import FastptError, suggestion
from fastpt.noise.formats import COLUMNS, is_npy, load_npy
from fastpt.noise.kinds import Made
from fastpt.storage.names import well_formed

if TYPE_CHECKING:
    from fastpt.data.dataset import Dataset

POINT = re.compile(r"(?<=\d)\.0*$")  # of 3.0, as pandas writes the name 3 in a column with gaps
BATCH = 1 << 16  # rows
FEW = 20  # samples, which may all be wrong
DEVIATIONS = 3  # standard deviations by which labels in another order seldom agree more often than by chance
OTHERS = {".pt", ".pth", ".pkl", ".pickle", ".npz", ".mat", ".h5"}  # suffixes of files that hold several things


def read_labels(path: Path, dataset: "Dataset") -> Made:
    """The labels of a file: int32 [N]. Raises FastptError for what they cannot mean."""
    clean = dataset.clean_labels
    numbers, warnings = _read(path, dataset, "labels", len(dataset.classes))
    noisy = np.where(numbers < 0, clean, numbers).astype(np.int32)
    odd = _by_chance(clean, numbers) or _of_another_class(clean, noisy, dataset.classes)
    return Made(noisy, (*warnings, *odd))


def read_captions(path: Path, dataset: "Dataset") -> Made:
    """The rows whose captions are shown by a file: int64 [N]. Raises FastptError for what they cannot mean."""
    dataset.require_captions()
    numbers, warnings = _read(path, dataset, "captions", len(dataset))
    return Made(np.where(numbers < 0, np.arange(len(dataset)), numbers), warnings)


def _read(path: Path, dataset: "Dataset", of: Targets, limit: int) -> tuple[np.ndarray, list[str]]:
    """What a file gives each sample, int64 [N] below `limit`, -1 for nothing; and what the user should know of it."""
    is_array = is_npy(path)
    if not is_array and path.suffix.lower() in OTHERS:
        raise FastptError(
            f"{path} may hold several things. Save the one that is meant as an .npy of integers, or a CSV."
        )
    numbers, warnings = (_read_npy(path, dataset, of, limit), []) if is_array else _read_list(path, dataset, of)
    clean = int((numbers < 0).sum())
    if clean == len(numbers):
        raise FastptError(f"{path} gives none of {len(numbers):,} samples a {of[:-1]}: all would stay clean.")
    if clean:
        warnings.append(f"it has no {of[:-1]} for {clean} of {len(numbers)} samples; they stay clean")
    return numbers, warnings


def _by_chance(clean: np.ndarray, numbers: np.ndarray) -> list[str]:
    """What to say of labels that agree with the clean ones no better than in another order; both int [N], -1 for none.

    A list of some samples, all with other labels than the clean ones, is one of what is wrong.
    """
    given = numbers >= 0
    clean, noisy = clean[given], numbers[given]
    agree = float((clean == noisy).mean())
    if len(clean) < FEW or (agree == 0 and not given.all()):
        return []
    shares = [np.bincount(labels) / len(clean) for labels in (clean, noisy)]
    chance = float(sum(one * other for one, other in zip(*shares, strict=False)))
    text = f"only {agree:.1%} of the labels are the clean ones, no more than by chance ({chance:.1%})"
    found = agree <= chance + DEVIATIONS * (chance * (1 - chance) / len(clean)) ** 0.5 and chance < 1
    return [f"{text}: has it another order of samples, or of classes?"] if found else []


def _of_another_class(clean: np.ndarray, noisy: np.ndarray, classes: Sequence[str]) -> list[str]:
    """What to say of classes most of whose samples have the label of one other class; both int [N]."""
    pairs, count = np.unique(clean * len(classes) + noisy, return_counts=True)
    label, shown = pairs // len(classes), pairs % len(classes)
    share = count / np.bincount(clean)[label]
    most = np.flatnonzero((label != shown) & (share > 0.5) & (count >= FEW))
    if not len(most):
        return []
    first = most[share[most].argmax()]
    one, other = classes[int(label[first])], classes[int(shown[first])]
    return [
        f"most samples of {len(most)} of {len(classes)} classes have the label of another, such as of {one!r}, "
        f"{share[first]:.0%} of which are {other!r}: have its classes another order, or is one missing?"
    ]


def _read_npy(path: Path, dataset: "Dataset", of: Targets, limit: int) -> np.ndarray:
    """An array of a number below `limit` a sample, -1 or NaN for none: int64 [N]."""
    what, things = ("class", "classes") if of == "labels" else ("row", "samples")
    try:
        found = load_npy(path)
    except ValueError as error:
        cure = " Save one of its arrays, of integers, as an .npy of its own." if "bject" in str(error) else ""
        raise FastptError(f"{path} is no array of numbers: {error}.{cure}") from None
    if found.shape != (len(dataset),) or found.dtype.kind not in "iuf":
        raise FastptError(
            f"{path} holds {found.dtype} {list(found.shape)}; expected one {what} number a sample: integers "
            f"[{len(dataset)}]. A CSV with keys does not depend on the order of the samples."
        )
    none = np.isnan(found) if found.dtype.kind == "f" else np.zeros(len(found), bool)
    wrong = ~none & ((found >= limit) | (found < -1) | (found != np.floor(found)))
    if wrong.any():
        row = int(wrong.argmax())
        more = f" ({wrong.sum():,} numbers are wrong)" if wrong.sum() > 1 else ""
        raise FastptError(
            f"{path} holds {what} {found[row]} for sample {row}, {dataset.keys[row]!r}{more}, but the split has "
            f"{limit} {things}, from 0; -1 is for none."
        )
    return np.where(none, -1, found).astype(np.int64)


# --- lists ------------------------------------------------------------------------------------------------------


def _read_list(path: Path, dataset: "Dataset", of: Targets) -> tuple[np.ndarray, list[str]]:
    """As `_read`, of a list."""
    warnings: list[str] = []
    keys, values, labels = [], [], _Distinct()
    for batch, found in _batches(path, COLUMNS[of], warnings):
        values.append(labels.codes(found, len(keys) * BATCH) if of == "labels" else _keys_of_captions(found))
        keys.append(pa.array(batch, pa.string()))
    rows = _Rows(path, pa.chunked_array(keys))
    samples = rows.find(rows.keys, dataset, "keys", {one.key for one in read_rejected(dataset.path)})
    if of == "labels":
        classes, told = _class_numbers(rows, labels, dataset)
        numbers = classes[np.concatenate(values)]
        warnings += told
    else:
        numbers = rows.find(pa.chunked_array(values), dataset, "keys in caption_of")
    known = np.flatnonzero(samples >= 0)
    if len(known) < len(samples):
        warnings.append(f"{len(samples) - len(known):,} of its rows are of pictures that were rejected")
    if again := _count_again(rows, known[np.argsort(samples[known], kind="stable")], samples, numbers):
        warnings.append(f"{again:,} of its rows say again what another says; they count once")
    given = np.full(len(dataset), -1, np.int64)
    given[samples[known]] = numbers[known]
    return given, warnings


def _batches(path: Path, column: str, warnings: list[str]) -> Iterator[tuple[list[str], list[object]]]:
    """The keys of a list and what stands in `column`, `BATCH` rows at once. Raises FastptError."""
    listed = open_list(None, str(path), ["key", column], "csv")
    if listed.columns:  # those of JSON are known at its end
        listed.require(["key", column])
    keys, values, row = [], [], None
    for row in listed.rows:
        key = row.values.get("key")
        if row.problem or key is None or key == "" or key != key:
            problem = "other columns than the header" if row.problem else "no key"
            raise FastptError(f"{path}: row {row.number:,} has {problem}. Mend it, or take it away.")
        keys.append(key if isinstance(key, str) and key.isascii() else well_formed(str(key)))
        values.append(row.values.get(column))
        if len(keys) == BATCH:
            yield keys, values
            keys, values = [], []
    if row is None:
        raise FastptError(f"{path} has no rows.")
    listed.require(["key", column])
    warnings += listed.warnings
    yield keys, values


@dataclass(frozen=True)
class _Rows:
    """The rows of a list, M of them: their keys, string [M]. They are counted from 1 in what is said."""

    path: Path
    keys: pa.ChunkedArray

    def name(self, row: int) -> str:
        return f"{self.keys[row].as_py()!r} in row {row + 1:,}"

    def find(self, texts: pa.ChunkedArray, dataset: "Dataset", what: str, beside: Set[str] = frozenset()) -> np.ndarray:
        """The samples of these keys, int64 [M], -1 for null or one `beside`. Raises FastptError for any other."""
        keys = dataset.table(["key"])["key"]
        found = pc.call_function("index_in", [texts], pc.SetLookupOptions(keys, skip_nulls=True))
        missing = np.flatnonzero(found.is_null().to_numpy() & texts.is_valid().to_numpy())
        unknown = [row for row in missing.tolist() if texts[row].as_py() not in beside]
        if unknown:
            raise FastptError(
                f"{self.path} has {len(unknown):,} {what} that the split does not have, such as "
                f"{texts[unknown[0]].as_py()!r} in row {unknown[0] + 1:,}; its own are like {keys[0].as_py()!r}. The "
                "list must be made for these samples; `fastpt noise DIR --csv FILE` writes one to compare with."
            )
        return found.fill_null(-1).to_numpy().astype(np.int64)


def _count_again(rows: _Rows, order: np.ndarray, samples: np.ndarray, numbers: np.ndarray) -> int:
    """How many rows, `order` of them by sample, say again what another says. Raises FastptError if two differ."""
    again = np.flatnonzero(samples[order[1:]] == samples[order[:-1]])
    differ = again[numbers[order[again]] != numbers[order[again + 1]]]
    if len(differ):
        one, two = order[differ[0] : differ[0] + 2].tolist()
        raise FastptError(
            f"{rows.path} says two things of {rows.name(one)} and row {two + 1:,}, and {len(differ) - 1:,} times more "
            "so. Leave one row a key."
        )
    return len(again)


# --- what stands in a list ----------------------------------------------------------------------------------------


def _keys_of_captions(values: Sequence[object]) -> pa.Array:
    """The keys in `caption_of`: string [M], null where there is none."""
    none = (value is None or value == "" or value != value for value in values)
    texts = [None if left_out else well_formed(str(value)) for value, left_out in zip(values, none, strict=True)]
    return pa.array(texts, pa.string())


class _Distinct:
    """Labels as they were found: each value once, and the row in which it stands first."""

    def __init__(self):
        self.values: list[object] = []
        self.rows: list[int] = []
        self._codes: dict[tuple[type, object], int] = {}  # 1, 1.0 and True are equal, and not the same

    def codes(self, values: Sequence[object], first_row: int) -> np.ndarray:
        """Where each is in `values`: int64."""
        return np.array([self._code(value, row) for row, value in enumerate(values, first_row)], np.int64)

    def _code(self, value: object, row: int) -> int:
        key = (type(value), value if isinstance(value, str | int) else repr(value))  # NaN is NaN; lists have no hash
        code = self._codes.setdefault(key, len(self.values))
        if code == len(self.values):
            self.values.append(value)
            self.rows.append(row)
        return code


def _class_numbers(rows: _Rows, labels: _Distinct, dataset: "Dataset") -> tuple[np.ndarray, list[str]]:
    """The class of each distinct label, int64, -1 for none, and what to say of them. Raises FastptError.

    A label is the folder name or WordNet id of a class, else a readable name that only one class has, else a number.
    """
    read = LabelReader(f"{rows.path}, column 'label'", rows.name)
    times = Counter(dataset.class_names)
    known = {name: i for i, name in enumerate(dataset.class_names) if times[name] == 1}
    known |= {name: i for i, name in enumerate(dataset.classes)}
    digits = {str(i) for i in range(len(dataset.classes))}
    classes, names, numbers, unclear = [], [], [], []
    for value, row in zip(labels.values, labels.rows, strict=True):
        exact = value if isinstance(value, str) and value in known else read.plain(value, row)
        name = None if exact is None else str(exact)
        named = None if name is None else known.get(name, known.get(POINT.sub("", name)))
        classes.append(_class_number(read, exact, row, dataset) if named is None else named)
        if named is None and classes[-1] >= 0:
            numbers.append(row)
        elif named is not None and NUMBER.fullmatch(str(exact)) and str(named) != str(exact):
            names.append(row)
            unclear += [row] if str(exact) in digits else []
    if names and numbers:
        raise FastptError(
            f"{rows.path}: the label of {rows.name(names[0])} is a class's name, and not its number, but that of "
            f"{rows.name(numbers[0])} is a number. Write all as names, or all numbers as an .npy."
        )
    told = [
        f"the label of {rows.name(row)} is taken for the name of a class, not for its number" for row in unclear[:1]
    ]
    return np.array(classes, np.int64), told


def _class_number(read: LabelReader, label: int | str | None, row: int, dataset: "Dataset") -> int:
    """The class that a label is the number of, or -1 for no label. Raises FastptError if it is neither."""
    words = PERHAPS_NO_LABEL | INFINITIES
    if isinstance(label, str) and (CODE.fullmatch(label) or not (NUMBER.fullmatch(label) or label.lower() in words)):
        same = [one for one, name in zip(dataset.classes, dataset.class_names, strict=True) if name == label]
        if same:
            raise read.refused(row, label, f"is the name of {len(same)} classes", f"Write {' or '.join(same[:3])}.")
        near = suggestion(label, [*dataset.classes, *dataset.class_names])
        raise read.refused(row, label, "is no class of the split", near[0].upper() + near[1:])
    number = read.number(label, row)
    if number is not None and number >= (count := len(dataset.classes)):
        raise read.refused(row, label, "is no class of the split", f"It has {count} classes, with numbers from 0.")
    return -1 if number is None else number
