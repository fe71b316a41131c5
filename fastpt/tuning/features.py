"""Features of a prepared split under a frozen encoder: computed once, cached under everything they depend on.

<cache>/features/<key>/
  key.json                           what the key is the hash of
  000000000-000000512.safetensors    features and ids of the samples 0 to 511, with a sha256; and so on

A file is whole or not there, so an extraction that was stopped goes on with the samples that are missing. Its sum is
also over the key and the place in the split, so that a file of another place, split or encoder is none of these. A file
is kept only if all its pictures could be read: what a damaged split gave never stands for the mended one. Where files
begin and end is a matter of the samples alone, so that several processes write the files that one would.
"""

import hashlib
import json
import re
import sys
from collections.abc import Callable, Collection, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from fastpt import Dataset, Loader
from fastpt.data.replaced import Replaced
from fastpt.errors import FastptError
from fastpt.files import atomic_write, cache_dir, remove, write_json
from fastpt.loading.batch import Batch
from fastpt.progress import Progress
from fastpt.tuning.corruptions import Corruption, corrupted
from fastpt.tuning.encoders.encoder import Encoder

FORMAT = "2.2"
BATCH = 128
CHUNK = 512
"""Samples a file, a multiple of BATCH: at most these are lost when an extraction is stopped."""


@dataclass(frozen=True)
class View:
    """A random crop of every picture, the same whenever it is asked for."""

    number: int
    """From 0; pictures are cropped anew in each."""
    scale: tuple[float, float]
    """Share of the picture's area that is kept."""
    flip: bool
    """Whether half of the pictures are mirrored."""


@dataclass(frozen=True)
class Features:
    """Features of the samples that could be decoded, by rising sample id."""

    values: np.ndarray
    """float32 [N, D]."""
    sample_ids: np.ndarray
    """int64 [N]."""


@dataclass(frozen=True)
class _Piece:
    """The features of samples `first` to `stop` - 1."""

    first: int
    stop: int
    features: Features

    @property
    def is_whole(self) -> bool:
        return len(self.features.sample_ids) == self.stop - self.first


def training_view(encoder: Encoder, number: int) -> View:
    """The augmentation of the paper's code: light crops, mirrored unless the encoder was trained on captions."""
    captions = hasattr(encoder.model, "encode_image")
    return View(number, (0.9, 1.0), False) if captions else View(number, (0.8, 1.0), True)


def features_of(
    encoder: Encoder,
    dataset: Dataset | Replaced,
    decoder: str = "cpu",
    threads: int | None = None,
    cache: Path | None = None,
    view: View | None = None,
    corruption: Corruption | None = None,
) -> Features:
    """The encoder's features of every picture's centre crop, or of a view, from the cache as far as they are there.

    With `corruption` those of the corrupted pictures.

    `cache` is a folder, by default fastpt's own.

    Raises FastptError if no picture can be decoded or if features are not finite.
    """
    values, is_read = np.empty((0, 0), np.float32), np.zeros(len(dataset), bool)
    for piece in _pieces_of(encoder, dataset, decoder, threads, cache, view, corruption, range(len(dataset))):
        if len(ids := piece.features.sample_ids):
            if not len(values):  # in memory once: those of ImageNet are 10 GB
                values = np.empty((len(dataset), piece.features.values.shape[1]), np.float32)
            values[ids], is_read[ids] = piece.features.values, True
    if not is_read.any():
        raise FastptError(f"{dataset.path} gave no picture. `fastpt verify {dataset.path}` tells what is wrong.")
    if lost := len(dataset) - int(is_read.sum()):
        print(
            f"tune: {lost} of {len(dataset)} pictures of {dataset.path} could not be read and are left out; "
            f"`fastpt verify {dataset.path}` names them",
            file=sys.stderr,
        )
    return Features(values[is_read] if lost else values, np.flatnonzero(is_read))


