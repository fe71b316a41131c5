"""Files that say what noise to make, and the CSV in which plans travel: `key,label` or `key,caption_of`.

A confusion matrix is an .npy or a CSV of numbers, [K, K] in the order of the split's classes: row c holds how often
class c is mistaken for each other class. A hierarchy is a text of one `parent child` edge a line, separated by a tab,
a comma or blanks, as in ImageNet's wordnet.is_a.txt; leaves are named as the split's classes are.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv

from fastpt.data.plan import Targets
from fastpt.errors import FastptError
from fastpt.files import atomic_write
from fastpt.noise.kinds import Made

COLUMNS = {"labels": "label", "captions": "caption_of"}
_BATCH = 1 << 18  # rows


def read_matrix(path: Path, classes: int) -> np.ndarray:
    """A confusion matrix: float64 [K, K]."""
    try:
        matrix = _load_npy(path) if path.suffix == ".npy" else np.loadtxt(path, delimiter=",", ndmin=2)
        matrix = matrix.astype(np.float64)
    except (ValueError, TypeError) as error:
        raise FastptError(f"{path} is no confusion matrix: {error}. Give an .npy or a CSV of numbers.") from None
    if matrix.shape != (classes, classes):
        raise FastptError(
            f"{path} is of shape {list(matrix.shape)}, but a confusion matrix of {classes} classes is of shape "
            f"[{classes}, {classes}], in the order of the split's classes."
        )
    return matrix


def read_edges(path: Path) -> list[tuple[str, str]]:
    """The edges of a hierarchy: (parent, child) pairs."""
    edges = []
    for number, line in enumerate(_lines(path), 1):
        if line.strip():
            separator = next((one for one in "\t," if one in line), None)
            ends = [end.strip() for end in line.split(separator)]
            if len(ends) != 2 or not all(ends):
                raise FastptError(f"{path}, line {number}: expected a parent and a child, found {line.strip()!r}.")
            edges.append((ends[0], ends[1]))
    return edges


def read_labels(path: Path, keys: pa.ChunkedArray, labels: np.ndarray, classes: list[str], names: list[str]) -> Made:
    """Labels made elsewhere; samples that the file leaves out keep their clean label.

    A CSV has the columns `key` and `label` (a class's folder name or WordNet id, its readable name or its number); an
    .npy holds a class number a sample in the order of the split, -1 where the clean label stays.
    """
    noisy = np.array(labels, np.int32)
    if path.suffix == ".npy":
        return _read_npy(path, noisy, "class", len(classes), "classes")
    rows, texts = _read_csv(path, keys, "label")
    noisy[rows] = _class_numbers(path, texts, classes, names)
    return Made(noisy, len(labels) - len(rows))


def read_captions(path: Path, keys: pa.ChunkedArray) -> Made:
    """Captions dealt out elsewhere; samples that the file leaves out keep their own.

    A CSV has the columns `key` and `caption_of` (the key of the sample whose caption is shown); an .npy holds a row
    number a sample, -1 where it keeps its own.
    """
    own = np.arange(len(keys), dtype=np.int64)
    if path.suffix == ".npy":
        return _read_npy(path, own, "row", len(keys), "samples")
    rows, texts = _read_csv(path, keys, "caption_of")
    own[rows] = _rows_of(path, texts, keys)
    return Made(own, len(keys) - len(rows))


def write_csv(path: Path, of: Targets, keys: pa.ChunkedArray, array: np.ndarray, classes: list[str]) -> None:
    """Write what every sample is shown under a plan, in the CSV that `read_labels` and `read_captions` read."""
    column = COLUMNS[of]
    values = pa.chunked_array([pa.array(classes, pa.string())]) if of == "labels" else keys
    schema = pa.schema([("key", pa.string()), (column, pa.string())])
    with atomic_write(path) as file, pyarrow.csv.CSVWriter(file, schema) as writer:
        for start in range(0, len(array), _BATCH):
            part = [keys.slice(start, _BATCH), values.take(pa.array(array[start : start + _BATCH]))]
            writer.write_table(pa.table(part, schema=schema))


# --- parts ------------------------------------------------------------------------------------------------------


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise FastptError(f"{path} is no UTF-8 text ({error}).") from None


def _load_npy(path: Path) -> np.ndarray:
    """The array of an .npy. Raises ValueError if it is none, or claims more numbers than the file holds."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)  # mapped: a false header takes no memory
    except EOFError:
        raise ValueError("the file is empty") from None


def _read_npy(path: Path, own: np.ndarray, what: str, limit: int, things: str) -> Made:
    """An .npy of a number below `limit` a sample, or -1 for what it is shown without noise: `own`, int [N]."""
    try:
        found = _load_npy(path)
    except ValueError as error:
        raise FastptError(f"{path} is no array of numbers: {error}.") from None
    if found.shape != own.shape or found.dtype.kind not in "iu":
        raise FastptError(
            f"{path} holds {found.dtype} {list(found.shape)}; expected one {what} number a sample: integers "
            f"[{len(own)}]. A CSV with keys does not depend on the order of the samples."
        )
    if (found >= limit).any():
        raise FastptError(f"{path} holds {what} {found.max()}, but the split has {limit} {things}, from 0.")
    return Made(np.where(found < 0, own, found).astype(own.dtype), int((found < 0).sum()))


def _read_csv(path: Path, keys: pa.ChunkedArray, column: str) -> tuple[np.ndarray, pa.ChunkedArray]:
    """The rows of the split that a CSV names, int64 [M], and what it says of them, string [M]."""
    options = pyarrow.csv.ConvertOptions(
        include_columns=["key", column],
        column_types={"key": pa.string(), column: pa.string()},
        strings_can_be_null=False,
    )
    try:
        table = pyarrow.csv.read_csv(
            path, convert_options=options, parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True)
        )
    except (pa.ArrowException, KeyError) as error:
        raise FastptError(
            f"{path} is no CSV with the columns key and {column}, named in its first line ({str(error).strip()})."
        ) from None
    rows = _rows_of(path, table["key"], keys)
    times = np.bincount(rows, minlength=1)
    if times.max() > 1:
        twice = keys.slice(int(times.argmax()), 1)[0].as_py()
        raise FastptError(f"{path} names {twice!r} {times.max()} times. Leave one line a key.")
    return rows, table[column]


