"""Features of a prepared split under a frozen encoder: computed once, cached under everything they depend on.

An extraction that was stopped goes on with the samples that are missing. A file of the cache is kept only if all its
pictures could be read: what a damaged split gave never stands for the mended one. Where files begin and end is a matter
of the samples alone, so that several processes write the files that one would.
"""

import hashlib
import json
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from fastpt import Dataset, Loader
from fastpt.data.replaced import Replaced
from fastpt.errors import FastptError
from fastpt.files import cache_dir, write_json
from fastpt.loading.batch import Batch
from fastpt.progress import Progress
from fastpt.tuning import feature_cache
from fastpt.tuning.corruptions import Corruption, corrupted
from fastpt.tuning.encoders.encoder import Encoder
from fastpt.tuning.feature_cache import Features, Piece

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
    extraction = Extraction(encoder, dataset, decoder, threads, view, corruption)
    for piece in extraction.pieces(cache, range(len(dataset))):
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
    extraction = Extraction(encoder, dataset, decoder, threads, view, corruption, is_shown=rank == 0)
    for _ in extraction.pieces(cache, mine):
        pass


@dataclass(frozen=True)
class Extraction:
    """Of what features are computed, by what, and how."""

    encoder: Encoder
    dataset: Dataset | Replaced
    decoder: str = "cpu"
    threads: int | None = None
    view: View | None = None
    corruption: Corruption | None = None
    is_shown: bool = True
    """Whether progress is."""

    @property
    def key(self) -> dict:
        """All that features depend on."""
        encoder, dataset = self.encoder, self.dataset
        return {
            "format": FORMAT,
            "chunk": CHUNK,
            "architecture": encoder.architecture,
            "weights_sha256": encoder.weights_sha256,
            "samples_id": dataset.samples_id,
            "images_id": dataset.images_id,
            "shards": dataset.shard_sums,
            "preprocessing": asdict(encoder.preprocessing),
            "view": asdict(self.view) if self.view else "center",
            "precision": encoder.precision,
            "decoder": self.decoder,
            "code": encoder.code,
            **({"corruption": self.corruption.model_dump()} if self.corruption else {}),
        }

    def pieces(self, cache: Path | None, wanted: range) -> Iterator[Piece]:
        """The features of samples that files begin and end with, from the cache, then those that were not there: these
        are kept."""
        name = hashlib.sha256(json.dumps(self.key, sort_keys=True).encode()).hexdigest()
        folder, places = (cache or cache_dir("features")) / name, []
        for piece in feature_cache.kept(folder, wanted, len(self.dataset), CHUNK):
            places.append((piece.first, piece.stop))
            yield piece
        if gaps := list(_gaps(places, wanted)):
            folder.mkdir(parents=True, exist_ok=True)
            write_json(folder / "key.json", self.key)
            with closing(self._extracted(gaps)) as extracted:
                for piece in extracted:
                    if piece.is_whole:
                        feature_cache.write(folder, piece)
                    yield piece

    def _extracted(self, gaps: Sequence[range]) -> Generator[Piece, None, None]:
        """The features of the samples in rising gaps, which begin with a batch, piece by piece. Raises FastptError if
        any is not finite."""
        crop, view, total = self.encoder.preprocessing, self.view, len(self.dataset)
        # The loader leaves damaged pictures out, so batches may be short, even empty; they begin where they would.
        loader = Loader(
            self.dataset,
            BATCH,
            crop.size,
            crop="random" if view else "center",
            scale=view.scale if view else (1.0, 1.0),
            crop_fraction=crop.crop_fraction,
            interpolation=crop.interpolation,
            flip=bool(view and view.flip),
            decoder=self.decoder,
            device=self.encoder.device.type,
            order="sequential",
            seed=0,
            threads=self.threads,
            drop_last=False,
        )
        what = f"view {view.number} of {self.dataset.name}" if view else self.dataset.name
        with loader, Progress(f"features of {what}/{self.dataset.split}", "pictures") as progress:
            for gap in gaps:
                state = {"epoch": view.number if view else 0, "position": gap.start}
                loader.load_state_dict(loader.state_dict() | state)
                shown = (lambda done: progress(done, total)) if self.is_shown else (lambda done: None)
                yield from self._pieces(iter(loader), gap, shown)

    def _pieces(self, batches: Iterator[Batch], gap: range, progress: Callable[[int], None]) -> Iterator[Piece]:
        """The features of the samples of a gap, whose batches these are the first of."""
        first, values, ids = gap.start, [], []
        for start in range(gap.start, gap.stop, BATCH):
            batch, stop = next(batches), min(start + BATCH, gap.stop)
            if len(batch.sample_ids):
                values.append(self._features(batch))
                ids.append(batch.sample_ids.cpu().numpy())
            progress(stop)
            if stop == gap.stop or stop % CHUNK == 0:
                features = Features(
                    np.concatenate(values) if values else np.empty((0, 0), np.float32),
                    np.concatenate(ids) if ids else np.empty(0, np.int64),
                )
                bad = int((~np.isfinite(features.values).all(1)).sum())
                if bad:
                    raise FastptError(
                        f"encoder {self.encoder.name} gives NaN or infinity for {bad} of {len(features.values)} "
                        f"pictures of {self.dataset.path}. Its training may have diverged; choose another checkpoint "
                        "or encoder."
                    )
                yield Piece(first, stop, features)
                first, values, ids = stop, [], []

    def _features(self, batch: Batch) -> np.ndarray:
        """float32 [B, D]."""
        images = batch.images
        if self.corruption:
            keys = [self.dataset.keys[sample] for sample in batch.sample_ids.tolist()]
            changed = corrupted(images.cpu().numpy(), keys, self.corruption)
            images = torch.from_numpy(changed).to(images.device)
        return self.encoder(images).cpu().numpy()


def _gaps(places: Sequence[tuple[int, int]], wanted: range) -> Iterator[range]:
    """What of the wanted samples is in none of the places, which rise."""
    reached = wanted.start
    for first, stop in [*places, (wanted.stop, wanted.stop)]:
        if reached < first:
            yield range(reached, first)
        reached = stop
