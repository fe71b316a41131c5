"""How pictures in class folders lie: which folder holds all the rest, and which folders are splits."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from datasets_prep.splits import looks_like_split, same_split, split_of
from fastpt.errors import FastptError
from fastpt.printable import first_few, plural

LAYOUTS = "The layout is <class>/<picture> or <split>/<class>/<picture>"
ASK = "--split-level 1 says that the top folders are splits, --split-level 0 that they are classes"
LIST = "`fastpt prep list` takes labels from a list"
MOST_SHOWN = 8  # folders in a message

Parts = tuple[str, ...]  # a folder below the one that holds all the rest


@dataclass(frozen=True)
class Layout:
    """How the pictures of one folder or archive lie."""

    top: Parts  # the folder that holds all the rest
    level: int  # of the folders that are splits, from 1 on; 0 if there are none
    splits: Mapping[str, str] | None = None  # the splits by folder; None if all folders of the level are
    by_name: bool = True  # whether names told, not the user

    def shown(self) -> str:
        """The layout in words."""
        what = "class folders"
        if self.level:
            folders = [f"{name}/" for name in self.splits or ()] or [f"the folders of level {self.level}"]
            what += f" in splits, which are {', '.join(folders)}"
        return what + f", below {'/'.join(self.top)}/" * bool(self.top)

    def below(self, folder: str) -> Parts | None:
        """A folder as seen from the top; None if it lies elsewhere."""
        parts = parts_of(folder)
        return parts[len(self.top) :] if parts[: len(self.top)] == self.top else None

    def split_and_class(self, parts: Parts) -> tuple[str, Parts] | None:
        """The split and the class of what lies in a folder; None if it lies beside the splits."""
        if not self.level:
            return "train", parts
        if len(parts) < self.level:
            return None
        folder, rest = parts[self.level - 1], parts[: self.level - 1] + parts[self.level :]
        if self.splits is None:
            return split_of(folder) or folder, rest
        return (self.splits[folder], rest) if folder in self.splits else None


def parts_of(folder: str) -> Parts:
    """The names of the folders that a path leads through."""
    return tuple(folder.split("/")) if folder else ()


def find_layout(where: str, counts: Counter[Parts], level: int | None, asked: str | None) -> Layout:
    """The layout of a folder or archive, with its pictures counted by folder. Raises FastptError if it is unclear."""
    top = _common_top(counts, level, known=asked is not None)
    if level is not None:
        if level:
            folders = {parts[len(top) :][level - 1] for parts in counts if len(parts) >= len(top) + level}
            _refuse_twice(where, sorted(folders))
        return Layout(top, level, by_name=False)
    below = Counter({parts[len(top) :]: count for parts, count in counts.items()})
    if splits := _split_folders(where, below):
        return Layout(top, 1, splits)
    _refuse_inner_splits(where, "/".join((*top, "")), below)
    return Layout(top, 0)


def _common_top(folders: Collection[Parts], level: int | None, known: bool) -> Parts:
    """The folder that holds all class folders, and all splits if there are some and their name is not `known`."""
    first, last = min(folders), max(folders)  # what these share, all share
    top = first[: next((i for i, pair in enumerate(zip(first, last, strict=False)) if len(set(pair)) > 1), len(first))]
    if len(folders) == 1:
        top = top[:-1]
    if level == 0 or (level is None and known):
        return top
    if level is not None:
        top = top[: max(0, max(map(len, folders)) - max(level, 2))]  # a class lies below a split, or above it
    return next((top[:i] for i, word in enumerate(top) if split_of(word) or looks_like_split(word)), top)


def _split_folders(where: str, counts: Counter[Parts]) -> dict[str, str]:
    """Which top folders are splits, and of which name; none if they are classes.

    `counts` are the pictures of each folder. Raises FastptError if it can be meant in two ways.
    """
    loose = Counter({parts[0]: count for parts, count in counts.items() if len(parts) == 1})
    deep: Counter[str] = Counter()
    for parts, count in counts.items():
        if len(parts) > 1:
            deep[parts[0]] += count
    folders = sorted(loose.keys() | deep.keys())
    told = [
        f"{folder}/ ({plural(loose[folder] + deep[folder], 'picture')}{' in folders' * (folder in deep)})"
        for folder in folders
    ]
    found = f"Found: {first_few(told, MOST_SHOWN)}"
    known = [folder for folder in folders if split_of(folder)]
    like = [folder for folder in folders if looks_like_split(folder)]
    splits = [folder for folder in known if folder in deep]
    _refuse_twice(where, splits)
    if not splits:
        if odd := [folder for folder in like if folder in deep]:
            raise FastptError(
                f"{where}: is {odd[0]}/ a split, or a class? {found}. {ASK}; or name the split (train=PATH)."
            )
        if (known or like) and (len(known) > 1 or len(known + like) == len(folders)):
            raise FastptError(
                f"{where}: {(known or like)[0]}/ holds pictures, but no class folders. {found}. {LAYOUTS}. {LIST}; "
                "--split-level 0 says that these folders are classes."
            )
        return {}
    unclear = [
        folder for folder in folders if folder not in known and (folder in deep or "train" not in map(split_of, splits))
    ]
    if unclear:
        what = "is a split" if len(splits) == 1 else "are splits"
        raise FastptError(
            f"{where}: {', '.join(splits)} {what}, but {unclear[0]}/ beside them holds pictures too. {found}. "
            f"{ASK}; or give each split by itself (train=PATH)."
        )
    return {folder: str(split_of(folder)) for folder in splits}


def _refuse_twice(where: str, splits: list[str]) -> None:
    if twice := same_split(splits):
        raise FastptError(f"{where}: {' and '.join(twice)} are one split by name. Rename one, or give SPLIT=PATH each.")


def _refuse_inner_splits(where: str, top: str, counts: Collection[Parts]) -> None:
    """Raises FastptError if class folders hold what looks like splits: `cat/train`, `colours/train/red`."""
    inside: dict[Parts, set[str]] = {}
    deep: set[Parts] = set()  # folders that hold others
    for parts in counts:
        for i in range(len(parts)):
            inside.setdefault(parts[:i], set()).add(parts[i])
            deep.add(parts[:i])
    for parent, folders in inside.items():
        known = list(filter(split_of, folders))
        like = sorted(folder for folder in folders if split_of(folder) or looks_like_split(folder))
        only = len(known) > 1 or len(known) == len(folders)
        if parent and (only or any((*parent, folder) in deep for folder in like)):
            level = len(parent) + 1
            raise FastptError(
                f"{where}: {top}{'/'.join(parent)}/ holds {', '.join(like)}, which may be splits or classes. "
                f"--split-level {level} says that folders of this level are splits, --split-level 0 that all are "
                f"classes; or give one such folder alone (--source .../{parent[-1]})."
            )
