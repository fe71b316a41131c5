"""The conversion job: source listings in, prepared splits out.

Shards are cut by position in a seeded permutation of the listing, so each is a pure function of its slice and can be
made by any worker, in any order, again. A worker writes a shard and then its part (the rows of the samples table, and
what was rejected); the parts of a killed job are taken as they are. When all parts are there, the split is put
together, `dataset.json` last, and the parts go: nothing in the result tells how often the job was stopped or how many
workers it had.
"""

import contextlib
import hashlib
import json
import logging
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from datasets_prep.images.policy import RejectedImage
from datasets_prep.listing import Found, NoisyLabels, SplitListing, Stamped
from datasets_prep.shard import Options, ShardJob
from datasets_prep.workers import run_locally, run_on_ray
from fastpt.data import manifest
from fastpt.data.dataset import Dataset
from fastpt.data.plan import NoisePlan, Targets
from fastpt.data.samples import Samples
from fastpt.data.verify import missing_files
from fastpt.errors import DamagedData, FastptError
from fastpt.files import atomic_write, locked, write_json
from fastpt.noise import add_noise
from fastpt.registry import Origin
from fastpt.storage.opened import what_changed

log = logging.getLogger("fastpt.prep")

STAMPS = "stamps"  # a parquet file
MOST_SHARDS = 1 << 16  # the samples table numbers them in uint16
LOOKED_AT = 8  # pictures of a split that is there
FEW_SAMPLES = 2_000  # read by a process at once, so that all workers have something to do where nothing is written


def prepare(
    found: Found,
    out: Path,
    name: str,
    options: Options,
    rates: list[float],
    workers: int,
    max_rejects: float,
    progress: Callable[[int, int], None],
    ray: str | None = None,
    packages: Sequence[Origin] = (),
) -> Iterator[tuple[Dataset, list[NoisePlan]]]:
    """Convert the splits that were `found` into folders of `out`; yield each when it is complete, with its noise plans.

    `progress(done, total)` is told the pictures done. `ray` is the address of a Ray cluster that does the work (see
    `run_on_ray`), else `workers` processes do. `packages` are those that gave the source. After a FastptError, the same
    call goes on from there.
    """
    pa.default_memory_pool().release_unused()  # what listing took beside the listing
    with _disk_errors(out), _only_writer(out):
        jobs = {}
        for split in found.splits:
            if not (out / split.name / "dataset.json").exists():
                jobs[split.name] = _plan_jobs(split, out / split.name, options)
            else:
                _check_complete(Dataset(out / split.name), split, options)
                _sweep(out / split.name)
        _run([job for per_split in jobs.values() for job in per_split], workers, progress, ray)
        for split in found.splits:
            if split.name in jobs:
                _finish(found, split, jobs[split.name], out / split.name, name, options, max_rejects, packages)
            dataset = Dataset(out / split.name)
            plans = [add_noise(dataset, rate, options.seed, of) for of in noise_targets(split) for rate in rates]
            if split.noisy_labels is not None and (split.noisy_labels.labels >= 0).any():
                plans.append(_plan_of_annotators(dataset, split, split.noisy_labels))
            yield dataset, plans


def noise_targets(split: SplitListing) -> list[Targets]:
    """The targets that get a noise plan: those the split has, if models are trained on it."""
    has: list[tuple[Targets, object]] = [("labels", split.labels), ("captions", split.captions)]
    return [of for of, there in has if there is not None and split.is_train]


def _plan_of_annotators(dataset: Dataset, split: SplitListing, noisy: NoisyLabels) -> NoisePlan:
    """The noise plan of labels that the source has beside the clean ones."""
    shown = dict(zip(split.keys, noisy.labels.tolist(), strict=True))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{noisy.name.replace('/', '_')[:100]}.npy"  # the plan is called after it
        np.save(file, [shown[key] for key in dataset.keys])
        return add_noise(dataset, None, 0, "labels", "external", {"file": file}, noisy.source)


def read_all(
    found: Found, options: Options, workers: int, progress: Callable[[int, int], None]
) -> dict[str, list[manifest.Rejected]]:
    """Read and encode every picture as `prepare` would, and write nothing: of each split, those that cannot be used."""
    few = replace(options, shard_samples=min(options.shard_samples, FEW_SAMPLES))
    jobs = [job for split in found.splits for job in _jobs(split, Path(split.name), few)]
    total = sum(len(job.rows) for job in jobs)
    rejected: dict[str, list[manifest.Rejected]] = {split.name: [] for split in found.splits}
    for name, pairs in run_locally(jobs, workers, lambda done: progress(done, total), _read):
        rejected[name] += pairs
    return {name: sorted(pairs) for name, pairs in rejected.items()}


