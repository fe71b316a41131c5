"""A run's files, read as they were written: its recipe, its provenance, its events.

The readers raise for what is missing or damaged. Those named `tolerated` make it a line in a list of problems.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastpt.errors import DamagedData, FastptError
from fastpt.files import read_sealed_json, write_sealed_json
from fastpt.identity import FREE, FREE_OF_TASK
from fastpt.printable import finite, listed, mapping, one_line
from fastpt.records import read_sealed_line, read_sealed_yaml, write_sealed_yaml
from fastpt.runs.folder import METRICS, PROVENANCE, PROVENANCE_FORMAT, RECIPE, SAMPLES

if TYPE_CHECKING:
    from fastpt.dynamics import Dynamics


def write_records(run: Path, recipe: Mapping[str, Any], provenance: Mapping[str, Any]) -> None:
    """Write a run's recipe and provenance."""
    # The provenance first: stopped in between, a resumed run sees again that the recipe differs.
    write_sealed_json(run / PROVENANCE, {"format": PROVENANCE_FORMAT, **provenance})
    write_sealed_yaml(run / RECIPE, recipe)


def read_recipe(run: Path) -> dict[str, Any]:
    """A run's resolved recipe. Raises FastptError if `run` is no run, DamagedData if the file is damaged."""
    return intact(run / RECIPE)


def read_provenance(run: Path) -> dict[str, Any]:
    """A run's provenance. Raises FastptError if `run` is no run, DamagedData if the file is damaged."""
    return intact(run / PROVENANCE)


def read_samples(run: Path) -> "Dynamics":
    """What a run recorded by sample. Raises FastptError if it has not, DamagedData if it is damaged."""
    from fastpt import dynamics

    return dynamics.read(run / SAMPLES)


def read_metrics(run: Path) -> list[dict[str, Any]]:
    """The events of metrics.jsonl; a last line that a kill cut short is left out. Raises DamagedData."""
    path = run / METRICS
    if not path.exists():
        return []
    events, bad, cut_short = events_of(path)
    if bad and not cut_short:
        raise DamagedData(f"{path} is damaged: line {bad[0]} is not as it was written. Restore it or delete the line.")
    return events


def is_finished(run: Path) -> bool:
    """Whether training came to its end and was exported. Raises DamagedData."""
    events = read_metrics(run)
    return bool(events) and events[-1]["event"] == "end"


def is_free(change: str) -> bool:
    """Whether a line of `changes` is about a key that does not touch the weights."""
    key = change.partition(" was ")[0]
    return key.startswith(FREE) or key.endswith(f".{FREE_OF_TASK}")


def splits_of(recipe: Mapping[str, Any], provenance: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """By their folder, or by data.train where these are several: what the provenance says of the splits of a run."""
    train, measured = mapping(recipe.get("data")).get("train"), mapping(provenance.get("measured_on"))
    found = {str(one.get("data")): one for one in map(mapping, measured.values())}
    return {train if isinstance(train, str) else "data.train": provenance} | found


def known_settings(provenance: Mapping[str, Any]) -> set[str]:
    """The sums of the settings of all starts of a run: what its checkpoints and its export were trained under."""
    starts = [provenance, *map(mapping, listed(provenance.get("resumed")))]
    return {start["settings_sha256"] for start in starts if isinstance(start.get("settings_sha256"), str)}


def intact(path: Path) -> dict[str, Any]:
    try:
        return _mapping(path)
    except (FileNotFoundError, NotADirectoryError):
        raise FastptError(f"{path.parent} is no run: it has no {path.name}. Runs are made by `fastpt train`.") from None


def _mapping(path: Path) -> dict[str, Any]:
    """A run's recipe or provenance, or results, whose seal those look at who use them. Raises OSError, FastptError."""
    if path.name == RECIPE:
        return read_sealed_yaml(path)
    if path.name == PROVENANCE:
        found = read_sealed_json(path, PROVENANCE_FORMAT)
        return {key: value for key, value in found.items() if key != "format"}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(value, dict):
            return value
        why = "it holds no mapping"
    except (ValueError, RecursionError) as error:
        why = str(error)
    raise DamagedData(f"{path} is damaged ({why}). Restore it or make it anew.")


def events_of(path: Path) -> tuple[list[dict[str, Any]], list[int], bool]:
    """The events of a file of JSON lines; the numbers, from 1, of lines that are no event with a step, or not as
    written; whether the last line alone is none, as a kill leaves it. Raises OSError."""
    text = path.read_text(encoding="utf-8", errors="replace")
    lines = text.splitlines()
    events, bad = [], []
    for number, line in enumerate(lines, 1):
        event = read_sealed_line(line)
        usable = event is not None and finite(event.get("step")) is not None and "event" in event
        events.append(event) if event and usable else bad.append(number)
    return events, bad, bad == [len(lines)] and not text.endswith("\n")


def tolerated(path: Path, problems: list[str]) -> dict[str, Any]:
    """{} and a problem if a mapping is missing or damaged."""
    try:
        return _mapping(path)
    except FileNotFoundError:
        problems.append(f"{path.name} is missing")
    except (OSError, FastptError) as error:
        problems.append(one_line(f"{path.name} is left out ({error})"))
    return {}


def tolerated_events(path: Path, problems: list[str]) -> list[dict[str, Any]]:
    """The events of metrics.jsonl. A last line cut short by a kill is normal; others are counted as damage."""
    try:
        events, bad, cut_short = events_of(path)
    except OSError:
        problems.append(f"{path.name} is missing, so there are no loss curves")
        return []
    if cut_short:
        problems.append(f"the last line of {path.name} is cut short and left out")
    elif bad:
        total = len(events) + len(bad)
        problems.append(f"{len(bad):,} of {total:,} lines of {path.name} are damaged and are left out")
    return events
