"""ImageNet-1K as it lies on people's disks, read in place and told by content; the folders may lie anywhere below.

    ILSVRC2012_img_train.tar, ILSVRC2012_img_val.tar, ILSVRC2012_devkit_t12.tar.gz      the official archives
    ILSVRC/Data/CLS-LOC/{train,val}, LOC_val_solution.csv                               Kaggle
    train/<wnid>/*.JPEG, val/<wnid>/*.JPEG                                              a tree, or an archive of it
    train/<wnid>/*.JPEG, val/*.JPEG, ILSVRC2012_validation_ground_truth.txt, meta.mat   the archives, extracted
    train-00000-of-00294.parquet, validation-00000-of-00014.parquet, ...                Hugging Face

Classes are WordNet ids in sorted order, which is the order of all published checkpoints; their readable names are
those of open_clip's zero-shot evaluation.
"""

import importlib.util
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from datasets_prep.imagenet_labels import DEVKIT, GROUND_TRUTH, META, SOLUTION, only_file, stem, val_labels
from datasets_prep.inventory import Inventory, copies_told, take_inventory
from datasets_prep.listing import Found, Reader, SplitListing, merged
from datasets_prep.sources import Request, Source
from datasets_prep.splits import split_of
from fastpt.errors import FastptError
from fastpt.printable import first_few, plural
from fastpt.storage.files import open_files
from fastpt.storage.folder import Folder
from fastpt.storage.kind import Storage
from fastpt.storage.names import hidden_part
from fastpt.storage.tar import Tar, TarOfTars

OFFICIAL_NAME = re.compile(r"(.+)_(n\d{8})\.JPEG")
VAL_NAME = re.compile(r"ILSVRC2012_val_\d{8}")
WNID = re.compile(r"n\d{8}")
EXPECTED = {"train": 1_281_167, "val": 50_000}
ARCHIVES = {"train": "ILSVRC2012_img_train.tar", "val": "ILSVRC2012_img_val.tar"}
SIDE_FILES = frozenset({*ARCHIVES.values(), DEVKIT, META, GROUND_TRUTH, SOLUTION})
MOST_NAMED = 5  # folders in a warning


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
        return imagenet_splits(root, request.unpack_dir, request.ignore_damage)


@dataclass(frozen=True)
class Listing:
    """What a layout says of one split: base names of the pictures, their WordNet ids, and how to read them."""

    split: str
    names: list[str]
    wnids: list[str]
    read: Callable[[int], bytes]
    groups: np.ndarray | None = None

    def keys(self) -> list[str]:
        """The same in all layouts, so that noise, which is keyed by them, is the same too."""
        keys = [f"{wnid}/{name}" for wnid, name in zip(self.wnids, self.names, strict=True)]
        if len(set(keys)) < len(keys):
            twice = next(key for key, count in Counter(keys).items() if count > 1)
            raise FastptError(f"{self.split} holds {twice} twice, in different folders. Take one away.")
        return keys


def imagenet_splits(root: Path, unpack_dir: Path | None = None, ignore_damage: bool = False) -> Found:
    """List train and val, each from its archive or from folders. Raises FastptError if `root` holds neither."""
    files = open_files(root, unpack_dir, ignore_damage=ignore_damage)
    inventory = take_inventory(files)
    tree = _tree(inventory)
    side = _side_files(files)
    archives = {split: name for split, base in ARCHIVES.items() if (name := only_file(side, base))}
    if not isinstance(files, Folder):
        archives = {}  # those in an archive cannot be read in place
    if not tree.splits and not archives:
        if root.is_dir() and any(name.lower().endswith(".parquet") for name in files.names()):
            return _hugging_face(root, ignore_damage)
        raise FastptError(_no_layout(root, files))
    listings, founds, layouts = [], [], []
    warnings = tree.pass_over(inventory)
    for split in EXPECTED:
        if split in archives:
            listing, found = _of_archive(split, archives[split], inventory, side, ignore_damage)
            founds.append(found)
            layouts.append(archives[split])
            if beside := tree.splits.pop(split, {}):
                names = [name for names in beside.values() for name in names]
                warnings.append(
                    f"{split} is read from {archives[split]}: {len(names):,} pictures beside it are left out"
                )
                for name in names:
                    inventory.pass_over(f"beside {archives[split]}", name)
        elif split in tree.splits:
            listing = _of_files(split, files, tree.splits[split], inventory, side)
            layouts.append(f"{tree.folders[split]}{'' if '' in tree.splits[split] else '<wnid>/'}")
        else:
            truth = only_file(side, SOLUTION, DEVKIT, GROUND_TRUTH) if split == "val" else None
            if truth:
                raise FastptError(
                    f"{root} has the labels of val ({truth}), but no val/ and no {ARCHIVES[split]}. Put one there, or "
                    "take the labels away to prepare train alone."
                )
            warnings.append(_alone(split, root))
            continue
        listings.append(listing)
    own = _splits(listings, tree.wnids, tuple(warnings))
    return replace(merged([own, inventory.found([]), *founds]), layout=f"ImageNet in {' and '.join(layouts)}")


