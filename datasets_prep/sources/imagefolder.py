"""Pictures in class folders, in folders or archives, also under a folder that holds all the rest.

    <class>/x.jpg                  one split, `train`
    train|val|test/<class>/x.jpg   splits by their usual names
    <split>/<class>/x.jpg          any splits, with --split-level 1
    <x>/<split>/<class>/x.jpg      the same further down, with --split-level 2: the class is <x>/<class>

The class of a picture is the folder it lies in, as a path without its split; a folder without pictures beside class
folders is a class too. A `classes.json` at the top may map class folders to readable names.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import click
import numpy as np

from datasets_prep.class_names import names_in_json, plain_names
from datasets_prep.folder_layout import LAYOUTS, LIST, MOST_SHOWN, Layout, Parts, find_layout, parts_of
from datasets_prep.inventory import NO_PICTURE, Inventory, copies_told, take_inventory
from datasets_prep.listing import Found, Reader, SplitListing, merged
from datasets_prep.sources import Request, Source
from datasets_prep.splits import looks_like_split, split_of
from datasets_prep.targets import name_warnings
from fastpt.errors import FastptError
from fastpt.printable import first_few, plural
from fastpt.storage.files import Merged, open_files
from fastpt.storage.kind import Storage
from fastpt.storage.names import hidden_part

NAMES_FILE = "classes.json"
# Folders that hold all pictures of a class, or of a split without classes, but are no class.
NO_CLASSES = frozenset({"images", "image", "imgs", "img", "pictures", "photos", "jpegimages", "data", "all", "unknown"})
ANNOTATIONS = frozenset(  # pictures in such folders are of no class either
    {"annotations", "annotation", "masks", "labels", "trimaps", "segmentations", "segmentationclass"}
    | {"segmentationobject", "ground_truth", "groundtruth", "gt", "gtfine"}
)
UNLABELLED, BESIDE = "without a class folder", "beside the splits"


class ImageFolder(Source):
    summary = "pictures in class folders: CLASS/x.jpg, train/CLASS/x.jpg"
    example = """\
