"""What tuning found, for people (text of at most 100 columns) and for spreadsheets (CSV)."""

import csv
import io
from collections.abc import Container, Iterable, Sequence
from textwrap import wrap

from fastpt.intervals import Interval, interval, one_if_alike, paired
from fastpt.printable import csv_cell, percentage, plural
from fastpt.tuned import cross_fitted, overlaps
from fastpt.tuning.best_probe import NAME
from fastpt.tuning.metrics import MEASURES
from fastpt.tuning.results import ENCODER, Results, Row, Spectrum, by_seed, comparable

DOMAINS = {"id": "ID", "ood": "OOD"}
WIDTH = 100
NONE = "–"
"""Stands for a number that there is not."""
FEATURE_MEASURES = {
    "sve": "SVE",
    "lsvr": "LSVR",
    "effective_rank": "eff. rank",
    "alignment": "alignment",
    "uniformity": "uniformity",
}


def csv_table(results: Results) -> str:
    """One line a row of the results; shares in per cent, unrounded, and the likelihood in nats."""
    settings = dict.fromkeys(name for row in results.rows for name in row.settings)
    measures = {name: f"{name}_percent" if measure.is_share else name for name, measure in MEASURES.items()}
    columns = ("domain", "set", "test", "method", "metric", "seed", "fraction", *settings, "percent", "samples")
    out = io.StringIO()
    writer = csv.DictWriter(out, [*columns, *measures.values()], lineterminator="\n")
    writer.writeheader()
    for row in results.rows:
        values = {**row.as_dict(), "percent": 100 * row.value}
        found = {name: value for name, value in row.measures.items() if value is not None}
        values |= {measures[name]: 100 * one if MEASURES[name].is_share else one for name, one in found.items()}
        writer.writerow({name: csv_cell(values.get(name)) for name in writer.fieldnames})
    return out.getvalue()


def text_table(results: Results) -> str:
    """Accuracy in per cent for each test and method, mean ± half a 95 % confidence interval over seeds.

    Below, gains of the averages paired by seed, what else was measured of answers, then of features. Lines have at most
    `WIDTH` columns, as far as names of sets leave room: of more methods, tables follow one another.
    """
    rows, labels = results.rows, {method: known["label"] for method, known in results.methods.items()}
    lines = [line for one in _opening(results) for line in _wrapped(one)]
    fractions = sorted({row.fraction for row in rows}, reverse=True)
    for fraction in fractions:
        chosen = [row for row in rows if row.fraction == fraction]
        title = "" if fractions == [1.0] else f"{percentage(fraction)} of the data"
        whole, alike = comparable(chosen), _alike(chosen)
        shown, averaged = (
            [row for row in one if alike.get(row.method, row.seed) == row.seed] for one in (chosen, whole)
        )
        lines += ["", *_aligned([[title, *labels.values()], *_accuracy_lines(shown, averaged, list(labels), fraction)])]
        note = f"no ±: the heads of {', '.join(labels[one] for one in alike)} are all alike"
        lines += _wrapped(note if alike else "")
        lines += [""] * bool(gains := _gains(whole, labels, fraction, alike)) + gains
        lines += _beside_accuracy(whole, labels, title)
    titles = {ENCODER: ENCODER} | {method: f"after {label}" for method, label in labels.items()}
    if results.spectra:
        lines += ["", *_aligned([["features", *FEATURE_MEASURES.values()], *_feature_lines(results.spectra, titles)])]
        lines += _wrapped(cross_fitted(map(vars, results.spectra)))
    if results.similarities:
        lines += ["", *_aligned([["linear CKA of the features with those of", "CKA"], *_similarity_lines(results)])]
    for line in overlaps(results.splits):
        lines += _wrapped(f"no fair test: {line}")
    for line in results.departures:
        lines += _wrapped(f"not as published: {line}")
    for one in results.missing:
        lines += _wrapped(f"{'failed' if one.failed else 'left out'}: {one.where} ({one.reason})")
    return "\n".join(lines) + "\n"


def _opening(results: Results) -> list[str]:
    """What the numbers are of."""
    encoder, seeds = results.encoder, len({row.seed for row in results.rows})
    noise = encoder["noise"]
    pretrained = f", pre-trained with {percentage(noise['realised_rate'])} {noise['kind']} noise" if noise else ""
    lines = [f"{encoder['name']}{pretrained}; suite {results.suite}; accuracy in %, {seeds} seed(s)"]
    if noise_rate := results.config["label_noise"]:
        none = [one["set"] for one in results.splits if one.get("wrong_labels") == 0]
        few = f", of which there are none in {', '.join(dict.fromkeys(none))}" if none else ""
        lines.append(f"{percentage(noise_rate)} of the training labels flipped{few}")
    spread = "± is half of a 95 % confidence interval over seeds of the heads (Student's t)"
    return [*lines, *_settings(results), *([spread] if seeds > 1 else [])]


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
    described = [known for known in results.methods.values() if "settings" in known]
    tried = {known["label"]: known["settings"].get("tried", "?") for known in described}
    budget = ", ".join(f"{label} {number}" for label, number in tried.items() if not isinstance(number, list))
    return [
        *lines,
        *([f"heads: {', '.join(words)}"] if words else []),
        *([f"settings tried on a validation part, each head: {budget}"] if budget else []),
        *_chosen_probes(results),
    ]


