"""ImageNet-Vid-Robust as its authors publish it (Shankar et al. 2021): frames of videos of 30 classes.

    metadata/labels.json                {"val/<video>/<frame>.JPEG": [numbers of the classes that are right], ...}
    metadata/pmsets.json                {anchor frame: [frames near it that look alike], ...}
    misc/imagenet_vid_class_index.json  {"0": [WordNet id, name], ...}
    val/<video>/<frame>.JPEG

The classes are the 30 in their published order, a frame's label the first of its right ones; how often all frames near
an anchor are right is `fastpt.tuning.vid_robust.pm_accuracies`.
"""

import json
from typing import Any

import numpy as np

from datasets_prep.listing import Found, Reader, SplitListing
from datasets_prep.sources import Request, Source
from fastpt.errors import DamagedData, FastptError
from fastpt.storage.files import open_files
from fastpt.storage.kind import Storage

LABELS, CLASSES, SETS = "metadata/labels.json", "misc/imagenet_vid_class_index.json", "metadata/pmsets.json"


class VidRobust(Source):
    summary = "ImageNet-Vid-Robust as published"
    example = "fastpt prep vid-robust --source imagenet-vid-robust --name imagenet_vid_robust"
    places = "one"

    def list_splits(self, request: Request) -> Found:
        (place,) = request.places
        files = open_files(place, request.unpack_dir, ignore_damage=request.ignore_damage)
        labels, classes, sets = (_mapping(files, name) for name in (LABELS, CLASSES, SETS))
        names = [_class(classes, number) for number in range(len(classes))]
        wanted = sorted(labels)
        right = np.array([_first(labels, key, len(names)) for key in wanted], np.int64)
        there = set(files.names())
        lost = [key for key in wanted if key not in there]
        unlabelled = sorted(key for anchor, near in sets.items() for key in (anchor, *near) if key not in labels)
        if lost or unlabelled:
            what = f"lacks {lost[0]}, which {LABELS}" if lost else f"has no label of {unlabelled[0]}, which {SETS}"
            raise FastptError(f"--source {place} {what} names. Fetch the whole set: a part measures something else.")
        split = SplitListing(
            name="val",
            keys=wanted,
            labels=right,
            captions=None,
            classes=[one for one, _ in names],
            class_names=[name for _, name in names],
            read=Reader(files.only(wanted), wanted),
        )
        return Found.only([split])


SOURCE = VidRobust()


def _mapping(files: Storage, name: str) -> dict[str, Any]:
    try:
        found = json.loads(files.read(name))
    except (KeyError, FastptError, ValueError) as error:
        raise FastptError(
            f"{name} cannot be read ({error}). --source is the folder imagenet-vid-robust of the published archive."
        ) from None
    if not isinstance(found, dict) or not found:
        raise DamagedData(f"{name} holds no mapping. Fetch it again.")
    return found


def _class(classes: dict[str, Any], number: int) -> tuple[str, str]:
    """WordNet id and name. Raises DamagedData if there is no such class."""
    match classes.get(str(number)):
        case [str(identity), str(name)]:
            return identity, name
    raise DamagedData(f"{CLASSES} has no class {number}, as [WordNet id, name], of {len(classes)}. Fetch it again.")


def _first(labels: dict[str, Any], key: str, classes: int) -> int:
    match labels[key]:
        case [int(label), *_] if 0 <= label < classes:
            return label
    raise DamagedData(f"{LABELS} has {labels[key]!r} for {key}, no list of classes below {classes}. Fetch it again.")
