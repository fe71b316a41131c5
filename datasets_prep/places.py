"""From what the user named to splits: which source module lists it, and how several places become one dataset."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from datasets_prep.listing import SplitListing, with_same_classes
from datasets_prep.records import RecordFormat
from fastpt.errors import FastptError
from fastpt.storage.files import Merged, Storage, open_files

Place = tuple[str | None, Path]  # the name of a split, if it was given, and a folder or archive


def list_splits(
    source: str,
    places: Sequence[Place],
    out: Path,
    seed: int = 0,
    workers: int = 1,
    split_level: int = 0,
    list_file: str | None = None,
    image_pattern: str | None = None,
    reading: RecordFormat | None = None,
    label_column: str | None = None,
) -> list[SplitListing]:
    """List the splits of `source`, one of the words that `fastpt prep` takes, at `places`.

    Places with the same split name, or without one, are taken together. What cannot be read in place is unpacked into
    a nameless file in `out`. Raises FastptError if a place is not what was said.
    """
    if source == "demo":
        from datasets_prep.sources.demo.scenes import demo_splits

        return demo_splits(seed)
    for _, path in places:
        if path.is_dir() and out.resolve().is_relative_to(path.resolve()):
            raise FastptError(f"--out {out} lies inside --source {path}, which is only read. Choose another --out.")
    if source == "imagenet":
        from datasets_prep.sources.imagenet import imagenet_splits

        if len(places) > 1 or places[0][0]:
            raise FastptError("imagenet is one --source, which has train and val. Give the folder that holds both.")
        return imagenet_splits(places[0][1], out)
    named = {name is not None for name, _ in places}
    if len(named) > 1:
        raise FastptError("either all --source name their split (train=PATH), or none does.")
    if source == "imagefolder":
        from datasets_prep.sources.imagefolder import imagefolder_splits

        return imagefolder_splits(_open(places, out), 1 if True in named else split_level)

    groups: dict[str | None, list[Path]] = {}
    for name, path in places:
        groups.setdefault(name, []).append(path)
    found = []
    for name, paths in groups.items():
        if list_file:
            from datasets_prep.sources.captions import caption_splits

            files = _open([(None, path) for path in paths], out)
            splits = caption_splits(files, list_file, image_pattern, reading, label_column)
        elif source == "parquet":
            from datasets_prep.sources.parquet import parquet_splits

            splits = parquet_splits(paths, reading, label_column)
        else:
            from datasets_prep.sources.webdataset import webdataset_splits

            splits = webdataset_splits(paths, reading, workers)
        if name and len(splits) > 1:
            there = ", ".join(split.name for split in splits)
            raise FastptError(f"--source {name}={paths[0]} holds several splits ({there}). Give it without a name.")
        found += [replace(split, name=name, is_train=name == "train") for split in splits] if name else splits
    return with_same_classes(found)


def _open(places: Sequence[Place], out: Path) -> Storage:
    parts = [(name or "", open_files(path, out)) for name, path in places]
    return parts[0][1] if len(parts) == 1 and not parts[0][0] else Merged(parts)
