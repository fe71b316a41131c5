"""What `fastpt prep` tells of what it found and what it made: one document, as JSON or as text."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastpt.cli.shared import describe, describe_plan
from fastpt.data.manifest import read_rejected
from fastpt.errors import FastptError
from fastpt.printable import first_few, one_line, plural

if TYPE_CHECKING:
    from datasets_prep.listing import Found, SplitListing
    from fastpt.data.dataset import Dataset
    from fastpt.data.plan import NoisePlan

MOST_NAMED = 6  # things in one line
MOST_REASONS = 8
FIRST = 3  # keys, captions, names of what was left out
LONGEST_CAPTION = 60  # characters

Reasons = Iterable[tuple[str, str]]  # key and reason of what was left out
Document = dict[str, Any]


# --- the document -------------------------------------------------------------------------------------------------


def listing_document(
    found: "Found",
    rejected: Mapping[str, Sequence[tuple[str, str]]] | None,
    out: Path,
    rates: Sequence[float],
    max_rejects: float,
) -> Document:
    """What a dry run found. `rejected` are the pictures of each split that could not be used, if they were read."""
    splits = [
        _listed(split, (rejected or {}).get(split.name, ()), out / split.name, rates, max_rejects)
        for split in found.splits
    ]
    return _balanced(found, splits, "candidates" if rejected is None else "usable")


def prepared_document(found: "Found", done: Sequence[tuple["Dataset", list["NoisePlan"]]]) -> Document:
    """What a preparation made."""
    from datasets_prep.repeated import repeated_pictures

    splits = []
    for split, (dataset, plans) in zip(found.splits, done, strict=True):
        rejected = read_rejected(dataset.path)
        told = {
            "path": str(dataset.path),
            "samples": len(dataset),
            "bytes": dataset.manifest["counts"]["bytes"],
            "shards": len(dataset.manifest["shards"]),
            "left_out": _by_reason(rejected),
            "noise": [plan.provenance() for plan in plans],
        }
        splits.append({**_targets(split, {key for key, _ in rejected}), **told})
    by_training = sorted((dataset for dataset, _ in done), key=lambda dataset: dataset.manifest["split"] != "train")
    return {**_balanced(found, splits, "stored"), "repeated": list(repeated_pictures(by_training))}


def _balanced(found: "Found", splits: list[Document], what: str) -> Document:
    """Every file that was found is a sample, rejected, or beside the pictures."""
    pictures = sum(len(split) + len(split.rejected) for split in found.splits)
    samples = sum(split["samples"] for split in splits)
    return {
        "splits": splits,
        "balance": {
            "files": found.files,
            what: samples,
            "rejected": pictures - samples,
            "beside": {name: dict(counts.most_common()) for name, counts in sorted(found.beside.items())},
            "targets_without_picture": sum(len(split.pictureless) for split in found.splits),
        },
        "layout": found.layout,
        "warnings": list(found.warnings),
    }


def _listed(
    split: "SplitListing", rejected: Sequence[tuple[str, str]], path: Path, rates: Sequence[float], max_rejects: float
) -> Document:
    from datasets_prep.convert import check_rejected, noise_targets

    left_out = [*split.rejected, *split.pictureless, *rejected]
    stops = None
    try:
        check_rejected(split, left_out, max_rejects)
    except FastptError as error:
        stops = str(error)
    return {
        **_targets(split, {key for key, _ in rejected}),
        "path": str(path),
        "samples": len(split) - len(rejected),
        "first_keys": list(split.keys[:FIRST]),
        "left_out": _by_reason(left_out),
        "there": (path / "dataset.json").exists(),
        "stops": stops,
        "noise": [{"of": of, "rate": rate} for of in noise_targets(split) for rate in rates],
    }


def _targets(split: "SplitListing", left_out: Collection[str]) -> Document:
    """The targets of a split as they are listed, but for the pictures of the keys that are `left_out`."""
    told: Document = {"name": split.name, "note": split.note, "classes": None, "captions": None}
    if split.labels is not None and split.classes:
        used = [key not in left_out for key in split.keys] if left_out else slice(None)
        sizes = np.bincount(split.labels[used], minlength=len(split.classes))
        told["classes"] = {
            "count": len(split.classes),
            "first": split.class_names[:MOST_NAMED],
            "smallest": int(sizes.min()),
            "median": float(np.median(sizes)),
            "largest": int(sizes.max()),
        }
    if split.captions is not None:
        told["captions"] = {"first": list(split.captions[:FIRST])}
    return told


def _by_reason(left_out: Reasons) -> list[Document]:
    """What was left out by reason, the commonest first; reasons that differ in numbers only are one."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for key, reason in left_out:
        groups.setdefault(re.sub(r"\d+", "#", reason.replace(key, "")), []).append((key, reason))
    return [
        {"reason": group[0][1], "count": len(group), "first": [key for key, _ in group[:FIRST]]}
        for group in sorted(groups.values(), key=len, reverse=True)
    ]


