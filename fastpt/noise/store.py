"""Noise plans: the noise of one kind, rate and seed beside a split, made once."""

import logging
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from fastpt.data.dataset import Dataset
from fastpt.data.plan import NoisePlan, Targets, check_rate, plan_name, write_plan
from fastpt.errors import FastptError
from fastpt.files import file_sha256
from fastpt.noise import formats, ranking

LABEL_KINDS = ("symmetric", "asymmetric")
CAPTION_KINDS = ("swap", "pairswap")
KINDS = (*LABEL_KINDS, *CAPTION_KINDS, "external")
NO_FILES: Mapping[str, Path] = MappingProxyType({})

log = logging.getLogger("fastpt.data")


class Realised(NamedTuple):
    """The share of samples that are shown a wrong target: of all, and (labels) of each class."""

    rate: float
    per_class: list[float] | None


def add_noise(
    dataset: Dataset,
    rate: float | None,
    seed: int,
    of: Targets | None = None,
    kind: str | None = None,
    files: Mapping[str, Path] = NO_FILES,
) -> NoisePlan:
    """Write the plan of this noise beside a split, or return the one that is there. Touches no picture.

    `kind` is by default symmetric for labels and swap for captions; `files` names what some kinds are made from, such
    as {"matrix": path}. `external` noise takes no rate: it has the one of its file. Raises FastptError if the rate
    cannot be reached, or if `files` is not what the kind needs.
    """
    if of is None:
        of = "labels" if kind in LABEL_KINDS else "captions" if kind in CAPTION_KINDS else None
    of = of or ("labels" if dataset.has_labels else "captions")
    kind = kind or ("symmetric" if of == "labels" else "swap")
    if kind not in KINDS:
        raise FastptError(f"no kind of noise is called {kind!r}; there are {', '.join(KINDS)}.")
    source = _the_one(kind, files)
    if kind == "external":
        if rate is not None:
            raise FastptError("external noise has the rate that its file holds; leave the rate out.")
        assert source is not None
        name = "external-" + "".join(char if char.isalnum() or char in "-_." else "_" for char in source.stem)
    else:
        if rate is None:
            raise FastptError(f"{kind} noise needs a rate, a share of samples such as 0.05.")
        name = plan_name(kind, check_rate(rate), seed)
    if name not in dataset.noise_plans():
        array = make(dataset, kind, rate, seed, of, files)
        realised = realised_rates(dataset, of, array)
        write_plan(
            dataset.path / "noise",
            name,
            dataset.samples_id,
            array,
            of=of,
            kind=kind,
            rate=realised.rate if rate is None else rate,
            realised_rate=realised.rate,
            realised_per_class=realised.per_class,
            seed=None if kind == "external" else seed,
            source_sha256=file_sha256(source) if source else None,
        )
    plan = dataset.noise_plan(name)
    if source and plan.source_sha256 != file_sha256(source):
        raise FastptError(
            f"{dataset.path / 'noise' / name}.json was made from another file than {source} (their sha256 differ). "
            "Delete the plan (.json and .npy), or give the file another name or the plan another seed."
        )
    return plan


def _the_one(kind: str, files: Mapping[str, Path]) -> Path | None:
    """The path that is given. Raises FastptError if it is not what `kind` needs."""
    needed = {"asymmetric": ("matrix", "hierarchy"), "external": ("file",)}.get(kind, ())
    if len(files) != min(len(needed), 1) or not set(files) <= set(needed):
        wants = " or ".join(needed) or "no file"
        raise FastptError(f"{kind} noise is made from: {wants}; given: {', '.join(files) or 'no file'}.")
    for option, path in files.items():
        if not path.is_file():
            raise FastptError(f"{path} is no file. Give the {option} that {kind} noise is made from.")
    return next(iter(files.values()), None)


def make(
    dataset: Dataset, kind: str, rate: float | None, seed: int, of: Targets, files: Mapping[str, Path]
) -> np.ndarray:
    """The array of a plan: int32 [N] labels or int64 [N] rows."""
    keys, classes = dataset.stored_keys, dataset.classes
    if kind == "symmetric":
        return ranking.symmetric(keys, dataset.clean_labels, len(classes), rate, seed)
    if kind == "asymmetric":
        labels = dataset.clean_labels
        if "matrix" in files:
            weights = formats.read_matrix(files["matrix"], len(classes))
        else:
            weights = formats.read_hierarchy(files["hierarchy"], classes)
        return ranking.asymmetric(keys, labels, weights, rate, seed)
    if kind == "swap":
        return ranking.swap(keys, dataset.caption_hashes, rate, seed)
    if kind == "pairswap":
        dataset.require_captions()
        return ranking.pairswap(keys, rate, seed)
    if of == "labels":
        array, left_out = formats.read_labels(
            files["file"], keys.load(), dataset.clean_labels, classes, dataset.class_names
        )
    else:
        dataset.require_captions()
        array, left_out = formats.read_captions(files["file"], keys.load())
    if left_out:
        log.warning("%s does not name %d of %d samples; they stay clean.", files["file"], left_out, len(array))
    return array


def realised_rates(dataset: Dataset, of: Targets, array: np.ndarray) -> Realised:
    """What an array of noise comes to in a split."""
    if of == "labels":
        labels, classes = dataset.clean_labels, len(dataset.classes)
        wrong = array != labels
        counts = np.maximum(np.bincount(labels, minlength=classes), 1)
        return Realised(float(wrong.mean()), (np.bincount(labels[wrong], minlength=classes) / counts).tolist())
    wrong = dataset.caption_hashes[array] != dataset.caption_hashes
    return Realised(float(wrong.mean()), None)
