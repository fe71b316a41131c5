"""Tuning results as they lie in a run's folder: read with what speaks against them, and kept from being lost.

Results are of the weights that the run exported when they were measured. Where the run was trained or exported anew
since, they are of a run that is gone, and are left out.
"""

import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastpt.errors import DamagedData, FastptError
from fastpt.files import MANIFEST, is_sealed
from fastpt.identity import differing, of_results, words
from fastpt.printable import finite, listed, mapping, one_line

if TYPE_CHECKING:
    from pyarrow import Table

FORMAT = "2.6"
FEW = 0.01
"""Share of a test's samples that heads are trained on, too, up to which a report does not tell of it for each run."""
ANSWERS = ".parquet"
"""Suffix of the file beside results that has what heads answered."""


def exported(export: Path) -> dict[str, Any] | None:
    """What tells a run's exported weights from others: a sum over those of its weight files, and the step that they are
    of; None without an export."""
    try:
        manifest = json.loads((export / MANIFEST).read_bytes())
        files = manifest["files"]
        sums = {name: files[name] for name in sorted(files) if name.endswith(".safetensors")}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    step = {name: manifest[name] for name in ("step", "chosen") if name in manifest}
    return {"sha256": hashlib.sha256(json.dumps(sums).encode()).hexdigest(), **step}


def read_tunes(folder: Path, export: Path, provenance: Mapping[str, Any], problems: list[str]) -> list[dict[str, Any]]:
    """The results in a run's `folder` that are whole and of the weights in its `export`, by file name.

    What speaks against one is added to `problems`.
    """
    now, found, run = exported(export), [], folder.parent
    for path in sorted(folder.glob("*.json")):
        where = f"{folder.name}/{path.name}"
        tune = _read(path, problems, where)
        if tune is None:
            continue
        if problem := _misfit(tune, now, provenance):
            told = f"{where} {problem}, and is left out: `fastpt tune --run {run}` measures anew"
            problems.append(one_line(told))
        else:
            found.append({"suite": path.stem, "file": where, **tune})
            told = [*overlaps(tune.get("splits"), FEW), *replaced(_paths(tune), places(run))]
            problems += [one_line(f"{where}: {text}") for text in told]
    if found and now is None:
        gone = f"{export.name}/ is not there (`fastpt export` writes it anew)"
        if len({mapping(tune.get("encoder")).get("weights_sha256") for tune in found}) > 1:
            names = ", ".join(tune["file"] for tune in found)
            problems.append(one_line(f"{names} are of different weights, and are left out, as {gone}"))
            return []
        problems.append(f"tuning results cannot be held against the weights: {gone}")
    return found


def overlaps(splits: Any, few: float = 0.0) -> list[str]:
    """A line for each test, of the splits that results tell of, some samples of which heads are trained on, too: more
    than a share of `few`."""
    return [
        f"{count:,.0f} of {one.get('samples')} samples of {one.get('set')}/{one.get('test')} are among those that the "
        "heads are trained on, byte for byte"
        for one in map(mapping, listed(splits))
        if (count := finite(one.get("in_training"))) and count > few * (finite(one.get("samples")) or 0)
    ]


def cross_fitted(spectra: Iterable[Mapping[str, Any]]) -> str:
    """What to know of spectra that results have, where some are of a cross-fitted set, whose test is called '2 folds'.

    What the heads of another fold make of features has axes of its own, so it is not looked at together.
    """
    sets = dict.fromkeys(
        one_line(one.get("set"))
        for one in spectra
        if str(one.get("test")).endswith(" folds") and one.get("stage") != "encoder"
    )
    if not sets:
        return ""
    return (
        f"Of {', '.join(sets)}, which is cross-fitted, features of the encoder are those of all samples, and those "
        "after the tuned layers of what the first fold's heads are tested on."
    )


def read_answers(results: Path) -> "Table":
    """What every head answered on every picture, from beside a results file (RUN/tune/SUITE.json).

    A row for each picture of each test: domain, set, test, sample (its id in the test's split), label; and a column for
    each head, 'lp s0' for LP with seed 0, null where the test has none of it. Classes are numbers of the test's list.
    Raises FastptError if there is none, DamagedData if it is not that of the results.
    """
    import pyarrow.parquet as pq

    return pq.read_table(io.BytesIO(checked_answers(results)))


def checked_answers(results: Path) -> bytes:
    """The file that `read_answers` reads, found to be that of the results. Raises as it does."""
    path = results.with_suffix(ANSWERS)
    try:
        told = json.loads(results.read_bytes()).get("answers_sha256")
        content = path.read_bytes()
    except (OSError, ValueError, AttributeError) as error:
        raise FastptError(f"{path} cannot be read beside its results ({error}). `fastpt tune` writes both.") from None
    if hashlib.sha256(content).hexdigest() != told:
        raise DamagedData(f"{path} is not what {results} was written with. `fastpt tune` writes both anew.")
    return content


