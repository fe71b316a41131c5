"""A noise plan in one file, for other laboratories: any split of the same samples takes it over, by key.

plan.parquet has a row a sample, by rising key, whatever the order of the split: `key` with `clean_label` and
`noisy_label` (folder names of classes), or with `caption` and `caption_of` (the key of the sample whose caption is
shown). Its metadata `fastpt.noise_plan` is a sealed JSON: how the plan was made, all classes in their order, and the
`ColumnSum` of each column. The seal is the plan's identity: equal for equal noise, whoever wrote the file.
"""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from fastpt.data.columns import ColumnSum, arrow_errors
from fastpt.data.dataset import Dataset
from fastpt.data.plan import NoisePlan, Targets, plan_name
from fastpt.errors import DamagedData, FastptError
from fastpt.files import atomic_write, is_sealed, sealed
from fastpt.noise.store import realised_rates, store_plan
from fastpt.registry import Origin
from fastpt.storage.names import is_plain

FORMAT = "2.1"
COLUMNS: dict[Targets, tuple[str, str, str]] = {
    "labels": ("key", "clean_label", "noisy_label"),
    "captions": ("key", "caption", "caption_of"),
}
_METADATA = b"fastpt.noise_plan"
_BATCH = 1 << 18  # rows


class Imported(NamedTuple):
    """A plan that was taken over, and its identity."""

    plan: NoisePlan
    plan_sha256: str


def export_plan(dataset: Dataset, plan: NoisePlan, path: Path) -> str:
    """Write a plan of a split as one file. Returns the plan's identity, a sha256."""
    keys, columns = _columns(dataset, plan)
    order = pc.call_function("sort_indices", [keys])
    sums = {name: ColumnSum() for name in COLUMNS[plan.of]}
    schema = pa.schema([(name, pa.string()) for name in sums])
    with (
        atomic_write(path) as file,
        pq.ParquetWriter(file, schema, compression="zstd", write_page_checksum=True, store_schema=False) as writer,
    ):
        for start in range(0, len(order), _BATCH):
            rows = order.slice(start, _BATCH)
            batch = [values.take(indices.take(rows)).cast(pa.string()) for values, indices in columns]
            for total, values in zip(sums.values(), batch, strict=True):
                total.update(values)
            writer.write_table(pa.table(batch, schema=schema))
        stated = sealed(
            {
                "format": FORMAT,
                **{name: getattr(plan, name) for name in ("name", "of", "kind", "rate", "realised_rate", "seed")},
                "source": plan.source,
                "source_sha256": plan.source_sha256,
                "package": plan.package._asdict() if plan.package else None,
                "samples": len(dataset),
                "classes": dataset.classes if plan.of == "labels" else None,
                "columns": {name: total.hexdigest() for name, total in sums.items()},
            }
        )
        writer.add_key_value_metadata({_METADATA: json.dumps(stated, ensure_ascii=False)})
    return stated["self_sha256"]


def _columns(dataset: Dataset, plan: NoisePlan) -> tuple[pa.Array, list[tuple[pa.Array, pa.Array]]]:
    """The keys, and of each column the values and, int64 [N], which of them each sample has."""
    keys = _text(dataset, "key")
    own, shown = pa.array(np.arange(len(dataset))), pa.array(plan.array)
    if plan.of == "captions":
        return keys, [(keys, own), (_text(dataset, "caption"), own), (keys, shown)]
    classes = pa.array(dataset.classes, pa.large_string())
    return keys, [(keys, own), (classes, pa.array(dataset.clean_labels)), (classes, shown)]


def _text(dataset: Dataset, column: str) -> pa.Array:
    """A column of texts in one piece, of more than 2 GB too."""
    return dataset.table([column])[column].cast(pa.large_string()).combine_chunks()


# --- taking over -----------------------------------------------------------------------------------------------------


