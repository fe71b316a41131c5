"""WebDataset tars, as img2dataset writes them too: the members of one sample share a key and differ in extension.

The picture is `.jpg` (or another picture's extension), the caption is `.txt`, else "caption" in `.json` (or the columns
of it that are asked for), and the label is `.cls`, or a column of the `.json`. YFCC15M usually lies on disks in this
form. Tars are of a split if their names or folders say so: `train-0000.tar`, `val/0000.tar`. Where CLIP_benchmark made
them, `classnames.txt` beside the folders of splits names the classes, and `nshards.txt` in each counts its tars.
"""

import os
import re
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import IO, Any

import click
import numpy as np

from datasets_prep.inventory import Containers, find_containers
from datasets_prep.listing import Found, SplitListing
from datasets_prep.parallel import map_in_processes
from datasets_prep.records import RecordFormat, broken_text_note, caption_options, caption_warnings
from datasets_prep.sources import Request, Source
from datasets_prep.splits import splits_of_files
from datasets_prep.tar_samples import LABEL, OUTSIDE, Members, Shard, list_tar
from datasets_prep.targets import Labels, read_labels
from fastpt.data.labels import text_of
from fastpt.errors import FastptError
from fastpt.printable import plural
from fastpt.storage.names import hidden_part
from fastpt.storage.opened import Stamp, check_size
from fastpt.storage.opening import open_regular, open_unchanged
from fastpt.storage.packed import is_packed, nameless_file
from fastpt.storage.tar_keys import tar_stem

TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz", ".tbz2", ".tar.xz", ".txz", ".tar.zst", ".tzst")
PACKED = re.compile(r"\.tar\.(lz4|lzma|lzo|br|z|7z)$", re.IGNORECASE)  # in ways that are not read
UNFINISHED = re.compile(
    r"\.(tar|tgz)\b.*\.(tmp|temp|part|partial|incomplete|crdownload|download|aria2)$", re.IGNORECASE
)
CLASS_NAMES, TAR_COUNT = "classnames.txt", "nshards.txt"
MOST_NAMED = 3  # in a warning
OPENED = 16  # tars that are looked into at once

IMAGE_MEMBER = click.Option(
    ["--image-member"], metavar="SUFFIX", help="Suffix of the picture, such as jpg, where samples have several."
)


class WebDataset(Source):
    summary = "tars of .jpg with .txt, .json or .cls"
    example = "fastpt prep webdataset --source shards"
    options = (
        *caption_options(strip_markup=False),
        click.Option(["--label-column"], help="Column of the .json with the class (default: the .cls)."),
        IMAGE_MEMBER,
    )

    def list_splits(
        self, request: Request, label_column: str | None, image_member: str | None, **captions: Any
    ) -> Found:
        return webdataset_splits(request, Members(RecordFormat(**captions), label_column, image_member))


@dataclass(frozen=True)
class _Reader:
    tars: list[Path]
    stamp: list[Stamp]  # of each
    unpacked: list[IO[bytes] | None]  # of each, what holds its content if that is packed
    where: array = field(repr=False)  # int64 [N * 3]: tar, offset, size

    def __call__(self, i: int) -> bytes:
        tar, offset, size = self.where[3 * i : 3 * i + 3]
        check_size(size)
        if unpacked := self.unpacked[tar]:
            return os.pread(unpacked.fileno(), size, offset)
        with open_unchanged(self.tars[tar], self.stamp[tar]) as file:
            return file.pread(size, offset)

    def holder(self, i: int) -> str:
        return self.tars[self.where[3 * i]].name

    def stamps(self) -> dict[str, Stamp]:
        return {tar.name: stamp for tar, stamp in zip(self.tars, self.stamp, strict=True)}

    def __getstate__(self) -> dict[str, Any]:
        if packed := next((tar for tar, file in zip(self.tars, self.unpacked, strict=True) if file), None):
            raise FastptError(f"{packed} is unpacked for this machine only. For --ray, unpack it.")
        return self.__dict__

    def take(self, rows: Iterable[int]) -> "_Reader":
        return replace(self, where=array("q", (value for i in rows for value in self.where[3 * i : 3 * i + 3])))


