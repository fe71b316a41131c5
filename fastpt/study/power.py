"""What a study can decide: its claims' power against the number of runs, from spreads and never from a difference."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from fastpt.errors import FastptError, suggestion
from fastpt.printable import plural
from fastpt.report.apart import compared
from fastpt.report.claims import Declaration, in_words, noisy, weights
from fastpt.report.compare import accuracies, families, suites
from fastpt.report.config import Claim
from fastpt.report.effects import averages
from fastpt.report.power import Design, runs_to_decide, scaled
from fastpt.runs import Run
from fastpt.study.claims import PlannedArm, planned_arms, tunings_of
from fastpt.study.declaration import Study

RUNS = (2, 3, 4, 6, 8, 12, 16, 24, 32)  # of the smallest noisy condition that a claim is about


@dataclass(frozen=True)
class Spread:
    """The standard deviation of a claim's value between runs of one condition, in points."""

    sd: float
    interval: tuple[float, float] | None
    """95 %; None where the SD was given."""
    df: int | None
    source: str


@dataclass(frozen=True)
class Sized:
    """A claim in a design of n runs of its smallest noisy condition, at Holm's strictest step. In points, and powers in
    [0, 1]."""

    n: int
    runs: int
    """Of the recipe, at all its conditions."""
    least_effect: float
    """Told from 0 at 80 % power."""
    least_margin: float
    """That an effect of 0 is shown to lie within, at 80 % power."""
    sees_margin: float
    """Power to tell an effect as large as the margin from 0."""
    shows_none: float
    """Power to show that an effect of 0 lies within the margin."""


@dataclass(frozen=True)
class Planned:
    """What the grid can say to a claim."""

    arm: str
    suite: str | None
    """Whose runs the spread is from."""
    claim: Claim
    spread: Spread
    sizes: Sequence[Sized]
    decides_at: int | None
    """Least n that sees an effect of the margin's size, and shows one of 0 within it, at 80 % power."""

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "claim": self.claim.model_dump()}


def power_table(study: Study, sds: Mapping[str, float], pilot: Sequence[Run]) -> list[Planned]:
    """Every claim of every arm, with the spread that is given by its name, in points, or that of the pilot's runs.

    Raises FastptError if the study claims nothing, or a spread is neither given nor to be had.
    """
    if not study.claims:
        raise FastptError("the study has no claims, so there is nothing to have power for. Give it some in claims.")
    names = [one.name for one in study.claims]
    if unknown := [one for one in sds if one not in names]:
        raise FastptError(f"--sd {unknown[0]}: no claim has that name; {suggestion(unknown[0], dict.fromkeys(names))}")
    # As on the page, results of other settings stand apart.
    runs, tunings = compared(pilot).runs if pilot else [], tunings_of(study)
    return [
        _planned(arm, claim, mine, suite, spread)
        for arm in planned_arms(study)
        if (mine := [one for one in study.claims if one.is_about(arm.recipe, arm.kind)])
        for claim in mine
        for suite, spread in _spreads(arm, claim, sds, runs, tunings)
    ]


def _planned(arm: PlannedArm, claim: Claim, family: Sequence[Claim], suite: str | None, spread: Spread) -> Planned:
    counts = arm.counts
    of = noisy(weights(claim, counts))

    def sized(n: int) -> Sized:
        there = scaled(counts, n, of)
        design = Design(spread.sd, weights(claim, there), there, len(family))
        found = design.power()
        assert found is not None  # two runs of a condition at least
        sees, shows = design.sees(claim.margin), design.shows(claim.margin)
        return Sized(n, sum(there.values()), found.effect, found.margin, sees, shows)

    decides = runs_to_decide(spread.sd, partial(weights, claim), counts, of, claim.margin, len(family))
    sizes = [sized(n) for n in sorted({*RUNS, min(counts[one] for one in of)}) if n > 1]
    return Planned(arm.label, suite, claim, spread, sizes, decides)


def _spreads(
    arm: PlannedArm,
    claim: Claim,
    sds: Mapping[str, float],
    pilot: Sequence[Run],
    tunings: Mapping[str, str | None],
) -> list[tuple[str | None, Spread]]:
    """With the suite that it is from, where it is from runs."""
    if claim.name in sds:
        return [(None, Spread(sds[claim.name], None, None, "as given"))]
    runs = [one for one in pilot if one.recipe_name == arm.recipe]
    found = []
    for family in families(runs) if runs else []:
        for suite in (one for one in suites(runs) if Declaration((claim,), tunings=tunings).asked_of(runs, one)):
            table = accuracies(family, suite, claim.setting)
            if table and {claim.method, claim.minus or claim.method} <= {*table.methods}:
                model = averages(table, suite, claim.method, claim.minus)
                if model.sd is not None:
                    low, high = model.sd_interval() or (0.0, 0.0)
                    source = (
                        f"of {plural(sum(model.counts.values()), 'run')} of {plural(len(model.counts), 'condition')}"
                    )
                    found.append((suite, Spread(100 * model.sd, (100 * low, 100 * high), model.df, source)))
    if not found:
        raise FastptError(
            f"{claim.name}: no run of {arm.recipe} tells its spread: two of one condition, tuned with what the claim "
            f"names, do. Name pilot runs, or give --sd '{claim.name}=POINTS'."
        )
    return found


def text(found: Sequence[Planned]) -> str:
    """For people: a table for each claim."""
    return "\n\n".join(map(_text, found))


def _text(one: Planned) -> str:
    spread, margin = one.spread, one.claim.margin
    where = one.arm + (f", suite {one.suite}" if one.suite else "")
    if spread.interval:
        told = f"{spread.interval[0]:.2f} to {spread.interval[1]:.2f} at 95 %, {spread.df} df, {spread.source}"
    else:
        told = spread.source
    decides = (
        f"{one.decides_at:,} runs a noisy condition decide" if one.decides_at else "more than 10,000 runs are needed"
    )
    header = ["n", "runs", "sees", "shows", f"power to see {margin:g}", f"to show 0 within {margin:g}"]
    rows = [
        [
            f"{size.n}",
            f"{size.runs}",
            f"{size.least_effect:.2f}",
            f"{size.least_margin:.2f}",
            f"{size.sees_margin:.0%}",
            f"{size.shows_none:.0%}",
        ]
        for size in one.sizes
    ]
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    lines = ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in (header, *rows)]
    return "\n".join(
        [
            f"{where}: {one.claim.name}",
            f"  {in_words(one.claim, {})}; margin {margin:g}",
            f"  SD {spread.sd:.2f} ({told}); {decides}",
            *(f"  {line}" for line in lines),
        ]
    )
