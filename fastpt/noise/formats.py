"""Files that say what noise to make, and the CSV in which plans travel: `key,label` or `key,caption_of`.

A confusion matrix is an .npy or a CSV of numbers, [K, K] in the order of the split's classes: row c holds how often
class c is mistaken for each other class. A hierarchy is a text of one `parent child` edge a line, separated by a tab,
a comma or blanks, as in ImageNet's wordnet.is_a.txt; leaves are named as the split's classes are.
"""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv

from fastpt.data.plan import Targets
from fastpt.errors import FastptError
from fastpt.files import atomic_write

COLUMNS = {"labels": "label", "captions": "caption_of"}
_BATCH = 1 << 18  # rows


def read_matrix(path: Path, classes: int) -> np.ndarray:
    """A confusion matrix: float64 [K, K]."""
    try:
        matrix = load_npy(path) if is_npy(path) else np.loadtxt(path, delimiter=",", ndmin=2, encoding="utf-8-sig")
        if matrix.dtype.kind not in "biuf":
            raise ValueError(f"it holds {matrix.dtype}")
        matrix = matrix.astype(np.float64)
    except (ValueError, TypeError) as error:
        raise FastptError(f"{path} is no confusion matrix: {error}. Give an .npy or a CSV of numbers.") from None
    if matrix.shape != (classes, classes):
        raise FastptError(
            f"{path} is of shape {list(matrix.shape)}, but a confusion matrix of {classes} classes is of shape "
            f"[{classes}, {classes}], in the order of the split's classes."
        )
    return matrix


def odd_of_matrix(matrix: np.ndarray) -> list[str]:
    """What may be wrong with a confusion matrix: other classes in its rows than are meant. float64 [K, K]."""
    right, largest = matrix.diagonal(), matrix.max(1)
    told = []
    if right.any() and (count := int((right < largest).sum())) > len(matrix) / 2:
        told.append(f"{count} of {len(matrix)} classes are more often another than themselves: has it another order?")
    if np.allclose(matrix.sum(0), 1) and not np.allclose(matrix.sum(1), 1):
        told.append(
            "its columns sum to 1 and its rows do not, but a row is what a class is mistaken for: turn it round"
        )
    return told


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


def is_npy(path: Path) -> bool:
    """Whether a file is an .npy, by its name or what it begins with."""
    with path.open("rb") as file:
        return path.suffix.lower() == ".npy" or file.read(6) == b"\x93NUMPY"


def load_npy(path: Path) -> np.ndarray:
    """The array of an .npy. Raises ValueError if it is none, or claims more numbers than the file holds."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)  # mapped: a false header takes no memory
    except EOFError:
        raise ValueError("the file is empty") from None


def write_csv(path: Path, of: Targets, keys: pa.ChunkedArray, array: np.ndarray, classes: list[str]) -> None:
    """Write what every sample is shown under a plan, in the CSV that `annotations.py` reads."""
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
        return path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise FastptError(f"{path} is no UTF-8 text ({error}).") from None
