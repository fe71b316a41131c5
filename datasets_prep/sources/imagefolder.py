"""Pictures in class folders, in a folder or an archive, also under a folder that holds all the rest.

    <class>/x.jpg                  one split, `train`
    train|val|test/<class>/x.jpg   splits by their usual names
    <split>/<class>/x.jpg          any splits, with --split-level 1

The class of a picture is the folder it lies in, as a path under its split. A `classes.json` at the top may map class
folders to readable names.
"""

import json
from collections import Counter
from dataclasses import dataclass

import click
import numpy as np

from datasets_prep.inventory import Inventory, take_inventory
from datasets_prep.listing import Found, Reader, SplitListing
from datasets_prep.sources import Request, Source
from datasets_prep.splits import looks_like_split, same_split, split_of
from fastpt.errors import FastptError
from fastpt.storage.files import open_all
from fastpt.storage.kind import Storage

NAMES_FILE = "classes.json"
LAYOUTS = "The layout is <class>/<picture> or <split>/<class>/<picture>"
ASK = "--split-level 1 says that the top folders are splits, --split-level 0 that they are classes"


class ImageFolder(Source):
    summary = "pictures in class folders: CLASS/x.jpg, train/CLASS/x.jpg"
    example = """\
fastpt prep --noise 0.05 imagefolder --source pets.tar --name pets
fastpt prep imagefolder --source train=pets.tar --source val=more_pets.zip --name pets"""
    options = (
        click.Option(
            ["--split-level"],
            type=click.IntRange(0, 1),
            help="1: the top folders are splits; 0: they are classes (default: told by their names).",
        ),
    )

    def list_splits(self, request: Request, split_level: int | None) -> Found:
        files = open_all(request.places, request.unpack_dir, request.split or "", request.ignore_damage)
        return imagefolder_splits(files, 1 if request.split else split_level)


@dataclass(frozen=True)
class _Picture:
    name: str  # in the storage
    key: str  # below the folder that holds all the rest
    split: str
    folder: str  # the class


def imagefolder_splits(files: Storage, split_level: int | None = None) -> Found:
    """List the splits. All of them share one list of classes, sorted. Raises FastptError if the layout is another."""
    inventory = take_inventory(files, (NAMES_FILE,))
    if not inventory.pictures:
        raise FastptError(f"--source {files.root} holds no pictures. Give a folder or tar of <class>/<picture> files.")
    top = _common_top(inventory.pictures)
    pictures = _pictures(inventory, top, split_level)
    warnings = []
    classes = sorted({picture.folder for picture in pictures})
    if "" in classes:
        loose = next(picture.name for picture in pictures if picture.folder == "")
        raise FastptError(f"--source {files.root}: {loose} lies in no class folder. {LAYOUTS}; {ASK}.")
    number = {folder: i for i, folder in enumerate(classes)}
    readable = _readable_names(files, classes)
    splits = []
    for split in dict.fromkeys(picture.split for picture in pictures):
        mine = [picture for picture in pictures if picture.split == split]
        splits.append(
            SplitListing(
                name=split,
                keys=[picture.key for picture in mine],
                labels=np.array([number[picture.folder] for picture in mine], np.int64),
                captions=None,
                classes=classes,
                class_names=readable,
                read=Reader(files, [picture.name for picture in mine]),
                is_train=split == "train",
            )
        )
    return inventory.found(splits, tuple(warnings))


def _common_top(names: list[str]) -> str:
    """The folder, with its `/`, that holds all class folders and is no split itself; "" if there is none."""
    top = ""
    while True:
        below = [name.removeprefix(top).split("/") for name in names]
        folder = below[0][0]
        if any(len(parts) < 3 or parts[0] != folder for parts in below) or split_of(folder):
            return top
        top += f"{folder}/"


def _pictures(inventory: Inventory, top: str, split_level: int | None) -> list[_Picture]:
    """The pictures with their split and class; those beside the splits are passed over, by name."""
    root, names = inventory.files.root, inventory.pictures
    keys = [name.removeprefix(top) for name in names]
    depths: dict[str, Counter[bool]] = {}  # of a top folder: how many pictures lie in folders below it, how many loose
    for key in keys:
        folder, slash, rest = key.partition("/")
        if slash:
            depths.setdefault(folder, Counter())["/" in rest] += 1
    splits = _split_folders(f"--source {root}", depths, split_level)
    if not splits:
        return [_Picture(name, key, "train", key.rpartition("/")[0]) for name, key in zip(names, keys, strict=True)]
    pictures = []
    for name, key in zip(names, keys, strict=True):
        folder, _, rest = key.partition("/")
        if folder in splits:
            pictures.append(_Picture(name, key, splits[folder], rest.rpartition("/")[0]))
        else:
            inventory.pass_over("beside the splits", name)
    return pictures


def _split_folders(where: str, depths: dict[str, Counter[bool]], split_level: int | None) -> dict[str, str]:
    """Which top folders are splits, and of which name; none if they are classes.

    `depths` counts the pictures of each top folder that lie in a folder below it (True) or loose (False). Raises
    FastptError if it can be meant in two ways.
    """
    if split_level is not None:
        return {folder: folder for folder in depths} if split_level else {}
    known = [folder for folder in depths if split_of(folder)]
    splits = [folder for folder in known if depths[folder][True]]
    others = [folder for folder in depths if folder not in known]
    if twice := same_split(splits):
        raise FastptError(f"{where}: {' and '.join(twice)} are one split by name. Rename one, or give SPLIT=PATH each.")
    if not splits:
        if known and not others:
            raise FastptError(f"{where}: {known[0]}/ holds pictures, but no class folders. {LAYOUTS}; {ASK}.")
        if odd := [folder for folder in others if looks_like_split(folder) and depths[folder][True]]:
            raise FastptError(f"{where}: is {odd[0]}/ a split, or a class? {ASK}.")
        return {}
    if unclear := [folder for folder in others if depths[folder][True]]:
        raise FastptError(
            f"{where}: {', '.join(splits)} are splits, but {unclear[0]}/ beside them holds class folders too. {ASK}; "
            "or give each split by itself (train=PATH)."
        )
    return {folder: str(split_of(folder)) for folder in splits}


def _readable_names(files: Storage, classes: list[str]) -> list[str]:
    """From classes.json ({"n01443537": "goldfish, Carassius auratus"}: the first synonym), else from the folder."""
    if NAMES_FILE in files.names():
        try:
            words = json.loads(files.read(NAMES_FILE))
            return [words.get(name, name).split(",")[0].strip() for name in classes]
        except (ValueError, AttributeError) as error:
            raise FastptError(
                f"{NAMES_FILE} in {files.root} is not a JSON object of names ({error}). Mend it or take it away."
            ) from None
    return [name.rpartition("/")[2].replace("_", " ").replace("-", " ") for name in classes]


SOURCE = ImageFolder()
