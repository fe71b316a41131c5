"""What of a run is not as it was written."""

from pathlib import Path

from fastpt.errors import FastptError
from fastpt.files import damages, is_sealed
from fastpt.runs.folder import (
    CHECKPOINT_FORMAT,
    EXPORT,
    EXPORT_FORMAT,
    EXPORT_HF,
    METRICS,
    PROVENANCE,
    RECIPE,
    SAMPLES,
    TUNE,
    newest_first,
)
from fastpt.runs.records import events_of, intact, is_finished, read_samples
from fastpt.tuned import checked_answers


def verify(run: Path) -> list[str]:
    """A line for each file of a run that is not what was written: checkpoints, export, tuning, records, samples."""
    problems: list[str] = []
    records = [*(run / name for name in (RECIPE, PROVENANCE)), *sorted((run / TUNE).glob("*.json"))]
    for path in records:
        try:
            found = intact(path)
        except FastptError as error:
            problems.append(str(error))
            continue
        if path.parent.name == TUNE and not is_sealed(found):
            problems.append(f"{path} does not match its self_sha256. Tune anew: `fastpt tune --run {run}`.")
        elif "answers_sha256" in found:
            try:
                checked_answers(path)
            except FastptError as error:
                problems.append(str(error))
    is_exported = (run / EXPORT).exists()
    try:
        is_exported |= is_finished(run)
        if (run / METRICS).exists() and events_of(run / METRICS)[2]:
            problems.append(f"{run / METRICS}: its last line is cut short, as a kill leaves it. Go on with --resume.")
    except FastptError as error:
        problems.append(str(error))
    try:
        if (run / SAMPLES).exists():
            read_samples(run)
    except FastptError as error:
        problems.append(str(error))
    sealed = [(path, CHECKPOINT_FORMAT) for path in reversed(newest_first(run))]
    exports = [run / EXPORT] * is_exported + [run / EXPORT_HF] * (run / EXPORT_HF).exists()
    for folder, version in [*sealed, *((export, EXPORT_FORMAT) for export in exports)]:
        try:
            problems += [f"{folder}: {problem}" for problem in damages(folder, version)]
        except FastptError as error:
            problems.append(str(error))
    return problems
