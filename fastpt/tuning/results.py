"""What tuning found: as JSON, for people (text) and for spreadsheets (CSV)."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from fastpt.intervals import Interval, interval, paired
from fastpt.printable import csv_cell, percentage, plural
from fastpt.tuned import FORMAT as TUNE_FORMAT
from fastpt.tuning.methods import BASELINE
from fastpt.tuning.suites import Domain, Missing

ENCODER = "encoder"
"""The stage of a spectrum whose features are those of the encoder; others are called by their method."""
DOMAINS = {"id": "ID", "ood": "OOD"}


@dataclass(frozen=True)
class Row:
    """The value of one head on one test."""

    domain: Domain
    set: str
    test: str
    method: str
    metric: str
    value: float
    """0 to 1."""
    samples: int
    """Of the test."""
    seed: int
    fraction: float
    """Share of the training data."""
    settings: dict[str, Any]
    """What was chosen for the head: names and values are the method's."""

    def as_dict(self) -> dict[str, Any]:
        """One level of keys."""
        return {name: value for name, value in vars(self).items() if name != "settings"} | self.settings


@dataclass(frozen=True)
class Spectrum:
    """That of one test's features, as the encoder gives them or after what a method's first head makes of them."""

    domain: Domain
    set: str
    test: str
    stage: str
    """`ENCODER`, or a method."""
    sve: float
    lsvr: float
    singular_values: list[float]
    """Relative to the largest, from the largest on."""


@dataclass(frozen=True)
class Results:
    """All that a suite told of one encoder."""

    suite: str
    encoder: dict[str, Any]
    """Name, weights, preprocessing, precision, width; run, recipe, seed, data and noise of its pre-training."""
    config: dict[str, Any]
    """What was asked for."""
    methods: dict[str, dict[str, Any]]
    """Of each method its label and colour, all that its heads are trained with, the package that gave it, if any."""
    splits: list[dict[str, Any]]
    """Of each split of a set (`test` null: the training split) what tells it from another; see `sets.splits_of`."""
    rows: list[Row]
    spectra: list[Spectrum]
    missing: list[Missing]
    made_with: dict[str, Any]
    """Versions of packages and the device: what numbers should not depend on."""
    seconds: dict[str, float]
    """Of computing features, and of training heads."""

    @property
    def failed(self) -> list[Missing]:
        """What should have been measured and could not be."""
        return [one for one in self.missing if one.failed]

    def as_dict(self) -> dict[str, Any]:
        """What the JSON file holds, under a seal."""
        return {
            "format": TUNE_FORMAT,
            "suite": self.suite,
            "encoder": self.encoder,
            "config": self.config,
            "methods": self.methods,
            "splits": self.splits,
            "rows": [row.as_dict() for row in self.rows],
            "summary": summary(self.rows),
            "spectra": [asdict(one) for one in self.spectra],
            "missing": [asdict(one) for one in self.missing],
            "made_with": self.made_with,
            "seconds": self.seconds,
        }


def by_seed(rows: Sequence[Row], domain: str, method: str, fraction: float = 1.0) -> dict[int, float]:
    """For each seed, the mean value over the tests of a domain."""
    values: dict[int, list[float]] = {}
    for row in rows:
        if (row.domain, row.method, row.fraction) == (domain, method, fraction):
            values.setdefault(row.seed, []).append(row.value)
    return {seed: float(np.mean(one)) for seed, one in values.items()}


def comparable(rows: Sequence[Row]) -> list[Row]:
    """The rows of those tests that every method, seed and fraction of a domain has, which averages are over."""
    heads: dict[tuple[str, str, str], set[tuple[str, int, float]]] = {}
    wanted: dict[str, set[tuple[str, int, float]]] = {}
    for row in rows:
        head = (row.method, row.seed, row.fraction)
        heads.setdefault((row.domain, row.set, row.test), set()).add(head)
        wanted.setdefault(row.domain, set()).add(head)
    return [row for row in rows if heads[row.domain, row.set, row.test] == wanted[row.domain]]


def summary(rows: Sequence[Row]) -> list[dict]:
    """For each domain, method and fraction, the average over tests with its interval, and the paired gain over LP."""
    found = []
    rows = comparable(rows)
    for domain, method, fraction in dict.fromkeys((row.domain, row.method, row.fraction) for row in rows):
        mine, baseline = (by_seed(rows, domain, name, fraction) for name in (method, BASELINE))
        gain = None if method == BASELINE else paired(mine, baseline)
        found.append(
            {
                "domain": domain,
                "method": method,
                "fraction": fraction,
                "average": interval(list(mine.values()))._asdict(),
                "gain_over_lp": gain and gain._asdict(),
            }
        )
    return found


def csv_table(results: Results) -> str:
    """One line a row of the results."""
    settings = dict.fromkeys(name for row in results.rows for name in row.settings)
    columns = ("domain", "set", "test", "method", "metric", "seed", "fraction", *settings, "value", "samples")
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: csv_cell(value) for name, value in row.as_dict().items()} for row in results.rows)
    return out.getvalue()


