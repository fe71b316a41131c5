"""Training dynamics: what each sample's loss, margin and prediction did, epoch by epoch, and what tells wrong labels.

    samples/
      loss.npy margin.npy correct.npy    float32 [epochs, N], a row an epoch, by sample_id; NaN where it was not seen
      wrong.npy                          bool [N], whose target the noise plan made wrong
      manifest.json                      which samples and targets; of each row the xxh3

A training writes the folder (`begin`, `append`), a row when an epoch has ended, so `numpy.load(..., mmap_mode="r")`
reads it at any time. `read` checks the sums. The scores below it are pure functions of the arrays.
"""

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from fastpt.errors import DamagedData, FastptError
from fastpt.files import MANIFEST, atomic_write, read_sealed_json, unwritten_is_oserror, write_sealed_json

FORMAT = "2.0"
MEASURES = ("loss", "margin", "correct")
"""What may be recorded. loss: the cross entropy of the target, not smoothed; margin: its logit less the largest other
one; correct: 1 where it has the largest logit, else 0."""
WRONG = "wrong.npy"


@dataclass(frozen=True)
class Dynamics:
    """What a run recorded of each of its N samples."""

    samples_id: str
    """Of the split, whose sample ids the columns are."""
    wrong: np.ndarray
    """bool [N]."""
    measures: Mapping[str, np.ndarray]
    """By name: float32 [epochs, N], mapped from the disk."""


def begin(folder: Path, samples_id: str, shown: np.ndarray, wrong: np.ndarray, epoch: int) -> bool:
    """Make the folder ready for the row of `epoch`: what it holds of that and later epochs is dropped.

    `shown`, int64 [N], are the targets. Returns whether earlier rows are lost, as they are of other samples, targets or
    pictures, or damaged: they will read NaN.
    """
    # Under noise of the pictures all targets are the clean ones: what was shown is told by what is wrong.
    of = {"samples_id": samples_id, "samples": len(shown), "targets_xxh3": _xxh3(shown), "wrong_xxh3": _xxh3(wrong)}
    folder.mkdir(parents=True, exist_ok=True)
    try:
        rows, lost = _rows_of(folder, of, epoch), False
    except (FileNotFoundError, DamagedData):
        rows, lost = {}, (folder / MANIFEST).exists()
    with atomic_write(folder / WRONG) as file:
        np.save(file, wrong)
    write_sealed_json(folder / MANIFEST, {"format": FORMAT, **of, "rows": rows})
    for name in MEASURES:
        if name in rows:
            _write_rows(folder / f"{name}.npy", len(rows[name]), np.empty((0, len(shown))))
        else:
            (folder / f"{name}.npy").unlink(missing_ok=True)
    return lost


def append(folder: Path, epoch: int, values: Mapping[str, np.ndarray]) -> None:
    """Write what was seen in an epoch, float32 [N] by measure, as row `epoch`: on the disk when this returns.

    Epochs that were not recorded have rows of NaN. A kill within leaves the rows that were there.
    """
    manifest = _manifest(folder)
    for name, row in values.items():
        sums = manifest["rows"].get(name, [])
        rows = np.full((epoch - len(sums) + 1, len(row)), np.nan, "<f4")
        rows[-1] = row
        _write_rows(folder / f"{name}.npy", len(sums), rows)
        manifest["rows"][name] = sums + [_xxh3(one) for one in rows]
    write_sealed_json(folder / MANIFEST, manifest)


def read(folder: Path) -> Dynamics:
    """What a folder holds. Raises FastptError if there is none, DamagedData if it is not as it was written."""
    try:
        manifest = _manifest(folder)
    except (FileNotFoundError, NotADirectoryError):
        raise FastptError(
            f"{folder} has no {MANIFEST}: nothing was recorded by sample. Train with record.samples, such as "
            "`--set record.samples='[loss, margin, correct]'`."
        ) from None
    measures = {name: _mapped(folder / f"{name}.npy", manifest, sums) for name, sums in manifest["rows"].items()}
    try:
        wrong = np.load(folder / WRONG)
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(folder / WRONG, str(error)) from None
    if _xxh3(wrong) != manifest["wrong_xxh3"]:
        raise _damaged(folder / WRONG, "it does not match its xxh3")
    return Dynamics(manifest["samples_id"], wrong, measures)


def aum(margin: np.ndarray) -> np.ndarray:
    """Area under the margin (Pleiss et al. 2020, equation 2): the mean over epochs; low where a label is wrong.

    margin: float [epochs, N], NaN where not seen. float64 [N]; NaN where never seen.
    """
    return _mean_seen(margin)


