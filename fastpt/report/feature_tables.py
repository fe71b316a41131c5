"""What tests' features are like, before and after the tuned layers, as tables."""

from dataclasses import dataclass
from statistics import fmean

from fastpt.printable import finite, one_line
from fastpt.report.compare import Family, records, set_label
from fastpt.report.tables import Cell, Group, Row, Table
from fastpt.tuned import cross_fitted


@dataclass(frozen=True)
class FeaturePair:
    """Two numbers of features that are shown side by side."""

    names: tuple[str, str]
    """As the results have them."""
    title: str
    note: str


FEATURE_PAIRS = (
    FeaturePair(
        ("sve", "lsvr"),
        "SVE / LSVR",
        "SVE: entropy of the normalised singular values, higher when more directions are used; its exponential is the "
        "effective rank. LSVR: −log of the share of the largest singular value, higher when it dominates less.",
    ),
    FeaturePair(
        ("alignment", "uniformity"),
        "Alignment / uniformity",
        "Of features of length 1. Alignment: mean squared distance of two pictures of one class, lower when classes "
        "are tighter. Uniformity: log of the mean of exp(−2 distance²) of pairs, lower when features are spread out.",
    ),
)


def features_table(family: Family, suite: str, pair: FeaturePair) -> Table | None:
    """Two numbers of each test set before (encoder) and after the tuned layers, for each condition."""
    stages: list[str] = []
    groups = []
    every = [record for one in family.conditions for run in one.runs for record in records(run, suite, "spectra")]
    for condition in family.conditions:
        found: dict[tuple[str, str, str], list[float]] = {}
        for record in (record for run in condition.runs for record in records(run, suite, "spectra")):
            label = set_label(*(one_line(record.get(key)) for key in ("domain", "set", "test")))
            for name in pair.names:
                if (value := finite(record.get(name))) is not None:
                    found.setdefault((label, one_line(record.get("stage")), name), []).append(value)
        stages = list(dict.fromkeys([*stages, *(stage for _, stage, _ in found)]))
        groups.append((condition.label, found))
    if not stages:
        return None
    stages = [stage for stage in family.stages if stage in stages]
    return Table(
        f"{pair.title}: {family.label}",
        [family.stages[stage].label for stage in stages],
        [Group(label, _feature_rows(found, stages, pair)) for label, found in groups if found],
        f"{pair.note} Means over seeds. {cross_fitted(every)}".strip(),
    )


def _feature_rows(found: dict[tuple[str, str, str], list[float]], stages: list[str], pair: FeaturePair) -> list[Row]:
    rows = []
    for test in dict.fromkeys(test for test, _, _ in found):
        cells = [
            Cell(" / ".join(_two_digits(found.get((test, stage, name))) for name in pair.names)) for stage in stages
        ]
        rows.append(Row(test, cells))
    return rows


def _two_digits(values: list[float] | None) -> str:
    return f"{fmean(values):.2f}" if values else "–"


def similarity_table(family: Family, suite: str) -> Table | None:
    """CKA of each condition's features of each test with those of the encoder that they were held against."""
    groups = []
    others = dict.fromkeys(
        one_line(one.get("other"))
        for condition in family.conditions
        for run in condition.runs
        for one in records(run, suite, "similarities")
    )
    for condition in family.conditions:
        found: dict[str, dict[str, list[float]]] = {}
        for record in (record for run in condition.runs for record in records(run, suite, "similarities")):
            label = set_label(*(one_line(record.get(key)) for key in ("domain", "set", "test")))
            if (value := finite(record.get("cka"))) is not None:
                found.setdefault(label, {}).setdefault(one_line(record.get("other")), []).append(value)
        rows = [Row(label, [Cell(_two_digits(values.get(one))) for one in others]) for label, values in found.items()]
        groups += [Group(condition.label, rows)] if rows else []
    if not groups:
        return None
    note = "Linear CKA (Kornblith et al. 2019): 1 where features differ by rotation and scale alone. Means over seeds."
    return Table(f"How alike features are to those of another encoder: {family.label}", [*others], groups, note)