def _read(path: Path, problems: list[str], where: str) -> dict[str, Any] | None:
    """Results that are as they were written, or None and a problem more."""
    try:
        tune = json.loads(path.read_text(encoding="utf-8"))
        problem = None if isinstance(tune, dict) else f"{where} cannot be read (it holds no mapping)"
    except (OSError, ValueError, RecursionError) as error:
        tune, problem = None, f"{where} cannot be read ({error})"
    if isinstance(tune, dict) and tune.get("format") != FORMAT:
        told = f"{where} has format {tune.get('format')!r}, not {FORMAT!r}, and is left out"
        problem = f"{told}: `fastpt tune --run {path.parent.parent}` writes it anew"
    elif isinstance(tune, dict) and not is_sealed(tune):
        problem = f"{where} is not as `fastpt tune` wrote it (its self_sha256 says so), and is left out"
    if problem:
        problems.append(one_line(problem))
        return None
    return tune


def _misfit(tune: Mapping[str, Any], now: dict[str, Any] | None, provenance: Mapping[str, Any]) -> str | None:
    """Why results are none of the run."""
    encoder = mapping(tune.get("encoder"))
    export = mapping(encoder.get("export"))
    if not export:
        return f"is of encoder {encoder.get('name')}, no export of this run"
    if now and export.get("sha256") != now["sha256"]:
        return "is of other weights than the run exports now"
    if not provenance:  # it cannot be read, which is told
        return None
    for name in ("seed", "samples_id", "images_id"):
        if encoder.get(name) != provenance.get(name):
            return f"is of a training of {name} {one_line(encoder.get(name))[:12]}, no longer the run's"
    then, noise = (mapping(one.get("noise")).get("array_sha256") for one in (encoder, provenance))
    return None if then == noise else "is of a training on other noise than the run's"


def places(run: Path) -> tuple[Path, ...]:
    """Where paths of a record may begin: above runs/, where training was started, and here."""
    return run.resolve().parent.parent, Path()


def _paths(tune: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    splits = tune.get("splits")
    every = [one for one in listed(splits) if isinstance(one, dict)]
    return {str(part.get("path")): part for one in every for part in map(mapping, one.get("joined") or [one])}


def replaced(recorded: Mapping[str, Mapping[str, Any]], places: Iterable[Path]) -> list[str]:
    """A line for each recorded split, by path, that is another one now. What is not there says nothing."""
    lines = []
    for path, then in recorded.items():
        now = []
        for place in places:
            try:
                split = json.loads((place / path / "dataset.json").read_bytes())
            except (OSError, ValueError, RecursionError):
                continue
            now.append(mapping(split))
        for name, what in (("samples_id", "samples"), ("images_id", "pictures")):
            if now and then.get(name) and all(one.get(name) != then[name] for one in now):
                lines.append(f"{path} holds other {what} now than those that are recorded")
                break
    return lines


def check_replaced(path: Path, is_named: bool, results: Mapping[str, Any]) -> None:
    """Raise FastptError where results of `results`' settings, written to `path`, would take the place of others.

    Whoever names the file means it, as long as it holds tuning results. Results of weights that the run has no more are
    no loss.
    """
    if not path.exists():
        return
    try:
        before = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        before = None
    if not isinstance(before, dict) or not {"suite", "encoder", "rows"} <= before.keys():
        raise FastptError(f"{path} is there, and holds no tuning results. Name another file in --out.")
    if is_named or before.get("format") != FORMAT or not is_sealed(before):
        return
    then, now = (mapping(mapping(one.get("encoder")).get("export")).get("sha256") for one in (before, results))
    if then and then != now:
        return
    was, asked = of_results(before).values, of_results(results).values
    kept = [name for name in was if of_results(before).role(name) in ("setting", "replicate")]
    lost = [words(name, was[name]) for name in differing([was, asked], shared=True) if name in kept]
    lost += _left_out(before, results)
    if lost:
        more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
        raise FastptError(
            f"{path} holds results of {', '.join(lost[:3])}{more}, which would be lost. Give these another file, such "
            f"as --out {path.with_stem(path.stem + '-2')}; or name this one in --out, to replace it."
        )


def _left_out(before: Mapping[str, Any], results: Mapping[str, Any]) -> list[str]:
    """Methods, sets, seeds and shares of the data that results have, and new ones would not."""
    derived = [name for name, one in mapping(before.get("methods")).items() if mapping(one).get("derived")]
    rows = [row for row in before["rows"] if isinstance(row, dict) and row.get("method") not in derived]
    splits = [f"{one['domain']} {one['set']}" for one in results["splits"]]
    asked = {
        "method": list(results["methods"]),
        "set": splits,
        "seed": results["config"]["seeds"],
        "fraction": results["config"]["fractions"],
    }
    found = {name: dict.fromkeys(row.get(name) for row in rows) for name in ("method", "seed", "fraction")}
    found["set"] = dict.fromkeys(f"{row.get('domain')} {row.get('set')}" for row in rows)
    return [f"{name} {value}" for name, values in found.items() for value in values if value not in asked[name]]