def webdataset_splits(request: Request, members: Members) -> Found:
    """The splits of tars, and of all tars below folders.

    If any sample of a split has a caption (a label), those without are left out by name. Members of tars count as
    files. Raises FastptError if no sample has a picture and a target, or where it is unclear which picture is meant.
    """
    root = ", ".join(map(str, request.places))
    found = find_containers(request.places, *TARS)
    _check_packed(found)
    if not found.files:
        raise FastptError(f"--source {root} holds no .tar files. Give a tar, or a folder of them.")
    warnings = found.warnings + _unfinished(found)
    splits = splits_of_files(found.files, request.split, warnings)
    for tars in splits.values():
        _check_names(tars)
    shards = _list_tars([tar for mine in splits.values() for tar in mine], members, request)
    if request.split is None:
        for name, mine in splits.items():
            _check_inside(name, [shards[tar] for tar in mine])
    labels = _labels(root, list(shards.values()), members, warnings)
    class_names = _class_names(request.places, found, labels)
    if class_names:  # some of which may have no picture
        labels = replace(labels, classes=[str(i) for i in range(len(class_names))])
    warnings += [*labels.warnings, *_tars_not_there(found)]
    beside = defaultdict(Counter, found.beside)
    listings, start = [], 0
    for name, mine in splits.items():
        listing = _split(name, [shards[tar] for tar in mine], labels, class_names or labels.classes, start)
        start += sum(len(shards[tar].samples) for tar in mine)
        if not len(listing) and not listing.rejected and any(shards[tar].beside[OUTSIDE] for tar in mine):
            warnings.append(f"no sample of split {name} is in the subset: it is left out")
            continue
        if listing.labels is None and listing.captions is None:
            beside["samples without a target"][name] += len(listing) + len(listing.rejected)
            warnings.append(f"no sample of split {name} has a caption or a label: it is left out")
            continue
        if listing.captions is None and any(s.caption == "" for tar in mine for s in shards[tar].samples):
            warnings.append(f"all captions of split {name} are empty: it is prepared without")
        warnings += caption_warnings(listing.captions or ())
        listings.append(members.records.annotate(listing))
    if not listings:
        raise FastptError(
            f"--source {root}: no sample has a .txt, a .json with a caption, or a .cls beside its picture"
            f"{_what_there_is(list(shards.values()), labels)}. --caption-column and --label-column name columns of the "
            ".json; pictures in class folders are for `fastpt prep imagefolder`."
        )
    others = sum(map(Counter.total, found.beside.values()))
    for shard in shards.values():
        for what, counts in shard.beside.items():
            beside[what] += counts
    warnings += _shard_warnings(list(shards.values()))
    return Found(listings, others + sum(shard.files for shard in shards.values()), beside, tuple(warnings))


# --- tars ---------------------------------------------------------------------------------------------------------


def _check_packed(found: Containers) -> None:
    """Raises FastptError if there are tars that are packed in a way that is not read."""
    packed = [path for path in found.others if PACKED.search(path.name) and not hidden_part(path.name)]
    if packed:
        more = f" and {len(packed) - 1:,} more" if len(packed) > 1 else ""
        raise FastptError(f"{packed[0]}{more} cannot be read, packed as it is. Unpack it, or move it away.")


def _unfinished(found: Containers) -> list[str]:
    names = [str(path) for path in found.others if UNFINISHED.search(path.name)]
    return [f"{_some(names)}: by the name a tar that is not finished. It is not read"] if names else []


def _check_inside(split: str, shards: Iterable[Shard]) -> None:
    """Raises FastptError if a tar of a split has folders of another."""
    for shard in shards:
        if other := next((name for name in shard.inside if name != split), None):
            raise FastptError(
                f"{shard.tar} has samples in {shard.inside[other]}/, and would be of split {split}. Make one of each "
                f"split, or say --source {split}={shard.tar}."
            )