def _chosen_probes(results: Results) -> list[str]:
    """Which probe each set's best is."""
    chosen: dict[str, list[str]] = {}
    for row in results.rows:
        if row.method == NAME:
            label = results.methods[str(row.settings["probe"])]["label"]
            share = "" if row.fraction == 1 else f" ({percentage(row.fraction)})"
            names = chosen.setdefault(label, [])
            names += [name for name in (f"{DOMAINS[row.domain]} {row.set}{share}",) if name not in names]
    words = "; ".join(f"{label}: {', '.join(names)}" for label, names in chosen.items())
    return [f"best probe, chosen on validation parts of the training data: {words}"] if words else []


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


def _alike(rows: Sequence[Row]) -> dict[str, int]:
    """Of methods whose heads are all alike, as no seed changes them, the first of these seeds."""
    heads: dict[str, dict[int, dict[tuple[str, str, str], float]]] = {}
    for row in rows:
        heads.setdefault(row.method, {}).setdefault(row.seed, {})[row.domain, row.set, row.test] = row.value
    return {
        method: next(iter(seeds))
        for method, seeds in heads.items()
        if len(one_if_alike([*seeds.values()])) < len(seeds)
    }


def _beside_accuracy(rows: Sequence[Row], labels: dict[str, str], title: str) -> list[str]:
    """Of each domain and method the means of all measures, over tests and seeds."""
    names = list(dict.fromkeys(name for row in rows for name in row.measures))
    heads = [f"{MEASURES[name].label}{', %' if MEASURES[name].is_share else ''}" for name in names]
    lines, without = [], []
    for domain, words in DOMAINS.items():
        for method, label in labels.items():
            mine = [row.measures for row in rows if (row.domain, row.method) == (domain, method) and row.measures]
            if not mine:
                continue
            values = [[value for one in mine if (value := one[name]) is not None] for name in names]
            lines.append([f"{words} {label}", *map(_mean_measure, names, values)])
            if any(MEASURES[name].needs_probabilities and not one for name, one in zip(names, values, strict=True)):
                without.append(label)
    if not lines:
        return []
    note = f"{NONE}: {', '.join(dict.fromkeys(without))} gives no probabilities" if without else ""
    return ["", *_aligned([[title or "means over tests", *heads], *lines]), *_wrapped(note)]


def _mean_measure(name: str, values: Sequence[float]) -> str:
    if not values:
        return NONE
    mean = sum(values) / len(values)
    return f"{100 * mean:.2f}" if MEASURES[name].is_share else f"{mean:.3f}"


def _feature_lines(spectra: Iterable[Spectrum], titles: dict[str, str]) -> list[list[str]]:
    """A line a test and stage, the stages of a test together."""
    order = list(titles)
    tests = list(dict.fromkeys((one.domain, one.set, one.test) for one in spectra))
    lines = []
    for one in sorted(spectra, key=lambda one: (tests.index((one.domain, one.set, one.test)), order.index(one.stage))):
        numbers = [getattr(one, name) for name in FEATURE_MEASURES]
        cells = [NONE if value is None else f"{value:.3f}" for value in numbers]
        lines.append([f"{DOMAINS[one.domain]} {one.set} -> {one.test}, {titles[one.stage]}", *cells])
    return lines


def _similarity_lines(results: Results) -> list[list[str]]:
    return [
        [f"{DOMAINS[one.domain]} {one.set} -> {one.test}, {one.other}", NONE if one.cka is None else f"{one.cka:.3f}"]
        for one in results.similarities
    ]


def _gains(rows: list[Row], labels: dict[str, str], fraction: float, alike: Container[str]) -> list[str]:
    """Each later method against each earlier one, paired by seed; nothing where there is one seed, or no seed changes
    either."""
    lines = []
    for domain, title in DOMAINS.items():
        for i, method in enumerate(labels):
            for other in list(labels)[:i]:
                gain = paired(*(by_seed(rows, domain, name, fraction) for name in (method, other)))
                if gain and gain.ci95_half is not None and not (method in alike and other in alike):
                    lines.append(f"{title} average, {labels[method]} over {labels[other]}: {_percent(gain, '+')}")
    return lines


def _mean(values: Sequence[float]) -> str:
    return _percent(interval(values)) if values else ""


def _percent(found: Interval, sign: str = "") -> str:
    spread = "" if found.ci95_half is None else f" ± {100 * found.ci95_half:.2f}"
    return f"{100 * found.mean:{sign}.2f}{spread}"


def _aligned(lines: list[list[str]]) -> list[str]:
    """Lines of cells, the first to the left and the others to the right; those that are too wide in several tables."""
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    tables: list[list[int]] = [[]]  # the columns of each, beside the first
    for column in range(1, len(widths)):
        used = widths[0] + sum(widths[one] + 2 for one in [*tables[-1], column])
        if tables[-1] and used > WIDTH:
            tables.append([])
        tables[-1].append(column)
    found = []
    for columns in tables:
        found += [""] * bool(found)
        for line in lines:
            cells = [line[0].ljust(widths[0]), *(line[one].rjust(widths[one]) for one in columns)]
            found.append("  ".join(cells).rstrip())
    return found


def _wrapped(text: str) -> list[str]:
    """Lines of a sentence; names and paths stay whole."""
    return wrap(text, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
