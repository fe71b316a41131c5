"""ImageNet-1K as it lies on people's disks, read in place.

    ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar, ILSVRC2012_devkit_t12.tar.gz      the official archives
    ILSVRC/Data/CLS-LOC/{train,val}, LOC_val_solution.csv                               Kaggle
    train/<wnid>/*.JPEG, val/<wnid>/*.JPEG                                              an extracted tree (or tar of it)
    train-00000-of-00294.parquet, validation-00000-of-00014.parquet, ...                Hugging Face

Classes are WordNet ids in sorted order, which is the order of all published checkpoints; their readable names are
those of open_clip's zero-shot evaluation.
"""

import csv
import importlib.util
import io
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from datasets_prep.listing import Found, Reader, SplitListing
from datasets_prep.sources import Request, Source
from fastpt.errors import FastptError
from fastpt.storage.files import open_files
from fastpt.storage.folder import Folder
from fastpt.storage.kind import ARCHIVE_ERRORS, Storage, unreadable
from fastpt.storage.tar import TarOfTars

OFFICIAL_NAME = re.compile(r"(.+)_(n\d{8})\.JPEG")
EXPECTED = {"train": 1_281_167, "val": 50_000}


class ImageNet(Source):
    summary = "ImageNet-1K: official archives, Kaggle, parquet, or a tree"
    example = "fastpt prep --noise 0.05 imagenet --source ILSVRC2012"
    places = "one"
    default_name = "imagenet"
    usual_places = (
        "$FASTPT_SOURCES/imagenet",
        "$IMAGENET_DIR",
        "$DATASETS/imagenet",
        "ILSVRC2012",
        "data/raw/imagenet",
    )
    how_to_get = (
        "Get ILSVRC2012's train, val and devkit (tasks 1, 2) from image-net.org, or the archive of Kaggle's "
        "imagenet-object-localization-challenge, or imagenet-1k's parquet files from Hugging Face; all want an account."
    )

    def list_splits(self, request: Request) -> Found:
        (root,) = request.places
        return imagenet_splits(root, request.unpack_dir)


@dataclass(frozen=True)
class Listing:
    """What a layout says of one split: base names of the pictures, their WordNet ids, and how to read them."""

    split: str
    names: list[str]
    wnids: list[str]
    read: Callable[[int], bytes]
    groups: np.ndarray | None = None


def imagenet_splits(root: Path, unpack_dir: Path | None = None) -> Found:
    """List train and val. Raises FastptError if `root` holds none of the layouts above."""
    if (root / "ILSVRC2012_img_train.tar").exists():
        listings = _official(root)
    elif (root / "ILSVRC" / "Data" / "CLS-LOC").is_dir():
        listings = _kaggle(root)
    elif root.is_dir() and any(root.rglob("*.parquet")):
        listings = _hugging_face(root)
    else:
        listings = _tree(root, unpack_dir)
    classes = sorted({wnid for listing in listings for wnid in listing.wnids})
    number = {wnid: i for i, wnid in enumerate(classes)}
    splits = [
        SplitListing(
            name=listing.split,
            # The same in all layouts, so that noise, which is keyed by it, is the same too.
            keys=[f"{wnid}/{name}" for wnid, name in zip(listing.wnids, listing.names, strict=True)],
            labels=np.array([number[wnid] for wnid in listing.wnids], np.int64),
            captions=None,
            classes=classes,
            class_names=_readable_names(classes),
            read=listing.read,
            is_train=listing.split == "train",
            note=_count_note(listing.split, len(listing.names), len(classes)),
            groups=listing.groups,
        )
        for listing in listings
    ]
    return Found.only(splits)


def _of_files(split: str, files: Storage, names: list[str], wnids: list[str]) -> Listing:
    return Listing(split, [name.rpartition("/")[2] for name in names], wnids, Reader(files, names))


def _official(root: Path) -> list[Listing]:
    train = open_files(root / "ILSVRC2012_img_train.tar", tar=TarOfTars)
    val_path, devkit = root / "ILSVRC2012_img_val.tar", root / "ILSVRC2012_devkit_t12.tar.gz"
    for needed in (val_path, devkit):
        if not needed.exists():
            raise FastptError(
                f"{needed} is not there; the val split needs the val archive and the devkit (tasks 1, 2)."
            )
    val = open_files(val_path)
    truth, pictures = _devkit_truth(devkit), val.images()
    if len(truth) != len(pictures):
        raise FastptError(f"{devkit.name} lists {len(truth)} val pictures, {val_path.name} holds {len(pictures)}.")
    names = train.images()
    wnids = [name.partition("/")[0] for name in names]
    return [_of_files("train", train, names, wnids), _of_files("val", val, pictures, truth)]


