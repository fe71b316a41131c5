"""How answers to claims are shown: tables, sentences, CSV. No verdict and no p-value while runs are missing."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

from fastpt.printable import one_line, plural
from fastpt.report.claims import TESTS, Answer, Arm, Progress
from fastpt.report.config import Claim
from fastpt.report.effects import points
from fastpt.report.statistics import LEVEL, Estimate
from fastpt.report.tables import Cell, Group, Row, Table, csv_text, times_100
from fastpt.report.text import NBSP, count, listing

_VERDICT_COLUMNS = ["Verdict", "Estimate", "All at once", "p", "Margin", "p within", "Least margin"]
_POWER_COLUMNS = ["SD of a run", "df", "Could see", "Could show", "Runs to decide"]
_CHECK_COLUMNS = ["Welch p", "Seeds p", "Permutation p", "Over sets", "Sets", "Next set"]
_CSV_COLUMNS = (
    "suite arm name question verdict estimate_points se_points df ci95_half_points simultaneous_half_points p p_holm "
    "margin_points p_within_margin_holm p_welch p_seeds p_permutation least_margin_points could_see_points "
    "could_show_points runs_to_decide over_sets_points over_sets_half_points sets between_sets_sd_points "
    "next_set_half_points"
)


def tables(arm: Arm, found: Sequence[Answer], progress: Progress) -> list[Table]:
    """A row for each claim: its verdict and the numbers that it rests on; what the runs could see; then what else they
    say of it."""
    names = [one_line(one.claim.name) for one in found]
    labels = [f"{name} ({one_line(one.question)})" for name, one in zip(names, found, strict=True)]
    machines = listing([f"{one_line(name)} ({runs})" for name, runs in arm.machines.items()])
    mixed = f"Runs were trained on {machines}: the kind of machine is a term of the model. " * (len(arm.machines) > 1)
    family = found[0].family
    others = f"The family is all claims of the arm: {family - len(found)} of another tuning counts with p = 1. "
    others *= family > len(found)
    plans = f"No claim is asked of {listing(arm.unasked)}, which are several plans of one kind and rate. "
    plans *= bool(arm.unasked)
    note = (
        f"{interim(progress)}{mixed}{plans}{TESTS} {others}In points; ± is a 95 % interval, all at once: those of all "
        f"{family} hold together (Bonferroni); p are Holm's, within: of the test against the margin. Least margin: "
        "what would have held, at Holm's strictest step."
    )
    power = (
        "By the spread seen, pooled within conditions with its degrees of freedom, and by no difference; at Holm's "
        "strictest step and with power 80 %. Could see: the least true effect that these runs tell from 0. Could show: "
        "the least margin that they show an effect of 0 to lie within. Runs to decide: of the smallest noisy condition "
        "that the claim is about, others growing with it, to do both at the margin."
    )
    checks = (
        "Uncorrected, and of no weight in the verdicts: a variance for each condition (Welch), a term for the seed of "
        "training (seeds), runs dealt to conditions at random (permutation). Over sets: the mean over all sets that "
        "there might be, those at hand being a sample of them (random effects, with the error that they share, as they "
        "are measured on the same encoders); next set: 95 % interval of the true effect on one more. Sets that share "
        "pictures or heads count as one."
    )
    verdicts = [_verdict_cells(one, progress) for one in found]
    return [
        _table(f"Claims: {arm.label}", _VERDICT_COLUMNS, labels, verdicts, note),
        _table(f"Power: {arm.label}", _POWER_COLUMNS, names, [*map(_power_cells, found)], power),
        _table(
            f"Beside the claims: {arm.label}",
            _CHECK_COLUMNS,
            names,
            [_check_cells(one, progress) for one in found],
            checks,
        ),
    ]


def _table(title: str, columns: list[str], labels: Sequence[str], cells: Sequence[Sequence[str]], note: str) -> Table:
    rows = [Row(label, [*map(Cell, mine)]) for label, mine in zip(labels, cells, strict=True)]
    return Table(title, columns, [Group("Claims", rows)], note, "Claim")


def interim(progress: Progress) -> str:
    """Why nothing is judged yet, and which runs lack a number; nothing where neither is so."""
    told = ""
    if progress.is_interim:
        told = (
            f"Interim: {progress.done:,} of {progress.planned:,} pre-trainings of this arm are there with all their "
            "results, and nothing is judged before all are. "
        )
    if progress.lacking:
        some = [*progress.lacking[:3], *([f"{len(progress.lacking) - 3} more"] if len(progress.lacking) > 3 else [])]
        told += (
            f"Without a result that other runs have, so that averages are over fewer runs or tests: {listing(some)}. "
        )
    return told


def unanswered(claims: Sequence[Claim], found: Sequence[tuple[str, Arm, Sequence[Answer], Progress]]) -> str | None:
    """Which of a study's claims are asked of no results: of another tuning than theirs, or of no run of their arm."""
    asked = {one.claim.name for _, _, answers, _ in found for one in answers}
    names = [one_line(one.name) for one in claims if one.name not in asked]
    return f"No results here answer what was declared as {listing(names)}." if names else None


