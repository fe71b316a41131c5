"""What may stand side by side: results of other settings get names that say so, and what differs is listed.

`identity.py` says which fields have to be equal. Results of one suite go together if no field that two of them have
differs: the heads of a method that only one has, or a set that the other lacks, keep nothing apart.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fastpt.errors import FastptError
from fastpt.identity import (
    OF_ENCODER,
    OF_MACHINE,
    Identity,
    Role,
    Values,
    differing,
    of_results,
    of_run,
    value_words,
    words,
)
from fastpt.printable import finite, listed, mapping, one_line
from fastpt.recipe import completed
from fastpt.runs import Run

MOST_WORDS = 3  # of a name, about what differs


@dataclass(frozen=True)
class Difference:
    """A field of which runs have several values, or fields that go the same way, and who has which.

    What the machine decides stands by itself: the model of claims and effects has a term for it.
    """

    fields: tuple[str, ...]
    role: Role
    values: tuple[tuple[str, tuple[str, ...]], ...]
    """(value, runs that have it)."""

    @property
    def names(self) -> list[str]:
        """The fields, those that several methods have alike once: 'epochs' for lp.epochs and mlp.epochs."""
        ends = [field.rpartition(".")[2] for field in self.fields]
        told = [end if ends.count(end) > 1 else field for field, end in zip(self.fields, ends, strict=True)]
        return list(dict.fromkeys(told))

    @property
    def consequence(self) -> str:
        """What the page does about it."""
        if self.fields[0] in OF_MACHINE:
            return "averaged over; a term of the model of claims and effects"
        return "shown apart" if self.role == "setting" else "averaged over"


@dataclass(frozen=True)
class Suite:
    """Results that may be compared: the name they are shown under, and the settings of all of them."""

    name: str
    settings: Values
    methods: tuple[str, ...]


@dataclass(frozen=True)
class Comparison:
    """Runs whose results are called by names under which they may be compared."""

    runs: list[Run]
    suites: dict[str, Suite]
    """By name."""
    differences: list[Difference]
    identities: list[tuple[Run, str, Identity]]
    """What produced each run (with no name) and each of its results, by the name that they are shown under."""

    @property
    def warnings(self) -> list[str]:
        """A line for each field that differs, for a terminal."""
        return [
            f"runs differ in {', '.join(one.names)} ({'; '.join(value for value, _ in one.values)}), which is "
            f"{one.consequence}"
            for one in self.differences
        ]


def identity(run: Run) -> Identity:
    """What produced a run, with the defaults of keys that its recipe was written before."""
    return of_run(completed(run.recipe), {**run.provenance, "noise": run.noise, "seed": run.seed})


def compared(runs: Sequence[Run]) -> Comparison:
    """The runs with their results told apart. Raises FastptError where two results are of the same, and differ."""
    known = [identity(run) for run in runs]
    families = [repr(sorted(one.of("setting").items())) for one in known]
    groups: dict[str, list[_Group]] = {}  # by the name of their suite
    results: list[tuple[Run, dict[str, Any], Identity, _Group]] = []
    for run, family in zip(runs, families, strict=True):
        for tune in run.tunes:
            found = of_results(tune)
            values = {name: value for name, value in found.of("setting").items() if name != "suite"}
            kept = {(family if name.startswith(OF_ENCODER) else "", name): value for name, value in values.items()}
            mine = groups.setdefault(one_line(tune["suite"]), [])
            group = next((one for one in mine if one.takes(kept)), None)
            if group is None:
                mine.append(group := _Group())
            group.add(kept, tune)
            results.append((run, tune, found, group))
    names: dict[_Group, str] = {}
    for suite, mine in groups.items():
        for group, name in zip(mine, _names(suite, mine), strict=True):
            names[group] = _unique(name, names.values())
    renamed = [
        replace(
            run,
            tunes=[
                _merged(run, names[group], [tune for one, tune, _, other in results if one is run and other is group])
                for group in dict.fromkeys(group for one, _, _, group in results if one is run)
            ],
        )
        for run in runs
    ]
    identities = [(run, "", one) for run, one in zip(runs, known, strict=True)]
    identities += [(run, names[group], one) for run, _, one, group in results]
    suites = {name: Suite(name, group.settings, tuple(group.methods)) for group, name in names.items()}
    return Comparison(renamed, suites, _differences(identities, groups, results), identities)


class _Group:
    """Results that go together, and the values of all their settings."""

    def __init__(self):
        self.values: dict[tuple[str, str], Any] = {}  # by family, where it is the encoder's own, and field
        self.methods: dict[str, None] = {}

    def takes(self, values: Mapping[tuple[str, str], Any]) -> bool:
        return all(self.values.get(key, value) == value for key, value in values.items())

    def add(self, values: Mapping[tuple[str, str], Any], tune: Mapping[str, Any]) -> None:
        self.values |= values
        self.methods |= dict.fromkeys(mapping(tune.get("methods")))

    @property
    def settings(self) -> Values:
        """Of several values of the encoder's own fields, the list."""
        found: dict[str, list[Any]] = {}
        for (_, name), value in self.values.items():
            if value not in found.setdefault(name, []):
                found[name].append(value)
        return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def _names(suite: str, groups: list[_Group]) -> list[str]:
    """The suite's name, and behind it what differs where there are several."""
    settings = [group.settings for group in groups]
    differ = differing(settings, shared=True)
    if len(groups) == 1:
        return [suite]
    return [
        f"{suite} [{_shortened(brief({name: values[name] for name in differ if name in values}, group.methods))}]"
        for group, values in zip(groups, settings, strict=True)
    ]


