"""A noise plan in one file, for other laboratories: any split of the same samples takes it over, by key.

plan.parquet (see `keyed`) has `key` with `clean_label` and `noisy_label` (folder names of classes), with `caption` and
`caption_of` (the key of the sample whose caption is shown), or with `picture_of` (the key of the picture that another
split lends, "" for none) and, where there are labels, `clean_label`; and it says how the plan was made.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from fastpt.data.dataset import Dataset
from fastpt.data.plan import Changed, NoisePlan, misfit, plan_name, write_plan
from fastpt.data.replaced import pictures_of, way_to
from fastpt.errors import FastptError
from fastpt.noise.keyed import Column, KeyedFile, texts_by, texts_of, write_keyed
from fastpt.noise.store import realised_rates
from fastpt.registry import Origin
from fastpt.storage.names import is_plain

FORMAT = "2.1"
SHOWN: dict[Changed, str] = {"labels": "noisy_label", "captions": "caption_of", "pictures": "picture_of"}
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
    keys, shown = texts_of(dataset, "key"), SHOWN[plan.of]
    columns: dict[str, Column] = {}
    classes = pa.array(dataset.classes, pa.large_string()) if plan.of != "captions" and dataset.has_labels else None
    if classes:
        columns["clean_label"] = texts_by(classes, dataset.clean_labels)
    if plan.of == "labels":
        columns[shown] = texts_by(classes, plan.array)
    elif plan.of == "captions":
        texts = texts_of(dataset, "caption")
        columns = {"caption": texts_by(texts, np.arange(len(texts))), shown: texts_by(keys, plan.array)}
    else:
        columns[shown] = texts_by(_lent(pictures_of(dataset, plan)), plan.array + 1)
    stated = {
        "format": FORMAT,
        **{name: getattr(plan, name) for name in ("name", "of", "kind", "rate", "realised_rate", "seed")},
        "source": plan.source,
        "source_sha256": None if plan.of == "pictures" else plan.source_sha256,  # of their split, in whatever format
        "package": plan.package._asdict() if plan.package else None,
        "classes": dataset.classes if classes else None,
    }
    return write_keyed(path, _MARK, keys, columns, stated)


def import_plan(dataset: Dataset, path: Path, other: Dataset | None = None) -> Imported:
    """Write the plan of a file beside a split of the same samples, or find it there. A plan of pictures needs `other`,
    the split that they are of.

    Raises DamagedData if the file is not what was exported; FastptError if it is no such file, if keys, classes, clean
    labels or captions are not those of the split, or if the split has another plan of this name.
    """
    file = KeyedFile(path, _MARK, FORMAT, _ADVICE, _nonsense)
    of: Changed = file.stated["of"]
    if file.stated["classes"] and not dataset.has_labels:
        raise FastptError(f"{path} is for labels, but {dataset.path} has only captions. Choose another split.")
    if of == "captions":
        dataset.require_captions()
    if (of == "pictures") != (other is not None):
        needs = f"is of pictures of {file.stated['source']}" if other is None else "takes no pictures from elsewhere"
        raise FastptError(
            f"{path} {needs}. {'Say --from SPLIT, where they are' if other is None else 'Leave --from out'}."
        )
    rows, shown = file.rows(dataset), SHOWN[of]
    classes = pa.array(dataset.classes, pa.large_string())
    if file.stated["classes"]:
        file.check_labels(dataset, file.positions("clean_label", classes)[rows], "clean labels")
    if of == "labels":
        array = file.positions(shown, classes)[rows].astype(np.int32)
    elif of == "captions":
        _check_captions(file, dataset, file.column("caption").take(pa.array(rows)))
        array = file.positions(shown, texts_of(dataset, "key"))[rows]
    else:
        assert other is not None
        array = _rows_lent(file, other)[rows]
    return Imported(_stored(file, dataset, array, other), file.identity)


def _lent(other: Dataset) -> pa.Array:
    """What a plan of pictures may name, large_string [M + 1]: nothing, and the keys of the split that they are of."""
    return pa.concat_arrays([pa.array([""], pa.large_string()), texts_of(other, "key")])


def _rows_lent(file: KeyedFile, other: Dataset) -> np.ndarray:
    """The row of `other` whose picture each sample of the file has, -1 for its own: int64 [N]."""
    named, known = file.column(SHOWN["pictures"]), _lent(other)
    found = pc.call_function("index_in", [named], pc.SetLookupOptions(known))
    if found.null_count:
        missing = named.filter(found.is_null())
        raise FastptError(
            f"{file.path} shows {len(missing):,} pictures that {other.path} does not have, such as "
            f"{missing[0].as_py()!r}. Give the split that it was made with, {file.stated['source']}. Nothing was "
            "written."
        )
    array = found.to_numpy().astype(np.int64) - 1
    if wrong := misfit("pictures", array, len(array), len(other)):
        raise file.damaged(f"its column {SHOWN['pictures']} {wrong}")
    return array


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
    shown, labelled = SHOWN.get(stated["of"]), stated["classes"] is not None
    clean = {"clean_label"} if labelled else {"caption"} if stated["of"] == "captions" else set()
    if shown is None or stated["columns"].keys() != {"key", shown, *clean}:
        return f"it is of {stated['of']!r} and has the columns {', '.join(map(repr, stated['columns']))}"
    if not is_plain(own) or stated["name"] != own:
        return f"its name is {stated['name']!r}"
    if labelled if stated["of"] == "captions" else not labelled and stated["of"] == "labels":
        return "it has classes and captions, or neither"
    if stated["package"] is not None:
        Origin(**stated["package"])
    if not all(isinstance(stated[name], str | None) for name in ("source", "source_sha256")):
        return "its source is no text"
    rates = [stated[name] for name in ("rate", "realised_rate")]
    are_shares = all(type(rate) in (int, float) and 0 <= rate <= 1 for rate in rates)
    return None if are_shares else f"its rates are {rates}"


def _stored(file: KeyedFile, dataset: Dataset, array: np.ndarray, other: Dataset | None) -> NoisePlan:
    """The plan beside the split, written unless it is there."""
    stated = file.stated
    name: str = stated["name"]
    of: Changed = stated["of"]
    realised = realised_rates(dataset, of, array, stated["rate"])
    if realised.rate != stated["realised_rate"]:
        raise file.damaged(f"it says that {stated['realised_rate']:g} is wrong, and {realised.rate:g} is")
    if name not in dataset.noise_plans():
        dataset.require_local()
        made = NoisePlan(
            name=name,
            of=of,
            kind=stated["kind"],
            rate=stated["rate"],
            realised_rate=realised.rate,
            realised_per_class=realised.per_class,
            largest_deviation=realised.largest_deviation,
            seed=stated["seed"],
            source=stated["source"],
            # As the pictures are here, which may be stored in another way than there:
            source_sha256=other.identity if other else stated["source_sha256"],
            package=Origin(**stated["package"]) if stated["package"] else None,
            array=array,
            pictures=way_to(dataset, other) if other else None,
        )
        write_plan(dataset.path / "noise", dataset.samples_id, made)
    plan = dataset.noise_plan(name)
    if plan.of != of or not np.array_equal(plan.array, array) or (other and plan.source_sha256 != other.identity):
        raise FastptError(
            f"{dataset.path} has another plan {name} than {file.path}. Delete the plan (.json and .npy) first, if the "
            "file is the one that is meant."
        )
    return plan
