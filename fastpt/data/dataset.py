"""A prepared split: its manifest, the samples, the stored pictures, and the noise views over their targets.

data/imagenet/train/
  dataset.json        the manifest, written last: a split is complete or does not exist
  samples.parquet     one row a sample; the row number is the sample id
  images/             shards: FFCV files (.beton) or tars (.tar with DALI's .idx beside)
  noise/              plans: <name>.json + <name>.npy
  rejected.jsonl      what was left out, and why
"""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import overload

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fastpt.data import manifest
from fastpt.data.columns import TextColumn, arrow_errors, check_column, column_sum, take
from fastpt.data.fetched import FetchedSplit
from fastpt.data.hashes import xxh3_64
from fastpt.data.pictures import Pictures
from fastpt.data.plan import NoisePlan, Targets, load_plan, misfit, plan_names, plans_of_rate
from fastpt.data.replaced import Replaced, pictures_of
from fastpt.data.samples import Samples
from fastpt.data.shards import Shards
from fastpt.errors import DamagedData, FastptError
from fastpt.storage.address import ADDRESS, RemotePath
from fastpt.storage.names import is_utf8

PLACES = 1 << 20  # rows whose places are checked at once
MOST_WAITED = 32  # pictures that are read at once from an address


class Dataset:
    """A prepared split, opened for reading. Opening reads the manifest; columns and shards come in when first used.

    `path` may be an address (`s3://bucket/imagenet/train`): its shards are kept in a cache of this machine, and until
    one is there its pictures are read where they lie (see `fastpt.data.fetched`).

    Raises FastptError if the folder is no prepared split, DamagedData if a file of it is not what was written.
    """

    def __init__(self, path: Path | str):
        if not is_utf8(str(path)):
            raise FastptError(f"{str(path)!a} is not UTF-8, which a split's place has to be. Rename it.")
        self._fetched = FetchedSplit(RemotePath.parse(str(path))) if ADDRESS.match(str(path)) else None
        self.path = self._fetched.folder if self._fetched else Path(path)
        self.manifest = manifest.read(self.path)
        if self._fetched:
            self._fetched.open(self.manifest)
        self.name: str = self.manifest["name"]
        self.split: str = self.manifest["split"]
        self._samples_file = self.path / "samples.parquet"
        self.samples_id: str = self.manifest["samples_id"]
        self.images_id: str = self.manifest["images_id"]
        self.classes: list[str] = self.manifest["classes"]
        self.class_names: list[str] = self.manifest["class_names"]
        self.block: int = self.manifest["read_block"]
        self.has_labels: bool = self.manifest["has_labels"]
        self.has_captions: bool = self.manifest["has_captions"]
        self._shards = Shards(self.path / "images", self.manifest["shards"], self._fetched, self._advice())

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
        from fastpt.data.foreign.index import index_ffcv

        return cls(index_ffcv(file, image, label, caption, cache))

    @classmethod
    def from_webdataset(
        cls,
        tars: Path | str | Sequence[Path | str],
        cache: Path | str | None = None,
        image_member: str | None = None,
        ignore_damage: bool = False,
    ) -> "Dataset":
        """The JPEGs of WebDataset tars, read in place: a tar, a list of tars, or patterns like name-{000..123}.tar.

        Labels come from .cls, captions from .txt, else "caption" in .json; samples that lack what others have are left
        out (rejected.jsonl of the index says why). The first time each tar is read once; the index is kept in `cache`,
        by default ~/.cache/fastpt/indexes. `image_member` ("jpg") is the suffix of the picture where a sample has
        several; with `ignore_damage` a damaged tar gives what can be read, and the rest is told in the log and in the
        index's note.

        Raises FastptError if a tar cannot be read or holds pictures that are not JPEG, DamagedData if it is not whole.
        """
        from fastpt.data.foreign.index import index_webdataset

        return cls(index_webdataset(tars, image_member, ignore_damage, cache))

    def __reduce__(self) -> tuple:
        return type(self), (self.path,)  # file descriptors are those of one process

    def __len__(self) -> int:
        return self.manifest["counts"]["samples"]

    def __repr__(self) -> str:
        return f"Dataset({self.name}/{self.split}, {len(self)} samples)"

    def table(self, columns: list[str] | None = None) -> pa.Table:
        """samples.parquet, or some of its columns. Raises DamagedData if it cannot be read or is another one."""
        with arrow_errors(self._samples_file, self._advice()):
            table = pq.read_table(self._samples_file, columns=columns, memory_map=True)
        if len(table) != len(self):
            raise DamagedData(f"{self._samples_file} has {len(table)} rows instead of {len(self)}. {self._advice()}")
        for name in table.column_names:
            stated = self.manifest["columns"].get(name)
            check_column(self._samples_file, name, column_sum(table[name]), stated, self._advice())
        return table

    @cached_property
    def samples(self) -> Samples:
        """Where the pictures lie; see `Samples`."""
        # A column at a time: at millions of samples the table they come from is as large as the columns.
        samples = Samples(*(self.table([name]).column(name).to_numpy() for name in Samples.COLUMNS))
        pa.default_memory_pool().release_unused()  # what reading took; arrow would keep it
        self._check_places(samples)
        return samples

    def _check_places(self, samples: Samples) -> None:
        """Raise DamagedData if a picture would lie in no shard, past the end of one, or have no pixel."""
        ends = np.array([shard["bytes"] for shard in self.manifest["shards"]], np.uint64)
        for start in range(0, len(self), PLACES):
            shard, offset, size, width, height, _ = (
                getattr(samples, name)[start : start + PLACES] for name in Samples.COLUMNS
            )
            known = shard < len(ends)
            end = ends[np.where(known, shard, 0)]
            wrong = ~known | (size == 0) | (width == 0) | (height == 0) | (offset > end) | (size > end - offset)
            if wrong.any():
                row = int(wrong.argmax())
                raise DamagedData(
                    f"{self._samples_file} is damaged: sample {start + row} is said to be {width[row]} x {height[row]} "
                    f"pixels in {size[row]} bytes at {offset[row]} of shard {shard[row]}, where no picture can be. "
                    f"{self._advice()}"
                )

    @cached_property
    def keys(self) -> list[str]:
        """The source's name of each sample."""
        return self.table(["key"]).column("key").to_pylist()

    @property
    def stored_keys(self) -> TextColumn:
        """The keys where they lie, for what goes through them once without a Python object a sample."""
        return self._texts("key")

    def _texts(self, column: str) -> TextColumn:
        return TextColumn(self._samples_file, column, self.manifest["columns"][column], self._advice())

    @cached_property
    def _captions(self) -> pa.ChunkedArray:
        self.require_captions()
        return self.table(["caption"]).column("caption")

    def require_local(self) -> None:
        """Raise FastptError if the split lies at an address, where nothing is written."""
        if self._fetched:
            raise FastptError(
                f"{self._fetched.address} is an address, which is only read. Make the noise plan in the folder that "
                "was copied there, and copy its noise/ too."
            )

    def require_captions(self) -> None:
        """Raise FastptError if the split has no captions."""
        if not self.has_captions:
            raise FastptError(f"{self.path} has no captions, only labels. Prepare it from a source with captions.")

    @cached_property
    def caption_hashes(self) -> np.ndarray:
        """uint64 [N], equal where captions are the same text (xxh3-64)."""
        self.require_captions()
        return xxh3_64(self._texts("caption"))

    def captions(self, rows: np.ndarray | Sequence[int]) -> list[str]:
        """The captions of the given rows (what `targets(noise, of="captions")` returns)."""
        return take(self._captions, rows)

    @cached_property
    def clean_labels(self) -> np.ndarray:
        """int64 [N], the labels of the source."""
        if not self.has_labels:
            raise FastptError(
                f"{self.path} has no labels, only captions. Prepare it from a source with labels, or train a CLIP on "
                "the captions (task: clip)."
            )
        labels = self.table(["clean_label"]).column("clean_label").to_numpy().astype(np.int64)
        if not 0 <= labels.min() <= labels.max() < len(self.classes):
            raise DamagedData(
                f"{self._samples_file} is damaged: labels go from {labels.min()} to {labels.max()} in "
                f"{len(self.classes)} classes. {self._advice()}"
            )
        return labels

    def jpeg(self, sample_id: int, checked: bool = False) -> np.ndarray:
        """The stored JPEG of a sample: uint8 [size], a copy of its own; see `jpegs`.

        Read and not mapped: a mapped file that shrinks, or a disk that fails, kills the process by SIGBUS, while a read
        comes back short or with an error; it costs 1 us a picture. Safe to use from many threads.
        """
        samples = self.samples
        index, offset, size = (int(column[sample_id]) for column in (samples.shard, samples.offset, samples.size))
        jpeg = np.frombuffer(self._shards.read(index, offset, size), np.uint8)
        if checked:
            self._check(sample_id, jpeg)
        return jpeg

    def jpegs(self, sample_ids: np.ndarray, checked: bool = False) -> list[np.ndarray]:
        """The stored JPEGs of samples, int64 [K]: K times uint8 [size], for many threads that read at once.

        As `jpeg`, but in one call of C: threads then wait for Python's lock once, not once a picture.

        Raises DamagedData if a shard is missing or cut short; with `checked`, also if these are not the bytes that were
        stored.
        """
        jpegs, results = self._pictures.read(sample_ids, self.shard)
        rows = np.flatnonzero(results).tolist()
        left = (self.jpeg(int(sample_ids[row]), checked) for row in rows)  # which says what is wrong
        if self._fetched and len(rows) > 1:  # still on their way: threads wait for them together
            with ThreadPoolExecutor(min(len(rows), MOST_WAITED)) as threads:
                left = list(threads.map(self.jpeg, sample_ids[rows].tolist(), [checked] * len(rows)))
        for row, jpeg in zip(rows, left, strict=True):
            jpegs[row] = jpeg
        return jpegs

    @cached_property
    def _pictures(self) -> Pictures:
        return Pictures(self.samples)

    def _check(self, sample_id: int, jpeg: np.ndarray) -> None:
        if not self.samples.intact(np.array([sample_id]), [jpeg]).all():
            raise DamagedData(
                f"sample {sample_id} of {self.path} is damaged: its bytes are not those that were stored, or a "
                f"picture of another size. {self._advice()}"
            )

    def shard(self, index: int) -> int:
        """The file descriptor of a shard, open as long as the dataset.

        Raises DamagedData if its length is wrong, StillFetchedError if it is on its way here.
        """
        return self._shards.descriptor(index)

    def shard_path(self, index: int) -> Path:
        """Where a shard lies."""
        return self._shards.path(index)

    def shard_name(self, index: int) -> str:
        """The file name of a shard, for messages."""
        return self.shard_path(index).name

    def _advice(self) -> str:
        if self._fetched:
            return f"Delete {self.path}, which is a cache, and it is fetched anew."
        return f"`fastpt verify {self.path}` lists all damage; copy or prepare anew."

    def targets(self, noise: float | str | None = None, of: Targets | None = None) -> np.ndarray:
        """What each sample is shown under a noise plan: int64 [N] labels, or int64 [N] rows whose caption is shown.

        `noise` is None or 0 (clean), a rate (the only plan of that rate) or a plan name. `of` says which targets are
        meant where the split has both; by default labels, if there are any.
        """
        of = of or self.default_targets
        plan = self.noise_plan(noise, of)
        if plan is not None and plan.of != "pictures":
            return plan.array.astype(np.int64)
        if of == "labels":
            return self.clean_labels
        self.require_captions()
        return np.arange(len(self), dtype=np.int64)

    def noise_plans(self) -> list[str]:
        """The names of the plans beside this split."""
        return plan_names(self.path / "noise")

    @overload
    def noise_plan(self, noise: str, of: Targets | None = None) -> NoisePlan: ...

    @overload
    def noise_plan(self, noise: float | str | None, of: Targets | None = None) -> NoisePlan | None: ...

    def noise_plan(self, noise: float | str | None, of: Targets | None = None) -> NoisePlan | None:
        """The plan that `noise` names (see `targets`); None for clean. Raises FastptError if none or several match.

        Without `of` a name stands for the plan of that name, whatever it changes.
        """
        if noise is None or noise == 0:
            return None
        folder = self.path / "noise"
        if isinstance(noise, str):
            names = [name for name in self.noise_plans() if name == noise]
        else:
            of = of or self.default_targets
            names = plans_of_rate(folder, of, noise)
            if len(names) > 1:
                raise FastptError(
                    f"{self.path} has several noise plans of rate {noise:g} for {of}: {', '.join(names)}. "
                    "Give the name of the one that is meant instead of its rate."
                )
        if not names:
            there = ", ".join(self.noise_plans()) or "none"
            rate = "RATE" if isinstance(noise, str) else f"{noise:g}"
            raise FastptError(
                f"{self.path} has no noise plan {noise!r}{f' for {of}' if of else ''} (found: {there}). "
                f"`fastpt noise {self.path} --rate {rate}` makes one."
            )
        plan = load_plan(folder, names[0], self.samples_id)
        self._check_array(plan)
        if of not in (None, plan.of) and plan.of != "pictures":
            raise FastptError(f"noise plan {plan.name} changes {plan.of}, but {of} are asked for. Choose another plan.")
        return plan

    def _check_array(self, plan: NoisePlan) -> None:
        """Raise DamagedData if what a plan shows are not labels, or rows, of this split. Pictures are another's."""
        limits = {"labels": len(self.classes), "captions": len(self), "pictures": np.iinfo(np.int64).max}
        if wrong := misfit(plan.of, plan.array, len(self), limits[plan.of]):
            raise DamagedData(f"{self.path / 'noise' / plan.name}.npy {wrong}. Make the plan anew with `fastpt noise`.")

    def wrong(self, noise: float | str | None = None, of: Targets | None = None) -> np.ndarray:
        """Which samples a noise plan shows another target, or another's picture: bool [N]. See `targets`.

        A caption of the same text is no other one, whoever's it is.
        """
        plan = self.noise_plan(noise, of)
        return np.zeros(len(self), bool) if plan is None else self.wrong_under(plan)

    def wrong_under(self, plan: NoisePlan) -> np.ndarray:
        """As `wrong`, of a plan of this split."""
        if plan.of == "pictures":
            return plan.array >= 0
        if plan.of == "captions":
            return self.caption_hashes[plan.array] != self.caption_hashes
        return plan.array != self.clean_labels

    def shown(self, noise: float | str | None = None, of: Targets | None = None) -> "Dataset | Replaced":
        """The pictures under a noise plan (see `targets`): this split, but where a plan of pictures replaces some.

        Raises FastptError if the split that these are of is not where it was, or another one.
        """
        plan = self.noise_plan(noise, of or self.default_targets)
        if plan is None or plan.of != "pictures":
            return self
        return Replaced(self, pictures_of(self, plan), plan.array)

    @property
    def address(self) -> RemotePath | None:
        """Where the split lies, if that is no disk."""
        return self._fetched.address if self._fetched else None

    @property
    def identity(self) -> str:
        """A sha256 over which samples and which pictures these are."""
        return hashlib.sha256(f"{self.samples_id} {self.images_id}".encode()).hexdigest()

    @property
    def shard_count(self) -> int:
        return len(self.manifest["shards"])

    @property
    def shard_sums(self) -> list[str | dict]:
        """The sha256 of each shard, or, of foreign files, what the manifest says of it."""
        return [shard["sha256"] or shard for shard in self.manifest["shards"]]

    @property
    def default_targets(self) -> Targets:
        """What is meant where nobody says which targets."""
        return "labels" if self.has_labels else "captions"
