"""Which tests a study's averages are over: those that a pilot's clean encoders are far enough above chance on."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from fastpt.errors import FastptError
from fastpt.printable import plural
from fastpt.report.compare import records
from fastpt.report.text import NBSP, percent
from fastpt.runs import Run, read_runs
from fastpt.runs.folder import PROVENANCE
from fastpt.study.claims import BASELINE, results_name
from fastpt.study.declaration import Study, load_study
from fastpt.study.grid import StudyGrid
from fastpt.tuning.suite_files import load_suite
from fastpt.tuning.suites import open_suite

WHERE = ("recipe", "suite", "domain", "set", "test")
Place = tuple[str, ...]  # values of WHERE


def pilot_runs(study: Study) -> list[Run]:
    """The runs of a study's pilot that have begun. Raises FastptError if there is none."""
    grid = _pilot(study)
    begun = [run for cell in grid.cells if ((run := cell.train.result.parent) / PROVENANCE).is_file()]
    if not begun:
        raise FastptError(f"no run of the pilot {study.pilot} has begun. Do it first: `fastpt study {study.pilot}`.")
    return read_runs(begun)


def _pilot(study: Study) -> StudyGrid:
    assert study.pilot
    return StudyGrid(load_study(Path(study.pilot)), look_only=True)


def left_out(study: Study) -> list[dict[str, str]]:
    """The tests that the rule leaves out, each with its place and the reason.

    A test stays if LP, averaged over the pilot's clean runs of the recipe and their heads, is `near_chance` points
    above 1 / classes: LP of the pilot's tuning without a name, or of its first where all have one. The pilot's runs are
    none of the study's, so that nothing is chosen by what the study compares. Raises FastptError unless all of the
    pilot's clean runs have a result on each test: what is left out by some of them would change with the others, after
    runs of the study had begun.
    """
    if study.near_chance is None:
        return []
    pilot = _pilot(study)
    names = [one.name for one in pilot.study.tune]
    tuning = None if None in names else names[0]
    clean = [_of_tuning(run, tuning) for run in pilot_runs(study) if run.noise is None]
    entries = dict.fromkeys((Path(one.recipe).stem, suite) for one in study.pretrain for suite in one.suites)
    planned, least = Counter(cell.recipe for cell in pilot.cells if cell.kind is None), study.near_chance
    return [one for recipe, suite in entries for one in _near_chance(least, recipe, suite, clean, planned[recipe])]


def _of_tuning(run: Run, name: str | None) -> Run:
    """The run with the results of one of its tunings alone."""
    kept = [tune for tune in run.tunes if Path(tune["file"]).stem == results_name(tune["suite"], name)]
    return replace(run, tunes=kept)


def _near_chance(least: float, recipe: str, named: str, clean: Sequence[Run], planned: int) -> Iterable[dict[str, str]]:
    suite = load_suite(named)
    runs = [run for run in clean if run.recipe_name == recipe]
    rows = [[row for row in records(run, suite.name, "rows") if row.get("method") == BASELINE] for run in runs]
    for one in open_suite(suite)[0]:
        for test, split in one.tests.items():
            by_run = [[row["value"] for row in mine if _is_of(row, one.domain, one.name, test)] for mine in rows]
            if (there := sum(map(bool, by_run))) < max(planned, 1):
                raise FastptError(
                    f"near_chance: of the pilot's {planned} clean runs of {recipe}, {there} have results of {BASELINE} "
                    f"on {one.domain} {one.name}, {test} of {named}. Do it first, to its end, with this suite."
                )
            mine = [value for values in by_run for value in values]
            known = one.classes if split.answers is None else len({*split.answers[split.answers >= 0].tolist()})
            if fmean(mine) < 1 / known + least / 100:
                reason = (
                    f"near chance: LP {percent(fmean(mine))}{NBSP}% after {plural(len(runs), 'clean pre-training')} of "
                    f"the pilot, chance {percent(1 / known)}{NBSP}%, asked for {least:g} points more"
                )
                where = dict(zip(WHERE, (recipe, suite.name, one.domain, one.name, test), strict=True))
                yield {**where, "reason": reason}


def _is_of(row: dict[str, Any], *where: str) -> bool:
    return tuple(row.get(key) for key in ("domain", "set", "test")) == where and row.get("fraction") == 1


def without(runs: Sequence[Run], tests: Sequence[dict[str, str]]) -> list[Run]:
    """The runs without their results on those tests, which are listed as missing, with the reason."""
    reasons = {tuple(one[key] for key in WHERE): one["reason"] for one in tests}
    return [replace(run, tunes=[_without(tune, run.recipe_name, reasons) for tune in run.tunes]) for run in runs]


def _without(tune: dict[str, Any], recipe: str, reasons: dict[Place, str]) -> dict[str, Any]:
    def place(record: dict[str, Any]) -> Place:
        return (recipe, tune["suite"], *(str(record.get(key)) for key in ("domain", "set", "test")))

    mine = {where: reason for where, reason in reasons.items() if where[:2] == (recipe, tune["suite"])}
    kept = {what: [one for one in tune.get(what, []) if place(one) not in mine] for what in ("rows", "spectra")}
    missing = [{"set": " → ".join(dict.fromkeys(where[3:])), "reason": reason} for where, reason in mine.items()]
    return {**tune, **kept, "missing": [*tune.get("missing", []), *missing]}
