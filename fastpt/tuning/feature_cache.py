"""The cache of features: files of so many samples each, whole or not there.

<cache>/features/<key>/
  key.json                           what the key is the hash of
  000000000-000000512.safetensors    features and ids of the samples 0 to 511, with a sha256; and so on

The sum of a file is also over the key and the place in the split, so that a file of another place, split or encoder is
none of these.
"""

import hashlib
import json
import re
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from fastpt.files import atomic_write, cache_dir, remove


@dataclass(frozen=True)
class Features:
    """Features of the samples that could be decoded, by rising sample id."""

    values: np.ndarray
    """float32 [N, D]."""
    sample_ids: np.ndarray
    """int64 [N]."""


@dataclass(frozen=True)
class Piece:
    """The features of samples `first` to `stop` - 1."""

    first: int
    stop: int
    features: Features

    @property
    def is_whole(self) -> bool:
        return len(self.features.sample_ids) == self.stop - self.first


def write(folder: Path, piece: Piece) -> None:
    """Keep a piece."""
    tensors = {"features": piece.features.values, "sample_ids": piece.features.sample_ids}
    with atomic_write(folder / f"{piece.first:09d}-{piece.stop:09d}.safetensors") as file:
        file.write(save(tensors, {"sha256": _sha256(folder.name, piece)}))


def kept(folder: Path, wanted: range, total: int, chunk: int) -> Iterator[Piece]:
    """What `write` wrote of the wanted samples, rising; what is damaged is deleted, with a word on stderr.

    total: samples of the split; chunk: of a file."""
    for path in sorted(folder.glob("*.safetensors")):
        first, stop = _place(path) or (-1, 0)
        if first not in wanted or first % chunk or stop != min(first + chunk, total):
            continue  # another's, or not one of ours
        if features := _read(path, folder.name, first, stop):
            yield Piece(first, stop, features)
        else:
            print(f"tune: cached features {path} are damaged; they are computed anew", file=sys.stderr)
            remove(path)


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


def _place(path: Path) -> tuple[int, int] | None:
    """The first sample of a file and the one behind its last, by its name."""
    found = re.fullmatch(r"([0-9]{9,})-([0-9]{9,})", path.stem)
    return (int(found[1]), int(found[2])) if found else None


def _read(path: Path, key: str, first: int, stop: int) -> Features | None:
    try:
        with safe_open(path, "numpy") as file:
            features = Features(file.get_tensor("features"), file.get_tensor("sample_ids"))
            if file.metadata()["sha256"] == _sha256(key, Piece(first, stop, features)):
                return features
    except (SafetensorError, OSError, KeyError, TypeError, ValueError):
        pass
    return None


def _sha256(key: str, piece: Piece) -> str:
    digest = hashlib.sha256(f"{key} {piece.first} {piece.stop} {piece.features.values.shape}".encode())
    digest.update(np.ascontiguousarray(piece.features.values).data)
    digest.update(np.ascontiguousarray(piece.features.sample_ids).data)
    return digest.hexdigest()