def import_plan(dataset: Dataset, path: Path) -> Imported:
    """Write the plan of a file beside a split of the same samples, or find it there.

    Raises DamagedData if the file is not what was exported; FastptError if it is no such file, if keys, classes, clean
    labels or captions are not those of the split, or if the split has another plan of this name.
    """
    stated = _stated(path)
    of: Targets = stated["of"]
    if of == "labels" and not dataset.has_labels:
        raise FastptError(f"{path} changes labels, but {dataset.path} has only captions. Choose another split.")
    if of == "captions":
        dataset.require_captions()
    elif stated["classes"] != dataset.classes:
        raise _misfit(path, dataset, _other_classes(stated["classes"], dataset.classes))
    _key, clean, shown = COLUMNS[of]
    keys = _text(dataset, "key")
    rows = _rows(path, dataset, _column(path, stated, "key"), keys)
    if of == "labels":
        classes = pa.array(dataset.classes, pa.large_string())
        numbers = [_found(path, _column(path, stated, name), classes)[rows] for name in (clean, shown)]
        differ = numbers[0] != dataset.clean_labels
        array = numbers[1].astype(np.int32)
    else:
        texts = [_column(path, stated, clean).take(pa.array(rows)), _text(dataset, "caption")]
        differ = pc.call_function("not_equal", texts).to_numpy(zero_copy_only=False)
        array = _found(path, _column(path, stated, shown), keys)[rows]
    if differ.any():
        raise _misfit(path, dataset, _other_targets(path, stated, dataset, rows, np.flatnonzero(differ)))
    return Imported(_stored(path, dataset, stated, array), stated["self_sha256"])


def _stated(path: Path) -> dict[str, Any]:
    """What a file says of its plan. Raises FastptError or DamagedData."""
    with arrow_errors(path):
        metadata = pq.read_metadata(path)
    text = (metadata.metadata or {}).get(_METADATA)
    if text is None:
        raise FastptError(
            f"{path} is no noise plan that `fastpt noise --export` wrote. A list of keys and labels is taken by "
            "`fastpt noise DIR --kind external --file LIST`."
        )
    try:
        stated = json.loads(text)
        if not is_sealed(stated):
            raise _damaged(path, "what it says of its plan is not what was written")
        if stated["format"] != FORMAT:
            raise FastptError(
                f"{path} has format version {stated['format']!r}; this fastpt reads version {FORMAT}. Use the fastpt "
                "that wrote it, or let it be exported anew."
            )
        if problem := _nonsense(stated, metadata.num_rows):
            raise _damaged(path, problem)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(path, f"what it says of its plan does not parse ({error!r})") from None
    return stated


def _nonsense(stated: dict[str, Any], rows: int) -> str | None:
    """What in a sealed document no export writes. Raises what Python raises where something is missing."""
    own = stated["name"] if stated["seed"] is None else plan_name(stated["kind"], stated["rate"], stated["seed"])
    texts = ("name", "of", "kind")
    if wrong := [name for name in texts if not isinstance(stated[name], str)]:
        return f"its {wrong[0]} is no text"
    if stated["of"] not in COLUMNS or stated["columns"].keys() != set(COLUMNS[stated["of"]]):
        return f"it is of {stated['of']!r} and has the columns {', '.join(map(repr, stated['columns']))}"
    if not is_plain(own) or stated["name"] != own:
        return f"its name is {stated['name']!r}"
    if stated["samples"] != rows:
        return f"it has {rows} rows instead of {stated['samples']}"
    if stated["package"] is not None:
        Origin(**stated["package"])
    if stated["of"] == "labels" and not all(isinstance(name, str) for name in stated["classes"]):
        return "the name of a class is no text"
    if not all(isinstance(stated[name], str | None) for name in ("source", "source_sha256")):
        return "its source is no text"
    rates = [stated[name] for name in ("rate", "realised_rate")]
    are_shares = all(type(rate) in (int, float) and 0 <= rate <= 1 for rate in rates)
    return None if are_shares else f"its rates are {rates}"


def _column(path: Path, stated: dict[str, Any], name: str) -> pa.Array:
    """A column of the file in one piece, large_string [N]. Raises DamagedData if it is not the one that was written."""
    with arrow_errors(path):
        column = pq.read_table(path, columns=[name], page_checksum_verification=True)[name]
        values = column.cast(pa.large_string()).combine_chunks()
    total = ColumnSum()
    total.update(values)
    if values.null_count or total.hexdigest() != stated["columns"][name]:
        raise _damaged(path, f"its column {name} is not the one that was written")
    return values