def _check_names(tars: Sequence[Path]) -> None:
    """Raises FastptError if two tars of a split have one name, which their keys begin with."""
    stems: dict[str, Path] = {}
    for path in tars:
        if (other := stems.setdefault(tar_stem(path), path)) is not path:
            raise FastptError(f"{path} and {other} have one name, so their keys would be the same. Rename one.")


def _list_tars(tars: Sequence[Path], members: Members, request: Request) -> dict[Path, Shard]:
    """The samples of all tars, in their order. Those that are packed are unpacked here, into one file without a name
    for all."""
    with ThreadPoolExecutor(OPENED) as threads:  # which may each wait for a server
        packed = [tar for tar, found in zip(tars, threads.map(is_packed, tars), strict=True) if found]
    plain = [tar for tar in tars if tar not in set(packed)]
    work = partial(list_tar, members=members, ignore_damage=request.ignore_damage)
    shards = dict(zip(plain, map_in_processes(work, plain, request.workers), strict=True))
    file = nameless_file(request.unpack_dir) if packed else None
    shards |= {tar: work(tar, unpacked=file) for tar in packed}
    return {tar: shards[tar] for tar in tars}  # labels are counted through all of them


# --- what CLIP_benchmark lays beside tars ---------------------------------------------------------------------------


def _class_names(places: Sequence[Path], found: Containers, labels: Labels) -> list[str]:
    """The readable names of numbered classes, a line each in the `classnames.txt` of a place; [] if there is none.

    Raises FastptError if they cannot be those of the labels.
    """
    lists = [path for place in places if (path := place / CLASS_NAMES) in found.others]
    if not lists or labels.classes != [str(i) for i in range(len(labels.classes))]:
        return []
    names = [line.strip() for line in _text(lists[0]).splitlines()]
    if other := next((path for path in lists[1:] if _text(path) != _text(lists[0])), None):
        raise FastptError(f"{lists[0]} and {other} name other classes. Prepare each by itself.")
    if len(names) < len(labels.classes) or not all(names):
        what = "an empty line" if not all(names) else f"{len(names)} names"
        raise FastptError(f"{lists[0]} has {what}, and the .cls count {len(labels.classes)} classes. Mend it.")
    found.count_read(lists)
    return names


def _tars_not_there(found: Containers) -> list[str]:
    """What to say of folders that hold fewer tars than their `nshards.txt` counts."""
    counts = [path for path in found.others if path.name == TAR_COUNT]
    found.count_read(counts)
    lacking = []
    for path in counts:
        there, stated = sum(tar.parent == path.parent for tar in found.files), _text(path).strip()
        if stated != str(there):
            lacking.append(f"{path} counts {stated[:20]} tars; {there:,} are there")
    return lacking


def _text(path: Path) -> str:
    with open_regular(path) as file:
        check_size(file.stamp[0])
        try:
            return text_of(file.pread(file.stamp[0], 0))
        except ValueError as error:
            raise FastptError(f"{path} {error}. Mend it or take it away.") from None


# --- splits -------------------------------------------------------------------------------------------------------


def _labels(root: str, shards: Sequence[Shard], members: Members, warnings: list[str]) -> Labels:
    """The labels of all samples with a picture, in their order."""
    samples = [sample for shard in shards for sample in shard.samples]
    subset = members.records.subset
    if not samples and subset and any(shard.beside[OUTSIDE] for shard in shards):
        raise members.records.none_in_subset(subset, next((shard.columns for shard in shards if shard.columns), ()))
    if not samples:
        left_out = [pair for shard in shards for pair in (*shard.rejected, *shard.pictureless)]
        first = f" ({left_out[0][0]}: {left_out[0][1]})" if left_out else ""
        raise FastptError(f"--source {root}: no sample has a picture{first}. Check the tars, or name --image-member.")
    in_json = sum(sample.json_label is not None for sample in samples)
    from_json = members.label_column is not None
    if from_json and not in_json:
        raise FastptError(f"--source {root}: no .json has a {members.label_column!r}. Name another --label-column.")
    if not from_json and in_json:
        others = any(sample.label is not None or sample.caption is not None for sample in samples)
        from_json = not others
        warnings.append(
            f"the .json of {in_json:,} samples has a {LABEL!r}: it is "
            + ("not used (--label-column label would)" if others else "taken, as there is no .cls and no caption")
        )
    values = [None if s.problem else s.json_label if from_json else s.label for s in samples]
    if all(value is None for value in values):
        return Labels([], np.full(len(values), -1), {})
    column = f"{members.label_column or LABEL!r} in the .json" if from_json else "the .cls"
    return read_labels(values, column, [sample.key for sample in samples])