def compute_share(
    encoder: Encoder,
    dataset: Dataset,
    decoder: str = "cpu",
    threads: int | None = None,
    cache: Path | None = None,
    view: View | None = None,
    corruption: Corruption | None = None,
    rank: int = 0,
    world_size: int = 1,
) -> None:
    """Have the cache hold one process's share of what `features_of` returns: files side by side, of all processes as
    many. The first process shows its progress.

    Raises FastptError if features are not finite.
    """
    files = -(-len(dataset) // CHUNK)
    first, stop = (CHUNK * (files * place // world_size) for place in (rank, rank + 1))
    mine = range(first, min(stop, len(dataset)))
    for _ in _pieces_of(encoder, dataset, decoder, threads, cache, view, corruption, mine, is_shown=rank == 0):
        pass


def cache_key(
    encoder: Encoder,
    dataset: Dataset | Replaced,
    decoder: str,
    view: View | None = None,
    corruption: Corruption | None = None,
) -> dict:
    """All that features depend on."""
    return {
        "format": FORMAT,
        "chunk": CHUNK,
        "architecture": encoder.architecture,
        "weights_sha256": encoder.weights_sha256,
        "samples_id": dataset.samples_id,
        "images_id": dataset.images_id,
        "shards": dataset.shard_sums,
        "preprocessing": asdict(encoder.preprocessing),
        "view": asdict(view) if view else "center",
        "precision": encoder.precision,
        "decoder": decoder,
        **({"corruption": corruption.model_dump()} if corruption else {}),
    }


def _pieces_of(
    encoder: Encoder,
    dataset: Dataset | Replaced,
    decoder: str,
    threads: int | None,
    cache: Path | None,
    view: View | None,
    corruption: Corruption | None,
    wanted: range,
    is_shown: bool = True,
) -> Iterator[_Piece]:
    """The features of samples that files begin and end with, from the cache, then those that were not there: these are
    kept."""
    key = cache_key(encoder, dataset, decoder, view, corruption)
    name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    folder, places = (cache or cache_dir("features")) / name, []
    for piece in _kept(folder, wanted, len(dataset)):
        places.append((piece.first, piece.stop))
        yield piece
    if gaps := list(_gaps(places, wanted)):
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "key.json", key)
        with closing(_extracted(encoder, dataset, decoder, threads, view, corruption, gaps, is_shown)) as extracted:
            for piece in extracted:
                if piece.is_whole:
                    _write(folder, piece)
                yield piece


def _gaps(places: Sequence[tuple[int, int]], wanted: range) -> Iterator[range]:
    """What of the wanted samples is in none of the places, which rise."""
    reached = wanted.start
    for first, stop in [*places, (wanted.stop, wanted.stop)]:
        if reached < first:
            yield range(reached, first)
        reached = stop


def _extracted(
    encoder: Encoder,
    dataset: Dataset | Replaced,
    decoder: str,
    threads: int | None,
    view: View | None,
    corruption: Corruption | None,
    gaps: Sequence[range],
    is_shown: bool,
) -> Generator[_Piece, None, None]:
    """The features of the samples in rising gaps, which begin with a batch, piece by piece. Raises FastptError if any
    is not finite."""
    crop, total = encoder.preprocessing, len(dataset)
    # The loader leaves damaged pictures out, so batches may be short, even empty; they begin where they would.
    loader = Loader(
        dataset,
        BATCH,
        crop.size,
        crop="random" if view else "center",
        scale=view.scale if view else (1.0, 1.0),
        crop_fraction=crop.crop_fraction,
        interpolation=crop.interpolation,
        flip=bool(view and view.flip),
        decoder=decoder,
        device=encoder.device.type,
        order="sequential",
        seed=0,
        threads=threads,
        drop_last=False,
    )
    what = f"view {view.number} of {dataset.name}" if view else dataset.name
    with loader, Progress(f"features of {what}/{dataset.split}", "pictures") as progress:
        for gap in gaps:
            state = {"epoch": view.number if view else 0, "position": gap.start}
            loader.load_state_dict(loader.state_dict() | state)
            shown = (lambda done: progress(done, total)) if is_shown else (lambda done: None)
            yield from _pieces(encoder, dataset, iter(loader), corruption, gap, shown)


def _pieces(
    encoder: Encoder,
    dataset: Dataset | Replaced,
    batches: Iterator[Batch],
    corruption: Corruption | None,
    gap: range,
    progress: Callable[[int], None],
) -> Iterator[_Piece]:
    """The features of the samples of a gap, whose batches these are the first of."""
    first, values, ids = gap.start, [], []
    for start in range(gap.start, gap.stop, BATCH):
        batch, stop = next(batches), min(start + BATCH, gap.stop)
        if len(batch.sample_ids):
            sample_ids = batch.sample_ids.cpu().numpy()
            images = batch.images
            if corruption:
                keys = [dataset.keys[sample] for sample in sample_ids]
                changed = corrupted(images.cpu().numpy(), keys, corruption)
                images = torch.from_numpy(changed).to(images.device)
            values.append(encoder(images).cpu().numpy())
            ids.append(sample_ids)
        progress(stop)
        if stop == gap.stop or stop % CHUNK == 0:
            features = Features(
                np.concatenate(values) if values else np.empty((0, 0), np.float32),
                np.concatenate(ids) if ids else np.empty(0, np.int64),
            )
            bad = int((~np.isfinite(features.values).all(1)).sum())
            if bad:
                raise FastptError(
                    f"encoder {encoder.name} gives NaN or infinity for {bad} of {len(features.values)} pictures of "
                    f"{dataset.path}. Its training may have diverged; choose another checkpoint or encoder."
                )
            yield _Piece(first, stop, features)
            first, values, ids = stop, [], []


def verify_features(weights_sha256: Collection[str]) -> list[str]:
    """A line for each file of features that is kept of encoders of these weights and is not what was written."""
    problems = []
    for folder in sorted(path.parent for path in cache_dir("features").glob("*/key.json")):
        try:
            key = json.loads((folder / "key.json").read_bytes())
            is_its_own = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest() == folder.name
        except (OSError, ValueError, RecursionError):
            key, is_its_own = {}, False
        if not is_its_own:
            problems.append(f"{folder / 'key.json'} is not that of its folder. Delete the folder: it is made anew.")
        elif key.get("weights_sha256") in weights_sha256:
            for path in sorted(folder.glob("*.safetensors")):
                place = _place(path)
                if not place or _read(path, folder.name, *place) is None:
                    problems.append(f"{path} is not what was written there. Delete it: it is computed anew.")
    return problems


def _write(folder: Path, piece: _Piece) -> None:
    tensors = {"features": piece.features.values, "sample_ids": piece.features.sample_ids}
    with atomic_write(folder / f"{piece.first:09d}-{piece.stop:09d}.safetensors") as file:
        file.write(save(tensors, {"sha256": _sha256(folder.name, piece)}))


def _kept(folder: Path, wanted: range, total: int) -> Iterator[_Piece]:
    """What `_write` wrote of the wanted samples, rising; what is damaged is deleted, with a word on stderr."""
    for path in sorted(folder.glob("*.safetensors")):
        first, stop = _place(path) or (-1, 0)
        if first not in wanted or first % CHUNK or stop != min(first + CHUNK, total):
            continue  # another's, or not one of ours
        if features := _read(path, folder.name, first, stop):
            yield _Piece(first, stop, features)
        else:
            print(f"tune: cached features {path} are damaged; they are computed anew", file=sys.stderr)
            remove(path)


def _place(path: Path) -> tuple[int, int] | None:
    """The first sample of a file and the one behind its last, by its name."""
    found = re.fullmatch(r"([0-9]{9,})-([0-9]{9,})", path.stem)
    return (int(found[1]), int(found[2])) if found else None


def _read(path: Path, key: str, first: int, stop: int) -> Features | None:
    try:
        with safe_open(path, "numpy") as file:
            features = Features(file.get_tensor("features"), file.get_tensor("sample_ids"))
            if file.metadata()["sha256"] == _sha256(key, _Piece(first, stop, features)):
                return features
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        pass
    return None


def _sha256(key: str, piece: _Piece) -> str:
    digest = hashlib.sha256(f"{key} {piece.first} {piece.stop} {piece.features.values.shape}".encode())
    digest.update(np.ascontiguousarray(piece.features.values).data)
    digest.update(np.ascontiguousarray(piece.features.sample_ids).data)
    return digest.hexdigest()