def _unique(name: str, taken: Iterable[str]) -> str:
    """Names may be alike where what differs is cut short, or where a suite is called so."""
    taken, number = set(taken), 2
    tried = name
    while tried in taken:
        tried, number = f"{name} ({number})", number + 1
    return tried


def _shortened(said: Sequence[str]) -> str:
    return ", ".join([*said[:MOST_WORDS], *(["…"] if len(said) > MOST_WORDS else [])])


def brief(values: Values, methods: Iterable[str]) -> list[str]:
    """Fields as 'name value'; a setting that all methods have alike is said once, without the methods' names."""
    mine: dict[tuple[str, str], list[str]] = {}
    for name, value in values.items():
        method, _, rest = name.partition(".")
        if method in methods:
            mine.setdefault((rest, repr(value)), []).append(method)
    said: dict[str, None] = {}
    for name, value in values.items():
        method, _, rest = name.partition(".")
        alike = mine.get((rest, repr(value)), []) if method in methods else []
        every = [other for (one, _), names in mine.items() if one == rest for other in names]
        said[words(rest, value) if alike and len(alike) == len(every) else words(name, value)] = None
    return list(said)


def _merged(run: Run, name: str, tunes: list[dict[str, Any]]) -> dict[str, Any]:
    """One document of all results of a run that go together, which names their `files`. Raises FastptError if two of
    one head differ."""
    merged: dict[str, Any] = {**tunes[0], "suite": name, "files": [tune["file"] for tune in tunes]}
    if len(tunes) == 1:
        return merged
    for what, keys, value in (
        ("rows", ("domain", "set", "test", "metric", "method", "seed", "fraction"), "value"),
        ("spectra", ("domain", "set", "test", "stage"), "sve"),
        ("similarities", ("domain", "set", "test", "other"), "cka"),
    ):
        found: dict[tuple[str, ...], tuple[dict[str, Any], str]] = {}
        for tune in tunes:
            for row in _mappings(tune.get(what)):
                key = tuple(str(row.get(one)) for one in keys)
                before, file = found.setdefault(key, (row, tune["file"]))
                if finite(before.get(value)) != finite(row.get(value)):
                    told = ", ".join(f"{one} {part}" for one, part in zip(keys, key, strict=True))
                    raise FastptError(
                        f"{run.path}: {file} and {tune['file']} measured the same ({told}) and differ: "
                        f"{before.get(value)} and {row.get(value)}. Delete one of them."
                    )
        merged[what] = [row for row, _ in found.values()]
    # What failed is of a method, what is left out of all: the set as a whole.
    measured = {
        (row.get("domain"), row.get("set"), method) for row in merged["rows"] for method in (row.get("method"), None)
    }
    left_out = [one for tune in tunes for one in _mappings(tune.get("missing"))]
    merged["missing"] = [
        one for one in left_out if (one.get("domain"), one.get("set"), one.get("method")) not in measured
    ]
    merged["methods"] = {method: one for tune in tunes for method, one in mapping(tune.get("methods")).items()}
    return merged


def _mappings(value: Any) -> list[dict[str, Any]]:
    return [one for one in listed(value) if isinstance(one, dict)]


