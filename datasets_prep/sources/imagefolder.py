"""Pictures in class folders, in a folder or a tar.

    <class>/x.jpg                one split, `train`
    train|val|test/<class>/x.jpg splits by name
    <split>/<class>/x.jpg        any splits, with split_level=1

The class of a picture is the folder it lies in, as a path under its split. A `classes.json` at the top may map class
folders to readable names.
"""

import json

import click
import numpy as np

from datasets_prep.listing import Reader, SplitListing
from datasets_prep.sources import Request, Source
from fastpt.errors import FastptError
from fastpt.storage.files import open_all
from fastpt.storage.kind import Storage

SPLIT_NAMES = ("train", "val", "test")


class ImageFolder(Source):
    summary = "pictures in class folders: CLASS/x.jpg, train/CLASS/x.jpg"
    example = """\
fastpt prep --noise 0.05 imagefolder --source pets.tar --name pets
fastpt prep imagefolder --source train=pets.tar --source val=more_pets.zip --name pets"""
    options = (
        click.Option(
            ["--split-level"],
            type=click.IntRange(0, 1),
            default=0,
            show_default=True,
            help="1 if the top folders are splits, whatever they are called.",
        ),
    )

    def list_splits(self, request: Request, split_level: int) -> list[SplitListing]:
        files = open_all(request.places, request.unpack_dir, request.split or "")
        return imagefolder_splits(files, 1 if request.split else split_level)


def imagefolder_splits(files: Storage, split_level: int = 0) -> list[SplitListing]:
    """List the splits. All of them share one list of classes, sorted. Raises FastptError if the layout is another."""
    names = files.images()
    if not names:
        raise FastptError(f"--source {files.root} holds no pictures. Give a folder or tar of <class>/<picture> files.")
    tops = {name.partition("/")[0] for name in names}
    named = split_level == 1 or tops <= set(SPLIT_NAMES)
    rows: dict[str, list[tuple[str, str]]] = {}
    for name in names:
        split, _, rest = name.partition("/") if named else ("train", "", name)
        rows.setdefault(split, []).append((name, rest.rpartition("/")[0]))

    classes = sorted({folder for split in rows.values() for _, folder in split})
    if "" in classes:
        loose = next(name for split in rows.values() for name, folder in split if folder == "")
        raise FastptError(
            f"--source {files.root}: {loose} lies in no class folder. "
            "The layout is <class>/<picture>, or <split>/<class>/<picture> with --split-level 1."
        )
    number = {folder: i for i, folder in enumerate(classes)}
    readable = _readable_names(files, classes)
    return [
        SplitListing(
            name=split,
            keys=[name for name, _ in listing],
            labels=np.array([number[folder] for _, folder in listing], np.int64),
            captions=None,
            classes=classes,
            class_names=readable,
            read=Reader(files, [name for name, _ in listing]),
            is_train=split == "train",
        )
        for split, listing in rows.items()
    ]


def _readable_names(files: Storage, classes: list[str]) -> list[str]:
    """From classes.json ({"n01443537": "goldfish, Carassius auratus"}: the first synonym), else from the folder."""
    if "classes.json" in files.names():
        try:
            words = json.loads(files.read("classes.json"))
            return [words.get(name, name).split(",")[0].strip() for name in classes]
        except (ValueError, AttributeError) as error:
            raise FastptError(
                f"classes.json in {files.root} is not a JSON object of names ({error}). Mend it or take it away."
            ) from None
    return [name.rpartition("/")[2].replace("_", " ").replace("-", " ") for name in classes]


SOURCE = ImageFolder()
