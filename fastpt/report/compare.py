"""What may be compared with what: runs grouped into families and conditions, and means over seeds and sets.

A family is one recipe on one data set; its runs differ in noise and seed only. A condition is one noise within a
family; its runs differ in seeds only, so they are averaged. `fastpt.identity` says which field counts as what. Averages
over sets are taken over the sets that every compared result has: an average over other sets would not be comparable.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from fastpt.errors import FastptError
from fastpt.identity import Identity, Values, differing, words
from fastpt.intervals import Interval, interval, one_if_alike
from fastpt.printable import finite, mapping, one_line, plural
from fastpt.report.apart import MOST_WORDS, identity
from fastpt.report.methods import ENCODER, Method, methods_of
from fastpt.report.text import rate
from fastpt.runs import Run
from fastpt.runs.folder import right_part

DOMAINS = {"id": "ID", "ood": "OOD"}
Key = tuple[str, str, str]  # set, test, metric


@dataclass(frozen=True, eq=False)
class Condition:
    """The runs of one noise plan within a family; `rank` of `ranks` is its place in the family's colour scale."""

    kind: str | None
    rate: float | None
    runs: tuple[Run, ...]
    suffix: str  # tells apart what is otherwise alike
    seeds: str  # how many runs it has, where the family's conditions differ in that
    rank: int
    ranks: int

    @property
    def name(self) -> str:
        """'30 % symmetric'."""
        noise = "clean" if self.kind is None else f"{rate(self.rate)} {self.kind}"
        return f"{noise}{self.suffix}"

    @property
    def label(self) -> str:
        """With its number of seeds, where that differs between conditions."""
        return f"{self.name}{self.seeds}"


@dataclass(frozen=True, eq=False)
class Family:
    label: str
    task: str
    conditions: tuple[Condition, ...]
    methods: Mapping[str, Method]  # of all runs, so that a method looks the same in every family

    @property
    def stages(self) -> dict[str, Method]:
        """What features are looked at behind: the encoder alone, then each method."""
        return {ENCODER.name: ENCODER, **self.methods}

    @property
    def kinds(self) -> list[str]:
        """The kinds of noise in it; clean runs belong to each."""
        return sorted({condition.kind for condition in self.conditions if condition.kind})

    @property
    def wrong_kinds(self) -> list[str]:
        """Those that show wrong targets: not the right parts of others."""
        parts = [right_part(kind) for kind in self.kinds]
        return [kind for kind in self.kinds if kind not in parts]


def families(runs: Sequence[Run]) -> list[Family]:
    """The families in the order of their first run; conditions from clean to the highest rate.

    Raises FastptError if two runs are the same replicate.
    """
    known = {run: identity(run) for run in runs}
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(_key(known[run].of("setting")), []).append(run)
    methods = methods_of(runs)
    return [
        Family(label, group[0].task, _conditions(group, known), methods)
        for label, group in zip(_labels([*groups.values()], known), groups.values(), strict=True)
    ]


def _key(values: Values) -> str:
    return json.dumps(values, sort_keys=True, default=str)


def _labels(groups: list[list[Run]], known: Mapping[Run, Identity]) -> list[str]:
    """The names of the recipes; of several of one name, what differs behind it, or the first run where that is much."""
    names = [group[0].recipe_name for group in groups]
    settings = [known[group[0]].of("setting") for group in groups]
    said = []
    for name, mine in zip(names, settings, strict=True):
        differ = differing([other for one, other in zip(names, settings, strict=True) if one == name])
        said.append([words(field, mine.get(field)) for field in differ])
    labels = [f"{name} [{', '.join(one)}]" if one else name for name, one in zip(names, said, strict=True)]
    return [
        label if len(one) <= MOST_WORDS and labels.count(label) == 1 else f"{name} [{group[0].name}]"
        for label, one, name, group in zip(labels, said, names, groups, strict=True)
    ]