def _what_there_is(shards: Sequence[Shard], labels: Labels) -> str:
    """What stands where targets should, as far as there is something, in brackets."""
    samples = [sample for shard in shards for sample in shard.samples]
    told = []
    for row, sample in enumerate(samples):
        empty = "its caption is empty" if sample.caption == "" else None
        if reason := sample.problem or labels.missing.get(row) or empty:
            told.append(f"{sample.key}: {reason}")
            break
    if columns := next((shard.columns for shard in shards if shard.columns), None):
        told.append(f"columns of the .json are {', '.join(columns)}")
    others = sum((shard.beside["other members"] for shard in shards), Counter[str]())
    if others:
        told.append(f"other members are {', '.join(suffix for suffix, _ in others.most_common(MOST_NAMED))}")
    return f" ({'; '.join(told)})" if told else ""


def _split(name: str, shards: Sequence[Shard], labels: Labels, class_names: Sequence[str], start: int) -> SplitListing:
    """The samples of a split, of which the first is `start` in `labels`; those that lack a target are left out."""
    samples = [(number, sample) for number, shard in enumerate(shards) for sample in shard.samples]
    numbers = labels.numbers[start : start + len(samples)]
    has_labels = bool((numbers >= 0).any())
    has_captions = any(sample.caption for _, sample in samples)
    rows, where, rejected = [], array("q"), [pair for shard in shards for pair in shard.rejected]
    for row, (shard, sample) in enumerate(samples):
        reason = sample.problem
        if not reason and has_captions and not sample.caption:
            reason = "no caption"
        if not reason and has_labels and numbers[row] < 0:
            reason = labels.missing[start + row]
        if reason or sample.picture is None:
            rejected.append((sample.key, str(reason)))
            continue
        rows.append(row)
        where.extend((shard, *sample.picture))
    captions = [str(samples[row][1].caption) for row in rows] if has_captions else None
    return SplitListing(
        name=name,
        keys=[samples[row][1].key for row in rows],
        labels=numbers[rows] if has_labels else None,
        captions=captions,
        classes=labels.classes,
        class_names=list(class_names),
        read=_Reader(
            [shard.tar for shard in shards],
            [shard.stamp for shard in shards],
            [shard.unpacked for shard in shards],
            where,
        ),
        is_train=name == "train",
        rejected=tuple(rejected),
        pictureless=tuple(pair for shard in shards for pair in shard.pictureless),
        note=broken_text_note(captions or ()),
    )


def _shard_warnings(shards: Sequence[Shard]) -> list[str]:
    """What to say of the tars that were listed."""
    warnings = [damage for shard in shards for damage in shard.damage]
    empty = [str(one.tar) for one in shards if not one.samples and not one.damage and not one.beside[OUTSIDE]]
    if empty:
        warnings.append(f"{_some(empty)}: no sample with a picture")
    failed = sum((shard.failed for shard in shards), Counter[str]())
    if failed:
        each = ", ".join(f"{status} {count:,}" for status, count in failed.most_common(5))
        warnings.append(f"{plural(failed.total(), 'sample')} without a picture, as the .json says: {each}")
    return warnings


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMED:,} more" if len(names) > MOST_NAMED else ""
    return ", ".join(names[:MOST_NAMED]) + more


SOURCE = WebDataset()
