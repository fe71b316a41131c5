"""The inventory of a folder or archive: every file is told by what it is, and none is passed over unseen."""

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from datasets_prep.listing import Found, SplitListing
from fastpt.errors import FastptError
from fastpt.printable import first_few, plural
from fastpt.storage.files import missing_place, open_files
from fastpt.storage.kind import Storage
from fastpt.storage.names import IMAGE_SUFFIXES, hidden_part, is_image, is_utf8
from fastpt.storage.sniff import HEAD, is_picture

HIDDEN, NO_PICTURE, READ = "hidden or system", "no picture", "read by the source"
# Suffixes that need no look into the file. A picture has another one, or lies there for another purpose.
NO_PICTURES = (
    *(".csv", ".html", ".json", ".jsonl", ".lock", ".log", ".md", ".parquet", ".pdf", ".rst", ".tsv", ".txt", ".xml"),
    *(".bin", ".cls", ".h5", ".idx", ".mat", ".npy", ".npz", ".pkl", ".pt", ".py", ".sh", ".tar", ".yaml", ".yml"),
)

PACKED = (".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tar.zst", ".zip", ".7z", ".rar")
COPY = re.compile(r"(( -)?[-_ ]copy( \(?\d+\)?)?| \(\d+\))$", re.IGNORECASE)  # what systems add to a name
MAY_FOLLOW = frozenset({*IMAGE_SUFFIXES, ".bak", ".old", ".orig", ".backup"})  # suffixes that tell no pictures apart
MOST_NAMED = 3  # files in a warning


@dataclass(frozen=True)
class Inventory:
    """The files of a source by what they are."""

    files: Storage
    pictures: list[str]  # sorted names of what may be pictures
    beside: defaultdict[str, Counter[str]]  # all others, counted by what they are, then by suffix or name

    def pass_over(self, what: str, name: str) -> None:
        """Count a picture that is in no split, as `what`, by the folder it lies in."""
        self.beside[what][name.rpartition("/")[0] or name] += 1

    def count_read(self, name: str) -> None:
        """Count a file that is no picture as one that the source reads."""
        self.beside[NO_PICTURE] -= Counter([suffix(name) or "without suffix"])
        self.beside[READ][name] += 1

    def read(self, name: str) -> bytes:
        """A file that tells of the pictures; it is counted as read. Raises FastptError if it cannot be read."""
        self.count_read(name)
        try:
            return self.files.read(name)
        except OSError as error:
            raise FastptError(f"{name} in {self.files.root} cannot be read ({error}). Mend it.") from None

    def found(self, splits: list[SplitListing], warnings: tuple[str, ...] = ()) -> Found:
        """The splits that were made of these pictures, with what lies beside them."""
        total = len(self.files.names()) + len(self.files.odd)
        warnings = (*warnings, *self._lost_pictures())
        return Found(
            splits,
            total,
            {what: count for what, count in self.beside.items() if count},
            (*self.files.damage, *warnings),
        )

    def archives(self) -> list[str]:
        """The archives among the files that the source does not read."""
        ours = self.beside.get(READ, {})
        return [n for n in self.files.names() if n.lower().endswith(PACKED) and n not in ours and not hidden_part(n)]

    def _lost_pictures(self) -> Iterator[str]:
        """What to say of files that may hold pictures, and are not read."""
        packed = self.archives()
        odd = [f"{name} ({what})" for name, what in self.files.odd.items() if is_image(name) and not hidden_part(name)]
        for names, what in ((packed, "archive"), (odd, "picture")):
            if names:
                yield f"{plural(len(names), what)} not read: {first_few(names, MOST_NAMED)}"


def take_inventory(files: Storage, ours: Collection[str] = (), asked: Collection[str] = ()) -> Inventory:
    """Tell pictures from other files: by suffix, or by content where the suffix is none or unknown.

    `ours` are names of files that the source reads for itself; `asked` are those that it takes for pictures, whatever
    they look like. Raises FastptError if the name of a picture is not UTF-8.
    """
    pictures, beside = [], defaultdict(Counter)
    for name in files.names():
        if name in ours:
            beside[READ][name] += 1
        elif name not in asked and (part := hidden_part(name)):
            beside[HIDDEN][part] += 1
        elif name in asked or is_image(name) or (suffix(name) not in NO_PICTURES and _looks_like_one(files, name)):
            if not is_utf8(name):
                raise FastptError(f"the file name {name!a} in {files.root} is not UTF-8. Rename the file.")
            pictures.append(name)
        else:
            beside[NO_PICTURE][suffix(name) or "without suffix"] += 1
    for name, what in files.odd.items():
        beside[what][name] += 1
    return Inventory(files, pictures, beside)


