"""Tuning results for people (text) and for spreadsheets (CSV), from the JSON that `fastpt.tuning.run` writes."""

import csv
import io
from collections.abc import Sequence

import numpy as np

from fastpt.intervals import Interval, interval, paired

METHODS = {
    "lp": {"label": "LP", "colour": "#0072b2"},
    "ridge": {"label": "Ridge", "colour": "#a8487f"},
    "mlp": {"label": "MLP", "colour": "#c77f00"},
    "nmtune": {"label": "NMTune", "colour": "#008f68"},
    "lp+lora": {"label": "LP+LoRA", "colour": "#4c9ed9"},
    "mlp+lora": {"label": "MLP+LoRA", "colour": "#dca64a"},
    "nmtune+lora": {"label": "NMTune+LoRA", "colour": "#45b592"},
    "lp+full": {"label": "LP+full", "colour": "#004b76"},
    "mlp+full": {"label": "MLP+full", "colour": "#855500"},
    "nmtune+full": {"label": "NMTune+full", "colour": "#005f45"},
}
DOMAINS = {"id": "ID", "ood": "OOD"}
COLUMNS = (
    "domain",
    "set",
    "test",
    "method",
    "metric",
    "seed",
    "fraction",
    "lr",
    "reg_weight",
    "l2",
    "value",
    "samples",
)


def by_seed(rows: Sequence[dict], domain: str, method: str, fraction: float = 1.0) -> dict[int, float]:
    """For each seed, the mean value over the tests of a domain."""
    values: dict[int, list[float]] = {}
    for row in rows:
        if (row["domain"], row["method"], row.get("fraction", 1.0)) == (domain, method, fraction):
            values.setdefault(row["seed"], []).append(row["value"])
    return {seed: float(np.mean(one)) for seed, one in values.items()}


def summary(rows: Sequence[dict]) -> list[dict]:
    """For each domain, method and fraction, the average over tests with its interval, and the paired gain over LP."""
    found = []
    for domain, method, fraction in dict.fromkeys(
        (row["domain"], row["method"], row.get("fraction", 1.0)) for row in rows
    ):
        mine, probe = (by_seed(rows, domain, name, fraction) for name in (method, "lp"))
        gain = None if method == "lp" else paired(mine, probe)
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


def csv_table(results: dict) -> str:
    """One line a row of the results."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(results["rows"])
    return out.getvalue()


def text_table(results: dict) -> str:
    """Accuracy in per cent for each test and method, mean ± half a 95 % confidence interval over seeds.

    Below, gains of the averages paired by seed, then SVE and LSVR.
    """
    encoder, rows = results["encoder"], results["rows"]
    noise = encoder["noise"]
    pretrained = f", pre-trained with {noise['realised_rate']:.2%} {noise['kind']} noise" if noise else ""
    labels = {method: known["label"] for method, known in results["methods"].items()}
    methods = list(labels)
    seeds = len({row["seed"] for row in rows})
    lines = [f"{encoder['name']}{pretrained}; suite {results['suite']}; accuracy in %, {seeds} seed(s)"]
    if noise_rate := results.get("config", {}).get("label_noise"):
        lines[0] += f", {noise_rate:.0%} of the training labels flipped"
    if seeds > 1:
        lines.append("± is half of a 95 % confidence interval over seeds of the heads (Student's t)")
    fractions = sorted({row.get("fraction", 1.0) for row in rows}, reverse=True)
    for fraction in fractions:
        chosen = [row for row in rows if row.get("fraction", 1.0) == fraction]
        title = "" if fractions == [1.0] else f"{fraction:.0%} of the data"
        lines += ["", *_aligned([[title, *labels.values()], *_accuracy_lines(chosen, methods)])]
        lines += [""] * bool(gains := _gains(chosen, labels, fraction)) + gains
    titles = {"encoder": "encoder"} | {method: f"after {label}" for method, label in labels.items()}
    stages = [stage for stage in titles if any(one["stage"] == stage for one in results["spectra"])]
    head = ["", *(f"{what} {titles[stage]}" for what in ("SVE", "LSVR") for stage in stages)]
    lines += ["", *_aligned([head, *_spectrum_lines(results["spectra"], stages)])]
    lines += [f"left out: {entry['set']} ({entry['reason']})" for entry in results["missing"]]
    return "\n".join(lines) + "\n"


def _accuracy_lines(rows: list[dict], methods: list[str]) -> list[list[str]]:
    lines = []
    for domain, title in DOMAINS.items():
        tests = dict.fromkeys((row["set"], row["test"], row["metric"]) for row in rows if row["domain"] == domain)
        for name, test, metric in tests:
            values = [
                [
                    row["value"]
                    for row in rows
                    if (row["domain"], row["set"], row["test"]) == (domain, name, test) and row["method"] == method
                ]
                for method in methods
            ]
            note = "" if metric == "accuracy" else " (mean per class)"
            lines.append([f"{title} {name} -> {test}{note}", *(_mean(one) for one in values)])
        if tests:
            lines.append([f"{title} average", *(_mean(_averages(rows, domain, method)) for method in methods)])
    return lines


def _spectrum_lines(spectra: list[dict], stages: list[str]) -> list[list[str]]:
    found = {(one["domain"], one["set"], one["test"], one["stage"]): one for one in spectra}
    lines = []
    for domain, name, test in dict.fromkeys(key[:3] for key in found):
        cells = [found.get((domain, name, test, stage)) for stage in stages]
        numbers = [f"{cell[what]:.3f}" if cell else "" for what in ("sve", "lsvr") for cell in cells]
        lines.append([f"{DOMAINS[domain]} {name} -> {test}", *numbers])
    return lines


def _averages(rows: list[dict], domain: str, method: str) -> list[float]:
    fractions = {row.get("fraction", 1.0) for row in rows}
    return [value for fraction in fractions for value in by_seed(rows, domain, method, fraction).values()]


def _gains(rows: list[dict], labels: dict[str, str], fraction: float) -> list[str]:
    """Each later method against each earlier one, paired by seed; nothing where there is one seed."""
    lines = []
    for domain, title in DOMAINS.items():
        for i, method in enumerate(labels):
            for other in list(labels)[:i]:
                pair = (by_seed(rows, domain, name, fraction) for name in (method, other))
                gain = paired(*pair)
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
