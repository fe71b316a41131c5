"""Tuning results for people (text) and for spreadsheets (CSV), from the JSON that `fastpt.tuning.run` writes."""

import csv
import io
from collections.abc import Sequence

from fastpt.intervals import Interval, by_seed, interval, paired

FROZEN = {"lp": "LP", "probe": "probe", "mlp": "MLP", "nmtune": "NMTune"}
FINE_TUNED = {
    f"{method}+{kind}": f"{FROZEN[method]}, {title}"
    for kind, title in (("lora", "LoRA"), ("full", "full"))
    for method in ("lp", "mlp", "nmtune")
}
METHODS = FROZEN | FINE_TUNED
STAGES = {"encoder": "encoder", "mlp": "after MLP", "nmtune": "after NMTune"} | {
    method: f"after {title}" for method, title in FINE_TUNED.items()
}
SETTINGS = {"id": "ID", "ood": "OOD"}
COLUMNS = (
    "setting",
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
    methods = [method for method in METHODS if any(row["method"] == method for row in rows)]
    seeds = len({row["seed"] for row in rows})
    lines = [f"{encoder['name']}{pretrained}; suite {results['suite']}; accuracy in %, {seeds} seed(s)"]
    if noise_rate := results.get("plan", {}).get("label_noise"):
        lines[0] += f", {noise_rate:.0%} of the training labels flipped"
    if seeds > 1:
        lines.append("± is half of a 95 % confidence interval over seeds of the heads (Student's t)")
    fractions = sorted({row.get("fraction", 1.0) for row in rows}, reverse=True)
    for fraction in fractions:
        chosen = [row for row in rows if row.get("fraction", 1.0) == fraction]
        title = "" if fractions == [1.0] else f"{fraction:.0%} of the data"
        lines += ["", *_aligned([[title, *(METHODS[method] for method in methods)], *_accuracy_lines(chosen, methods)])]
        lines += [""] * bool(gains := _gains(chosen, methods, fraction)) + gains
    stages = [stage for stage in STAGES if any(one["stage"] == stage for one in results["spectra"])]
    head = ["", *(f"{what} {STAGES[stage]}" for what in ("SVE", "LSVR") for stage in stages)]
    lines += ["", *_aligned([head, *_spectrum_lines(results["spectra"], stages)])]
    lines += [f"left out: {entry['set']} ({entry['reason']})" for entry in results["missing"]]
    return "\n".join(lines) + "\n"


def _accuracy_lines(rows: list[dict], methods: list[str]) -> list[list[str]]:
    lines = []
    for setting, title in SETTINGS.items():
        tests = dict.fromkeys((row["set"], row["test"], row["metric"]) for row in rows if row["setting"] == setting)
        for name, test, metric in tests:
            values = [
                [
                    row["value"]
                    for row in rows
                    if (row["setting"], row["set"], row["test"]) == (setting, name, test) and row["method"] == method
                ]
                for method in methods
            ]
            note = "" if metric == "accuracy" else " (mean per class)"
            lines.append([f"{title} {name} -> {test}{note}", *(_mean(one) for one in values)])
        if tests:
            lines.append([f"{title} average", *(_mean(_averages(rows, setting, method)) for method in methods)])
    return lines


def _spectrum_lines(spectra: list[dict], stages: list[str]) -> list[list[str]]:
    found = {(one["setting"], one["set"], one["test"], one["stage"]): one for one in spectra}
    lines = []
    for setting, name, test in dict.fromkeys(key[:3] for key in found):
        cells = [found.get((setting, name, test, stage)) for stage in stages]
        numbers = [f"{cell[what]:.3f}" if cell else "" for what in ("sve", "lsvr") for cell in cells]
        lines.append([f"{SETTINGS[setting]} {name} -> {test}", *numbers])
    return lines


def _averages(rows: list[dict], setting: str, method: str) -> list[float]:
    fractions = {row.get("fraction", 1.0) for row in rows}
    return [value for fraction in fractions for value in by_seed(rows, setting, method, fraction).values()]


def _gains(rows: list[dict], methods: list[str], fraction: float) -> list[str]:
    """Each later method against each earlier one, paired by seed; nothing where there is one seed."""
    lines = []
    for setting, title in SETTINGS.items():
        for i, method in enumerate(methods):
            for other in methods[:i]:
                pair = (by_seed(rows, setting, name, fraction) for name in (method, other))
                gain = paired(*pair)
                if gain and gain.ci95_half is not None:
                    lines.append(f"{title} average, {METHODS[method]} over {METHODS[other]}: {_percent(gain, '+')}")
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