def _differences(
    identities: Sequence[tuple[Run, str, Identity]],
    groups: Mapping[str, list[_Group]],
    results: Sequence[tuple[Run, dict[str, Any], Identity, _Group]],
) -> list[Difference]:
    """Of the runs, then of the results of each suite: settings, then circumstances."""
    found = _fields_that_differ([(run.name, one) for run, name, one in identities if not name], shared=False)
    for suite in groups:
        mine = [
            (f"{run.name} ({tune['file']})" if len(run.tunes) > 1 else run.name, one)
            for run, tune, one, _ in results
            if one_line(tune["suite"]) == suite
        ]
        more = _fields_that_differ(mine, shared=True)
        known = {field for one in found for field in one.fields}
        found += [one for one in more if not known.issuperset(one.fields)]
    return sorted(found, key=lambda one: one.role == "circumstance")


def _fields_that_differ(named: Sequence[tuple[str, Identity]], shared: bool) -> list[Difference]:
    """Fields of which all values are alike distributed over the runs are one difference."""
    alike: dict[tuple[Role, bool, tuple[tuple[str, ...], ...]], list[tuple[str, list[str]]]] = {}
    for role in ("setting", "circumstance"):
        values = [(name, one.of(role)) for name, one in named]
        for field in differing([mine for _, mine in values], shared):
            having: dict[str, list[str]] = {}
            for name, mine in values:
                if field in mine or not shared:
                    having.setdefault(value_words(field, mine.get(field)), []).append(name)
            key = (role, field in OF_MACHINE, tuple(tuple(names) for names in having.values()))
            alike.setdefault(key, []).append((field, list(having)))
    found = []
    for (role, _, owners), fields in alike.items():
        ends = {field: field.rpartition(".")[2] for field, _ in fields}
        texts = [
            fields[0][1][i]
            if len(set(ends.values())) == 1
            else ", ".join(dict.fromkeys(f"{ends[field]} {values[i]}" for field, values in fields))
            for i in range(len(owners))
        ]
        found.append(Difference(tuple(field for field, _ in fields), role, tuple(zip(texts, owners, strict=True))))
    return found


def in_short(suite: Suite) -> str:
    """What most decides how results of a suite are read: 'epochs 10; 60 % of the labels flipped; features fp32'."""
    epochs = dict.fromkeys(
        value_words("epochs", value) for name, value in suite.settings.items() if name.endswith(".epochs")
    )
    share = suite.settings.get("label_noise")
    flipped = f"{value_words('label_noise', share)} of the training labels flipped" if share else "labels as they are"
    precision, size = (suite.settings.get(f"encoder.{name}") for name in ("precision", "preprocessing.size"))
    return "; ".join(
        [
            *([f"heads of {' and '.join(epochs)} epochs"] if epochs else []),
            flipped,
            *([f"features in {value_words('precision', precision)}"] if precision else []),
            *([f"pictures of {value_words('size', size)} px"] if size else []),
        ]
    )


def facts(suite: Suite) -> list[tuple[str, str]]:
    """How the results of a suite were measured, in words: heads, labels, features, splits."""
    heads: dict[str, Values] = {method: {} for method in suite.methods}
    rest: Values = {}
    for name, value in suite.settings.items():
        method, _, setting = name.partition(".")
        if method in heads:
            heads[method][setting] = value
        else:
            rest[name] = value
    owners: dict[tuple[str, str], list[str]] = {}
    for method, values in heads.items():
        for setting, value in values.items():
            owners.setdefault((setting, value_words(setting, value)), []).append(method)
    by_owner: dict[str, list[str]] = {}
    for (setting, value), methods in owners.items():
        by_owner.setdefault(", ".join(methods), []).append(f"{setting} {value}")
    splits: dict[str, list[str]] = {}
    for name, value in rest.items():
        if "/" in name:
            split, _, field = name.rpartition(".")
            splits.setdefault(split, []).append(words(field, value))
    features = [words(name.partition(".")[2], value) for name, value in rest.items() if name.startswith(OF_ENCODER)]
    flipped = rest.get("label_noise")
    return [
        *((f"Heads: {methods}", ", ".join(said)) for methods, said in by_owner.items()),
        ("Labels that heads saw", f"{value_words('label_noise', flipped)} flipped" if flipped else "as they are"),
        ("Features", ", ".join(features)),
        *((split, ", ".join(said)) for split, said in splits.items()),
    ]
