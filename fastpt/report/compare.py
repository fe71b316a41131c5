"""What may be compared with what: runs grouped into families and conditions, and means over seeds and sets.

A family is one recipe on one data set; its runs differ in noise and seed only. A condition is one noise plan within a
family; its runs differ in seed only, so they are averaged. Averages over sets are taken over the sets that every
compared result has: an average over other sets would not be comparable.
"""

import json
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from fastpt.report.collect import Run
from fastpt.report.text import clean, number, plural, rate

METHODS = {"lp": "LP", "mlp": "MLP", "nmtune": "NMTune"}
STAGES = {"encoder": "Encoder", **METHODS}
SETTINGS = {"id": "ID", "ood": "OOD"}
Key = tuple[str, str, str]  # set, test, metric


@dataclass(frozen=True)
class Estimate:
    """A mean over n replicates and their sample standard deviation (None for one)."""

    mean: float
    std: float | None
    n: int


@dataclass(frozen=True, eq=False)
class Condition:
    """The runs of one noise plan within a family; `rank` of `ranks` is its place in the family's colour scale."""

    kind: str | None
    rate: float | None
    runs: tuple[Run, ...]
    suffix: str  # tells apart what is otherwise alike
    rank: int
    ranks: int

    @property
    def label(self) -> str:
        noise = "clean" if self.kind is None else f"{rate(self.rate)} {self.kind}"
        seeds = f" ({plural(len(self.runs), 'seed')})" if len(self.runs) > 1 else ""
        return f"{noise}{self.suffix}{seeds}"


@dataclass(frozen=True, eq=False)
class Family:
    label: str
    task: str
    conditions: tuple[Condition, ...]

    @property
    def kinds(self) -> list[str]:
        """The kinds of noise in it; clean runs belong to each."""
        return sorted({condition.kind for condition in self.conditions if condition.kind})


