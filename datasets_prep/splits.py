"""Splits by their usual names, in folders and file names: recognised, or asked for, but never taken for train."""

import re
from collections.abc import Iterable

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
SPLIT_LIKE = re.compile(
    r"(train|val|valid|test|dev|eval|evaluation|holdout|held[-_]?out|unlabell?ed|extra)(set|val|[ab]|\d\w*|[-_ .]\w+)?"
)


def split_of(word: str) -> str | None:
    """The split that a folder or a file of this name holds, in any case of letters: `Validation` is `val`."""
    return SPLITS.get(word.lower())


def looks_like_split(word: str) -> bool:
    """Whether a name may be meant as that of a split, though it is none of SPLITS: `train2`, `evaluation`, `test-a`."""
    return split_of(word) is None and SPLIT_LIKE.fullmatch(word.lower()) is not None


def same_split(words: Iterable[str]) -> list[str]:
    """Names of which two or more mean one split, such as `val` and `validation`; [] if there are none."""
    by_split: dict[str | None, list[str]] = {}
    for word in words:
        by_split.setdefault(split_of(word), []).append(word)
    return next((sorted(group) for split, group in by_split.items() if split and len(group) > 1), [])
