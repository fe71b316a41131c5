"""A prepared split: its manifest, the samples, the stored pictures, and the noise views over their targets.

data/imagenet/train/
  dataset.json        the manifest, written last: a split is complete or does not exist
  samples.parquet     one row a sample; the row number is the sample id
  images/             shards: FFCV files (.beton) or tars (.tar with DALI's .idx beside)
  noise/              plans: <name>.json + <name>.npy
  rejected.jsonl      what was left out, and why
"""

import errno
import hashlib
import os
import resource
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fastpt.data import noise as noise_models
from fastpt.errors import FastptError
from fastpt.files import atomic_write, file_sha256, read_sealed_json, write_sealed_json

FORMAT = 1
Targets = Literal["labels", "captions"]


@dataclass(frozen=True)
class Samples:
    """Where the stored JPEG of each sample lies, as columns of N rows. 26 bytes a sample in memory."""

    shard: np.ndarray  # uint16, index into the manifest's shards
    offset: np.ndarray  # uint64, bytes from the start of the shard
    size: np.ndarray  # uint32, bytes
    width: np.ndarray  # uint16, pixels
    height: np.ndarray  # uint16, pixels
    xxh3: np.ndarray  # uint64, xxh3-64 of the JPEG bytes; 0 where it is not known (foreign FFCV files)

    COLUMNS = ("shard", "offset", "size", "width", "height", "xxh3")


@dataclass(frozen=True)
class NoisePlan:
    """What a plan's JSON says, and its array: int32 [N] labels to show, or int64 [N] rows whose caption is shown."""

    name: str
    kind: str
    rate: float
    realised_rate: float
    realised_per_class: list[float] | None
    seed: int
    array_sha256: str
    array: np.ndarray

    @property
    def of(self) -> Targets:
        return "labels" if self.kind in noise_models.LABEL_KINDS else "captions"

    def provenance(self) -> dict:
        """What a run records of the noise it saw."""
        return {
            "plan": self.name,
            "kind": self.kind,
            "rate": self.rate,
            "realised_rate": self.realised_rate,
            "seed": self.seed,
            "array_sha256": self.array_sha256,
        }


