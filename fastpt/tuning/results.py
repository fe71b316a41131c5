"""What tuning found, and as JSON; as tables it is in tables.py."""

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from fastpt.intervals import interval, paired
from fastpt.tuned import FORMAT as TUNE_FORMAT
from fastpt.tuning.methods import BASELINE
from fastpt.tuning.metrics import MEASURES
from fastpt.tuning.suites import Domain, Missing

ENCODER = "encoder"
"""The stage of a spectrum whose features are those of the encoder; others are called by their method."""


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
    measures: dict[str, float | None] = field(default_factory=dict)
    """All of `metrics.MEASURES` by name; None where the method or the test gives nothing that it could be of."""
    validation: float | None = None
    """Of a probe, the share of right answers on the validation part of the training data, 0 to 1."""

    def as_dict(self) -> dict[str, Any]:
        """Settings beside the columns."""
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
    effective_rank: float
    alignment: float | None
    """Of pairs of one class."""
    uniformity: float | None
    singular_values: list[float]
    """Relative to the largest, from the largest on."""


@dataclass(frozen=True)
class Similarity:
    """How alike two encoders see one test."""

    domain: Domain
    set: str
    test: str
    other: str
    """Name of the other encoder."""
    cka: float | None
    """Linear CKA of their features; None where one gives the same features for all samples."""


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
    answers: bytes
    """The file beside the results that has every head's answer to every picture (`answers.answers_file`)."""
    spectra: list[Spectrum]
    similarities: list[Similarity]
    missing: list[Missing]
    made_with: dict[str, Any]
    """Versions of packages and the device: what numbers should not depend on."""
    seconds: dict[str, float]
    """Of computing features, and of training heads."""
    departures: list[str] = field(default_factory=list)
    """In what sets are not as they were published, a line each."""

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
            "measures": {name: {"label": one.label, "is_share": one.is_share} for name, one in MEASURES.items()},
            "rows": [row.as_dict() for row in self.rows],
            "answers_sha256": hashlib.sha256(self.answers).hexdigest(),
            "summary": summary(self.rows),
            "spectra": [asdict(one) for one in self.spectra],
            "similarities": [asdict(one) for one in self.similarities],
            "missing": [asdict(one) for one in self.missing],
            "departures": self.departures,
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
