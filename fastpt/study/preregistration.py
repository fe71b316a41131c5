"""What a study declares before its first run, and whether that was changed since: STUDY/preregistration.json.

    [{"sha256": ..., "declared": "2026-11-28 09:30 UTC", "begun": 0, "study": {"claims": [...], "pretrain": [...]}}]

An entry for each declaration that a run has begun under, the present one last; `begun` are the runs that had begun by
then.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from fastpt.errors import DamagedData, FastptError
from fastpt.files import atomic_write, locked, write_json
from fastpt.identity import flat
from fastpt.printable import plural
from fastpt.recipe import load_recipe
from fastpt.report.claims import TESTS, Declaration, Progress, in_words
from fastpt.report.template import render
from fastpt.report.text import listing, rate
from fastpt.runs.folder import PROVENANCE, RUNS
from fastpt.study.claims import PlannedArm, planned_arms, tunings_of
from fastpt.study.declaration import Study
from fastpt.study.grid import StudyGrid
from fastpt.study.sets import WHERE, left_out
from fastpt.tuning.methods import METHODS
from fastpt.tuning.suite_files import load_suite

FILE = "preregistration.json"
_FREE = {"name", "prepare", "launcher"}  # which change no result


def declared(study: Study) -> dict[str, Any]:
    """All that a study declares: claims and how they are tested, grid, tuning, and the tests that are left out; of its
    recipes and suites what their files say, by the names that the grid calls them by."""
    suites = dict.fromkeys(suite for one in study.pretrain for suite in one.suites)
    return {
        **study.model_dump(exclude=_FREE),
        "recipes": {one.recipe: _written(load_recipe(one.recipe)) for one in study.pretrain},
        "suites": {suite: _written(load_suite(suite)) for suite in suites},
        "tests": TESTS,
        "left_out": left_out(study),
    }


def _written(values: BaseModel) -> dict[str, Any]:
    """Without defaults, so that a key that comes to be later is no change."""
    return values.model_dump(mode="json", exclude_unset=True)


def sha256(values: Mapping[str, Any]) -> str:
    """Of canonical JSON (sorted keys, no spaces, UTF-8)."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def record(grid: StudyGrid, page: Path) -> str:
    """Write down what the study declares, unless that is what stands there; return the sum of it.

    Before the first run, `page` shows it.

    A declaration that no run has begun under is replaced, others are kept. Raises DamagedData if the record cannot be
    read.
    """
    now = declared(grid.study)
    with locked(grid.folder / f".{FILE}.lock"):
        entries, begun = _read(grid.folder / FILE), _begun(grid.folder)
        kept = entries
        if entries and entries[-1]["begun"] == begun and entries[-1]["sha256"] != sha256(now):
            kept = entries[:-1]
        if not kept or kept[-1]["sha256"] != sha256(now):
            time = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
            kept = [*kept, {"sha256": sha256(now), "declared": time, "begun": begun, "study": now}]
        if kept != entries:
            write_json(grid.folder / FILE, kept)
        if not begun:
            write_page(grid, page)
    return sha256(now)


def check(grid: StudyGrid) -> None:
    """Raise FastptError unless what the study declares is what stands on record."""
    entries = _read(grid.folder / FILE)
    if not entries or entries[-1]["sha256"] != sha256(declared(grid.study)):
        told = "declares otherwise than is recorded there" if entries else "was never declared"
        raise FastptError(f"{grid.folder}: the study {told}. `fastpt study FILE` records what its file says now.")


def write_page(grid: StudyGrid, out: Path) -> None:
    """A page of what is declared, which stands where the report will be until the first run has begun."""
    study, (*_, entry) = grid.study, _read(grid.folder / FILE)
    labels = {name: METHODS.get(name).label for one in study.claims for name in (one.method, one.minus) if name}
    text = render(
        "declared.html",
        study=study.name,
        note=history([entry]),
        arms=[
            {
                "label": arm.label,
                "runs": _runs(arm),
                "claims": [
                    (f"{one.name}: {in_words(one, labels)}", f"{one.margin:g}")
                    for one in study.claims
                    if one.is_about(arm.recipe, arm.kind)
                ],
            }
            for arm in planned_arms(study)
        ],
        tests=TESTS,
        declared=json.dumps(entry["study"], indent=2, sort_keys=True, ensure_ascii=False),
    )
    with atomic_write(out, "w") as file:
        file.write(text)