def _rows(path: Path, dataset: Dataset, theirs: pa.Array, ours: pa.Array) -> np.ndarray:
    """The row of the file that each sample of the split has: int64 [N]. Raises FastptError if keys differ."""
    rows = pc.call_function("index_in", [ours], pc.SetLookupOptions(theirs))
    if len(theirs) == len(ours) and not rows.null_count:
        return rows.to_numpy().astype(np.int64)
    beyond = pc.call_function("invert", [pc.call_function("is_in", [theirs], pc.SetLookupOptions(ours))])
    only = [("only in the file", theirs.filter(beyond)), ("only in the split", ours.filter(rows.is_null()))]
    told = [f"{len(keys):,} are {where}, such as {keys[0].as_py()!r}" for where, keys in only if len(keys)]
    raise _misfit(path, dataset, f"keys differ: {' and '.join(told) or 'some come several times'}")


def _found(path: Path, values: pa.Array, known: pa.Array) -> np.ndarray:
    """Where each value is among those that are known: int64 [N]. Raises DamagedData if one is not."""
    found = pc.call_function("index_in", [values], pc.SetLookupOptions(known))
    if found.null_count:
        unknown = values.filter(found.is_null())[0].as_py()
        raise _damaged(path, f"it shows {unknown!r}, which its samples do not have")
    return found.to_numpy().astype(np.int64)


def _stored(path: Path, dataset: Dataset, stated: dict[str, Any], array: np.ndarray) -> NoisePlan:
    """The plan beside the split, written unless it is there."""
    name: str = stated["name"]
    of: Targets = stated["of"]
    realised = realised_rates(dataset, of, array, stated["rate"])
    if realised.rate != stated["realised_rate"]:
        raise _damaged(path, f"it says that {stated['realised_rate']:g} is wrong, and {realised.rate:g} is")
    if name not in dataset.noise_plans():
        package = Origin(**stated["package"]) if stated["package"] else None
        fields = {key: stated[key] for key in ("kind", "rate", "seed", "source", "source_sha256")}
        store_plan(dataset, name, array, realised, of=of, package=package, **fields)
    plan = dataset.noise_plan(name)
    if plan.of != of or not np.array_equal(plan.array, array):
        raise FastptError(
            f"{dataset.path} has another plan {name} than {path}. Delete the plan (.json and .npy) first, if the file "
            "is the one that is meant."
        )
    return plan


# --- what differs ----------------------------------------------------------------------------------------------------


def _other_classes(theirs: list[str], ours: list[str]) -> str:
    if set(theirs) == set(ours):
        first = next(i for i, (one, other) in enumerate(zip(theirs, ours, strict=True)) if one != other)
        return f"classes have another order: number {first} is {theirs[first]!r} in the file and {ours[first]!r} here"
    only = [("file", set(theirs) - set(ours)), ("split", set(ours) - set(theirs))]
    told = [f"{len(names):,} are only in the {where}, such as {min(names)!r}" for where, names in only if names]
    return f"classes differ: {' and '.join(told)}"


def _other_targets(path: Path, stated: dict[str, Any], dataset: Dataset, rows: np.ndarray, differ: np.ndarray) -> str:
    """What to say of the samples `differ`, whose clean targets are other ones."""
    first, of = int(differ[0]), stated["of"]
    theirs = _column(path, stated, COLUMNS[of][1])[int(rows[first])].as_py()
    ours = dataset.classes[dataset.clean_labels[first]] if of == "labels" else dataset.captions([first])[0]
    key = dataset.keys[first]
    return f"clean {of} of {len(differ):,} samples differ: {key!r} has {theirs!r} in the file and {ours!r} here"


def _misfit(path: Path, dataset: Dataset, differs: str) -> FastptError:
    return FastptError(f"{path} was made for other samples than {dataset.path} has: {differs}. Nothing was written.")


def _damaged(path: Path, problem: str) -> DamagedData:
    return DamagedData(f"{path} is damaged: {problem}. Get it anew from where it was published.")
