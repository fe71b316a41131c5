"""Features of a prepared split under a frozen encoder: computed once, cached under everything they depend on.

<cache>/features/<key>/
  key.json             what the key is the hash of
  00000.safetensors    features and ids of the samples 0 to CHUNK - 1, with a sha256; and so on

A chunk is whole or not there, so an extraction that was stopped goes on with the chunks that are missing.
"""

import hashlib
import itertools
import json
import sys
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from fastpt import Dataset, Loader
from fastpt.errors import FastptError
from fastpt.files import atomic_write, cache_dir, write_json
from fastpt.loading.batch import Batch
from fastpt.progress import Progress
from fastpt.tuning.encoders.encoder import Encoder

FORMAT = "2.0"
BATCH = 128
CHUNK = 2048
"""Samples a file, a multiple of BATCH: what is lost at most when an extraction is stopped."""


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


def training_view(encoder: Encoder, number: int) -> View:
    """The augmentation of the paper's code: light crops, mirrored unless the encoder was trained on captions."""
    captions = hasattr(encoder.model, "encode_image")
    return View(number, (0.9, 1.0), False) if captions else View(number, (0.8, 1.0), True)


def features_of(
    encoder: Encoder,
    dataset: Dataset,
    decoder: str = "cpu",
    threads: int | None = None,
    cache: Path | None = None,
    view: View | None = None,
) -> Features:
    """The encoder's features of every picture's centre crop, or of a view, from the cache as far as they are there.

    `cache` is a folder, by default fastpt's own.

    Raises FastptError if no picture can be decoded or if features are not finite.
    """
    key = cache_key(encoder, dataset, decoder, view)
    folder = (cache or cache_dir("features")) / hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
    paths = [folder / f"{number:05d}.safetensors" for number in range(-(-len(dataset) // CHUNK))]
    found = {number: part for number, path in enumerate(paths) if (part := _read(path))}
    if missing := [number for number in range(len(paths)) if number not in found]:
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "key.json", key)
        with closing(_extracted(encoder, dataset, decoder, threads, view, missing)) as extracted:
            for number, part in zip(missing, extracted, strict=True):
                found[number] = part
                _write(paths[number], part)
    parts = [found[number] for number in range(len(paths))]
    features = Features(
        np.concatenate([part.values for part in parts if len(part.values)] or [np.empty((0, 0), np.float32)]),
        np.concatenate([part.sample_ids for part in parts]),
    )
    if len(features.values) == 0:
        raise FastptError(f"{dataset.path} gave no picture. `fastpt verify {dataset.path}` tells what is wrong.")
    lost = len(dataset) - len(features.values)
    if lost:
        print(
            f"tune: {lost} of {len(dataset)} pictures of {dataset.path} could not be read and are left out; "
            f"`fastpt verify {dataset.path}` names them",
            file=sys.stderr,
        )
    return features


def cache_key(encoder: Encoder, dataset: Dataset, decoder: str, view: View | None = None) -> dict:
    """All that features depend on."""
    return {
        "format": FORMAT,
        "chunk": CHUNK,
        "architecture": encoder.architecture,
        "weights_sha256": encoder.weights_sha256,
        "samples_id": dataset.samples_id,
        "shards": [shard["sha256"] or shard for shard in dataset.manifest["shards"]],
        "preprocessing": asdict(encoder.preprocessing),
        "view": asdict(view) if view else "center",
        "precision": encoder.precision,
        "decoder": decoder,
    }


def _extracted(
    encoder: Encoder, dataset: Dataset, decoder: str, threads: int | None, view: View | None, chunks: Sequence[int]
) -> Generator[Features, None, None]:
    """The features of the samples from chunk * CHUNK on, for each of rising chunks, by one loader that goes on from one
    to the next. Raises FastptError if any is not finite."""
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
        batches: Iterator[Batch] = iter(())
        following = None
        for chunk in chunks:
            if chunk != following:
                state = {"epoch": view.number if view else 0, "position": chunk * CHUNK}
                loader.load_state_dict(loader.state_dict() | state)
                batches = iter(loader)
            following = chunk + 1
            values, ids = [np.empty((0, 0), np.float32)], [np.empty(0, np.int64)]
            for step, batch in enumerate(itertools.islice(batches, CHUNK // BATCH), 1):
                if len(batch.sample_ids):
                    values.append(encoder(batch.images).cpu().numpy())
                    ids.append(batch.sample_ids.cpu().numpy())
                progress(min(chunk * CHUNK + step * BATCH, total), total)
            # The first entry is there for a chunk whose pictures are all damaged.
            features = Features(np.concatenate(values[1:] or values), np.concatenate(ids))
            bad = int((~np.isfinite(features.values).all(1)).sum())
            if bad:
                raise FastptError(
                    f"encoder {encoder.name} gives NaN or infinity for {bad} of {len(features.values)} pictures of "
                    f"{dataset.path}. Its training may have diverged; choose another checkpoint or encoder."
                )
            yield features


def _write(path: Path, features: Features) -> None:
    tensors = {"features": features.values, "sample_ids": features.sample_ids}
    with atomic_write(path) as file:
        file.write(save(tensors, {"sha256": _sha256(features)}))


def _read(path: Path) -> Features | None:
    """What `_write` wrote; None if it is not there, or (with a word on stderr) if it is damaged."""
    if not path.exists():
        return None
    try:
        with safe_open(path, "numpy") as file:
            features = Features(file.get_tensor("features"), file.get_tensor("sample_ids"))
            if file.metadata()["sha256"] == _sha256(features):
                return features
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        pass
    print(f"tune: cached features {path} are damaged; they are computed anew", file=sys.stderr)
    return None


def _sha256(features: Features) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(features.values).data)
    digest.update(np.ascontiguousarray(features.sample_ids).data)
    return digest.hexdigest()
