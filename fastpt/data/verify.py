"""Is a prepared split still what was written? Every file is held against the checksum made when it was written."""

from pathlib import Path

from fastpt.data.dataset import Dataset
from fastpt.data.plans import load_plan
from fastpt.errors import FastptError
from fastpt.files import file_sha256


def split_folders(path: Path) -> list[Path]:
    """The prepared splits at `path` or directly below it. Raises FastptError if there are none."""
    if (path / "dataset.json").exists():
        return [path]
    folders = sorted(child.parent for child in path.glob("*/dataset.json"))
    if not folders:
        Dataset(path)  # says what is missing
    return folders


def verify(path: Path) -> list[str]:
    """Check one split. Returns a line for each file that changed, is missing or does not belong there."""
    try:
        dataset = Dataset(path)
    except FastptError as error:
        return [str(error)]
    problems = []
    known = {path / "dataset.json"}
    for file, entry in _entries(dataset):
        known.add(file)
        problems += _compare(file, entry)
    for name in dataset.noise_plans():
        known |= {path / "noise" / f"{name}.json", path / "noise" / f"{name}.npy"}
        try:
            load_plan(path / "noise" / f"{name}.json", dataset.samples_id)
        except FastptError as error:
            problems.append(str(error))
    for file in sorted(path.rglob("*")):
        if file.is_file() and file not in known:
            problems.append(f"{file} does not belong to the split. Take it away if you did not put it there.")
    return problems


def missing_files(path: Path) -> list[str]:
    """A line for each file of a split that is missing or has another size. Reads no contents, so it is quick."""
    return [problem for file, entry in _entries(Dataset(path)) for problem in _compare_size(file, entry)]


def _entries(dataset: Dataset) -> list[tuple[Path, dict]]:
    """Each file that the manifest names, and what it says of it."""
    images, shards = dataset.path / "images", dataset.manifest["shards"]
    entries = shards + [shard["index"] for shard in shards if "index" in shard]
    return [(images / entry["name"], entry) for entry in entries] + [
        (dataset.path / entry["name"], entry) for entry in dataset.manifest["files"]
    ]


def _compare_size(file: Path, entry: dict) -> list[str]:
    if not file.is_file():
        return [f"{file} is missing."]
    size = file.stat().st_size
    return [] if size == entry["bytes"] else [f"{file} has {size} bytes instead of {entry['bytes']}."]


def _compare(file: Path, entry: dict) -> list[str]:
    problems = _compare_size(file, entry)
    if problems or entry["sha256"] is None:  # foreign files (see foreign.py) have no checksum
        return problems
    if file_sha256(file) != entry["sha256"]:
        return [f"{file} changed: its sha256 is not the one in dataset.json."]
    return []
