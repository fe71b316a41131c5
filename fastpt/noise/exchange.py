"""A noise plan in one file, for other laboratories: any split of the same samples takes it over, by key.

plan.parquet (see `keyed`) has `key` with `clean_label` and `noisy_label` (folder names of classes), or with `caption`
and `caption_of` (the key of the sample whose caption is shown), and says how the plan was made.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastpt.data.dataset import Dataset
from fastpt.data.plan import NoisePlan, Targets, plan_name
from fastpt.errors import FastptError
from fastpt.noise.keyed import Column, KeyedFile, texts_by, texts_of, write_keyed
from fastpt.noise.store import realised_rates, store_plan
from fastpt.registry import Origin
from fastpt.storage.names import is_plain

FORMAT = "2.1"
COLUMNS: dict[Targets, tuple[str, str]] = {
    "labels": ("clean_label", "noisy_label"),
    "captions": ("caption", "caption_of"),
}
_MARK = b"fastpt.noise_plan"
_ADVICE = (
    "no noise plan that `fastpt noise --export` wrote. A list of keys and labels is taken by "
    "`fastpt noise DIR --kind external --file LIST`."
)


class Imported(NamedTuple):
    """A plan that was taken over, and its identity."""

    plan: NoisePlan
    plan_sha256: str


def export_plan(dataset: Dataset, plan: NoisePlan, path: Path) -> str:
    """Write a plan of a split as one file. Returns the plan's identity, a sha256."""
    keys = texts_of(dataset, "key")
    clean, shown = COLUMNS[plan.of]
    columns: dict[str, Column]
    if plan.of == "labels":
        classes = pa.array(dataset.classes, pa.large_string())
        columns = {clean: texts_by(classes, dataset.clean_labels), shown: texts_by(classes, plan.array)}
    else:
        texts = texts_of(dataset, "caption")
        columns = {clean: texts_by(texts, np.arange(len(texts))), shown: texts_by(keys, plan.array)}
    stated = {
        "format": FORMAT,
        **{name: getattr(plan, name) for name in ("name", "of", "kind", "rate", "realised_rate", "seed")},
        "source": plan.source,
        "source_sha256": plan.source_sha256,
        "package": plan.package._asdict() if plan.package else None,
        "classes": dataset.classes if plan.of == "labels" else None,
    }
    return write_keyed(path, _MARK, keys, columns, stated)


def import_plan(dataset: Dataset, path: Path) -> Imported:
    """Write the plan of a file beside a split of the same samples, or find it there.

    Raises DamagedData if the file is not what was exported; FastptError if it is no such file, if keys, classes, clean
    labels or captions are not those of the split, or if the split has another plan of this name.
    """
    file = KeyedFile(path, _MARK, FORMAT, _ADVICE, _nonsense)
    of: Targets = file.stated["of"]
    if of == "labels" and not dataset.has_labels:
        raise FastptError(f"{path} changes labels, but {dataset.path} has only captions. Choose another split.")
    if of == "captions":
        dataset.require_captions()
    clean, shown = COLUMNS[of]
    rows = file.rows(dataset)
    if of == "labels":
        classes = pa.array(dataset.classes, pa.large_string())
        file.check_labels(dataset, file.positions(clean, classes)[rows], "clean labels")
        array = file.positions(shown, classes)[rows].astype(np.int32)
    else:
        _check_captions(file, dataset, file.column(clean).take(pa.array(rows)))
        array = file.positions(shown, texts_of(dataset, "key"))[rows]
    return Imported(_stored(file, dataset, array), file.identity)


def _check_captions(file: KeyedFile, dataset: Dataset, theirs: pa.Array) -> None:
    """Raise FastptError if captions, large_string [N] by the split's rows, are not its own."""
    ours = texts_of(dataset, "caption")
    differ = np.flatnonzero(pc.call_function("not_equal", [theirs, ours]).to_numpy(zero_copy_only=False))
    if len(differ):
        first = int(differ[0])
        pair = (theirs[first].as_py(), ours[first].as_py())
        raise file.misfit(dataset, file.differing("captions", dataset, differ, *pair))


def _nonsense(stated: dict[str, Any]) -> str | None:
    """What in a sealed document no export writes. Raises what Python raises where something is missing."""
    own = stated["name"] if stated["seed"] is None else plan_name(stated["kind"], stated["rate"], stated["seed"])
    if wrong := [name for name in ("name", "of", "kind") if not isinstance(stated[name], str)]:
        return f"its {wrong[0]} is no text"
    if stated["of"] not in COLUMNS or stated["columns"].keys() != {"key", *COLUMNS[stated["of"]]}:
        return f"it is of {stated['of']!r} and has the columns {', '.join(map(repr, stated['columns']))}"
    if not is_plain(own) or stated["name"] != own:
        return f"its name is {stated['name']!r}"
    if (stated["classes"] is None) != (stated["of"] == "captions"):
        return "it has classes and captions, or neither"
    if stated["package"] is not None:
        Origin(**stated["package"])
    if not all(isinstance(stated[name], str | None) for name in ("source", "source_sha256")):
        return "its source is no text"
    rates = [stated[name] for name in ("rate", "realised_rate")]
    are_shares = all(type(rate) in (int, float) and 0 <= rate <= 1 for rate in rates)
    return None if are_shares else f"its rates are {rates}"


def _stored(file: KeyedFile, dataset: Dataset, array: np.ndarray) -> NoisePlan:
    """The plan beside the split, written unless it is there."""
    stated = file.stated
    name: str = stated["name"]
    of: Targets = stated["of"]
    realised = realised_rates(dataset, of, array, stated["rate"])
    if realised.rate != stated["realised_rate"]:
        raise file.damaged(f"it says that {stated['realised_rate']:g} is wrong, and {realised.rate:g} is")
    if name not in dataset.noise_plans():
        package = Origin(**stated["package"]) if stated["package"] else None
        fields = {key: stated[key] for key in ("kind", "rate", "seed", "source", "source_sha256")}
        store_plan(dataset, name, array, realised, of=of, package=package, **fields)
    plan = dataset.noise_plan(name)
    if plan.of != of or not np.array_equal(plan.array, array):
        raise FastptError(
            f"{dataset.path} has another plan {name} than {file.path}. Delete the plan (.json and .npy) first, if the "
            "file is the one that is meant."
        )
    return plan
