"""Is a prepared split still what was written? Every file is held against the checksum made when it was written.

The deep check goes through the contents too: it finds what was written wrong, not only what changed since.
"""

import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from fastpt.data.columns import take
from fastpt.data.dataset import Dataset
from fastpt.data.manifest import samples_id
from fastpt.errors import DamagedData, FastptError
from fastpt.files import file_sha256
from fastpt.jpeg import entropy
from fastpt.processes import cores
from fastpt.storage.address import ADDRESS, RemotePath

NAMED = 10  # damaged pictures of a shard that are named
READ = 256  # pictures that are read at once


def split_folders(path: Path) -> list[Path]:
    """The prepared splits at `path` or directly below it; at an address, the one there.

    Raises FastptError if there are none.
    """
    if ADDRESS.match(str(path)) or (path / "dataset.json").exists():
        return [path]
    folders = sorted(child.parent for child in path.glob("*/dataset.json"))
    if not folders:
        Dataset(path)  # says what is missing
    return folders


def verify(path: Path) -> list[str]:
    """Check one split. Returns a line for each file that changed, is missing or does not belong there.

    Raises FastptError for one at an address.
    """
    if ADDRESS.match(str(path)):
        raise FastptError(
            f"{RemotePath.parse(str(path))} is an address: each shard is held to its sha256 when it is fetched, each "
            "picture to its own when it is read. Verify the folder that was copied there."
        )
    try:
        dataset = Dataset(path)
    except FastptError as error:
        return [str(error)]
    problems = []
    known = {path / "dataset.json"}
    for file, entry in _entries(dataset):
        known.add(file)
        problems += [problem + _damaged_pictures(dataset, file) for problem in _compare(file, entry)]
    for name in dataset.noise_plans():
        known |= {path / "noise" / f"{name}.json", path / "noise" / f"{name}.npy"}
        try:
            dataset.noise_plan(name)
        except FastptError as error:
            problems.append(str(error))
    for file in sorted(path.rglob("*")):
        if file.is_file() and file not in known:
            problems.append(f"{file} does not belong to the split. Take it away if you did not put it there.")
    return problems


def _damaged_pictures(dataset: Dataset, file: Path) -> str:
    """Which pictures of a shard are not as stored, to go behind what is said of it; nothing where none can tell."""
    names = [shard["name"] for shard in dataset.manifest["shards"]]
    if file.name not in names:
        return ""
    try:
        samples = dataset.samples
        rows = np.flatnonzero(samples.shard == names.index(file.name))
        parts = np.split(rows, range(READ, len(rows), READ))
        damaged = [row for part in parts for row in part[~samples.intact(part, dataset.jpegs(part))].tolist()]
        keys = take(dataset.table(["key"]).column("key"), damaged[:NAMED])
    except FastptError:  # of another length, or without its table
        return ""
    named = ", ".join(f"{row} ({key})" for row, key in zip(damaged, keys, strict=False))
    more = f" and {len(damaged) - NAMED} more" if len(damaged) > NAMED else ""
    return f" Damaged samples: {named}{more}." if damaged else " All its pictures are as they were stored."


def missing_files(dataset: Dataset) -> list[str]:
    """A line for each file of a split that is missing or has another size. Reads no contents, so it is quick."""
    return [problem for file, entry in _entries(dataset) for problem in _compare_size(file, entry)]


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
    if problems or entry["sha256"] is None:  # foreign files (see data/foreign) have no checksum
        return problems
    if file_sha256(file) != entry["sha256"]:
        return [f"{file} changed: its sha256 is not the one in dataset.json."]
    return []


# --- the deep check ---------------------------------------------------------------------------------------------


def verify_deep(path: Path, progress: Callable[[int, int], None]) -> list[str]:
    """Check the contents of a split whose files are as written: a line for each thing that does not agree.

    Every picture has its checksum, decodes to its end, is as large as the samples table says, and its entry points are
    those of its data; counts and samples_id are those of the table. Noise plans have their own deep check,
    `noise.verify.verify_plans`. `progress(done, total)` is told the pictures done.
    """
    dataset = Dataset(path)
    try:
        problems = _deep_counts(dataset)
        dataset.samples  # noqa: B018 - places where no picture can be are told at once
    except DamagedData as error:
        return [str(error)]
    with ThreadPoolExecutor(cores()) as pool:  # reading and decoding release the GIL
        for done, problem in enumerate(_bounded_map(pool, lambda row: _deep_picture(dataset, row), len(dataset)), 1):
            problems += [problem] if problem else []
            progress(done, len(dataset))
    return problems


def _bounded_map(pool: ThreadPoolExecutor, function: Callable[[int], str | None], count: int) -> Iterator[str | None]:
    """function(0), function(1) ... in this order, with no more waiting than keeps the pool at work."""
    window = 10_000
    for start in range(0, count, window):
        yield from pool.map(function, range(start, min(start + window, count)))


def _deep_picture(dataset: Dataset, row: int) -> str | None:
    from PIL import Image

    samples = dataset.samples
    try:
        jpeg = dataset.jpeg(row)
        with Image.open(io.BytesIO(jpeg.tobytes()), formats=["JPEG"]) as image:  # MPO, too: JPEGs behind a first one
            image.load()
            size = image.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError, FastptError) as error:
        return f"{dataset.path}: sample {row} does not decode ({error})."
    stated = (int(samples.width[row]), int(samples.height[row]))
    if size != stated:
        found = f"{size[0]} x {size[1]}"
        return f"{dataset.path}: sample {row} is a JPEG of {found}, but is stated as JPEG of {stated[0]} x {stated[1]}."
    if not samples.intact(np.array([row]), [jpeg])[0]:
        return f"{dataset.path}: sample {row} does not have the checksum it was stored with."
    _, spacing = entropy.entry_points(jpeg.tobytes())
    if spacing and entropy.note_entry_points(jpeg.tobytes(), size).jpeg != jpeg.tobytes():
        return f"{dataset.path}: sample {row} has entry points that are not those of its data."
    return None


def _deep_counts(dataset: Dataset) -> list[str]:
    table = dataset.table()
    counts = dataset.manifest["counts"]
    with (dataset.path / "rejected.jsonl").open(encoding="utf-8") as file:
        found = {"samples": len(table), "rejected": sum(1 for _ in file)}
    found["bytes"] = int(table["size"].to_numpy().sum(dtype=np.int64))
    if dataset.has_labels:
        found["per_class"] = np.bincount(dataset.clean_labels, minlength=len(dataset.classes)).tolist()
    problems = [
        f"{dataset.path}: dataset.json counts {name} as {counts[name]}, found {value}."
        for name, value in found.items()
        if counts[name] != value
    ]
    if samples_id(table) != dataset.samples_id:
        problems.append(f"{dataset.path}: samples_id is not that of the keys, labels and captions.")
    return problems