def _alone(missing: str, root: Path) -> str:
    return f"there is no {missing} in {root}: the other split is prepared alone"


def _splits(listings: list[Listing], wnids: set[str], warnings: tuple[str, ...]) -> Found:
    """The splits, without what their files are counted in; `wnids` are classes, with pictures or without."""
    classes = sorted(wnids.union(*(listing.wnids for listing in listings)))
    number = {wnid: i for i, wnid in enumerate(classes)}
    readable = _readable_names(classes)
    splits = [
        SplitListing(
            name=listing.split,
            keys=listing.keys(),
            labels=np.array([number[wnid] for wnid in listing.wnids], np.int64),
            captions=None,
            classes=classes,
            class_names=readable,
            read=listing.read,
            is_train=listing.split == "train",
            note=_count_note(listing.split, len(listing.names), len(classes)),
            groups=listing.groups,
        )
        for listing in listings
    ]
    copies = copies_told(f"{split.name}/{key}" for split in splits for key in split.keys)
    return Found(splits, 0, {}, (*warnings, *copies))


def _of_files(
    split: str, files: Storage, pictures: Mapping[str, list[str]], beside: Inventory, side: Mapping[str, list[str]]
) -> Listing:
    """The pictures by WordNet id, "" for those whose labels stand in one of the files `side`."""
    truth = val_labels(beside, side, pictures[""]) if "" in pictures else {}
    wnid_of = {name: wnid or truth[stem(name)] for wnid, names in pictures.items() for name in names}
    names = sorted(wnid_of)
    return Listing(
        split, [name.rpartition("/")[2] for name in names], [wnid_of[name] for name in names], Reader(files, names)
    )


def _side_files(files: Storage) -> dict[str, list[str]]:
    """The archives, and the files that tell the labels of val, by base name."""
    found: dict[str, list[str]] = {}
    for name in files.names():
        base = name.rpartition("/")[2]
        if base in SIDE_FILES and not hidden_part(name):
            found.setdefault(base, []).append(name)
    return found


@dataclass(frozen=True)
class _Tree:
    """Pictures in train/<wnid>/ and val/<wnid>/, or in val/ itself, of one folder. That may be Kaggle's CLS-LOC."""

    splits: dict[str, dict[str, list[str]]]  # names by WordNet id, "" for those of val itself
    folders: dict[str, str]  # of each split, as it is called, with its `/`
    wnids: set[str]  # folders of classes, empty ones too
    others: dict[str, dict[str, list[str]]]  # what else there is, by what it is and by folder

    def pass_over(self, inventory: Inventory) -> list[str]:
        """Count the pictures that are in no split, and return what to say of them."""
        warnings = []
        for what, folders in self.others.items():
            for name in (name for names in folders.values() for name in names):
                inventory.pass_over(what, name)
            counts = Counter({folder: len(names) for folder, names in folders.items()})
            most = first_few([f"{folder} {count:,}" for folder, count in counts.most_common()], MOST_NAMED)
            warnings.append(f"{plural(counts.total(), 'picture')} {what}, left out: {most}")
        return warnings


def _tree(inventory: Inventory) -> _Tree:
    root = inventory.files.root
    by_folder: dict[str, list[str]] = {}
    for name in inventory.pictures:
        by_folder.setdefault(name.rpartition("/")[0], []).append(name)
    tops = {top for folder in by_folder if (top := _top(folder)) is not None}
    tops = tops or {
        folder.rpartition("/")[0]
        for folder, names in by_folder.items()
        if split_of(folder.rpartition("/")[2]) == "val" and any(map(VAL_NAME.fullmatch, map(stem, names)))
    }
    if len(tops) > 1:
        first, second, *_ = sorted(tops)
        raise FastptError(
            f"{root} holds more than one ImageNet, in {first or '.'}/ and in {second}/. Give one of them."
        )
    top = "".join(f"{top}/" for top in tops if top)
    splits: dict[str, dict[str, list[str]]] = {}
    folders: dict[str, str] = {}
    others: dict[str, dict[str, list[str]]] = {}
    for folder, names in by_folder.items():
        parts = folder.removeprefix(top).split("/") if tops and f"{folder}/".startswith(top) else []
        split = split_of(parts[0]) if parts else None
        flat = [name for name in names if len(parts) == 1 and split == "val" and VAL_NAME.fullmatch(stem(name))]
        if split in EXPECTED and (flat or (len(parts) == 2 and WNID.fullmatch(parts[1]))):
            if folders.setdefault(split, f"{top}{parts[0]}/") != f"{top}{parts[0]}/":
                raise FastptError(f"{root}: {folders[split]} and {top}{parts[0]}/ are one split by name. Rename one.")
            splits.setdefault(split, {})["" if flat else parts[1]] = flat or names
            names = sorted(set(names) - set(flat)) if flat else []
        if names:
            what = "of test (no labels)" if split == "test" else f"outside {top}train|val/<wnid>/"
            others.setdefault(what, {})[folder or "the top"] = names
    known = set(folders.values())
    parents = {folder.rpartition("/") for folder in _folders(inventory.files)}
    wnids = {wnid for parent, _, wnid in parents if f"{parent}/" in known and WNID.fullmatch(wnid)}
    return _Tree(splits, folders, wnids, others)