def _conditions(runs: list[Run], known: Mapping[Run, Identity]) -> tuple[Condition, ...]:
    """Raises FastptError if two runs are the same replicate."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(_key(known[run].of("condition")), []).append(run)
    for group in groups.values():
        _check_replicates(group, known)
    noises = [(group[0].kind, group[0].rate) for group in groups.values()]
    # Unknown rates come last.
    ordered = sorted(
        zip(noises, groups.values(), strict=True), key=lambda one: (one[0][1] is None, one[0][1], one[0][0] or "")
    )
    alike = len({len(group) for group in groups.values()}) == 1
    return tuple(
        Condition(
            kind,
            rate_,
            tuple(group),
            suffix=f" [{group[0].name}]" if noises.count((kind, rate_)) > 1 else "",
            seeds="" if alike else f" ({plural(len(group), 'seed')})",
            rank=rank,
            ranks=len(groups),
        )
        for rank, ((kind, rate_), group) in enumerate(ordered)
    )


def _check_replicates(runs: list[Run], known: Mapping[Run, Identity]) -> None:
    found: dict[str, Run] = {}
    for run in runs:
        replicate = known[run].of("replicate")
        other = found.setdefault(_key(replicate), run)
        if other is not run and "seed" in replicate:
            raise FastptError(
                f"{other.path} and {run.path} are the same replicate: one recipe, one noise, seed {run.seed}. What is "
                "counted twice looks more certain than it is. Leave one of them out."
            )


def ends(family: Family, conditions: Sequence[Condition]) -> tuple[Condition, Condition]:
    """The lowest and the highest noise rate of a family's conditions: of wrong targets, not of their right part."""
    first = conditions[0]
    return first, [one for one in conditions if one is first or one.kind in family.wrong_kinds][-1]


def suites(runs: Iterable[Run]) -> list[str]:
    return sorted({one_line(tune["suite"]) for run in runs for tune in run.tunes})


def records(run: Run, suite: str, what: str) -> list[dict[str, Any]]:
    """The `rows`, `spectra` or `missing` of a run under a suite; entries that are no mapping are left out."""
    found = (tune.get(what) for tune in run.tunes if one_line(tune["suite"]) == suite)
    return [record for value in found if isinstance(value, list) for record in value if isinstance(record, dict)]


def fractions(conditions: Sequence[Condition], suite: str) -> list[float]:
    """The parts of the downstream training data that heads were trained on, ascending."""
    rows = (row for one in conditions for run in one.runs for row in records(run, suite, "rows"))
    return sorted({value for row in rows if (value := finite(row.get("fraction"))) is not None})


@dataclass(frozen=True, eq=False)
class Accuracies:
    """Accuracy of every condition, set and method under one suite, ID or OOD, for one data fraction."""

    domain: str
    fraction: float
    conditions: list[Condition]
    methods: list[str]
    keys: list[Key]
    common: list[Key]  # the sets that every condition and method has: averages are over these
    cells: dict[tuple[Condition, Key, str], Interval]
    averages: dict[tuple[Condition, str], Interval]
    over_heads: bool  # whether the intervals are over seeds of the head, as no condition has several of pre-training

    def best(self, condition: Condition, key: Key | None) -> set[str]:
        """The methods of the highest mean in a row (`key` None: the averages), as shown with one decimal."""
        row = {method: self.cell(condition, key, method) for method in self.methods}
        shown = {method: round(100 * cell.mean, 1) for method, cell in row.items() if cell}
        return {method for method in shown if shown[method] == max(shown.values())} if len(shown) > 1 else set()

    def cell(self, condition: Condition, key: Key | None, method: str) -> Interval | None:
        return self.averages.get((condition, method)) if key is None else self.cells.get((condition, key, method))


def accuracies(
    family: Family, suite: str, domain: str, fraction: float | None = None, measure: str | None = None
) -> Accuracies | None:
    """Means over seeds of each cell, and averages over the common sets. None if there is no result.

    With `measure`, of that instead of the suite's metric; methods that lack it are left out. `fraction` is that of the
    downstream training data; by default the largest there is. Where any condition has several pre-training seeds, they
    alone are the replicates: a condition of one has no interval, not that of its heads.
    """
    conditions = family.conditions
    there = fractions(conditions, suite)
    if not there:
        return None
    fraction = there[-1] if fraction is None else fraction
    over_heads = all(len(condition.runs) == 1 for condition in conditions)
    found: dict[tuple[Condition, str], list[dict[Key, float]]] = {}
    for condition in conditions:
        for method, replicates in _replicates(condition, suite, domain, fraction, over_heads, measure).items():
            found[condition, method] = replicates
    if not found:
        return None
    keys = list(dict.fromkeys(key for replicates in found.values() for values in replicates for key in values))
    common = [key for key in keys if all(key in values for replicates in found.values() for values in replicates)]
    cells, averages = {}, {}
    for (condition, method), replicates in found.items():
        for key in keys:
            if values := [one[key] for one in replicates if key in one]:
                cells[condition, key, method] = interval(values)
        if common:
            means = [fmean(values[key] for key in common) for values in replicates]
            averages[condition, method] = interval(means)
    methods = [method for method in family.methods if any(method == other for _, other in found)]
    shown = [condition for condition in conditions if any((condition, method) in found for method in methods)]
    if not shown:  # rows of no method that has a name
        return None
    return Accuracies(domain, fraction, shown, methods, keys, common, cells, averages, over_heads)