fastpt prep --noise 0.05 imagefolder --source pets.tar --name pets
fastpt prep imagefolder --source train=pets.tar --source val=more_pets.zip --name pets"""
    options = (
        click.Option(
            ["--split-level"],
            type=click.IntRange(0),
            help="1: the top folders are splits; 2: those below them are; 0: all are classes (default: told by name).",
        ),
    )

    def list_splits(self, request: Request, split_level: int | None) -> Found:
        places = [open_files(path, request.unpack_dir, ignore_damage=request.ignore_damage) for path in request.places]
        return imagefolder_splits(places, split_level, request.split)


@dataclass(frozen=True)
class _Place:
    """One folder or archive, with its pictures by the folder that they lie in."""

    inventory: Inventory
    layout: Layout
    pictures: Mapping[str, list[str]]
    prefix: str  # of its names in all places together

    @property
    def root(self) -> Path:
        return self.inventory.files.root


@dataclass(frozen=True)
class _Pictures:
    """The pictures of one folder."""

    place: _Place
    split: str
    folder: Parts  # the class
    key: str  # of the folder: what the keys of its pictures begin with
    names: list[str]  # in the place


def imagefolder_splits(places: Sequence[Storage], split_level: int | None = None, asked: str | None = None) -> Found:
    """List the splits of folders and archives together. All splits share one list of classes, sorted.

    `asked` is the name of the split if the user gave it: keys begin with it, whatever the folder is called. Raises
    FastptError if the layout is another, or can be meant in two ways.
    """
    roots = [files.root for files in places]
    opened = [_open(files, split_level, asked, f"{i}/" * (len(places) > 1)) for i, files in enumerate(places)]
    with_splits = [place for place in opened if place.layout.level]
    if with_splits and (others := [place for place in opened if not place.layout.level]):
        raise FastptError(
            f"{with_splits[0].root} holds splits, {others[0].root} holds class folders. Give each split by itself "
            "(train=PATH)."
        )
    found, warnings = _sorted_out(opened, asked)
    _check_classes(found, any_class=split_level is not None, where=f"--source {', '.join(map(str, roots))}")
    known = {pictures.folder for pictures in found}
    classes = ["/".join(parts) for parts in sorted(known | _empty_classes(opened, known), key="/".join)]
    class_names, told = _readable_names(opened, classes)
    files = places[0] if len(places) == 1 else Merged([(str(i), files) for i, files in enumerate(places)])
    splits = [
        _listing(files, split, [one for one in found if one.split == split], classes, class_names)
        for split in sorted({pictures.split for pictures in found})
    ]
    warnings = (*warnings, *told, *_as_classes(classes), *name_warnings("class folders", classes))
    warnings = (*warnings, *copies_told(name for pictures in found for name in pictures.names))
    layout = "; ".join(dict.fromkeys(place.layout.shown() for place in opened))
    return merged([Found(splits, 0, {}, warnings, layout), *(place.inventory.found([]) for place in opened)])


def _open(files: Storage, split_level: int | None, asked: str | None, prefix: str) -> _Place:
    inventory = take_inventory(files)
    if not inventory.pictures:
        found = "; ".join(
            f"{'other files' if what == NO_PICTURE else what}: {_most(counts)}"
            for what, counts in inventory.beside.items()
            if counts
        )
        cure = f"{LAYOUTS}, in a folder or an archive"
        if archives := inventory.archives():
            cure = f"Give {archives[0]} itself" if len(archives) == 1 and files.root.is_dir() else "Unpack its archives"
        raise FastptError(f"--source {files.root} holds no pictures{f', but {found}' if found else ''}. {cure}.")
    pictures: dict[str, list[str]] = {}
    for name in inventory.pictures:
        pictures.setdefault(name.rpartition("/")[0], []).append(name)
    counts = Counter({parts_of(folder): len(names) for folder, names in pictures.items()})
    return _Place(inventory, find_layout(f"--source {files.root}", counts, split_level, asked), pictures, prefix)


def _listing(
    files: Storage, split: str, found: list[_Pictures], classes: list[str], class_names: list[str]
) -> SplitListing:
    number = {name: i for i, name in enumerate(classes)}
    labels = np.repeat([number["/".join(one.folder)] for one in found], [len(one.names) for one in found])
    names = [f"{one.place.prefix}{name}" for one in found for name in one.names]
    keys = [f"{one.key}{name.rpartition('/')[2]}" for one in found for name in one.names]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    for i, j in pairwise(order):
        if keys[i] == keys[j]:
            roots = [one.place.root for one in found for _ in one.names]
            raise FastptError(f"{keys[i]} is in {roots[i]} and in {roots[j]}. Rename one, or prepare them apart.")
    return SplitListing(
        name=split,
        keys=[keys[i] for i in order],
        labels=labels.astype(np.int64)[order],
        captions=None,
        classes=classes,
        class_names=class_names,
        read=Reader(files, [names[i] for i in order]),
        is_train=split == "train",
    )


def _sorted_out(opened: list[_Place], asked: str | None) -> tuple[list[_Pictures], list[str]]:
    """The pictures with their split and class; those without are passed over, and what to say of them."""
    found: list[_Pictures] = []
    left_out: dict[str, Counter[str]] = {UNLABELLED: Counter(), BESIDE: Counter()}

    def leave_out(place: _Place, what: str, folder: str, names: list[str]) -> None:
        left_out[what]["/".join((*place.layout.top, folder))] += len(names)
        for name in names:
            place.inventory.pass_over(what, name)

    for place in opened:
        for folder, names in place.pictures.items():
            parts = place.layout.below(folder) or ()
            placed = place.layout.split_and_class(parts)
            if placed is None:
                known = place.layout.splits and parts and split_of(parts[0])
                leave_out(place, UNLABELLED if known else BESIDE, parts[0] if parts else names[0], names)
                continue
            split, rest = placed
            begins = (asked, *rest) if asked else parts
            found.append(_Pictures(place, split, rest, "".join(f"{part}/" for part in begins), names))
    if all(place.layout.by_name for place in opened):
        found = _plain(found)
    without = _without_classes(found)
    for one in found:
        if one.split in without:
            leave_out(one.place, UNLABELLED, one.key.partition("/")[0], one.names)
    return [one for one in found if one.split not in without], [
        f"{plural(folders.total(), 'picture')} {what}, left out: {_most(folders)}"
        for what, folders in left_out.items()
        if folders
    ]


def _most(counts: Counter[str]) -> str:
    return first_few([f"{name} {count:,}" for name, count in counts.most_common()], MOST_SHOWN)


def _plain(found: list[_Pictures]) -> list[_Pictures]:
    """Classes without folders that are none: `cat` for `train/cat` in split train, and for `cat/images`."""
    for split in {one.split for one in found}:
        mine = [one for one in found if one.split == split]
        if all(len(one.folder) > 1 and split_of(one.folder[0]) == split for one in mine):
            found = [replace(one, folder=one.folder[1:]) if one.split == split else one for one in found]
    without = _without_classes(found)
    ends = {one.folder[-1:] for one in found if one.split not in without}
    if len(ends) == 1 and all(
        len(one.folder) > 1 and _is_none(one.folder[-1:]) for one in found if one.split not in without
    ):
        found = [one if one.split in without else replace(one, folder=one.folder[:-1]) for one in found]
    return found


def _without_classes(found: list[_Pictures]) -> set[str]:
    """The splits beside train that hold no class folders, such as a test of `test/x.jpg` or `test/images/x.jpg`."""
    classes: dict[str, set[Parts]] = {}
    for one in found:
        classes.setdefault(one.split, set()).add(one.folder)
    train = classes.pop("train", set())
    return {
        split
        for split, folders in classes.items()
        if train and folders.isdisjoint(train) and all(not folder or _is_none(folder) for folder in folders)
    }


def _is_none(folder: Parts) -> bool:
    """Whether what could be the folder of a class is called like one that is none."""
    return len(folder) == 1 and (folder[0].lower() in NO_CLASSES or split_of(folder[0]) is not None)


def _check_classes(found: list[_Pictures], any_class: bool, where: str) -> None:
    """Raises FastptError if pictures lie in no class folders."""
    if not found:
        raise FastptError(f"{where} has no folders of pictures so far down. Choose another --split-level.")
    if loose := next((one for one in found if not one.folder), None):
        raise FastptError(
            f"--source {loose.place.root}: {loose.names[0]} lies in no class folder. {LAYOUTS}. {LIST}; or move it, or "
            "take it away."
        )
    if any_class:
        return
    if all(_is_none(one.folder) for one in found):
        raise FastptError(
            f"{where}: {found[0].key} holds pictures, but no class folders. {LAYOUTS}. {LIST}; --split-level "
            f"{found[0].place.layout.level} says that {found[0].folder[-1]} is a class."
        )
    if odd := next((one for one in found if not ANNOTATIONS.isdisjoint(part.lower() for part in one.folder)), None):
        raise FastptError(
            f"{where}: are the pictures in {odd.key} of a class, or annotations of others? --split-level "
            f"{odd.place.layout.level} says that all folders are classes; or give the folder without them."
        )
    if inner := next((one for one in found if len(one.folder) > 1 and split_of(one.folder[0])), None):
        raise FastptError(
            f"{where}: {inner.folder[0]}/ in {inner.key} may be a split or a class. Give each split by itself "
            "(train=PATH)."
        )


def _empty_classes(opened: list[_Place], known: set[Parts]) -> set[Parts]:
    """Folders without pictures beside class folders: they are classes too, so that these keep their numbers."""
    parents = {parts[:-1] for parts in known}
    holders = {parts[:i] for parts in known for i in range(len(parts))}
    empty = set()
    for place in opened:
        files = place.inventory.files
        folders = {name.rpartition("/")[0] for name in (*files.names(), *files.odd)} - place.pictures.keys() - {""}
        for folder in folders:
            below = place.layout.below(folder)
            placed = place.layout.split_and_class(below) if below and not hidden_part(folder) else None
            _, parts = placed or ("", ())
            for i in range(1, len(parts) + 1):
                if parts[:i] in known:
                    break
                if parts[: i - 1] in parents and parts[:i] not in holders:
                    empty.add(parts[:i])
                    break
    return empty


def _as_classes(classes: list[str]) -> Iterable[str]:
    """What to say of folders that are taken for classes, though they may be meant otherwise."""
    known = set(classes)
    inner = [name for name in classes if any(name[:i] in known for i, char in enumerate(name) if char == "/")]
    if inner:
        yield f"{len(inner):,} classes lie in the folders of others and are classes of their own, such as {inner[0]}"
    if all(name.isdecimal() for name in classes) and classes != sorted(classes, key=int):
        yield "class folders are called by numbers, which are sorted as text: '10' is a class before '2'"
    for name in classes:
        if split_of(name) or looks_like_split(name):
            yield f"{name}/ holds pictures beside class folders, so it is a class"


def _readable_names(opened: list[_Place], classes: list[str]) -> tuple[list[str], list[str]]:
    """From classes.json, else from the folder; and what to say of them."""
    words: dict[str, str] = {}
    warnings: list[str] = []
    for place in opened:
        name = "/".join((*place.layout.top, NAMES_FILE))
        if name in place.inventory.files.names():
            given, told = names_in_json(place.inventory, name, set(classes))
            words |= given
            warnings += told
    return [words.get(name) or plain for name, plain in zip(classes, plain_names(classes), strict=True)], warnings


SOURCE = ImageFolder()