def _read(job: ShardJob, tick: Callable[[], None]) -> tuple[str, list[manifest.Rejected]]:
    return job.split.name, job.read(tick)


# --- planning ---------------------------------------------------------------------------------------------------


def _listing_sha256(split: SplitListing) -> str:
    digest = hashlib.sha256(json.dumps([split.classes, split.class_names]).encode())
    for column in (split.keys, split.captions):
        for text in column or ():
            digest.update(text.encode(errors="surrogateescape") + b"\0")
    if split.labels is not None:
        digest.update(split.labels.astype("<i8").tobytes())
    return digest.hexdigest()


def _settings(split: SplitListing, options: Options) -> dict:
    """All that the bytes of a split depend on."""
    return {**asdict(options), **split.settings, "listing_sha256": _listing_sha256(split)}


def _plan_jobs(split: SplitListing, folder: Path, options: Options) -> list[ShardJob]:
    if len(split) == 0:
        left_out = (*split.rejected, *split.pictureless)
        why = f": {len(left_out):,} are left out, the first ({left_out[0][0]}): {left_out[0][1]}" if left_out else ""
        raise FastptError(f"split {split.name} has no samples to prepare{why}. Check the source.")
    if (shards := -(-len(split) // options.shard_samples)) > MOST_SHARDS:
        raise FastptError(
            f"split {split.name}: {len(split):,} samples would be {shards:,} shards, and a split has at most "
            f"{MOST_SHARDS:,}. Give --shard-samples {-(-len(split) // MOST_SHARDS)} or more."
        )
    if folder.exists() and not (folder / ".parts").exists() and any(folder.iterdir()):
        raise FastptError(f"{folder} exists and is no prepared split. Move it away, or choose another --out.")
    (folder / ".parts").mkdir(parents=True, exist_ok=True)
    (folder / "images").mkdir(exist_ok=True)
    settings = _settings(split, options)
    note = folder / ".parts" / "settings.json"
    jobs = _jobs(split, folder, options)
    if note.exists():
        _refuse_changed(folder, json.loads(note.read_text()), settings)
        _refuse_changed_files(split, folder, jobs)
    _write_stamps(split, folder)
    if not note.exists():
        write_json(note, settings)
    return jobs


def _write_stamps(split: SplitListing, folder: Path) -> None:
    """Keep by what the files of a split are known again, for a job that goes on with it later."""
    if isinstance(split.read, Stamped):
        stamps = split.read.stamps()
        sizes, versions = ([stamp[at] for stamp in stamps.values()] for at in (0, 1))
        versions = pa.array(versions, pa.string() if split.addresses else pa.int64())
        table = pa.table({"file": list(stamps), "bytes": pa.array(sizes, pa.int64()), "version": versions})
        with atomic_write(folder / ".parts" / STAMPS) as file:
            pq.write_table(table, file)


def _refuse_changed_files(split: SplitListing, folder: Path, jobs: Sequence[ShardJob]) -> None:
    """Raise FastptError if a file changed since the job was begun, unless what was made of it was rejected."""
    kept = folder / ".parts" / STAMPS
    if not kept.exists() or not isinstance(split.read, Stamped):
        return
    stamps, before = split.read.stamps(), pq.read_table(kept).to_pylist()
    changed = {
        one["file"]: what_changed((one["bytes"], one["version"]), now)
        for one in before
        if (now := stamps.get(one["file"])) and now != (one["bytes"], one["version"])
    }
    if not changed:
        return
    mended = {key for job in jobs for key, _ in job.rejected()}
    for i, key in enumerate(split.keys):
        file = split.read.holder(i)
        if file in changed and key not in mended:
            more = f", and {len(changed) - 1:,} more file{'s' * (len(changed) > 2)}" if len(changed) > 1 else ""
            name = key if Path(key).name == Path(file).name else file  # that of one of several places is numbered
            raise FastptError(
                f"{name} changed since {folder} was begun ({changed[file]}){more}. Part of the split is made of its "
                f"former content. Put that back, or delete {folder} to prepare it anew."
            )


def _jobs(split: SplitListing, folder: Path, options: Options) -> list[ShardJob]:
    order = _order(split, options)
    cuts = range(0, len(split), options.shard_samples)
    return [ShardJob(split, order[cut : cut + options.shard_samples], i, folder, options) for i, cut in enumerate(cuts)]


def _order(split: SplitListing, options: Options) -> np.ndarray:
    """The rows in the order in which they are stored, int64 [N]. Random order keeps what is read at once together."""
    if options.order == "source":
        return np.arange(len(split))
    rng = np.random.default_rng([options.seed, zlib.crc32(split.name.encode())])
    order = rng.permutation(len(split))
    if split.groups is None:
        return order
    place = rng.permutation(int(split.groups.max()) + 1)
    return order[np.argsort(place[split.groups[order]], kind="stable")]


def _check_complete(dataset: Dataset, split: SplitListing, options: Options) -> None:
    """Raise if a split that is there was prepared otherwise, or lacks files."""
    there = {**dataset.manifest["settings"], "listing_sha256": dataset.manifest["listing_sha256"]}
    _refuse_changed(dataset.path, there, _settings(split, options))
    problems = missing_files(dataset)
    if problems:
        raise DamagedData(
            f"{dataset.path} was prepared, but {problems[0]} `fastpt verify {dataset.path}` lists all damage; "
            "delete the folder to prepare it anew."
        )
    _check_pictures(dataset, split, options)


def _check_pictures(dataset: Dataset, split: SplitListing, options: Options) -> None:
    """Raise FastptError if pictures of the source, some of which are looked at, are not those of a split that is there.

    Where they are encoded anew, other versions of libraries may make other bytes: that is told.
    """
    rows = np.unique(np.linspace(0, len(split) - 1, LOOKED_AT).astype(np.int64))
    stored, looked_at, others, otherwise = dataset.table(["key", *Samples.COLUMNS]), 0, [], []
    for row, now in zip(rows.tolist(), ShardJob(split, rows, 0, dataset.path, options).encoded(), strict=True):
        at = pc.call_function("index", [stored["key"]], pc.IndexOptions(pa.scalar(split.keys[row]))).as_py()
        if at < 0:
            continue  # it was rejected
        looked_at += 1
        width, height, xxh3 = (stored[name][at].as_py() for name in ("width", "height", "xxh3"))
        if isinstance(now, RejectedImage) or (now.width, now.height) != (width, height):
            others.append(split.keys[row])
        elif xxhash.xxh3_64_intdigest(now.jpeg) != xxh3:
            (otherwise if now.encoded else others).append(split.keys[row])
    if others:
        raise FastptError(
            f"{dataset.path} was prepared from other pictures of the same names: of {looked_at} that were looked at, "
            f"{len(others)} are not those of the source now, such as {others[0]}. Choose another --out, or delete it."
        )
    if otherwise:
        log.warning(
            "%s: %d of %d pictures that were looked at would be encoded otherwise now, such as %s: by other versions "
            "of libraries, or because they have other pixels. It stays as it is; delete it to prepare it anew.",
            dataset.path,
            len(otherwise),
            looked_at,
            otherwise[0],
        )


def _refuse_changed(folder: Path, there: dict, wanted: dict) -> None:
    changed = [key for key in wanted if there.get(key) != wanted[key]]
    if changed != ["listing_sha256"]:
        changed = [key for key in changed if key != "listing_sha256"]  # it follows from the others
    if changed == ["listing_sha256"]:
        raise FastptError(
            f"{folder} was prepared from another listing: the source has changed since (files or targets came, went or "
            "were renamed). Choose another --out, or delete it."
        )
    if changed:
        what = "; ".join(f"{key} was {there.get(key)}, now {wanted[key]}" for key in changed)
        raise FastptError(
            f"{folder} was prepared otherwise ({what}). Give the same options, choose another --out, or delete it."
        )


# --- working ----------------------------------------------------------------------------------------------------


def _run(jobs: list[ShardJob], workers: int, progress: Callable[[int, int], None], ray: str | None) -> None:
    """Make all shards that are not done yet, or not any more."""
    with ThreadPoolExecutor(workers) as pool:  # what is there is hashed, which releases the GIL
        done = list(pool.map(ShardJob.is_done, jobs))
    todo = [job for job, is_done in zip(jobs, done, strict=True) if not is_done]
    total = sum(len(job.rows) for job in jobs)
    before = total - sum(len(job.rows) for job in todo)

    def tell(done: int) -> None:
        progress(before + done, total)

    if ray and todo:
        run_on_ray(ray, todo, workers, tell)
    else:
        run_locally(todo, workers, tell)


def _sweep(folder: Path) -> None:
    """Take away what is of use to an unfinished job only: the parts, and files that a killed process was writing."""
    shutil.rmtree(folder / ".parts", ignore_errors=True)
    for aside in folder.rglob(".*.tmp"):
        aside.unlink()


# --- finishing --------------------------------------------------------------------------------------------------


def check_rejected(split: SplitListing, rejected: Sequence[tuple[str, str]], max_rejects: float) -> None:
    """Raise FastptError if more than a share of `max_rejects` of a split's samples, in all, cannot be used."""
    total = len(split) + len(split.rejected) + len(split.pictureless)
    if len(rejected) > max_rejects * total:
        first = "; ".join(f"{key}: {reason}" for key, reason in rejected[:3])
        enough = min(1.0, np.ceil(len(rejected) / total * 1000) / 1000)
        raise FastptError(
            f"split {split.name}: {len(rejected)} of {total} samples cannot be used "
            f"({first}{' ...' * (len(rejected) > 3)}), more than --max-rejects {max_rejects:g}. "
            f"Mend the source, or run the same command with --max-rejects {enough:g} to leave them out."
        )


def _finish(
    found: Found,
    split: SplitListing,
    jobs: list[ShardJob],
    folder: Path,
    name: str,
    options: Options,
    max_rejects: float,
    packages: Sequence[Origin],
) -> None:
    """Put the parts together: samples table, rejects, and at last the manifest."""
    table, notes = _put_together(jobs)
    left_out = (*split.rejected, *split.pictureless)
    rejected = [manifest.Rejected(*pair) for pair in left_out]
    rejected += [manifest.Rejected(one["key"], one["reason"]) for note in notes for one in note["rejected"]]
    check_rejected(split, rejected, max_rejects)
    if len(table) == 0:
        raise FastptError(
            f"split {split.name}: none of {len(rejected)} samples can be used, the first for this reason: "
            f"{rejected[0].reason}. Check the source."
        )
    manifest.write(
        folder,
        table,
        rejected,
        [note["shard"] for note in notes],
        reencoded={way: sum(note["reencoded"][way] for note in notes) for way in ("420", "444")},
        with_entry_points=sum(note["with_entry_points"] for note in notes),
        name=name,
        split=split.name,
        note=split.note,
        source=_source(split),
        found={"files": found.files, "beside": found.beside, "warnings": found.warnings},
        settings={**asdict(options), **split.settings},
        classes=split.classes,
        class_names=split.class_names,
        listing_sha256=_listing_sha256(split),
        packages=packages,
    )
    _sweep(folder)


def _put_together(jobs: Sequence[ShardJob]) -> tuple[pa.Table, list[dict]]:
    """The rows of all parts, and what each part says of its shard."""
    parts = [pq.read_table(job.part) for job in jobs]
    notes = [json.loads(part.schema.metadata[b"part"]) for part in parts]
    table = pa.concat_tables([part.replace_schema_metadata(None) for part in parts]).combine_chunks()
    del parts  # which are as large again
    pa.default_memory_pool().release_unused()
    return table, notes


def _source(split: SplitListing) -> dict | None:
    """Where a split is from, if that is reached over a network, and what is known again of its files: their number,
    their bytes, and a sha256 of the name, length and ETag of each."""
    if not split.addresses:
        return None
    stamps = sorted(split.read.stamps().items()) if isinstance(split.read, Stamped) else []
    digest = hashlib.sha256(json.dumps(stamps, ensure_ascii=False).encode(errors="surrogateescape"))
    size = sum(size for _, (size, _) in stamps)
    return {"addresses": split.addresses, "files": len(stamps), "bytes": size, "stamps_sha256": digest.hexdigest()}


# --- guards -----------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _only_writer(out: Path) -> Iterator[None]:
    lock = out / ".lock"
    with locked(lock, f"another process is writing to {out}. Wait for it, or choose another --out."):
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


@contextlib.contextmanager
def _disk_errors(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise FastptError(
            f"writing to {out} failed: {error.strerror or error}. "
            "Mend that and run the same command: it goes on where it stopped."
        ) from None