def _replicates(
    condition: Condition, suite: str, domain: str, fraction: float, over_heads: bool, measure: str | None = None
) -> dict[str, list[dict[Key, float]]]:
    """Per method, the values of each replicate: heads of the one run, or runs with the means of their heads."""
    by_method: dict[str, list[list[dict[Key, float]]]] = {}
    for run in condition.runs:
        for method, heads in _heads(run, suite, domain, fraction, measure).items():
            by_method.setdefault(method, []).append(heads)
    return {
        method: one_if_alike(runs[0]) if over_heads else [_mean_of_heads(heads) for heads in runs]
        for method, runs in by_method.items()
    }


def _heads(
    run: Run, suite: str, domain: str, fraction: float, measure: str | None = None
) -> dict[str, list[dict[Key, float]]]:
    """Per method, the values of each seed of the head."""
    heads: dict[str, dict[str, dict[Key, float]]] = {}
    for row in records(run, suite, "rows"):
        value = finite(mapping(row.get("measures")).get(measure) if measure else row.get("value"))
        if row.get("domain") == domain and value is not None and finite(row.get("fraction")) == fraction:
            key = (one_line(row.get("set")), one_line(row.get("test")), one_line(row.get("metric")))
            heads.setdefault(one_line(row.get("method")), {}).setdefault(str(row.get("seed")), {})[key] = value
    return {method: list(seeds.values()) for method, seeds in heads.items()}


def run_values(run: Run, suite: str, table: Accuracies, method: str) -> dict[Key, float]:
    """One run's accuracy on each of the table's sets, averaged over the seeds of the head."""
    return _mean_of_heads(_heads(run, suite, table.domain, table.fraction).get(method, []))


def run_average(run: Run, suite: str, table: Accuracies, method: str) -> float | None:
    """One run's accuracy, averaged over the table's common sets and the seeds of the head; None if it lacks one."""
    values = run_values(run, suite, table, method)
    if not table.common or any(key not in values for key in table.common):
        return None
    return fmean(values[key] for key in table.common)


def _mean_of_heads(heads: list[dict[Key, float]]) -> dict[Key, float]:
    keys = dict.fromkeys(key for values in heads for key in values)
    return {key: fmean(values[key] for values in heads if key in values) for key in keys}


def set_label(domain: str, name: str, test: str) -> str:
    """'textures' where the test set is the set's own, or its folds; 'photo → art' where it is another domain."""
    own = test in (name, "None")
    if domain == "id":
        own |= test in ("test", "val") or test.startswith(name) or test.endswith(" folds")
    return name if own else f"{name} → {test}"


def row_labels(domain: str, keys: Sequence[Key]) -> dict[Key, str]:
    """What each test is called, with its metric where they have several."""
    several = len({metric for _, _, metric in keys}) > 1
    return {
        (name, test, metric): set_label(domain, name, test) + (f" ({_plain(metric)})" if several else "")
        for name, test, metric in keys
    }


def metric_words(keys: Sequence[Key]) -> str:
    """What the numbers are: 'accuracy', 'accuracy, mean per class'; of several metrics, 'score'."""
    metrics = {metric for _, _, metric in keys} - {"None"}
    if metrics <= {"accuracy"}:
        return "accuracy"
    if metrics == {"mean_per_class"}:
        return "accuracy, mean per class"
    return _plain(*metrics) if len(metrics) == 1 else "score"


def _plain(metric: str) -> str:
    return metric.replace("_", " ")