def families(runs: Sequence[Run]) -> list[Family]:
    """The families in the order of their first run; conditions from clean to the highest rate."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(_family_key(run), []).append(run)
    names = [group[0].recipe_name for group in groups.values()]
    return [
        Family(name if names.count(name) == 1 else f"{name} [{group[0].name}]", group[0].task, _conditions(group))
        for name, group in zip(names, groups.values(), strict=True)
    ]


def _family_key(run: Run) -> str:
    """All that shapes a run but noise and seed. Two runs whose recipes differ otherwise are never averaged."""
    recipe = {key: value for key, value in run.recipe.items() if key not in ("seed", "tune")}
    recipe["data"] = {key: value for key, value in run.data.items() if key != "noise"}
    return json.dumps([run.recipe_name, run.provenance.get("samples_id"), recipe], sort_keys=True, default=str)


def _conditions(runs: list[Run]) -> tuple[Condition, ...]:
    groups: dict[tuple, list[Run]] = {}
    for run in runs:
        key, repeat = (run.kind, run.rate), 0
        # A second run of the same seed is no second seed: it stands for itself.
        while any(run.seed == other.seed for other in groups.get((*key, repeat), [])):
            repeat += 1
        groups.setdefault((*key, repeat), []).append(run)
    keys = sorted(groups, key=lambda key: (_or_inf(key[1]), key[0] or "", key[2]))
    return tuple(
        Condition(key[0], key[1], tuple(groups[key]), f" [{groups[key][0].name}]" if key[2] else "", rank, len(keys))
        for rank, key in enumerate(keys)
    )


def _or_inf(value: float | None) -> float:
    return math.inf if value is None else value


def suites(runs: Iterable[Run]) -> list[str]:
    return sorted({clean(tune["suite"]) for run in runs for tune in run.tunes})


def records(run: Run, suite: str, what: str) -> list[dict[str, Any]]:
    """The `rows`, `spectra` or `missing` of a run under a suite; entries that are no mapping are left out."""
    found = (tune.get(what) for tune in run.tunes if clean(tune["suite"]) == suite)
    return [record for value in found if isinstance(value, list) for record in value if isinstance(record, dict)]


def estimate(values: Sequence[float]) -> Estimate | None:
    if not values:
        return None
    return Estimate(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, len(values))


@dataclass(frozen=True, eq=False)
class Accuracies:
    """Accuracy of every condition, set and method under one suite and setting (ID or OOD)."""

    setting: str
    conditions: list[Condition]
    methods: list[str]
    keys: list[Key]
    common: list[Key]  # the sets that every condition and method has: averages are over these
    cells: dict[tuple[Condition, Key, str], Estimate]
    averages: dict[tuple[Condition, str], Estimate]

    def best(self, condition: Condition, key: Key | None) -> set[str]:
        """The methods of the highest mean in a row (`key` None: the averages), as shown with one decimal."""
        row = {method: self.cell(condition, key, method) for method in self.methods}
        shown = {method: round(100 * cell.mean, 1) for method, cell in row.items() if cell}
        return {method for method in shown if shown[method] == max(shown.values())} if len(shown) > 1 else set()

    def cell(self, condition: Condition, key: Key | None, method: str) -> Estimate | None:
        return self.averages.get((condition, method)) if key is None else self.cells.get((condition, key, method))


def accuracies(conditions: Sequence[Condition], suite: str, setting: str) -> Accuracies | None:
    """Means over seeds of each cell, and averages over the common sets. None if there is no result."""
    found: dict[tuple[Condition, str], list[dict[Key, float]]] = {}
    for condition in conditions:
        for method, replicates in _replicates(condition, suite, setting).items():
            found[condition, method] = replicates
    if not found:
        return None
    keys = list(dict.fromkeys(key for replicates in found.values() for values in replicates for key in values))
    common = [key for key in keys if all(key in values for replicates in found.values() for values in replicates)]
    cells, averages = {}, {}
    for (condition, method), replicates in found.items():
        for key in keys:
            if cell := estimate([values[key] for values in replicates if key in values]):
                cells[condition, key, method] = cell
        if common:
            means = [statistics.fmean(values[key] for key in common) for values in replicates]
            averages[condition, method] = estimate(means)
    methods = {method for _, method in found}
    ordered = [method for method in METHODS if method in methods] + sorted(methods - METHODS.keys())
    shown = [condition for condition in conditions if any((condition, method) in found for method in methods)]
    return Accuracies(setting, shown, ordered, keys, common, cells, averages)


def _replicates(condition: Condition, suite: str, setting: str) -> dict[str, list[dict[Key, float]]]:
    """Per method, the values of each replicate: pre-training seeds if there are several, else the seeds of the head."""
    by_method: dict[str, list[list[dict[Key, float]]]] = {}
    for run in condition.runs:
        heads: dict[str, dict[Any, dict[Key, float]]] = {}
        for row in records(run, suite, "rows"):
            if row.get("fraction", 1) != 1:  # heads on a part of the data are no further replicates
                continue
            value = number(row.get("value"))
            if row.get("setting") == setting and value is not None:
                key = (clean(row.get("set")), clean(row.get("test", row.get("set"))), clean(row.get("metric")))
                heads.setdefault(clean(row.get("method")), {}).setdefault(str(row.get("seed")), {})[key] = value
        for method, seeds in heads.items():
            by_method.setdefault(method, []).append(list(seeds.values()))
    return {
        method: [_mean_of_heads(heads) for heads in runs] if len(runs) > 1 else runs[0]
        for method, runs in by_method.items()
    }


def run_average(run: Run, suite: str, table: Accuracies, method: str) -> float | None:
    """One run's accuracy, averaged over the table's common sets and the seeds of the head; None if it lacks one."""
    replicates = _replicates(Condition(None, None, (run,), "", 0, 1), suite, table.setting).get(method, [])
    values = _mean_of_heads(replicates)
    if not table.common or any(key not in values for key in table.common):
        return None
    return statistics.fmean(values[key] for key in table.common)


def _mean_of_heads(heads: list[dict[Key, float]]) -> dict[Key, float]:
    keys = dict.fromkeys(key for values in heads for key in values)
    return {key: statistics.fmean(values[key] for values in heads if key in values) for key in keys}


def set_label(setting: str, name: str, test: str) -> str:
    """'textures' where the test set is the set's own; 'photo → art' where it is another domain."""
    own = test in (name, "None") or (setting == "id" and test.startswith(name))
    return name if own else f"{name} → {test}"


def row_label(setting: str, key: Key) -> str:
    name, test, metric = key
    return set_label(setting, name, test) + ("" if metric in ("accuracy", "None") else f" ({metric})")
