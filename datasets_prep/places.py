"""From the places that the user named to splits: several places become one dataset. Knows no source by its name."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from datasets_prep.classes import class_warnings, with_same_classes
from datasets_prep.listing import Found, SplitListing, merged
from datasets_prep.sources import Request, Source
from datasets_prep.splits import same_split, split_of
from fastpt.errors import FastptError
from fastpt.storage.address import RemotePath
from fastpt.storage.transfer import forget

Place = tuple[str | None, Path]  # the name of a split, if it was given, and a folder or archive


def usual_place(name: str, source: Source) -> tuple[Path, str]:
    """Where the data of the source called `name` usually lies, and what to say of it.

    Raises click.UsageError if it lies in none of its usual places.
    """
    looked_at, there, gone = [], [], []
    for place in source.usual_places:
        words = re.split(r"\$(\w+)", place)  # every second one is a variable
        values = [os.environ.get(word, "") if i % 2 else word for i, word in enumerate(words)]
        path = Path("".join(values)).expanduser()
        if any(not value for value in values[1::2]):
            looked_at.append(f"{place} (not set)")
            continue
        looked_at.append(place if len(words) == 1 else f"{place} ({path})")
        if path.is_file() or (path.is_dir() and any(path.iterdir())):
            there.append((path, looked_at[-1]))
        elif len(words) > 1 and not there:
            gone.append(looked_at[-1])
    if not there:
        raise click.UsageError(
            f"{name} needs --source PATH; it is not in its usual places: {', '.join(looked_at)}. {source.how_to_get}"
        )
    (path, text), *others = there
    said = f"{name} is read from {text}"
    if gone:
        said += f", since there is nothing in {', '.join(gone)}"
    if others:
        said += f"; it is in {', '.join(text for _, text in others)} too, which --source would say"
    return path, said


def check_places(name: str, source: Source, places: Sequence[Place], out: Path) -> None:
    """Raise click.UsageError if the source called `name` does not take these places, FastptError if one holds `out`."""
    if (source.places == "none") == bool(places):
        raise click.UsageError(f"{name} takes no --source" if places else f"{name} needs --source PATH")
    named = {split is not None for split, _ in places}
    if source.places == "one" and (len(places) > 1 or True in named):
        raise click.UsageError(f"{name} is one --source, without SPLIT=. Give the folder that holds all splits.")
    if twice := same_split({split for split, _ in places if split}):
        raise click.UsageError(f"{' and '.join(twice)} are one split. Give it one name.")
    if len(named) > 1:
        raise click.UsageError("either all --source name their split (train=PATH), or none does.")
    _refuse_overlap(places)
    for _, path in places:
        if out.resolve().is_relative_to(path.resolve()) and path.is_dir():
            raise FastptError(f"--out {out} lies inside --source {path}, which is only read. Choose another --out.")


def _refuse_overlap(places: Sequence[Place]) -> None:
    """Raises FastptError for a place that is given twice, or lies in another, so that its pictures would be in both."""
    real: dict[Path, Path] = {}
    for _, path in places:
        if (other := real.setdefault(path.resolve(), path)) is not path:
            raise FastptError(f"--source {other} and --source {path} are one place. Give it once.")
    for inner, path in real.items():
        if (outer := next((real[above] for above in inner.parents if above in real), None)) and path.is_dir():
            raise FastptError(f"--source {path} lies inside --source {outer}, so it would be read twice. Give one.")


def list_splits(
    source: Source,
    places: Sequence[Place],
    options: Mapping[str, Any],
    unpack_dir: Path,
    seed: int,
    workers: int,
    ignore_damage: bool = False,
    dry_run: bool = False,
) -> Found:
    """What `source` finds at `places`, those of one split name, or of none, taken together.

    `options` are the source's own; see `Request` for the others. Raises what the source raises.
    """
    forget()
    groups: dict[str | None, list[Path]] = {} if places else {None: []}
    for split, path in places:
        place = path.pinned() if isinstance(path, RemotePath) else path
        groups.setdefault(split and (split_of(split) or split), []).append(place)
    founds = []
    for split, paths in groups.items():
        request = Request(tuple(paths), split, unpack_dir, seed, workers, ignore_damage, dry_run)
        found = source.list_splits(request, **options)
        found.check()
        addresses = tuple(str(path) for path in paths if isinstance(path, RemotePath))
        found = replace(found, splits=[replace(one.packed(), addresses=addresses) for one in found.splits])
        if split is None:
            found = replace(found, warnings=(*found.warnings, *_called_like_splits(paths, found.splits)))
        else:
            if len(found.splits) > 1:
                there = ", ".join(one.name for one in found.splits)
                raise FastptError(
                    f"--source {split}={paths[0]} holds several splits ({there}). Give it without a name."
                )
            splits = [replace(one, name=split, is_train=split == "train") for one in found.splits]
            found = replace(found, splits=splits)
        founds.append(found)
    found = merged(founds)
    # What was listed together has the classes that the source says: its splits may be tasks apart, as the demo's are.
    splits, warnings = with_same_classes(found.splits) if len(groups) > 1 else (found.splits, [])
    tasks: dict[tuple[str, ...], list[SplitListing]] = {}
    for split in splits:
        tasks.setdefault(tuple(split.classes), []).append(split)
    warnings += [warning for task in tasks.values() for warning in class_warnings(task)]
    return replace(found, splits=splits, warnings=(*found.warnings, *warnings))


def _called_like_splits(paths: Sequence[Path], splits: Sequence[SplitListing]) -> list[str]:
    """What to say of places called `val` or `test` that become part of train. Raises FastptError if others do too."""
    if [split.name for split in splits] != ["train"]:
        return []
    for path in paths:
        split = split_of(path.name.partition(".")[0])
        if split not in (None, "train"):
            if len(paths) > 1:
                raise FastptError(f"--source {path} would be trained on. Name the split of each place: {split}={path}.")
            return [f"{path} becomes split train, whatever it is called; --source {split}={path} makes it {split}"]
    return []


def hold_out(split: SplitListing, share: float, seed: int) -> list[SplitListing]:
    """Split off a seeded `share` of the samples as `val`; the rest is `train`. For sources that have one split only."""
    if not split.is_train:
        raise FastptError(
            f"--holdout takes val from a split called train; found {split.name}. Leave --holdout out, or "
            "name the split train=PATH."
        )
    rows = np.random.default_rng(seed).permutation(len(split))
    cut = round(share * len(split))
    if cut == 0 or cut == len(split):
        raise FastptError(f"--holdout {share} of {len(split)} samples leaves a split empty; choose another share")
    train = split.take(np.sort(rows[cut:]), name="train", is_train=True)
    val = split.take(np.sort(rows[:cut]), name="val", is_train=False)
    return [replace(train, rejected=split.rejected, pictureless=split.pictureless), val]
