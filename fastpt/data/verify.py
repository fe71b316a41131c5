"""Is a prepared split still what was written? Every file is held against the checksum made when it was written."""

from pathlib import Path

from fastpt.data.dataset import Dataset, load_plan
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
    known = {"dataset.json"}
    entries = [(path / "images", shard) for shard in dataset.manifest["shards"]]
    entries += [(path / "images", shard["index"]) for shard in dataset.manifest["shards"] if "index" in shard]
    entries += [(path, entry) for entry in dataset.manifest["files"]]
    for folder, entry in entries:
        file = folder / entry["name"]
        known.add(file.relative_to(path).as_posix())
        problems += _compare(file, entry)
    for name in dataset.noise_plans():
        known |= {f"noise/{name}.json", f"noise/{name}.npy"}
        try:
            load_plan(path / "noise" / f"{name}.json", dataset.samples_id)
        except FastptError as error:
            problems.append(str(error))
    for file in sorted(path.rglob("*")):
        name = file.relative_to(path).as_posix()
        if file.is_file() and name not in known:
            problems.append(f"{file} does not belong to the split. Take it away if you did not put it there.")
    return problems


def _compare(file: Path, entry: dict) -> list[str]:
    if not file.is_file():
        return [f"{file} is missing."]
    size = file.stat().st_size
    if size != entry["bytes"]:
        return [f"{file} has {size} bytes instead of {entry['bytes']}."]
    if file_sha256(file) != entry["sha256"]:
        return [f"{file} changed: its sha256 is not the one in dataset.json."]
    return []
