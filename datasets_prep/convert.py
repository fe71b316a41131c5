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
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from datasets_prep.listing import Found, NoisyLabels, SplitListing, Stamped
from datasets_prep.shard import Options, ShardJob
from datasets_prep.unchanged import (
    begun_with,
    check_complete,
    listing_sha256,
    refuse_changed,
    refuse_changed_files,
    settings_of,
    write_stamps,
)
from datasets_prep.workers import run_locally, run_on_ray
from fastpt.data import manifest
from fastpt.data.dataset import Dataset
from fastpt.data.plan import NoisePlan, Targets
from fastpt.errors import FastptError
from fastpt.files import locked, write_json
from fastpt.noise import add_noise
from fastpt.registry import Origin

MOST_SHARDS = 1 << 16  # the samples table numbers them in uint16
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
                check_complete(Dataset(out / split.name), split, options)
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
    settings = settings_of(split, options)
    note = folder / ".parts" / "settings.json"
    jobs = _jobs(split, folder, options)
    if note.exists():
        refuse_changed(folder, begun_with(folder, note), settings)
        refuse_changed_files(split, folder, jobs)
    write_stamps(split, folder)
    if not note.exists():
        write_json(note, settings)
    return jobs


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
    """Take away what is of use to an unfinished job only: the parts, and shards that a killed process was writing.

    What stands aside elsewhere may be of another process, such as one that makes noise.
    """
    shutil.rmtree(folder / ".parts", ignore_errors=True)
    for aside in (folder / "images").glob(".*.tmp"):
        aside.unlink(missing_ok=True)


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
    description = manifest.Description(
        name=name,
        split=split.name,
        note=split.note,
        settings={**asdict(options), **split.settings},
        classes=split.classes,
        class_names=split.class_names,
        source=_source(split),
        found={"files": found.files, "beside": found.beside, "warnings": found.warnings},
        reencoded={way: sum(note["reencoded"][way] for note in notes) for way in ("420", "444")},
        with_entry_points=sum(note["with_entry_points"] for note in notes),
        listing_sha256=listing_sha256(split),
        packages=packages,
    )
    manifest.write(folder, table, rejected, [note["shard"] for note in notes], description)
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