class Dataset:
    """A prepared split, opened for reading. Opening reads the manifest; columns and shards come in when first used.

    Raises FastptError if the folder is no prepared split, or if the manifest or a shard is not what was written.
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        try:
            self.manifest = read_sealed_json(self.path / "dataset.json", FORMAT)
        except (FileNotFoundError, NotADirectoryError):
            raise FastptError(_what_is_missing(self.path)) from None
        self.name: str = self.manifest["name"]
        self.split: str = self.manifest["split"]
        self.samples_id: str = self.manifest["samples_id"]
        self.classes: list[str] = self.manifest["classes"]
        self.class_names: list[str] = self.manifest["class_names"]
        self.block: int = self.manifest["block"]
        self.has_labels: bool = self.manifest["has_labels"]
        self.has_captions: bool = self.manifest["has_captions"]
        self._shards: dict[int, int] = {}  # file descriptors
        weakref.finalize(self, _close_all, self._shards)

    @classmethod
    def from_ffcv(
        cls,
        file: Path | str,
        image: str | None = None,
        label: str | None = None,
        caption: str | None = None,
        cache: Path | str | None = None,
    ) -> "Dataset":
        """The JPEGs of anybody's FFCV file, read in place.

        `image`, `label` (integers from 0) and `caption` (bytes or JSON) name fields; by default the only one of the
        right kind, or the one called "label", "caption" or "text". Other fields are not read. The index is kept in
        `cache`, by default ~/.cache/fastpt/indexes. There are no checksums: see `fastpt.data.foreign`.

        Raises FastptError if the file is no whole FFCV file, stores pictures raw, or leaves open which field is meant.
        """
        from fastpt.data.foreign import index_ffcv

        return cls(index_ffcv(file, image, label, caption, cache))

    @classmethod
    def from_webdataset(cls, tars: Path | str | Sequence[Path | str], cache: Path | str | None = None) -> "Dataset":
        """The JPEGs of WebDataset tars, read in place: a tar, a list of tars, or patterns like name-{000..123}.tar.

        Labels come from .cls, captions from .txt, else "caption" in .json; samples that lack what others have are left
        out (rejected.jsonl of the index says why). The first time each tar is read once; the index is kept in `cache`,
        by default ~/.cache/fastpt/indexes.

        Raises FastptError if a tar cannot be read or holds pictures that are not JPEG.
        """
        from fastpt.data.foreign import index_webdataset

        return cls(index_webdataset(tars, cache))

    def __len__(self) -> int:
        return self.manifest["counts"]["samples"]

    def __repr__(self) -> str:
        return f"Dataset({self.name}/{self.split}, {len(self)} samples)"

    @cached_property
    def samples(self) -> Samples:
        """Where the pictures lie; see `Samples`."""
        table = self._read(list(Samples.COLUMNS))
        return Samples(*(table.column(name).to_numpy() for name in Samples.COLUMNS))

    @cached_property
    def keys(self) -> list[str]:
        """The source's name of each sample."""
        return self._read(["key"]).column("key").to_pylist()

    @cached_property
    def _captions(self) -> pa.ChunkedArray:
        if not self.has_captions:
            raise FastptError(f"{self.path} has no captions, only labels. Prepare it from a source with captions.")
        return self._read(["caption"]).column("caption").combine_chunks()

    def captions(self, rows: np.ndarray | Sequence[int]) -> list[str]:
        """The captions of the given rows (what `targets(noise, of="captions")` returns)."""
        return self._captions.take(pa.array(np.asarray(rows))).to_pylist()

    @cached_property
    def clean_labels(self) -> np.ndarray:
        """int64 [N], the labels of the source."""
        if not self.has_labels:
            raise FastptError(f"{self.path} has no labels, only captions. Prepare it from a source with labels.")
        return self._read(["clean_label"]).column("clean_label").to_numpy().astype(np.int64)

    def jpeg(self, sample_id: int) -> np.ndarray:
        """The stored JPEG of a sample: uint8 [size], a copy of its own.

        Read and not mapped: a mapped file that shrinks, or a disk that fails, kills the process by SIGBUS, while a read
        comes back short or with an error; it costs 1 us a picture. Safe to use from many threads.
        """
        samples = self.samples
        index, size = int(samples.shard[sample_id]), int(samples.size[sample_id])
        try:
            stored = os.pread(self.shard(index), size, int(samples.offset[sample_id]))
        except OSError as error:
            raise FastptError(f"{self.shard_path(index)} cannot be read: {error.strerror}. Mend the disk.") from None
        if len(stored) != size:
            raise self._wrong_length(index, os.fstat(self.shard(index)).st_size)
        return np.frombuffer(stored, np.uint8)

    def shard(self, index: int) -> int:
        """The file descriptor of a shard, open as long as the dataset. Raises FastptError if its length is wrong."""
        if index not in self._shards:
            try:
                opened = _open(self.shard_path(index))
            except OSError as error:
                state = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be opened ({error.strerror})"
                raise FastptError(f"{self.shard_path(index)} {state}. {self._advice()}") from None
            found = os.fstat(opened).st_size
            if found != self.manifest["shards"][index]["bytes"]:
                os.close(opened)
                raise self._wrong_length(index, found)
            if self._shards.setdefault(index, opened) != opened:
                os.close(opened)  # another thread was quicker
        return self._shards[index]

    def shard_path(self, index: int) -> Path:
        """Where a shard lies."""
        return self.path / "images" / self.manifest["shards"][index]["name"]

    def _wrong_length(self, index: int, found: int) -> FastptError:
        wanted = self.manifest["shards"][index]["bytes"]
        return FastptError(f"{self.shard_path(index)} has {found} bytes instead of {wanted}. {self._advice()}")

    def _advice(self) -> str:
        return f"`fastpt verify {self.path}` lists all damage; copy or prepare anew."

    def targets(self, noise: float | str | None = None, of: Targets | None = None) -> np.ndarray:
        """What each sample is shown under a noise plan: int64 [N] labels, or int64 [N] rows whose caption is shown.

        `noise` is None or 0 (clean), a rate (the only plan of that rate) or a plan name. `of` says which targets are
        meant where the split has both; by default labels, if there are any.
        """
        of = of or ("labels" if self.has_labels else "captions")
        plan = self.noise_plan(noise, of)
        if plan is not None:
            return plan.array.astype(np.int64)
        if of == "labels":
            return self.clean_labels
        _ = self._captions  # no captions is an error here, not later
        return np.arange(len(self), dtype=np.int64)

    def noise_plans(self) -> list[str]:
        """The names of the plans beside this split."""
        return sorted(path.stem for path in (self.path / "noise").glob("*.json"))

    def noise_plan(self, noise: float | str | None, of: Targets | None = None) -> NoisePlan | None:
        """The plan that `noise` names (see `targets`); None for clean. Raises FastptError if none or several match."""
        if noise is None or noise == 0:
            return None
        of = of or ("labels" if self.has_labels else "captions")
        if isinstance(noise, str):
            names = [name for name in self.noise_plans() if name == noise]
        else:
            noise_models.check_rate(noise)
            kinds = noise_models.LABEL_KINDS if of == "labels" else noise_models.CAPTION_KINDS
            prefixes = tuple(noise_models.plan_name(kind, noise, seed="") for kind in kinds)
            names = [name for name in self.noise_plans() if name.startswith(prefixes)]
        if len(names) != 1:
            there = ", ".join(self.noise_plans()) or "none"
            what = f"no noise plan {noise!r}" if not names else f"several noise plans of rate {noise:g}"
            rate = "RATE" if isinstance(noise, str) else f"{noise:g}"
            advice = "Give the plan's name." if names else f"`fastpt noise {self.path} --rate {rate}` makes one."
            raise FastptError(f"{self.path} has {what} for {of} (found: {there}). {advice}")
        plan = load_plan(self.path / "noise" / f"{names[0]}.json", self.samples_id)
        if plan.of != of:
            raise FastptError(
                f"noise plan {plan.name} changes {plan.of}, but {of} are trained on. Choose another plan."
            )
        return plan

    def add_noise(self, rate: float, seed: int, of: Targets | None = None) -> NoisePlan:
        """Write the plan for `rate` (symmetric for labels, swap for captions), or return the one that is there."""
        of = of or ("labels" if self.has_labels else "captions")
        kind = "symmetric" if of == "labels" else "swap"
        path = self.path / "noise" / f"{noise_models.plan_name(kind, rate, seed)}.json"
        if not path.exists():
            labels = self.clean_labels if of == "labels" else None
            captions = self._captions.to_pylist() if of == "captions" else None
            write_plan(path, self.samples_id, self.keys, labels, captions, len(self.classes), rate, seed)
        return load_plan(path, self.samples_id)

    def _read(self, columns: list[str]) -> pa.Table:
        return read_samples(self.path / "samples.parquet", columns)


