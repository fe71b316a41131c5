"""Noise plans: the noise of one kind, rate and seed beside a split, made once."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from fastpt.data.dataset import Dataset
from fastpt.data.plan import Changed, ClassNoise, NoisePlan, check_rate, misfit, plan_name, write_plan
from fastpt.data.replaced import way_to
from fastpt.errors import FastptError
from fastpt.files import file_sha256
from fastpt.noise.kinds import DEFAULTS, KINDS, NoiseKind
from fastpt.noise.ranking import far_off

NO_FILES: Mapping[str, Path] = MappingProxyType({})

MOST_NAMED = 5  # classes

log = logging.getLogger("fastpt.noise")


def add_noise(
    dataset: Dataset,
    rate: float | None,
    seed: int,
    of: Changed | None = None,
    kind: str | None = None,
    files: Mapping[str, Path] = NO_FILES,
    source: str | None = None,
) -> NoisePlan:
    """Write the plan of this noise beside a split, or return the one that is there. Touches no picture.

    `kind` is by default the one that `kinds.DEFAULTS` has for the targets; `files` names the file that some kinds are
    made from by their option, such as {"matrix": path}, or the split that pictures are taken from: {"from": path}. A
    kind that takes no rate has the one of its file. The plan states where that is from: `source`, by default the file's
    name.

    Raises FastptError if the rate cannot be reached, or if rate or `files` are not what the kind needs.
    """
    kind = kind or DEFAULTS[dataset.default_targets if of in (None, "pictures") else of]
    member = KINDS.get(kind)
    of = of or (next(iter(member.of)) if len(member.of) == 1 else dataset.default_targets)
    if of not in member.of:
        raise FastptError(f"{kind} noise changes {' or '.join(sorted(member.of))}, not {of}. Choose another kind.")
    name = _name(kind, member, rate, seed, files)
    file = next(iter(files.values()), None)
    lent = Dataset(file) if file and "pictures" in member.of else None
    sha256 = lent.identity if lent else file_sha256(file) if file else None
    if name not in dataset.noise_plans():
        dataset.require_local()
        with KINDS.blaming(kind):
            made = member.make(dataset, of, rate or 0.0, seed, files)
        limits = {"labels": len(dataset.classes), "captions": len(dataset), "pictures": len(lent) if lent else 0}
        if wrong := misfit(of, made.array, len(dataset), limits[of]):
            raise FastptError(f"what {kind} noise makes {wrong}, which is a fault of its own. Nothing was written.")
        realised = realised_rates(dataset, of, made.array, rate)
        plan = NoisePlan(
            name=name,
            of=of,
            kind=kind,
            rate=realised.rate if rate is None else rate,
            realised_rate=realised.rate,
            realised_per_class=realised.per_class,
            largest_deviation=realised.largest_deviation,
            seed=seed if member.takes_rate else None,
            source=source or (f"{lent.name}/{lent.split}" if lent else file.name if file else None),
            source_sha256=sha256,
            package=KINDS.origin(kind),
            array=made.array,
            pictures=way_to(dataset, lent) if lent else None,
        )
        _warn(dataset, plan, member, made.warnings)
        write_plan(dataset.path / "noise", dataset.samples_id, plan)
    plan = dataset.noise_plan(name, None if of == "pictures" else of)
    if (plan.of == "pictures") != (of == "pictures"):
        raise FastptError(f"noise plan {name} of {dataset.path} changes {plan.of}, not {of}. Choose another seed.")
    if plan.source_sha256 != sha256:
        raise FastptError(
            f"{dataset.path / 'noise' / name}.json was made from another file than {source or file} (their sha256 "
            "differ). Delete the plan (.json and .npy), or give the file another name or the plan another seed."
        )
    return plan


def _name(kind: str, member: NoiseKind, rate: float | None, seed: int, files: Mapping[str, Path]) -> str:
    """The name of a plan. Raises FastptError if rate or files are not what the kind needs."""
    if len(files) != min(len(member.files), 1) or not set(files) <= set(member.files):
        wanted = f"needs one file: {' or '.join(member.files)}" if member.files else "takes no file"
        raise FastptError(f"{kind} noise {wanted}; given: {', '.join(files) or 'none'}.")
    for option, path in files.items():
        if "pictures" not in member.of and not path.is_file():
            raise FastptError(f"{path} is no file. Give the {option} that {kind} noise is made from.")
    if member.takes_rate:
        if rate is None:
            raise FastptError(f"{kind} noise needs a rate, a share of samples such as 0.05.")
        return plan_name(kind, check_rate(rate), seed)
    if rate is not None:
        raise FastptError(f"{kind} noise has the rate that its file holds; leave the rate out.")
    named = [Path(path.name.removesuffix(".gz")).stem for path in files.values()]
    stems = ["".join(char if char.isalnum() or char in "-_." else "_" for char in stem) for stem in named]
    return "-".join([kind, *stems])


class Realised(NamedTuple):
    """The share of samples that are shown a wrong target: of all, and (labels) of each class."""

    rate: float
    per_class: list[float] | None = None
    largest_deviation: ClassNoise | None = None


def realised_rates(dataset: Dataset, of: Changed, array: np.ndarray, rate: float | None) -> Realised:
    """What an array of noise (see `NoisePlan`) comes to in a split.

    Deviations are those from `rate`, or from the realised rate if none was asked.
    """
    if of == "captions":
        return Realised(float((dataset.caption_hashes[array] != dataset.caption_hashes).mean()))
    if not dataset.has_labels:
        return Realised(float((array >= 0).mean()))
    counts, wrong = _by_class(dataset, array >= 0 if of == "pictures" else array != dataset.clean_labels)
    realised = float(wrong.sum() / len(array))
    most = int(np.abs(wrong - (realised if rate is None else rate) * counts).argmax())
    largest = ClassNoise(dataset.classes[most], int(counts[most]), int(wrong[most]))
    return Realised(realised, (wrong / np.maximum(counts, 1)).tolist(), largest)


def _by_class(dataset: Dataset, wrong: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many samples each class has, and how many of them are among `wrong`, bool [N]: two times int64 [K]."""
    labels, classes = dataset.clean_labels, len(dataset.classes)
    return np.bincount(labels, minlength=classes), np.bincount(labels[wrong], minlength=classes)