def _runs(arm: PlannedArm) -> str:
    """'8 pre-trainings: 4 clean, 2 10 % and 2 on the right part of 10 %'."""
    words = [f"{count} {rate(share) if share else 'clean'}" for share, count in arm.by_rate.items()]
    words += [f"{count} on the right part of {rate(share)}" for share, count in arm.right.items()]
    return f"{plural(sum(arm.by_rate.values()) + sum(arm.right.values()), 'pre-training')}: {listing(words)}"


def declaration(grid: StudyGrid) -> Declaration:
    """What the page says of the claims. Raises DamagedData if the record of them cannot be read."""
    done: Counter[tuple[str, str | None]] = Counter()
    planned: Counter[tuple[str, str | None]] = Counter()
    for cell in grid.cells:
        planned[cell.recipe, cell.kind] += 1
        done[cell.recipe, cell.kind] += all(grid.state(step) == "done" for step in cell.steps)
    progress = {arm: Progress(done[arm], count) for arm, count in planned.items()}
    vote = {name: owner for owner, names in grid.study.votes.items() for name in names}
    if not grid.study.claims:
        return Declaration(progress=progress, votes=vote)
    note = f"{history(_read(grid.folder / FILE))} {draws(grid.study)}".strip()
    return Declaration(tuple(grid.study.claims), note, progress, vote, tunings_of(grid.study))


def draws(study: Study) -> str:
    """How far verdicts carry over draws of noise: a sentence, where they do not."""
    noisy = [one for one in study.pretrain if any(one.rates) or one.plans]
    if any(one.noise_seeds != "same" and len(one.noise_seeds) > 1 for one in noisy):
        return "Runs that share a draw of noise, or a training seed, count as independent."
    if any(one.noise_seeds != "same" and len(one.seeds) > 1 for one in noisy):
        return "All runs of a condition have the same draw of noise: verdicts are about it, not about other draws."
    return ""


def history(entries: Sequence[Mapping[str, Any]]) -> str:
    """When a study was declared, and what was changed after runs had begun, in sentences."""
    words = []
    for before, one in zip([None, *entries], entries, strict=False):
        when = f"after {plural(one['begun'], 'run')} had begun" if one["begun"] else "before the first run"
        told = f"{one['declared']}, {when} (sha256 {one['sha256'][:16]})"
        if before is None:
            words.append(f"Declared {told}.")
        else:
            words.append(f"Changed {told}: {'; '.join(_changes(before['study'], one['study']))}.")
    return " ".join(words)


def _changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """'claims.C1.margin was 0.5, is 1.0': entries of a list are called by what names them, not by their number."""
    before, after = (flat(_by_name(one)) for one in (then, now))
    return [
        f"{key} was {_told(before.get(key, 'not there'))}, is {_told(after.get(key, 'not there'))}"
        for key in dict.fromkeys([*before, *after])
        if before.get(key) != after.get(key)
    ]


def _told(value: Any) -> str:
    """A value; of whole numbers in a list, four or more in a row by their ends: '[0 to 11, 20]'."""
    if not isinstance(value, list) or not all(type(one) is int for one in value):
        return str(value)
    words: list[str] = []
    for _, row in groupby(enumerate(value), lambda one: one[1] - one[0]):
        numbers = [str(number) for _, number in row]
        words += [f"{numbers[0]} to {numbers[-1]}"] if len(numbers) > 3 else numbers
    return f"[{', '.join(words)}]"


def _by_name(declared: Any) -> Any:
    """What is declared, with each list of entries that have names as a mapping of these: a claim, a tuning or a set by
    its own, a test that is left out by where it is. As it is where they have none, or two have one."""
    if isinstance(declared, Mapping):
        return {key: _by_name(value) for key, value in declared.items()}
    if isinstance(declared, list):
        for keys in (("name",), WHERE):
            if all(isinstance(one, Mapping) and {*keys} <= one.keys() for one in declared):
                names = ["/".join(one[key] or "unnamed" for key in keys) for one in declared]
                rest = [{key: _by_name(value) for key, value in one.items() if key not in keys} for one in declared]
                return dict(zip(names, rest, strict=True)) if len({*names}) == len(names) else declared
    return declared


def _begun(folder: Path) -> int:
    return sum(1 for _ in (folder / RUNS).glob(f"*/{PROVENANCE}"))


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    try:
        entries = json.loads(path.read_bytes())
        if all(sha256(one["study"]) == one["sha256"] and one["begun"] >= 0 and one["declared"] for one in entries):
            return entries
    except (ValueError, KeyError, TypeError):
        pass
    raise DamagedData(
        f"{path} is not as it was written, so that nobody can tell what was declared before the first run. "
        "Restore it, or do the study anew in another --out."
    )
