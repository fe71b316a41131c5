"""Features of a prepared split under a frozen encoder: computed once, cached under everything they depend on."""

import hashlib
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from fastpt import Dataset, Loader
from fastpt.errors import FastptError
from fastpt.files import atomic_write
from fastpt.progress import Progress
from fastpt.tuning.encoders import Encoder

CACHE = Path("cache/features")
FORMAT = 1


@dataclass(frozen=True)
class Features:
    """Features of the samples that could be decoded, by rising sample id."""

    values: np.ndarray
    """float32 [N, D]."""
    sample_ids: np.ndarray
    """int64 [N]."""


def features_of(
    encoder: Encoder,
    dataset: Dataset,
    decoder: str = "ffcv",
    threads: int | None = None,
    cache: Path = CACHE,
    batch_size: int = 128,
) -> Features:
    """The encoder's features of every picture's centre crop, from the cache if they are there.

    Raises FastptError if no picture can be decoded or if features are not finite.
    """
    path = cache / f"{cache_key(encoder, dataset, decoder)}.safetensors"
    features = _read(path)
    if features is None:
        features = _extract(encoder, dataset, decoder, threads, batch_size)
        _write(path, features)
    lost = len(dataset) - len(features.sample_ids)
    if lost:
        print(f"tune: {lost} of {len(dataset)} pictures of {dataset.path} could not be read and are left out; "
              f"`fastpt verify {dataset.path}` names them", file=sys.stderr)  # fmt: skip
    return features


def cache_key(encoder: Encoder, dataset: Dataset, decoder: str) -> str:
    """SHA-256 over all that features depend on."""
    parts = {
        "format": FORMAT,
        "architecture": encoder.architecture,
        "weights_sha256": encoder.weights_sha256,
        "samples_id": dataset.samples_id,
        "shards": [shard["sha256"] or shard for shard in dataset.manifest["shards"]],
        "preprocessing": encoder.preprocessing.as_dict(),
        "view": "center",
        "precision": "fp32",
        "decoder": decoder,
    }
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _extract(encoder: Encoder, dataset: Dataset, decoder: str, threads: int | None, batch_size: int) -> Features:
    crop = encoder.preprocessing
    values: np.ndarray | None = None
    seen = np.zeros(len(dataset), bool)  # the loader leaves damaged pictures out, so batches may be short, even empty
    loader = Loader(
        dataset, batch_size, crop.size, crop="center", crop_fraction=crop.crop_fraction, filter=crop.filter,
        flip=False, decoder=decoder, device=encoder.device.type, order="sequential", seed=0, threads=threads,
        drop_last=False,
    )  # fmt: skip
    try:
        with Progress(f"features of {dataset.name}/{dataset.split}", "pictures") as progress:
            for batch in loader:
                if len(batch.sample_ids) == 0:
                    continue
                features = encoder(batch.images).cpu().numpy()
                if values is None:
                    values = np.empty((len(dataset), features.shape[1]), np.float32)
                ids = batch.sample_ids.cpu().numpy()
                values[ids] = features
                seen[ids] = True
                progress(int(seen.sum()), len(dataset))
    finally:
        loader.close()
    if values is None:
        raise FastptError(f"{dataset.path} gave no picture. `fastpt verify {dataset.path}` tells what is wrong.")
    bad = int((~np.isfinite(values[seen]).all(1)).sum())
    if bad:
        raise FastptError(
            f"encoder {encoder.name} gives NaN or infinity for {bad} of {int(seen.sum())} pictures of {dataset.path}. "
            "Its training may have diverged; choose another checkpoint or encoder."
        )
    return Features(values[seen], np.flatnonzero(seen))


def _write(path: Path, features: Features) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
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
            whole = file.metadata()["sha256"] == _sha256(features)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        whole = False
    if not whole:
        print(f"tune: cached features {path} are damaged; they are computed anew", file=sys.stderr)
        return None
    return features


def _sha256(features: Features) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(features.values))
    digest.update(np.ascontiguousarray(features.sample_ids))
    return digest.hexdigest()
