"""How a run begins, and how it goes on: what may differ from the start before, and what is recorded of each."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastpt.errors import DamagedData, FastptError
from fastpt.identity import flat
from fastpt.recipe import completed
from fastpt.runs import is_finished, read_provenance, read_recipe
from fastpt.runs.folder import CHECKPOINTS, EXPORT, IDS, METRICS, PROVENANCE, newest_first
from fastpt.runs.records import is_free, splits_of, write_records

LENGTHS = ("schedule.epochs", "schedule.steps", "schedule.samples")
# What may differ from start to start.
START = ("command", "git", "versions", "world_size", "device", "precision", "settings_sha256")


def begin(
    run: Path, recipe: Mapping[str, Any], provenance: Mapping[str, Any], resume: bool, allow_changes: bool = False
) -> list[str]:
    """Begin a run's folder; or, of one that is there, return what of it has changed, so that it is another training.

    In a folder that is there nothing is written: `go_on` records what came of it. Raises FastptError if the run there
    is not to be resumed, or differs without leave. What is finished is not trained on, but where that makes the run
    that a longer schedule would have made: see `_is_extended`.
    """
    if not (newest_first(run) or is_finished(run) or (run / EXPORT).exists()):
        (run / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
        write_records(run, recipe, provenance)
        (run / METRICS).unlink(missing_ok=True)
        return []
    if not resume:
        raise FastptError(
            f"{run} holds a run with checkpoints or an export. Go on with --resume, or name another --run-dir."
        )
    if not (newest_first(run) or is_finished(run)):
        raise FastptError(f"{run} has an export, but no checkpoint to go on from. Name another --run-dir.")
    before = read_provenance(run)
    if not isinstance(before.get("samples_id"), str) or not isinstance(before.get("noise", ""), dict | None):
        raise DamagedData(f"{run / PROVENANCE} is damaged: it does not say what was trained on. Restore it.")
    then = completed(read_recipe(run))
    differing = [change for change in _differences(recipe, provenance, then, before) if not is_free(change)]
    is_extended = newest_first(run) and _is_extended(recipe, then, differing)
    if differing and is_finished(run) and not is_extended:
        raise FastptError(f"{run} is finished, and differs: {'; '.join(differing)}. Name another --run-dir.")
    if newest_first(run) and (unusable := _of_another_optimizer(recipe, then)):
        raise FastptError(
            f"{run} cannot be resumed: {'; '.join(unusable)}, and its checkpoints hold an optimizer made otherwise. "
            "Use what it began with, or another --run-dir."
        )
    if differing and not allow_changes:
        raise FastptError(
            f"{run} cannot be resumed: {'; '.join(differing)}. "
            "Use the settings it began with, another --run-dir, or --allow-changes."
        )
    return differing


def go_on(run: Path, recipe: Mapping[str, Any], provenance: Mapping[str, Any], step: int) -> None:
    """Record that a run goes on from `step`: how it was started this time, and all that has changed in its recipe.

    `provenance.json` says at its top how the run began, and under `resumed` this of each later start. A start whose
    step the next one does not pass left nothing: it ended before its first checkpoint.
    """
    before = read_provenance(run)
    changes = _differences(recipe, provenance, completed(read_recipe(run)), before)
    start = {"step": step, **{key: provenance.get(key) for key in START}, "changes": changes}
    began = {key: before.get(key) for key in ("recipe", *START)}
    write_records(run, recipe, {**provenance, **began, "resumed": [*before.get("resumed", []), start]})


def _of_another_optimizer(recipe: Mapping[str, Any], then: Mapping[str, Any]) -> list[str]:
    """What differs in how the optimizer's state is laid out: the state itself, its groups (decay makes two), its parts
    of ZeRO."""
    now, before = flat(recipe), flat(then)
    return [
        _change(key, before[key], now[key])
        for key, layout in (("optim.name", str), ("optim.weight_decay", bool), ("engine.zero_stage", int))
        if key in now and key in before and layout(before[key]) != layout(now[key])
    ]


def _is_extended(recipe: Mapping[str, Any], then: Mapping[str, Any], differing: list[str]) -> bool:
    """Whether a recipe differs from a finished one in being longer, at a rate that is constant after its warm-up.

    A cosine's first part is not the shorter run; a constant rate's is.
    """
    now, before = flat(recipe), flat(then)
    (key,) = [key for key in LENGTHS if key in now] or [""]
    is_constant = now.get("schedule.min_lr") == now["optim.lr"]
    is_longer = key in before and differing == [_change(key, before[key], now[key])] and now[key] > before[key]
    return is_constant and is_longer


def _differences(recipe: Mapping, provenance: Mapping, recipe_then: Mapping, provenance_then: Mapping) -> list[str]:
    now, then = flat(recipe), flat(recipe_then)
    keys = sorted(now.keys() | then.keys())
    found = [_change(key, then.get(key), now.get(key)) for key in keys if now.get(key) != then.get(key)]
    ids, ids_then = _ids(recipe, provenance), _ids(recipe_then, provenance_then)
    differing = [what for what in ids if ids[what] != ids_then.get(what, ids[what])]
    found += [f"{what} was {ids_then[what][:12]}, is {ids[what][:12]}" for what in differing]
    if provenance["noise"] != provenance_then["noise"]:
        was, now_is = (
            f"{noise.get('plan')} {str(noise.get('array_sha256'))[:12]}" if noise else "none"
            for noise in (provenance_then["noise"], provenance["noise"])
        )
        found.append(f"the noise plan was {was}, is {now_is}")
    return found


def _change(key: str, was: Any, now: Any) -> str:
    return f"{key} was {was!r}, is {now!r}"


def _ids(recipe: Mapping[str, Any], provenance: Mapping[str, Any]) -> dict[str, str]:
    """Which samples and which pictures the splits had, that were trained and measured on."""
    splits = splits_of(recipe, provenance).items()
    ids = {f"{name} of {split}": one.get(name) for split, one in splits for name in IDS}
    return {what: value for what, value in ids.items() if isinstance(value, str)}
