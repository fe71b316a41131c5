"""From the places that the user named to splits: several places become one dataset. Knows no source by its name."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from datasets_prep.listing import Found, SplitListing, merged
from datasets_prep.sources import Request, Source
from fastpt.errors import FastptError

MOST_WARNINGS = 5  # of one kind
Place = tuple[str | None, Path]  # the name of a split, if it was given, and a folder or archive


def check_places(name: str, source: Source, places: Sequence[Place], out: Path) -> None:
    """Raise click.UsageError if the source called `name` does not take these places, FastptError if one holds `out`."""
    if (source.places == "none") == bool(places):
        raise click.UsageError(f"{name} takes no --source" if places else f"{name} needs --source PATH")
    named = {split is not None for split, _ in places}
    if source.places == "one" and (len(places) > 1 or True in named):
        raise click.UsageError(f"{name} is one --source, without SPLIT=. Give the folder that holds all splits.")
    if len(named) > 1:
        raise click.UsageError("either all --source name their split (train=PATH), or none does.")
    for _, path in places:
        if path.is_dir() and out.resolve().is_relative_to(path.resolve()):
            raise FastptError(f"--out {out} lies inside --source {path}, which is only read. Choose another --out.")


def list_splits(
    source: Source,
    places: Sequence[Place],
    options: Mapping[str, Any],
    unpack_dir: Path,
    seed: int,
    workers: int,
    ignore_damage: bool = False,
) -> Found:
    """What `source` finds at `places`, those of one split name, or of none, taken together.

    `options` are the source's own; see `Request` for the others. Raises what the source raises.
    """
    groups: dict[str | None, list[Path]] = {} if places else {None: []}
    for split, path in places:
        groups.setdefault(split, []).append(path)
    founds = []
    for split, paths in groups.items():
        found = source.list_splits(Request(tuple(paths), split, unpack_dir, seed, workers, ignore_damage), **options)
        found.check()
        if split is not None:
            if len(found.splits) > 1:
                there = ", ".join(one.name for one in found.splits)
                raise FastptError(
                    f"--source {split}={paths[0]} holds several splits ({there}). Give it without a name."
                )
            splits = [replace(one, name=split, is_train=split == "train") for one in found.splits]
            found = replace(found, splits=splits)
        founds.append(found)
    found = merged(founds)
    splits = with_same_classes(found.splits) if len(groups) > 1 else found.splits
    return replace(found, splits=splits, warnings=(*found.warnings, *class_warnings(splits)))


def class_warnings(splits: Sequence[SplitListing]) -> list[str]:
    """What to say of classes that no picture, or no picture for training, has."""
    counted = {
        split.name: np.bincount(split.labels, minlength=len(split.classes))
        for split in splits
        if split.labels is not None and split.classes == splits[0].classes
    }
    if not counted:
        return []
    classes, total = splits[0].classes, sum(counted.values())
    warnings = [f"class {classes[i]} has no picture" for i in np.flatnonzero(total == 0)]
    for split in splits:
        if split.is_train and split.name in counted:
            for i in np.flatnonzero((counted[split.name] == 0) & (total > 0)):
                there = ", ".join(f"{count[i]} in {name}" for name, count in counted.items() if count[i])
                warnings.append(f"class {classes[i]} has no picture in {split.name}, but {there}")
    if len(warnings) > MOST_WARNINGS:
        warnings[MOST_WARNINGS:] = [f"... and {len(warnings) - MOST_WARNINGS} more such classes"]
    return warnings


def with_same_classes(splits: list[SplitListing]) -> list[SplitListing]:
    """The splits of sources that were listed apart, with one list of classes; labels are renumbered where needed."""
    if len({tuple(split.classes) for split in splits}) < 2:
        return splits
    longest = max((split.classes for split in splits), key=len)
    known = set(longest)
    if all(known.issuperset(split.classes) for split in splits):
        classes = longest
    else:
        classes = sorted({name for split in splits for name in split.classes})
    readable = {name: text for split in splits for name, text in zip(split.classes, split.class_names, strict=True)}
    number = {name: i for i, name in enumerate(classes)}
    return [
        replace(
            split,
            classes=classes,
            class_names=[readable[name] for name in classes],
            labels=np.array([number[name] for name in split.classes], np.int64)[split.labels],
        )
        if split.labels is not None
        else split
        for split in splits
    ]


def hold_out(split: SplitListing, share: float, seed: int) -> list[SplitListing]:
    """Split off a seeded `share` of the samples as `val`; the rest is `train`. For sources that have one split only."""
    rows = np.random.default_rng(seed).permutation(len(split))
    cut = round(share * len(split))
    if cut == 0 or cut == len(split):
        raise FastptError(f"--holdout {share} of {len(split)} samples leaves a split empty; choose another share")
    train = split.take(np.sort(rows[cut:]), name="train", is_train=True)
    val = split.take(np.sort(rows[:cut]), name="val", is_train=False)
    return [replace(train, rejected=split.rejected, pictureless=split.pictureless), val]