def forgetting_events(correct: np.ndarray) -> np.ndarray:
    """How often a sample was right and, when it was seen next, wrong (Toneva et al. 2019, section 3); high where wrong.

    correct: float [epochs, N] of 1, 0, and NaN where not seen. float64 [N]; infinite where a sample never was right, as
    there, and NaN where it was never seen.
    """
    last = np.full(correct.shape[1:], np.nan)
    events, learned = np.zeros_like(last), np.zeros(last.shape, bool)
    for now in correct:
        events += (last == 1) & (now == 0)
        learned |= now == 1
        last = np.where(np.isnan(now), last, now)
    return np.where(np.isnan(last), np.nan, np.where(learned, events, np.inf))


def small_loss_rank(loss: np.ndarray) -> np.ndarray:
    """The rank of a sample's loss, its mean over epochs (Huang et al. 2019, O2U-Net), as a share; high where wrong.

    loss: float [epochs, N], NaN where not seen. float64 [N] from 0, the smallest, to 1; equal losses share their mean
    rank; NaN where never seen. Who keeps small losses alone (Han et al. 2018) keeps ranks up to a share.
    """
    mean = _mean_seen(loss)
    ranks, seen = np.full_like(mean, np.nan), ~np.isnan(mean)
    ranks[seen] = (_ranks(mean[seen]) - 1) / max(1, np.count_nonzero(seen) - 1)
    return ranks


def auroc(scores: np.ndarray, positive: np.ndarray) -> float:
    """The chance that a positive scores above another, half where they are equal (Mann and Whitney): 0 to 1.

    scores: float [N], those that are NaN are left out; positive: bool [N]. NaN where either kind is absent.
    """
    known = ~np.isnan(scores)
    positive, ranks = positive[known], _ranks(scores[known])
    ones = np.count_nonzero(positive)
    pairs = ones * (len(positive) - ones)
    return float((ranks[positive].sum() - ones * (ones + 1) / 2) / pairs) if pairs else float("nan")


def _mean_seen(values: np.ndarray) -> np.ndarray:
    """The mean over epochs that are not NaN, float64 [N]: row by row, as a file may be larger than memory."""
    total, seen = np.zeros(values.shape[1:]), np.zeros(values.shape[1:], np.int64)
    for row in values:
        known = ~np.isnan(row)
        total[known] += row[known]
        seen += known
    return np.where(seen > 0, total / np.maximum(seen, 1), np.nan)


def _ranks(values: np.ndarray) -> np.ndarray:
    from scipy.stats import rankdata

    return rankdata(values)


def _manifest(folder: Path) -> dict[str, Any]:
    return read_sealed_json(folder / MANIFEST, FORMAT)


def _rows_of(folder: Path, identity: Mapping[str, Any], epochs: int) -> dict[str, list[str]]:
    """The sums of the first rows of a folder, which are whole and of these samples and targets. Raises DamagedData."""
    manifest = _manifest(folder)
    if any(manifest.get(key) != value for key, value in identity.items()):
        raise _damaged(folder / MANIFEST, "it is of other samples, targets or pictures")
    rows = {name: sums[:epochs] for name, sums in manifest["rows"].items()}
    for name, sums in rows.items():
        _mapped(folder / f"{name}.npy", manifest, sums)
    return rows


def _write_rows(path: Path, first: int, rows: np.ndarray) -> None:
    """Write rows, [R, N], from number `first` on as the last ones, and sync."""
    # numpy leaves room in the header for a first dimension that grows. The header comes last, so that it never counts
    # rows that are not there.
    header = _header(first + len(rows), rows.shape[1])
    with unwritten_is_oserror(path), path.open("r+b" if path.exists() else "xb") as file:
        file.seek(len(header) + first * rows.shape[1] * 4)
        file.write(rows.astype("<f4", copy=False).data)
        file.truncate()
        file.seek(0)
        file.write(header)
        file.flush()
        os.fsync(file.fileno())


def _header(rows: int, columns: int) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": "<f4", "fortran_order": False, "shape": (rows, columns)})
    return buffer.getvalue()


def _mapped(path: Path, manifest: Mapping[str, Any], sums: list[str]) -> np.ndarray:
    """The rows of a measure that the manifest tells of; a training under way may have written more."""
    count, columns = len(sums), manifest["samples"]
    try:
        rows = np.memmap(path, "<f4", "r", len(_header(count, columns)), (count, columns)) if count else None
    except (OSError, ValueError) as error:
        raise _damaged(path, str(error)) from None
    if rows is None:
        return np.empty((0, columns), np.float32)
    for number, (row, expected) in enumerate(zip(rows, sums, strict=True)):
        if _xxh3(row) != expected:
            raise _damaged(path, f"its row {number} does not match its xxh3")
    return rows


def _damaged(path: Path, why: str) -> DamagedData:
    return DamagedData(f"{path} is damaged: {why}. Restore it, or train anew.")


def _xxh3(array: np.ndarray) -> str:
    return xxhash.xxh3_64_hexdigest(np.ascontiguousarray(array).data)