def _rows_of(path: Path, texts: pa.ChunkedArray, keys: pa.ChunkedArray) -> np.ndarray:
    rows = pc.call_function("index_in", [texts], pc.SetLookupOptions(keys))
    _refuse_unknown(path, texts, rows, "keys that the split does not have")
    return rows.to_numpy().astype(np.int64)


def _class_numbers(path: Path, texts: pa.ChunkedArray, classes: list[str], names: list[str]) -> np.ndarray:
    """Class numbers of folder names or WordNet ids, else of readable names that only one class has, else of digits."""
    known = {str(index): index for index in range(len(classes))}
    known |= {name: index for index, name in enumerate(names) if names.count(name) == 1}
    known |= {name: index for index, name in enumerate(classes)}
    found = pc.call_function("index_in", [texts], pc.SetLookupOptions(pa.array(list(known), pa.string())))
    _refuse_unknown(path, texts, found, "labels that are no class of the split")
    return np.array(list(known.values()))[found.to_numpy()]


def _refuse_unknown(path: Path, texts: pa.ChunkedArray, found: pa.ChunkedArray, what: str) -> None:
    if found.null_count:
        unknown = texts.filter(found.is_null())
        first = ", ".join(repr(one) for one in unknown.slice(0, 3).to_pylist())
        raise FastptError(
            f"{path} has {len(unknown)} {what}, such as {first}. It must be made for these samples; "
            "`fastpt noise DIR --csv FILE` writes such a file to compare with."
        )