def _open(path: Path) -> int:
    """Open a file for reading. A split of thousands of shards may need more descriptors than the usual soft limit."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        if error.errno != errno.EMFILE or soft == hard:
            raise
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _close_all(shards: dict[int, int]) -> None:
    for descriptor in shards.values():
        os.close(descriptor)


def read_samples(path: Path, columns: list[str] | None = None) -> pa.Table:
    """The samples table, or some of its columns. Raises FastptError if it cannot be read."""
    try:
        return pq.read_table(path, columns=columns, memory_map=True)
    except (OSError, pa.ArrowException) as error:
        raise FastptError(f"{path} cannot be read ({error}). Restore it or prepare the split anew.") from None


def write_plan(
    path: Path,
    samples_id: str,
    keys: Sequence[str],
    labels: np.ndarray | None,
    captions: Sequence[str] | None,
    classes: int,
    rate: float,
    seed: int,
) -> None:
    """Make the plan `path` (its JSON; the array goes beside it): symmetric on `labels`, else swap on `captions`."""
    noise_models.check_rate(rate)
    if labels is not None:
        kind = "symmetric"
        array = noise_models.symmetric(keys, labels, classes, rate, seed)
        wrong = array != labels
        counts = np.maximum(np.bincount(labels, minlength=classes), 1)
        per_class = (np.bincount(labels[wrong], minlength=classes) / counts).tolist()
    else:
        kind = "swap"
        array = noise_models.swap(keys, captions, rate, seed)
        texts = np.asarray(captions, dtype=object)
        wrong = texts[array] != texts
        per_class = None
    path.parent.mkdir(exist_ok=True)
    with atomic_write(path.with_suffix(".npy")) as file:
        np.save(file, array)
    plan = {
        "format": FORMAT,
        "kind": kind,
        "rate": rate,
        "realised_rate": float(wrong.mean()) if len(wrong) else 0.0,
        "realised_per_class": per_class,
        "seed": seed,
        "samples_id": samples_id,
        "array_sha256": file_sha256(path.with_suffix(".npy")),
    }
    write_sealed_json(path, {name: value for name, value in plan.items() if value is not None})


def load_plan(path: Path, samples_id: str) -> NoisePlan:
    """Read a plan. Raises FastptError if it is damaged or was made for other samples."""
    plan = read_sealed_json(path, FORMAT)
    array_path = path.with_suffix(".npy")
    if not array_path.exists() or file_sha256(array_path) != plan["array_sha256"]:
        state = "does not match the sha256 in its plan" if array_path.exists() else "is missing"
        raise FastptError(f"{array_path} {state}. Delete both files and make the plan anew with `fastpt noise`.")
    if plan["samples_id"] != samples_id:
        raise FastptError(
            f"{path} was made for other samples (its samples_id {plan['samples_id'][:12]}, here {samples_id[:12]}). "
            "Delete it and make the plan anew with `fastpt noise`."
        )
    return NoisePlan(
        path.name.removesuffix(".json"), plan["kind"], plan["rate"], plan["realised_rate"],
        plan.get("realised_per_class"), plan["seed"], plan["array_sha256"], np.load(array_path),
    )  # fmt: skip


def samples_id(table: pa.Table) -> str:
    """SHA-256 over the canonical columns (key, clean_label, caption), so it does not depend on how they are stored."""
    digest = hashlib.sha256()
    for name in ("key", "clean_label", "caption"):
        if name not in table.column_names:
            continue
        column = table.column(name).combine_chunks()
        digest.update(f"{name}:{len(column)}\n".encode())
        if name == "clean_label":
            digest.update(column.to_numpy(zero_copy_only=False).astype("<i8").tobytes())
        else:
            texts = [text.encode() for text in column.to_pylist()]
            digest.update(np.array([len(text) for text in texts], "<i8").tobytes())
            digest.update(b"".join(texts))
    return digest.hexdigest()


def _what_is_missing(path: Path) -> str:
    if not path.exists():
        source = path.parent.name if path.parent.name in ("demo", "imagenet", "yfcc15m") else "imagefolder"
        where = "" if source == "demo" else " --source PATH"
        return f"{path} does not exist. Prepare it first, for example: fastpt prep {source}{where} --out {path.parent}"
    splits = sorted(child.parent.name for child in path.glob("*/dataset.json"))
    if splits:
        return f"{path} is a folder of splits ({', '.join(splits)}); name one of them, such as {path / splits[0]}."
    return (
        f"{path} is no prepared split: it has no dataset.json. If its preparation was stopped, run `fastpt prep` again."
    )
