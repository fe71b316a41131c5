"""Sets that torchvision reads (and downloads), by the names and with the splits of the paper's downstream suite.

Training splits are those that the paper's code trains on: `train` even where torchvision also has `val`; PatchCamelyon
has a third split, `valid`, as the code trains on both. Sets without splits are one, `train`, to be parted by --holdout.
"""

import io
from pathlib import Path
from typing import Any

import click
import numpy as np

from datasets_prep.listing import Found, SplitListing
from datasets_prep.sources import Request, Source
from fastpt.errors import FastptError

BY_FLAG = {"train": {"train": True}, "test": {"train": False}}
BY_NAME = {"train": {"split": "train"}, "test": {"split": "test"}}
WHOLE = {"train": {}}
SETS = {
    "caltech101": ("Caltech101", WHOLE),
    "cifar10": ("CIFAR10", BY_FLAG),
    "cifar100": ("CIFAR100", BY_FLAG),
    "dtd": ("DTD", BY_NAME),
    "eurosat": ("EuroSAT", WHOLE),
    "fashion_mnist": ("FashionMNIST", BY_FLAG),
    "fgvc_aircraft": ("FGVCAircraft", BY_NAME),
    "flowers102": ("Flowers102", BY_NAME),
    "food101": ("Food101", BY_NAME),
    "oxford_pet": ("OxfordIIITPet", {"train": {"split": "trainval"}, "test": {"split": "test"}}),
    "patch_camelyon": ("PCAM", {"train": {"split": "train"}, "valid": {"split": "val"}, "test": {"split": "test"}}),
    "rendered_sst2": ("RenderedSST2", BY_NAME),
    "stanford_cars": ("StanfordCars", BY_NAME),
    "svhn": ("SVHN", BY_NAME),
}


class Torchvision(Source):
    summary = "sets that torchvision reads, and downloads where missing"
    example = "fastpt prep torchvision --source torchvision --set cifar10"
    places = "one"
    options = (click.Option(["--set", "set_name"], type=click.Choice(list(SETS)), required=True, help="The set."),)
    default_name = "{set_name}"

    def list_splits(self, request: Request, set_name: str) -> Found:
        (root,) = request.places
        splits = torchvision_splits(root, set_name, download=not request.dry_run)
        return Found.only(splits)


def torchvision_splits(root: Path, set_name: str, download: bool = True) -> list[SplitListing]:
    """The splits of one of SETS below `root`, downloaded there if missing. Raises FastptError."""
    kind, splits = SETS[set_name]
    opened = {split: _open(kind, root, arguments, download) for split, arguments in splits.items()}
    labels = {split: _labels(dataset) for split, dataset in opened.items()}
    count = 1 + max(int(found.max()) for found in labels.values())
    names = [str(one) for one in getattr(opened["train"], "classes", range(count))]
    return [
        SplitListing(
            name=split,
            keys=_keys(dataset, root),
            labels=labels[split],
            captions=None,
            classes=names,
            class_names=[one.replace("_", " ") for one in names],
            read=_Reader(dataset),
            is_train=split == "train",
        )
        for split, dataset in opened.items()
    ]


def _open(kind: str, root: Path, arguments: dict[str, Any], download: bool):
    import torchvision.datasets

    try:
        found = getattr(torchvision.datasets, kind)(root, **arguments, download=download)  # only what is missing
        if kind == "Caltech101":  # which leaves out the pictures of backgrounds, a class to the paper
            return torchvision.datasets.ImageFolder(Path(found.root, "101_ObjectCategories"))
        return found
    except Exception as error:  # network, archive and layout errors of many classes
        if not download:
            raise FastptError(f"torchvision's {kind} is not in {root}; a preparation would download it.") from None
        raise FastptError(
            f"torchvision's {kind} is not in {root} and could not be downloaded ({type(error).__name__}: "
            f"{' '.join(str(error).split())[:200]}). Put it there as torchvision's documentation of {kind} says."
        ) from None


def _files(dataset) -> list[Path] | None:
    """The picture files of a set that keeps them as they came; its attributes are torchvision's own affair."""
    if samples := getattr(dataset, "_samples", None) or getattr(dataset, "samples", None):
        return [Path(path) for path, _ in samples]
    found = getattr(dataset, "_image_files", None) or getattr(dataset, "_images", None)
    return [Path(path) for path in found] if found else None


def _labels(dataset) -> np.ndarray:
    if hasattr(dataset, "_samples"):
        return np.array([label for _, label in dataset._samples], np.int64)
    for attribute in ("targets", "labels", "_labels"):
        if hasattr(dataset, attribute):
            return np.asarray(getattr(dataset, attribute), np.int64)
    return np.array([dataset[i][1] for i in range(len(dataset))], np.int64)


def _keys(dataset, root: Path) -> list[str]:
    files = _files(dataset)
    return [path.relative_to(root).as_posix() for path in files] if files else [f"{i:07d}" for i in range(len(dataset))]


class _Reader:
    """The bytes of the picture's file, or of a PNG of its pixels where the set holds arrays."""

    def __init__(self, dataset):
        self.dataset, self.files = dataset, _files(dataset)

    def __call__(self, i: int) -> bytes:
        if self.files:
            return self.files[i].read_bytes()
        buffer = io.BytesIO()
        self.dataset[i][0].save(buffer, "PNG")
        return buffer.getvalue()


SOURCE = Torchvision()
