"""The labels of ImageNet's pictures of val, which say none themselves: from Kaggle's list, or from the devkit."""

import csv
import io
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from datasets_prep.inventory import Inventory
from fastpt.errors import DamagedData, FastptError
from fastpt.storage.files import open_files
from fastpt.storage.kind import ARCHIVE_ERRORS, unreadable

DEVKIT = "ILSVRC2012_devkit_t12.tar.gz"
META, GROUND_TRUTH = "meta.mat", "ILSVRC2012_validation_ground_truth.txt"  # in the devkit
SOLUTION = "LOC_val_solution.csv"  # Kaggle's


def val_labels(inventory: Inventory, side: Mapping[str, list[str]], pictures: list[str]) -> dict[str, str]:
    """The WordNet ids of pictures of val by their names, from Kaggle's list or the devkit, packed or not."""
    files = inventory.files
    if not (name := only_file(side, SOLUTION, GROUND_TRUTH, DEVKIT)):
        raise FastptError(
            f"the labels of {len(pictures):,} pictures of val, such as {pictures[0]}, are not in {files.root}: neither "
            f"Kaggle's {SOLUTION}, nor the devkit ({DEVKIT}), nor its {GROUND_TRUTH}. Put one there."
        )
    base = name.rpartition("/")[2]
    if base == SOLUTION:
        truth = _kaggle_truth(inventory.read(name), files.root / name)
    elif base == GROUND_TRUTH:
        meta = f"{name.removesuffix(GROUND_TRUTH)}{META}"
        if meta not in side.get(META, ()):
            raise FastptError(f"{files.root} has {name}, but no {meta}, which belongs to it. Put it there.")
        truth = _devkit_truth(inventory.read(meta), inventory.read(name), files.root / name)
    else:
        inventory.count_read(name)
        truth = _packed_truth(files.root / name)
    unknown = [name for name in pictures if stem(name) not in truth]
    if unknown:
        raise FastptError(
            f"{files.root / name} does not name {len(unknown):,} of the val pictures, such as {unknown[0]}. Take them "
            "away, or fetch it anew."
        )
    return truth


def _kaggle_truth(content: bytes, path: Path) -> dict[str, str]:
    try:
        rows = csv.DictReader(io.StringIO(content.decode(), newline=""))
        return {row["ImageId"]: row["PredictionString"].split()[0] for row in rows}
    except (KeyError, AttributeError, IndexError, ValueError, csv.Error):
        raise FastptError(f"{path} is not Kaggle's list of ImageId and PredictionString; fetch it anew.") from None


def _packed_truth(devkit: Path) -> dict[str, str]:
    try:
        tar = open_files(devkit, unpack_dir=Path(tempfile.gettempdir()))
        names = {name.rpartition("/")[2]: name for name in tar.names()}
        return _devkit_truth(tar.read(names[META]), tar.read(names[GROUND_TRUTH]), devkit)
    except KeyError as missing:
        raise FastptError(f"{devkit} has no {missing.args[0]}; fetch the devkit of tasks 1 and 2 anew.") from None
    except ARCHIVE_ERRORS as error:
        message = f"{devkit} is damaged ({error}); fetch the devkit of tasks 1 and 2 anew."
        raise unreadable(message, error) from None


def _devkit_truth(meta: bytes, numbers: bytes, where: Path) -> dict[str, str]:
    """From the numbers of classes, a line for each picture of val in the order of their names, and what they mean."""
    from scipy.io import loadmat

    try:
        synsets = loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"]
        wnids = dict(zip(synsets["ILSVRC2012_ID"].tolist(), synsets["WNID"].tolist(), strict=True))
        found = [str(wnids[int(line)]) for line in numbers.split()]
    except (LookupError, ValueError, TypeError, EOFError, OSError, zlib.error) as error:
        raise DamagedData(
            f"{where} or its {META} is damaged ({error}); fetch the devkit of tasks 1 and 2 anew."
        ) from None
    return {f"ILSVRC2012_val_{i:08d}": wnid for i, wnid in enumerate(found, 1)}


def only_file(side: Mapping[str, list[str]], *bases: str) -> str | None:
    """The file with the first of these base names that is there. Raises FastptError if there are two of one."""
    found = next((side[base] for base in bases if base in side), [])
    if len(found) > 1:
        raise FastptError(f"--source holds {found[0]} and {found[1]}. Give the folder of one of them.")
    return found[0] if found else None


def stem(name: str) -> str:
    """A file's name without its folder and suffix."""
    return name.rpartition("/")[2].partition(".")[0]
