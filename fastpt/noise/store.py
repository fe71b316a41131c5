"""Noise plans: the noise of one kind, rate and seed beside a split, made once.

A plan is <name>.json, which says what it is and what was measured, and <name>.npy: int32 [N], the label that each
sample is shown, or int64 [N], the row whose caption it is shown.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from fastpt.errors import FastptError
from fastpt.files import atomic_write, file_sha256, read_sealed_json, write_sealed_json
from fastpt.noise import formats, ranking

if TYPE_CHECKING:
    from fastpt.data.dataset import Dataset

FORMAT = 1
KINDS = (*ranking.LABEL_KINDS, *ranking.CAPTION_KINDS, "external")
Targets = Literal["labels", "captions"]

log = logging.getLogger("fastpt.data")


@dataclass(frozen=True)
class NoisePlan:
    """What a plan's JSON says, and its array: int32 [N] labels to show, or int64 [N] rows whose caption is shown."""

    name: str
    kind: str
    rate: float  # asked for; of `external` noise, what the file holds
    realised_rate: float
    realised_per_class: list[float] | None  # of labels
    seed: int | None  # None of `external` noise
    source_sha256: str | None  # of the matrix, the hierarchy or the labels it was made from
    array_sha256: str
    array: np.ndarray

    @property
    def of(self) -> Targets:
        return "labels" if self.array.dtype == np.int32 else "captions"

    def provenance(self) -> dict:
        """What a run records of the noise it saw."""
        return {
            "plan": self.name,
            "kind": self.kind,
            "rate": self.rate,
            "realised_rate": self.realised_rate,
            "seed": self.seed,
            "array_sha256": self.array_sha256,
        }


@dataclass(frozen=True)
class NoiseFiles:
    """The file that a kind of noise is made from, if it needs one."""

    matrix: Path | None = None  # asymmetric: a confusion matrix
    hierarchy: Path | None = None  # asymmetric: the nearest classes of a hierarchy
    file: Path | None = None  # external: the targets themselves

    def the_one(self, kind: str) -> Path | None:
        """The path that is given. Raises FastptError if it is not what `kind` needs."""
        needed = {"asymmetric": ("matrix", "hierarchy"), "external": ("file",)}.get(kind, ())
        given = [name for name in ("matrix", "hierarchy", "file") if getattr(self, name) is not None]
        if len(given) != min(len(needed), 1) or not set(given) <= set(needed):
            wants = " or ".join(needed) or "no file"
            raise FastptError(f"{kind} noise is made from: {wants}; given: {', '.join(given) or 'no file'}.")
        path = getattr(self, given[0]) if given else None
        if path is not None and not path.is_file():
            raise FastptError(f"{path} is no file. Give the {given[0]} that {kind} noise is made from.")
        return path


def add_plan(dataset: "Dataset", kind: str, rate: float | None, seed: int, of: Targets, files: NoiseFiles) -> NoisePlan:
    """Make a plan and write it beside the split, or return the one that is there. See `Dataset.add_noise`."""
    if kind not in KINDS:
        raise FastptError(f"no kind of noise is called {kind!r}; there are {', '.join(KINDS)}.")
    source = files.the_one(kind)
    if kind == "external":
        if rate is not None:
            raise FastptError("external noise has the rate that its file holds; leave the rate out.")
        name = "external-" + "".join(char if char.isalnum() or char in "-_." else "_" for char in source.stem)
    else:
        if rate is None:
            raise FastptError(f"{kind} noise needs a rate, a share of samples such as 0.05.")
        name = ranking.plan_name(kind, ranking.check_rate(rate), seed)
    path = dataset.path / "noise" / f"{name}.json"
    if not path.exists():
        array = make(dataset, kind, rate, seed, of, files)
        _write(path, dataset, kind, rate, None if kind == "external" else seed, array, source)
    plan = load_plan(path, dataset.samples_id)
    if source and plan.source_sha256 != file_sha256(source):
        raise FastptError(
            f"{path} was made from another file than {source} (their sha256 differ). "
            "Delete the plan (.json and .npy), or give the file another name or the plan another seed."
        )
    return plan