def in_short(found: Sequence[tuple[Answer, Progress]]) -> str:
    """'7 claims: 3 supported; 1 contradicted; 3 undecided.'"""
    words = Counter(verdict(one, progress).lower() for one, progress in found)
    if words.keys() == {"interim"}:
        return f"{plural(len(found), 'claim')}, none of which is judged before all runs are there."
    return f"{plural(len(found), 'claim')}: {'; '.join(f'{number} {word}' for word, number in words.items())}."


def verdict(one: Answer, progress: Progress) -> str:
    """'Supported', 'Interim': what the page calls an answer."""
    return "Interim" if progress.is_interim else one.judged.verdict.capitalize()


def title(one: Answer, progress: Progress, arm: str | None) -> str:
    """'Supported: C1 slight noise helps.', with the arm where there are several."""
    return f"{verdict(one, progress)}: {f'{arm}: ' if arm else ''}{one_line(one.claim.name)}."


def sentence(one: Answer, progress: Progress) -> str:
    """What was found, what would decide, and what was asked: '+0.21 ± 0.43 points (p 0.330; within ± 0.5: p 0.072); a
    margin of 0.68 would hold ... Asked: ID, LP: 10 % − clean > 0.'"""
    asked = f"Asked: {one_line(one.question)}."
    if one.estimate is None:
        return f"{str(one.reason)[:1].upper()}{str(one.reason)[1:]}. {asked}"
    told = f" (margin {one.claim.margin:g})"
    if one.estimate.se is not None and not progress.is_interim:
        told = f" (p {_p(one.judged.p)}; within ±{NBSP}{one.claim.margin:g}: p {_p(one.judged.p_equivalence)})"
    more = ""
    if one.judged.verdict == "undecided" and one.least_margin is not None and not progress.is_interim:
        more = f"; a margin of {_up(one.least_margin)} would hold"
        if one.runs_to_decide:
            more += f", and {one.runs_to_decide:,} runs a noisy condition would decide on {one.claim.margin:g}"
    return f"{points(one.estimate, 2)} points{told}{more}. {asked}"


def _verdict_cells(one: Answer, progress: Progress) -> list[str]:
    told, margin = verdict(one, progress), f"{one.claim.margin:g}"
    if one.estimate is None:
        return [told, "–", "–", "–", margin, "–", "–"]
    is_tested = one.estimate.se is not None and not progress.is_interim
    return [
        told,
        points(one.estimate, 2),
        _half(one.estimate.half(one.family)),
        _p(one.judged.p if is_tested else None),
        margin,
        _p(one.judged.p_equivalence if is_tested else None),
        "–" if one.least_margin is None or progress.is_interim else _up(one.least_margin),
    ]


def _power_cells(one: Answer) -> list[str]:
    return [
        "–" if one.sd is None else f"{100 * one.sd:.2f}",
        f"{one.estimate.df:g}" if one.estimate else "–",
        _up(one.power.effect) if one.power else "–",
        _up(one.power.margin) if one.power else "–",
        count(one.runs_to_decide),
    ]


def _check_cells(one: Answer, progress: Progress) -> list[str]:
    pooled = one.sets.pooled if one.sets else None
    ps = [one.welch_p, one.seeds_p, one.permutation_p]
    return [
        *(_p(None if progress.is_interim else p) for p in ps),
        points(pooled.mean, 2) if pooled else "–",
        count(one.sets.votes if one.sets else None),
        _half(pooled.prediction_half if pooled else None),
    ]


def _half(value: float | None) -> str:
    return "–" if value is None else f"±{NBSP}{100 * value:.2f}"


def _up(share: float) -> str:
    """Points, rounded up: what is called enough is."""
    return f"{math.ceil(round(10_000 * share, 6)) / 100:.2f}"


def _p(value: float | None) -> str:
    """Three digits, and as many more as it takes to lie on its side of the level."""
    if value is None:
        return "–"
    if value < 0.001:
        return f"<{NBSP}0.001"
    digits = next(one for one in range(3, 18) if (float(f"{value:.{one}f}") <= LEVEL) == (value <= LEVEL))
    return f"{value:.{digits}f}"


def csv(found: Sequence[tuple[str, Arm, Sequence[Answer], Progress]]) -> str:
    """The answers of every suite and arm, unrounded, in points of a percentage. Interim ones lack p-values."""
    rows: list[list[Any]] = [_CSV_COLUMNS.split()]
    for suite, arm, answers, progress in found:
        for one in answers:
            is_tested = one.estimate is not None and one.estimate.se is not None and not progress.is_interim
            tests = [one.estimate.p(), one.judged.p] if one.estimate and is_tested else [None, None]
            within = one.judged.p_equivalence if is_tested else None
            checks = [one.welch_p, one.seeds_p, one.permutation_p, times_100(one.least_margin)]
            checks = [None] * 4 if progress.is_interim else checks
            power = [times_100(one.power.effect), times_100(one.power.margin)] if one.power else [None, None]
            where = [suite, arm.label, one.claim.name, one.question, verdict(one, progress).lower()]
            numbers = _numbers(one.estimate, one.family)
            margin = times_100(one.margin)
            rows.append(
                [*where, *numbers, *tests, margin, within, *checks, *power, one.runs_to_decide, *_over_sets(one)]
            )
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
