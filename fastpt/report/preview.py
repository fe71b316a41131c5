"""A prepared split on one HTML page: pictures with clean and noisy targets, classes, sizes, the matrix of the noise."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastpt.data.dataset import Dataset
from fastpt.data.plan import NoisePlan
from fastpt.errors import FastptError
from fastpt.files import atomic_write
from fastpt.printable import one_line, plural
from fastpt.report.pictures import Picture, changed_targets, target_texts, thumbnail
from fastpt.report.template import render
from fastpt.report.text import rate

MOST_BARS = 24
MOST_CELLS = 16  # classes a side of the noise matrix; more are put together


@dataclass(frozen=True)
class PlanSection:
    """What a noise plan did."""

    name: str
    note: str
    pictures: list[Picture]
    wide: bool
    matrix: list[tuple[str, list[int]]]  # how often a group of classes is shown as each; empty where it is of captions


def write_preview(dataset: Dataset, plans: Sequence[float | str | None], pictures: int, out: Path) -> None:
    """Write the page `out`, with so many `pictures` a section. `plans` are named as `Dataset.noise_plan` takes them."""
    if out.is_dir():
        raise FastptError(f"{out} is a folder, but the preview is one file. Name the file.")
    shown = [plan for noise in plans if (plan := dataset.noise_plan(noise))]
    rng = np.random.default_rng(0)
    some = np.sort(rng.permutation(len(dataset))[:pictures])
    page = render(
        "preview.html",
        split=one_line(f"{dataset.name}/{dataset.split}"),
        facts=_facts(dataset),
        histograms=_histograms(dataset),
        clean_pictures=_clean_pictures(dataset, some),
        plans=[_plan(dataset, plan, pictures, rng) for plan in shown],
    )
    with atomic_write(out, "w") as file:
        file.write(page)


def _facts(dataset: Dataset) -> list[tuple[str, str]]:
    counts, samples = dataset.manifest["counts"], dataset.samples
    facts = [("Samples", f"{len(dataset):,}"), ("Left out", f"{counts['rejected']:,}")]
    if dataset.has_labels:
        facts.append(("Classes", f"{len(dataset.classes):,}"))
    width, height = (np.median(side) for side in (samples.width, samples.height))
    facts += [
        ("Stored", f"{counts['bytes'] / 1e6:,.1f} MB in {plural(len(dataset.manifest['shards']), 'shard')}"),
        ("Median picture", f"{width:.0f} × {height:.0f} px, {np.median(samples.size) / 1e3:.1f} kB"),
        ("samples_id", dataset.samples_id),
    ]
    remark = dataset.manifest["note"]
    return facts + ([("Note", one_line(remark))] if remark else [])


def _histograms(dataset: Dataset) -> list[tuple[str, list[tuple[str, int]]]]:
    """Class sizes, and sizes of pictures and files: each a title, and a name and a count for each bar."""
    samples = dataset.samples
    made = []
    if dataset.has_labels:
        counts = np.bincount(dataset.clean_labels, minlength=len(dataset.classes))
        if len(counts) <= MOST_BARS:
            bars = list(zip(map(one_line, dataset.class_names), counts.tolist(), strict=True))
            made.append(("Samples of each class", bars))
        else:
            made.append(("Classes by number of samples", _bins(counts, "")))
    made.append(("Longer side of the pictures", _bins(np.maximum(samples.width, samples.height), " px")))
    made.append(("Size of the stored JPEGs", _bins(samples.size / 1e3, " kB")))
    return made


def _bins(values: np.ndarray, unit: str) -> list[tuple[str, int]]:
    """At most about 12 bins with round edges: name and count."""
    low, high = float(values.min()), float(values.max())
    if low == high:
        return [(f"{low:g}{unit}", len(values))]
    decade = 10.0 ** np.floor(np.log10((high - low) / 12))
    step = next(decade * factor for factor in (1, 2, 5, 10) if decade * factor * 12 >= high - low)
    edges = step * np.arange(np.floor(low / step), np.floor(high / step) + 2)
    counts = np.histogram(values, edges)[0].tolist()
    return [(f"{edge:.4g}–{edge + step:.4g}{unit}", count) for edge, count in zip(edges, counts, strict=False)]


def _clean_pictures(dataset: Dataset, rows: np.ndarray) -> list[Picture]:
    texts = []
    if dataset.has_labels:
        texts.append(target_texts(dataset, dataset.clean_labels[rows], "labels"))
    if dataset.has_captions:
        texts.append(target_texts(dataset, rows, "captions"))
    return [
        Picture(thumbnail(dataset, row), " · ".join(targets))
        for row, *targets in zip(rows.tolist(), *texts, strict=True)
    ]


def _plan(dataset: Dataset, plan: NoisePlan, pictures: int, rng: np.random.Generator) -> PlanSection:
    count, shown = changed_targets(dataset, plan, pictures, rng)
    seed = "" if plan.seed is None else f", seed {plan.seed}"
    note = (
        f"{plan.kind} noise of {plan.of}{seed}: {rate(plan.rate)} asked, {rate(plan.realised_rate)} realised "
        f"({round(plan.realised_rate * len(dataset)):,} of {len(dataset):,} samples)."
    )
    matrix = _matrix(dataset, plan) if plan.of == "labels" and count else []
    return PlanSection(one_line(plan.name), note, shown, plan.of == "captions", matrix)


def _matrix(dataset: Dataset, plan: NoisePlan) -> list[tuple[str, list[int]]]:
    """How often each class is shown as which, for at most MOST_CELLS groups of neighbouring classes, by name."""
    classes = len(dataset.classes)
    groups = min(classes, MOST_CELLS)
    group = np.arange(classes) * groups // classes
    wrong = plan.array != dataset.clean_labels
    pairs = group[dataset.clean_labels[wrong]] * groups + group[plan.array[wrong]]
    counts = np.bincount(pairs, minlength=groups * groups).reshape(groups, groups)
    first = [int(np.flatnonzero(group == index)[0]) for index in range(groups)]
    last = [*(one - 1 for one in first[1:]), classes - 1]
    names = [
        one_line(dataset.class_names[a] if a == b else f"classes {a}–{b}", 40) for a, b in zip(first, last, strict=True)
    ]
    return list(zip(names, counts.tolist(), strict=True))