def text_table(results: Results) -> str:
    """Accuracy in per cent for each test and method, mean ± half a 95 % confidence interval over seeds.

    Below, gains of the averages paired by seed, then SVE and LSVR.
    """
    encoder, rows = results.encoder, results.rows
    noise = encoder["noise"]
    pretrained = f", pre-trained with {percentage(noise['realised_rate'])} {noise['kind']} noise" if noise else ""
    labels = {method: known["label"] for method, known in results.methods.items()}
    seeds = len({row.seed for row in rows})
    lines = [f"{encoder['name']}{pretrained}; suite {results.suite}; accuracy in %, {seeds} seed(s)"]
    if noise_rate := results.config["label_noise"]:
        none = [one["set"] for one in results.splits if one.get("wrong_labels") == 0]
        few = f", of which there are none in {', '.join(dict.fromkeys(none))}" if none else ""
        lines[0] += f", {percentage(noise_rate)} of the training labels flipped{few}"
    lines += _settings(results)
    if seeds > 1:
        lines.append("± is half of a 95 % confidence interval over seeds of the heads (Student's t)")
    fractions = sorted({row.fraction for row in rows}, reverse=True)
    for fraction in fractions:
        chosen = [row for row in rows if row.fraction == fraction]
        title = "" if fractions == [1.0] else f"{percentage(fraction)} of the data"
        whole = comparable(chosen)
        lines += ["", *_aligned([[title, *labels.values()], *_accuracy_lines(chosen, whole, list(labels), fraction)])]
        lines += [""] * bool(gains := _gains(whole, labels, fraction)) + gains
    titles = {ENCODER: ENCODER} | {method: f"after {label}" for method, label in labels.items()}
    stages = [stage for stage in titles if any(one.stage == stage for one in results.spectra)]
    head = ["", *(f"{what} {titles[stage]}" for what in ("SVE", "LSVR") for stage in stages)]
    lines += ["", *_aligned([head, *_spectrum_lines(results.spectra, stages)])]
    lines += [f"{'failed' if one.failed else 'left out'}: {one.where} ({one.reason})" for one in results.missing]
    return "\n".join(lines) + "\n"


def _settings(results: Results) -> list[str]:
    """What the numbers are under: the encoder's precision and crop, and the options of the methods."""
    encoder, lines = results.encoder, []
    if crop := encoder.get("preprocessing"):
        kept = percentage(crop["crop_fraction"])
        lines.append(f"features in {encoder['precision']} of centre crops of {kept} at {crop['size']} px")
    options = {
        name: value for name, value in results.config.items() if name not in ("seeds", "fractions", "label_noise")
    }
    words = [
        f"{name} {', '.join(map(str, value)) if isinstance(value, list) else value}"
        for name, value in options.items()
        if value not in (None, [])
    ]
    return lines + ([f"heads: {', '.join(words)}"] if words else [])


def _accuracy_lines(rows: list[Row], whole: list[Row], methods: list[str], fraction: float) -> list[list[str]]:
    """A line a test, and the averages over those of `whole`, which all methods have."""
    lines = []
    for domain, title in DOMAINS.items():
        mine = [row for row in rows if row.domain == domain]
        tests = dict.fromkeys((row.set, row.test, row.metric) for row in mine)
        for name, test, metric in tests:
            values = [
                [row.value for row in mine if (row.set, row.test, row.method) == (name, test, method)]
                for method in methods
            ]
            note = "" if metric == "accuracy" else " (mean per class)"
            lines.append([f"{title} {name} -> {test}{note}", *(_mean(one) for one in values)])
        averaged = {(row.set, row.test) for row in whole if row.domain == domain}
        if averaged:
            averages = [list(by_seed(whole, domain, method, fraction).values()) for method in methods]
            words = "" if len(averaged) == len(tests) else f" of the {plural(len(averaged), 'test')} that all have"
            lines.append([f"{title} average{words}", *map(_mean, averages)])
    return lines


def _spectrum_lines(spectra: list[Spectrum], stages: list[str]) -> list[list[str]]:
    found = {(one.domain, one.set, one.test, one.stage): one for one in spectra}
    lines = []
    for domain, name, test in dict.fromkeys(key[:3] for key in found):
        cells = [found.get((domain, name, test, stage)) for stage in stages]
        numbers = [f"{getattr(cell, what):.3f}" if cell else "" for what in ("sve", "lsvr") for cell in cells]
        lines.append([f"{DOMAINS[domain]} {name} -> {test}", *numbers])
    return lines


def _gains(rows: list[Row], labels: dict[str, str], fraction: float) -> list[str]:
    """Each later method against each earlier one, paired by seed; nothing where there is one seed."""
    lines = []
    for domain, title in DOMAINS.items():
        for i, method in enumerate(labels):
            for other in list(labels)[:i]:
                gain = paired(*(by_seed(rows, domain, name, fraction) for name in (method, other)))
                if gain and gain.ci95_half is not None:
                    lines.append(f"{title} average, {labels[method]} over {labels[other]}: {_percent(gain, '+')}")
    return lines


def _mean(values: Sequence[float]) -> str:
    return _percent(interval(values)) if values else ""


def _percent(found: Interval, sign: str = "") -> str:
    spread = "" if found.ci95_half is None else f" ± {100 * found.ci95_half:.2f}"
    return f"{100 * found.mean:{sign}.2f}{spread}"


def _aligned(lines: list[list[str]]) -> list[str]:
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    return [
        "  ".join(
            [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
        ).rstrip()
        for line in lines
    ]
