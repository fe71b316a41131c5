"""How answers to claims are shown: tables, sentences, CSV. No verdict and no p-value while runs are missing."""

from collections.abc import Sequence
from typing import Any

from fastpt.printable import one_line
from fastpt.report.claims import TESTS, Answer, Arm, Progress
from fastpt.report.effects import points
from fastpt.report.statistics import Estimate
from fastpt.report.tables import Cell, Group, Row, Table, csv_text, times_100
from fastpt.report.text import NBSP, count, listing

_VERDICT_COLUMNS = ["Verdict", "Estimate", "All at once", "p", "Margin", "p within", "Least margin", "Runs to decide"]
_CHECK_COLUMNS = ["SD of a run", "df", "Over sets", "Sets", "Next set", "Welch p", "Permutation p"]
_CSV_COLUMNS = (
    "suite arm name question verdict estimate_points se_points df ci95_half_points simultaneous_half_points p p_holm "
    "margin_points p_within_margin_holm p_welch p_permutation least_margin_points runs_to_decide over_sets_points "
    "over_sets_half_points sets between_sets_sd_points next_set_half_points"
)


def tables(arm: Arm, found: Sequence[Answer], progress: Progress) -> list[Table]:
    """A row for each claim: its verdict and the numbers that it rests on; then what else the runs say of it."""
    labels = [f"{one_line(one.claim.name)} ({one_line(one.question)})" for one in found]
    verdicts = [_verdict_cells(one, len(found), progress) for one in found]
    interim = (
        f"Interim: {progress.done:,} of {progress.planned:,} pre-trainings of this arm are there, and nothing is "
        "judged before all are. "
        if progress.is_interim
        else ""
    )
    machines = listing([f"{one_line(name)} ({runs})" for name, runs in arm.machines.items()])
    mixed = f"Runs were trained on {machines}: the kind of machine is a term of the model. " * (len(arm.machines) > 1)
    note = (
        f"{interim}{mixed}{TESTS} In points; ± is a 95 % interval, all at once: those of all {len(found)} hold "
        "together (Bonferroni); p are Holm's, within: of the test against the margin. Least margin: what would have "
        "held, at Holm's strictest step. Runs to decide: of each noisy condition, by the spread seen, to tell an "
        "effect of the margin's size from 0 and to show one of 0 to be within it (power 80 %)."
    )
    names, checks = [one_line(one.claim.name) for one in found], [_check_cells(one, progress) for one in found]
    behind = (
        "SD: pooled within conditions, with its degrees of freedom. Over sets: the mean over all sets that there might "
        "be, those at hand being a sample of them (random effects, with the error that they share, as they are "
        "measured on the same encoders); next set: 95 % interval of the true effect on one more. Sets that share "
        "pictures or heads count as one. Uncorrected: a variance for each condition (Welch), runs dealt to conditions "
        "at random (permutation)."
    )
    return [
        Table(f"Claims: {arm.label}", _VERDICT_COLUMNS, [_group(labels, verdicts)], note, "Claim"),
        Table(f"Behind the claims: {arm.label}", _CHECK_COLUMNS, [_group(names, checks)], behind, "Claim"),
    ]


def _group(labels: Sequence[str], cells: Sequence[Sequence[str]]) -> Group:
    rows = [Row(label, [*map(Cell, mine)]) for label, mine in zip(labels, cells, strict=True)]
    return Group("Claims", rows)


def verdict(one: Answer, progress: Progress) -> str:
    """'Supported', 'Interim': what the page calls an answer."""
    return "Interim" if progress.is_interim else one.judged.verdict.capitalize()


def sentence(one: Answer, progress: Progress) -> str:
    """What a claim asked and what was found: '..., +1.2 ± 0.4 points.' with what would decide, where undecided."""
    if one.estimate is None:
        return f"{one_line(one.claim.name)} ({one_line(one.question)}): {one.reason}."
    more = ""
    if one.judged.verdict == "undecided" and one.least_margin is not None and not progress.is_interim:
        more = f"; a margin of {100 * one.least_margin:.1f} would hold"
        if one.runs_to_decide:
            more += f", and {one.runs_to_decide:,} runs a noisy condition would decide on {one.claim.margin:g}"
    return f"{one_line(one.claim.name)} ({one_line(one.question)}): {points(one.estimate)} points{more}."


def _verdict_cells(one: Answer, family: int, progress: Progress) -> list[str]:
    told, margin = verdict(one, progress), f"{one.claim.margin:g}"
    if one.estimate is None:
        return [told, "–", "–", "–", margin, "–", "–", "–"]
    is_tested = one.estimate.se is not None and not progress.is_interim
    return [
        told,
        points(one.estimate),
        _half(one.estimate.half(family)),
        _p(one.judged.p if is_tested else None),
        margin,
        _p(one.judged.p_equivalence if is_tested else None),
        "–" if one.least_margin is None or progress.is_interim else f"{100 * one.least_margin:.1f}",
        count(one.runs_to_decide),
    ]


def _check_cells(one: Answer, progress: Progress) -> list[str]:
    pooled = one.sets.pooled if one.sets else None
    return [
        "–" if one.sd is None else f"{100 * one.sd:.2f}",
        f"{one.estimate.df:g}" if one.estimate else "–",
        points(pooled.mean) if pooled else "–",
        count(one.sets.votes if one.sets else None),
        _half(pooled.prediction_half if pooled else None),
        _p(None if progress.is_interim else one.welch_p),
        _p(None if progress.is_interim else one.permutation_p),
    ]


def _half(value: float | None) -> str:
    return "–" if value is None else f"±{NBSP}{100 * value:.1f}"


def _p(value: float | None) -> str:
    return "–" if value is None else "< 0.001" if value < 0.001 else f"{value:.3f}"


def csv(found: Sequence[tuple[str, Arm, Sequence[Answer], Progress]]) -> str:
    """The answers of every suite and arm, unrounded, in points of a percentage. Interim ones lack p-values."""
    rows: list[list[Any]] = [_CSV_COLUMNS.split()]
    for suite, arm, answers, progress in found:
        for one in answers:
            is_tested = one.estimate is not None and one.estimate.se is not None and not progress.is_interim
            tests = [one.estimate.p(), one.judged.p] if one.estimate and is_tested else [None, None]
            within = one.judged.p_equivalence if is_tested else None
            checks = [one.welch_p, one.permutation_p, times_100(one.least_margin)]
            checks = [None] * 3 if progress.is_interim else checks
            where = [suite, arm.label, one.claim.name, one.question, verdict(one, progress).lower()]
            numbers = _numbers(one.estimate, len(answers))
            margin = times_100(one.margin)
            rows.append([*where, *numbers, *tests, margin, within, *checks, one.runs_to_decide, *_over_sets(one)])
    return csv_text(rows)


def _numbers(one: Estimate | None, family: int) -> list[float | None]:
    if one is None:
        return [None] * 5
    return [times_100(one.value), times_100(one.se), one.df, times_100(one.half()), times_100(one.half(family))]


def _over_sets(one: Answer) -> list[float | None]:
    if one.sets is None or one.sets.pooled is None:
        return [None] * 5
    pooled = one.sets.pooled
    mean, between, following = pooled.mean, times_100(pooled.between), times_100(pooled.prediction_half)
    return [times_100(mean.value), times_100(mean.half()), one.sets.votes, between, following]