# --- as text ------------------------------------------------------------------------------------------------------


def listing_text(document: Document) -> str:
    """A dry run as lines of text."""
    width = max(len(split["name"]) for split in document["splits"])
    lines, told = [], []
    for split in document["splits"]:
        lines.append(f"{split['name']:<{width}}  {plural(split['samples'], 'picture')}{_targets_text(split)}")
        names = split["classes"]["first"] if split["classes"] else []
        if names and names != told:
            told = names
            more = ", ..." * (split["classes"]["count"] > len(names))
            lines.append(f"{'':{width}}    classes   {', '.join(map(_short, names))}{more}")
        if split["first_keys"]:
            more = ", ..." * (split["samples"] > FIRST)
            lines.append(f"{'':{width}}    keys      {', '.join(map(one_line, split['first_keys']))}{more}")
        if split["captions"]:
            for at, caption in enumerate(split["captions"]["first"]):
                lines.append(f"{'':{width}}    {'' if at else 'captions':<10}{_short(caption)}")
        if split["note"]:
            lines.append(f"{'':{width}}    note      {one_line(split['note'])}")
        noise = [f"{one['rate']:g} of {one['of']}" for one in split["noise"]]
        goes = f"{'':{width}}    goes to   {split['path']}" + ", which is there" * split["there"]
        lines.append(goes + f", with noise {', '.join(noise)}" * bool(noise))
    stops = [
        f"\nA preparation would stop: {one_line(split['stops'], 600)}" for split in document["splits"] if split["stops"]
    ]
    return "\n".join([*lines, "", *_balance_lines(document), *stops, ""])


def _targets_text(split: Document) -> str:
    parts = []
    if classes := split["classes"]:
        sizes = f"{classes['smallest']:,} each"
        if classes["smallest"] != classes["largest"]:
            sizes = f"{classes['smallest']:,} to {classes['largest']:,} each, median {classes['median']:,g}"
        parts.append(f"{classes['count']:,} class{'es' * (classes['count'] != 1)} of {sizes}")
    if split["captions"]:
        parts.append("captions")
    return ", " + ", ".join(parts)


def prepared_text(document: Document, done: Sequence[tuple["Dataset", list["NoisePlan"]]]) -> str:
    """A preparation as lines of text: its balance, then its splits with their noise."""
    lines = _balance_lines(document)
    for dataset, plans in done:
        lines += [describe(dataset), *(describe_plan(plan, len(dataset)) for plan in plans)]
    return "\n".join([*lines, *(one_line(text) for text in document["repeated"])])


def _balance_lines(document: Document) -> list[str]:
    balance = document["balance"]
    samples, what = next((balance[name], name) for name in ("stored", "usable", "candidates") if name in balance)
    words = {"candidates": "pictures by their names, not opened", "usable": "pictures that can be stored"}
    rows: list[tuple[int, str]] = [(samples, words.get(what, what))]
    rows.append((balance["rejected"], "rejected"))
    rows += [(sum(counts.values()), f"{name}: {_most(counts)}") for name, counts in balance["beside"].items() if counts]
    width = max(len(f"{count:,}") for count, _ in [*rows, (balance["files"], "")])
    lines = [f"{balance['files']:>{width},} files found", *(f"  {count:>{width},} {text}" for count, text in rows)]
    without = balance["targets_without_picture"]
    if without:
        lines.append(f"  {without:>{width},} more are targets without a picture of their own")
    left_out = [reason for split in document["splits"] for reason in split["left_out"]]
    if left_out:
        lines.append("left out:")
    for reason in left_out[:MOST_REASONS]:
        names = ", ".join(map(one_line, reason["first"])) + ", ..." * (reason["count"] > len(reason["first"]))
        lines.append(f"  {reason['count']:>{width},} {one_line(reason['reason'], 100)}: {names}")
    if len(left_out) > MOST_REASONS:
        lines.append(f"  {'':{width}} and {len(left_out) - MOST_REASONS:,} more reasons")
    return lines


def _most(counts: Mapping[str, int]) -> str:
    """The most frequent of what was counted."""
    most = Counter(counts).most_common()
    return first_few([one_line(name, 80) + f" {count:,}" * (count > 1) for name, count in most], MOST_NAMED)


def _short(text: str) -> str:
    return one_line(text, LONGEST_CAPTION)