def _folders(files: Storage) -> set[str]:
    """All folders, empty ones too."""
    return {name.rpartition("/")[0] for name in (*files.names(), *files.odd)}


def _top(folder: str) -> str | None:
    """The folder that holds train/<wnid> or val/<wnid>, if this is one of those."""
    parent, _, wnid = folder.rpartition("/")
    top, _, split = parent.rpartition("/")
    return top if WNID.fullmatch(wnid) and split_of(split) in EXPECTED else None


def _no_layout(root: Path, files: Storage) -> str:
    """What to say of a place that holds no layout that is known."""
    hint = "Use `fastpt prep imagefolder` for other pictures."
    if any(WNID.fullmatch(folder) for folder in _folders(files)):
        hint = "Its folders are WordNet ids: give the folder above, that holds it as train/ or val/, or rename it so."
    elif any(name.rpartition("/")[2] in ARCHIVES.values() for name in (*files.names(), root.name)):
        hint = "Give the folder in which the archives lie, unpacked from any other."
    elif any(WNID.fullmatch(stem(name)) and name.endswith(".tar") for name in files.names()):
        hint = (
            f"It holds a tar for each class: give the folder of {ARCHIVES['train']}, or unpack each to train/<wnid>/."
        )
    return (
        f"--source {root} is no layout of ImageNet-1K that is known: neither the official archives "
        f"({ARCHIVES['train']}, ...), nor Kaggle's folders (ILSVRC/Data/CLS-LOC), nor train/<wnid>/ and val/<wnid>/, "
        f"nor Hugging Face's parquet files. {hint}"
    )


def _of_archive(
    split: str, name: str, beside: Inventory, side: Mapping[str, list[str]], ignore_damage: bool
) -> tuple[Listing, Found]:
    """The pictures of an official archive, and how its members are counted. Labels of val lie beside it."""
    beside.count_read(name)
    path = beside.files.root / name
    files = open_files(path, tar=TarOfTars if split == "train" else Tar, ignore_damage=ignore_damage)
    inventory = take_inventory(files)
    pictures: dict[str, list[str]] = {}
    for picture in inventory.pictures:
        wnid = next((part for part in reversed(picture.split("/")[:-1]) if WNID.fullmatch(part)), None)
        if wnid or (split == "val" and VAL_NAME.fullmatch(stem(picture))):
            pictures.setdefault(wnid or "", []).append(picture)
        else:
            inventory.pass_over(f"of no WordNet id in {name}", picture)
    if not pictures:
        raise FastptError(f"{path} holds no pictures of ImageNet. Fetch it anew.")
    return _of_files(split, files, pictures, beside, side), inventory.found([])


def _hugging_face(root: Path, ignore_damage: bool) -> Found:
    """`path` is the official name with the WordNet id after it: `n01440764_18_n01440764.JPEG`."""
    from datasets_prep.tables import open_tables

    opened = open_tables([root], [], ignore_damage=ignore_damage)
    listings, rows, beside = [], 0, dict(opened.beside)
    for table in opened.tables:
        rows += len(table.paths)
        if table.split not in EXPECTED:
            beside[f"rows of {table.split}, whose labels are not known"] = Counter({table.split: len(table.paths)})
            continue
        found = [OFFICIAL_NAME.fullmatch(path or "") for path in table.paths]
        named = [match for match in found if match]
        if len(named) < len(found):
            raise FastptError(
                f"row {found.index(None)} of split {table.split} in {root} has a picture whose path does not end in "
                "its WordNet id, as in imagenet-1k. Use `fastpt prep parquet` for other pictures."
            )
        names = [f"{match[1]}.JPEG" for match in named]
        listings.append(Listing(table.split, names, [match[2] for match in named], table.reader(), table.groups))
    if not listings:
        raise FastptError(f"{root} has parquet files, but none of train or validation. Fetch them.")
    there = [listing.split for listing in listings]
    alone = [_alone(split, root) for split in EXPECTED if split not in there]
    own = _splits(listings, set(), (*opened.warnings, *alone))
    return replace(own, files=rows + opened.others, beside=beside, layout="ImageNet in Hugging Face's parquet files")


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