def _devkit_truth(devkit: Path) -> list[str]:
    """The WordNet id of each val picture, in the order of the pictures' numbers."""
    from scipy.io import loadmat

    try:
        tar = open_files(devkit, unpack_dir=Path(tempfile.gettempdir()))
        files = {name.rpartition("/")[2]: name for name in tar.names()}
        synsets = loadmat(io.BytesIO(tar.read(files["meta.mat"])), squeeze_me=True)["synsets"]
        lines = tar.read(files["ILSVRC2012_validation_ground_truth.txt"]).split()
        wnids = dict(zip(synsets["ILSVRC2012_ID"].tolist(), synsets["WNID"].tolist(), strict=True))
        return [str(wnids[int(line)]) for line in lines]
    except KeyError as missing:
        raise FastptError(f"{devkit} has no {missing.args[0]}; fetch the devkit of tasks 1 and 2 anew.") from None
    except (*ARCHIVE_ERRORS, ValueError, TypeError) as error:
        message = f"{devkit} is damaged ({error}); fetch the devkit of tasks 1 and 2 anew."
        raise unreadable(message, error) from None


def _kaggle(root: Path) -> list[Listing]:
    files = Folder(root / "ILSVRC" / "Data" / "CLS-LOC")
    names = files.images()
    train = [name for name in names if name.startswith("train/")]
    val = [name for name in names if name.startswith("val/")]
    solution = root / "LOC_val_solution.csv"
    if not solution.exists():
        raise FastptError(f"{solution} is not there; the val labels of the Kaggle layout are in it.")
    try:
        with solution.open(newline="") as file:
            truth = {row["ImageId"]: row["PredictionString"].split()[0] for row in csv.DictReader(file)}
    except (KeyError, AttributeError, IndexError, ValueError, csv.Error):
        raise FastptError(f"{solution} is not Kaggle's list of ImageId and PredictionString; fetch it anew.") from None
    unknown = [name for name in val if Path(name).stem not in truth]
    if unknown:
        raise FastptError(f"{solution} does not name {len(unknown)} of the val pictures, such as {unknown[0]}.")
    return [
        _of_files("train", files, train, [name.split("/")[1] for name in train]),
        _of_files("val", files, val, [truth[Path(name).stem] for name in val]),
    ]


def _hugging_face(root: Path) -> list[Listing]:
    """`path` is the official name with the WordNet id after it: `n01440764_18_n01440764.JPEG`."""
    from datasets_prep.tables import open_tables

    listings = []
    for table in open_tables([root], []).tables:
        if table.split not in EXPECTED:
            continue  # test has no labels
        found = [OFFICIAL_NAME.fullmatch(path or "") for path in table.paths]
        named = [match for match in found if match]
        if len(named) < len(found):
            raise FastptError(
                f"row {found.index(None)} of split {table.split} in {root} has a picture whose path does not end in "
                "its WordNet id, as in imagenet-1k. Use `fastpt prep parquet` for other pictures."
            )
        names = [f"{match[1]}.JPEG" for match in named]
        listings.append(Listing(table.split, names, [match[2] for match in named], table.reader(), table.groups))
    if [listing.split for listing in listings] != ["train", "val"]:
        raise FastptError(f"{root} lacks the parquet files of train or validation; fetch both.")
    return listings


def _tree(root: Path, unpack_dir: Path | None) -> list[Listing]:
    files = open_files(root, unpack_dir)
    names = files.images()
    listings = []
    for split in ("train", "val"):
        mine = [name for name in names if name.startswith(f"{split}/") and name.count("/") == 2]
        if not mine:
            raise FastptError(
                f"--source {root} is no layout of ImageNet-1K that is known: neither the official archives "
                "(ILSVRC2012_img_train.tar, ...), nor Kaggle's folders (ILSVRC/Data/CLS-LOC), nor train/<wnid>/ and "
                "val/<wnid>/, nor Hugging Face's parquet files. Use `fastpt prep imagefolder` for other pictures."
            )
        listings.append(_of_files(split, files, mine, [name.split("/")[1] for name in mine]))
    return listings


def _readable_names(wnids: list[str]) -> list[str]:
    """open_clip's names of the 1,000 classes; another WordNet id is its own name."""
    from open_clip import IMAGENET_CLASSNAMES

    timm = importlib.util.find_spec("timm")  # found, not imported: timm loads torch
    assert timm is not None
    assert timm.origin is not None
    standard = (Path(timm.origin).parent / "data" / "_info" / "imagenet_synsets.txt").read_text().split()
    names = dict(zip(standard, IMAGENET_CLASSNAMES, strict=True))
    return [names.get(wnid, wnid) for wnid in wnids]


def _count_note(split: str, pictures: int, classes: int) -> str:
    if (pictures, classes) == (EXPECTED[split], 1000):
        return ""
    return f"{pictures:,} pictures of {classes:,} classes were found; ImageNet-1K has {EXPECTED[split]:,} of 1,000"


SOURCE = ImageNet()