def make(dataset: "Dataset", kind: str, rate: float | None, seed: int, of: Targets, files: NoiseFiles) -> np.ndarray:
    """The array of a plan: int32 [N] labels or int64 [N] rows."""
    keys, classes = dataset.stored_keys, dataset.classes
    if kind == "symmetric":
        return ranking.symmetric(keys, dataset.clean_labels, len(classes), rate, seed)
    if kind == "asymmetric":
        labels = dataset.clean_labels
        if files.matrix:
            weights = formats.read_matrix(files.matrix, len(classes))
        else:
            weights = formats.read_hierarchy(files.hierarchy, classes)
        return ranking.asymmetric(keys, labels, weights, rate, seed)
    if kind == "swap":
        return ranking.swap(keys, dataset.caption_hashes, rate, seed)
    if kind == "pairswap":
        dataset.require_captions()
        return ranking.pairswap(keys, rate, seed)
    if of == "labels":
        array, left_out = formats.read_labels(
            files.file, keys.load(), dataset.clean_labels, classes, dataset.class_names
        )
    else:
        dataset.require_captions()
        array, left_out = formats.read_captions(files.file, keys.load())
    if left_out:
        log.warning("%s does not name %d of %d samples; they stay clean.", files.file, left_out, len(array))
    return array


def measure(dataset: "Dataset", array: np.ndarray) -> tuple[float, list[float] | None]:
    """The share of samples that are shown a wrong target: of all, and (labels) of each class."""
    if array.dtype == np.int32:
        labels, classes = dataset.clean_labels, len(dataset.classes)
        wrong = array != labels
        counts = np.maximum(np.bincount(labels, minlength=classes), 1)
        per_class = (np.bincount(labels[wrong], minlength=classes) / counts).tolist()
    else:
        wrong = dataset.caption_hashes[array] != dataset.caption_hashes
        per_class = None
    return float(wrong.mean()), per_class


def _write(
    path: Path,
    dataset: "Dataset",
    kind: str,
    rate: float | None,
    seed: int | None,
    array: np.ndarray,
    source: Path | None,
) -> None:
    realised_rate, per_class = measure(dataset, array)
    path.parent.mkdir(exist_ok=True)
    with atomic_write(path.with_suffix(".npy")) as file:
        np.save(file, array)
    plan = {
        "format": FORMAT,
        "kind": kind,
        "rate": realised_rate if rate is None else rate,
        "realised_rate": realised_rate,
        **({"realised_per_class": per_class} if per_class is not None else {}),
        "seed": seed,
        "samples_id": dataset.samples_id,
        **({"source_sha256": file_sha256(source)} if source else {}),
        "array_sha256": file_sha256(path.with_suffix(".npy")),
    }
    write_sealed_json(path, plan)


def load_plan(path: Path, samples_id: str) -> NoisePlan:
    """Read a plan. Raises FastptError if it is damaged or was made for other samples."""
    plan = read_sealed_json(path, FORMAT)
    array_path = path.with_name(path.name.removesuffix(".json") + ".npy")
    if not array_path.exists() or file_sha256(array_path) != plan["array_sha256"]:
        state = "does not match the sha256 in its plan" if array_path.exists() else "is missing"
        raise FastptError(f"{array_path} {state}. Delete both files and make the plan anew with `fastpt noise`.")
    if plan["samples_id"] != samples_id:
        raise FastptError(
            f"{path} was made for other samples (its samples_id {plan['samples_id'][:12]}, here {samples_id[:12]}). "
            "Delete it and make the plan anew with `fastpt noise`."
        )
    return NoisePlan(
        path.name.removesuffix(".json"),
        plan["kind"],
        plan["rate"],
        plan["realised_rate"],
        plan.get("realised_per_class"),
        plan["seed"],
        plan.get("source_sha256"),
        plan["array_sha256"],
        np.load(array_path),
    )