def copies_told(pictures: Iterable[str]) -> list[str]:
    """What to say of pictures that differ in their suffix only: `1.jpg`, `1.png`, `1.jpg.bak`."""
    first: dict[str, str] = {}
    again: list[str] = []
    for name in pictures:
        stem = name.rstrip("~")
        while (at := stem.rfind(".")) > 0 and stem[at:].lower() in MAY_FOLLOW:
            stem = stem[:at]
        if (other := first.setdefault(stem, name)) != name:
            again.append(f"{other} and {name}")
    if not again:
        return []
    return [f"{plural(len(again), 'picture')} may be a copy of another, by the name: {first_few(again, MOST_NAMED)}"]


@dataclass(frozen=True)
class Containers:
    """Files that each hold many pictures, and what else lies in their folders, links to folders followed."""

    files: dict[Path, Path]  # and the place in which each lies
    others: list[Path]  # all other files
    beside: defaultdict[str, Counter[str]]  # these, by what they are
    warnings: list[str]

    def count_read(self, paths: Iterable[Path]) -> None:
        """Count files that are no pictures as ones that the source reads."""
        for path in paths:
            self.beside[NO_PICTURE] -= Counter([suffix(path.name) or "without suffix"])
            self.beside[READ][path.name] += 1


def find_containers(places: Sequence[Path], ending: str, *others: str) -> Containers:
    """The files whose names end so (".tar"), or as `others`, in places that are folders; other places are such files.

    Raises FastptError for a place that is neither, and for a file that two names lead to.
    """
    endings = (ending, *others)
    found, what = Containers({}, [], defaultdict(Counter), []), f"beside the {ending} files"
    for place in places:
        if place.exists() and not place.is_dir() and not place.is_file():
            raise FastptError(
                f"--source {place} is neither a folder nor a file. Give a folder of {ending} files, or one."
            )
        if not place.exists():
            raise missing_place(place, f"a folder of {ending} files, or one")
        if not place.is_dir():
            found.files[place] = place.parent
            continue
        folder = open_files(place)
        ours = {name for name in folder.names() if name.lower().endswith(endings) and not hidden_part(name)}
        inventory = take_inventory(folder, ours)
        for name in inventory.pictures:
            inventory.pass_over(what, name)
        if inventory.pictures:
            some = ", ".join(f"{folder} {n:,}" for folder, n in inventory.beside[what].most_common(3))
            found.warnings.append(f"{plural(len(inventory.pictures), 'picture')} in {place}, {what}, left out: {some}")
        inventory.beside.pop(READ, None)  # their content is counted instead
        for kind, counts in inventory.beside.items():
            found.beside[kind] += counts
        found.files.update((place / name, place) for name in sorted(ours))
        found.others.extend(place / name for name in folder.names() if name not in ours)
        found.warnings.extend(
            f"{place / name} is {what}: it is not read"
            for name, what in folder.odd.items()
            if name.lower().endswith(endings)
        )
    real: dict[Path, Path] = {}
    for file in found.files:
        if (other := real.setdefault(file.resolve(), file)) != file:
            raise FastptError(f"--source: {other} and {file} are one file, and would be read twice. Leave one out.")
        stem = file.name.removesuffix(next((end for end in endings if file.name.lower().endswith(end)), ""))
        before = file.with_name(COPY.sub("", stem) + file.name[len(stem) :])
        if before != file and before in found.files:
            raise FastptError(
                f"--source: {file} is a copy of {before} by its name, and would be read as well. Take one away, or "
                "rename it."
            )
    return found


def suffix(name: str) -> str:
    """The suffix of a file name in lower case, with its dot; "" if there is none."""
    _, dot, rest = name.rpartition("/")[2].rpartition(".")
    return f"{dot}{rest}".lower() if dot else ""


def _looks_like_one(files: Storage, name: str) -> bool:
    try:
        return is_picture(files.head(name, HEAD))
    except OSError:  # it is named when it is read
        return True