def _warn(dataset: Dataset, plan: NoisePlan, member: NoiseKind, warnings: Sequence[str]) -> None:
    """Tell `warnings` of the file it was made from, that nothing is wrong, and classes that miss their share."""
    for warning in warnings:
        log.warning("%s: %s.", plan.source, warning)
    if not plan.realised_rate:
        why = f"they are too few for a share of {plan.rate:g}, or alike" if plan.rate else "it says what is clean"
        log.warning("%s: none of %d samples is shown anything wrong: %s.", plan.source or plan.name, len(dataset), why)
    elif member.takes_rate and member.even and plan.of == "labels":
        _warn_of_classes(dataset, plan.array, plan.rate)


def _warn_of_classes(dataset: Dataset, array: np.ndarray, rate: float) -> None:
    """Tell of classes that are far from the rate, and of those that are too small to have any wrong label."""
    counts, wrong = _by_class(dataset, array != dataset.clean_labels)
    for i in np.flatnonzero(far_off(counts, wrong, rate))[:MOST_NAMED]:
        asked = f"{rate:g} was asked, which is {rate * counts[i]:.0f}"
        log.warning("class %s has %d of %d labels wrong; %s.", dataset.classes[i], wrong[i], counts[i], asked)
    small = int(((wrong == 0) & (counts > 0) & ~far_off(counts, wrong, rate)).sum())
    if small and rate > 0:
        text = "%d of %d classes have no wrong label: they are too small for a share of %g. The rate of all is kept."
        log.warning(text, small, int((counts > 0).sum()), rate)
