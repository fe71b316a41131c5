"""Splits by their usual names, in folders and file names: recognised, or asked for, but never taken for train."""

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from fastpt.errors import FastptError
from fastpt.storage.tar_keys import tar_stem

SPLITS = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "test": "test",
    "testing": "test",
}
ASK = "Say which with --source SPLIT=PATH (train=PATH), for each split"
SPLIT_LIKE = re.compile(
    r"(train|val|valid|test|dev|eval|evaluation|holdout|held[-_]?out|unlabell?ed|extra)(set|val|[ab]|\d\w*|[-_ .]\w+)?"
)
PART = re.compile(r"(.*?)(\d+)(?:-of-(\d+))?((?:\.[a-z]\w*)+)", re.IGNORECASE)  # train-00003-of-00294.parquet
FEW_PARTS = 3  # so many numbers in a row, with zeros before them, count files
MOST_PARTS = 1_000_000


def split_of(word: str) -> str | None:
    """The split that a folder or a file of this name holds, in any case of letters: `Validation` is `val`."""
    return SPLITS.get(word.lower())


def named(value: str) -> tuple[str | None, str]:
    """(split, path) of an option's `SPLIT=PATH`; (None, path) of what names no split, or is a path with = in it.

    A `~` that the shell left as it is, as it does behind `train=`, is the home. Raises ValueError without a path.
    """
    split, equals, path = value.partition("=")
    if not equals or Path(value).exists() or not split.replace("-", "").replace("_", "").isalnum():
        split, path = None, value
    if not path:
        raise ValueError(f"SPLIT=PATH; found {value!r}, without a path (a shell variable that is not set?)")
    return split, path if os.path.lexists(path) else os.path.expanduser(path)  # noqa: PTH111 - Path's raises


def looks_like_split(word: str) -> bool:
    """Whether a name may be meant as that of a split, though it is none of SPLITS: `train2`, `eval`, `seg_test`."""
    words = re.split(r"[-_. ]", word)
    return split_of(word) is None and (SPLIT_LIKE.fullmatch(word.lower()) or split_of(words[-1])) is not None


def same_split(words: Iterable[str]) -> list[str]:
    """Names of which two or more mean one split, such as `val` and `validation`; [] if there are none."""
    by_split: dict[str | None, list[str]] = {}
    for word in words:
        by_split.setdefault(split_of(word), []).append(word)
    return next((sorted(group) for split, group in by_split.items() if split and len(group) > 1), [])


def splits_of_files(files: Mapping[Path, Path], split: str | None, warnings: list[str]) -> dict[str, list[Path]]:
    """The files of each split, sorted, as their names or folders tell it; `split` where they do not.

    `files` are tables or tars of many pictures, each with the folder below which names of folders count. Raises
    FastptError where the split of one is unclear.
    """
    splits: dict[str, list[Path]] = {}
    unknown: dict[str, list[Path]] = {}
    for file, root in sorted(files.items()):
        found = _split_of_file(file, root, split)
        if found:
            splits.setdefault(found, []).append(file)
        else:
            unknown.setdefault(re.sub(r"(-of)?[-_.]?\d+", "", tar_stem(file)), []).append(file)
    if unknown and not split and (splits or len(unknown) > 1):
        known = f"; others are {', '.join(sorted(splits))}" if splits else ""
        which = " and ".join(str(mine[0]) for mine in list(unknown.values())[:3])
        raise FastptError(f"--source: of which split is {which}{known}? {ASK}.")
    for mine in unknown.values():
        splits.setdefault(split or "train", []).extend(mine)
    for name, mine in splits.items():
        folders = sorted({str(file.parent) for file in mine})
        if len(folders) > 1:
            warnings.append(f"split {name} is read from {len(folders)} folders: {', '.join(folders[:5])}")
        warnings.extend(_missing_parts(name, mine))
    return dict(sorted(splits.items()))


def _missing_parts(split: str, files: Sequence[Path]) -> Iterator[str]:
    """What to say of files that are numbered, as by `-of-00294`, or with zeros before the number, where some lack."""
    series: dict[tuple[str, str | None, str], dict[int, str]] = {}
    for file in files:
        if found := PART.fullmatch(file.name):
            before, number, total, suffix = found.groups()
            series.setdefault((before, total, suffix), {})[int(number)] = number
    for (before, total, suffix), numbers in series.items():
        first, last = min(numbers), max(numbers)
        if total:
            first = 1 if int(total) in numbers else 0
            last = first + int(total) - 1
        elif len(numbers) < FEW_PARTS or not any(len(text) > 1 and text[0] == "0" for text in numbers.values()):
            continue
        missing = sorted(set(range(first, min(last, first + MOST_PARTS) + 1)) - numbers.keys())
        if missing and (total or len(missing) < len(numbers)):  # else they are no numbers of parts
            width = min(map(len, numbers.values()))
            name = f"{before}{missing[0]:0{width}d}{f'-of-{total}' if total else ''}{suffix}"
            what = f"{len(missing):,} of {last - first + 1:,} numbered files"
            yield f"{what} of split {split} {'is' if len(missing) == 1 else 'are'} not there, such as {name}"


def _split_of_file(file: Path, root: Path, asked: str | None) -> str | None:
    """A usual split, or one of its own, that the name of a file tells, or of a folder it lies in, the nearest first.

    A name that tells two is that of the split that was `asked` for, or else a FastptError.
    """
    for name in (tar_stem(file), *reversed(file.relative_to(root).parts[:-1])):
        words = [word for word in re.split(r"[-_. =]|\d{2,}", name.lower()) if word]
        usual = {split for word in words if (split := split_of(word))}
        if len(usual) > 1 and asked:
            return asked
        if len(usual) > 1:
            raise FastptError(f"--source: is {file} of {' or '.join(sorted(usual))}? {ASK}.")
        own = [word for word in words if looks_like_split(word)]
        if usual or own:
            return usual.pop() if usual else own[0]
    return None
