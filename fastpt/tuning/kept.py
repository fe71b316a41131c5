"""What trained heads measured, kept so that a tuning that was stopped goes on with the heads that are missing.

<cache>/heads/<key>/
  key.json      what the key is the hash of: all that the numbers depend on
  00000.json    rows, spectra and answers of the first heads, sealed; the next file is called by the number of its first
"""

import hashlib
import inspect
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xxhash

import fastpt
from fastpt.errors import FastptError
from fastpt.files import file_sha256, read_sealed_json, remove, write_json, write_sealed_json
from fastpt.tuning.methods import METHODS
from fastpt.tuning.results import Row, Spectrum

FORMAT = "2.3"


@dataclass(frozen=True)
class Part:
    """What some heads of one method on one set measured."""

    heads: int
    """How many, in the order of the tuning's configuration."""
    rows: list[Row]
    spectra: list[Spectrum]
    answers: list[str]
    """Of each row what its head answered on each picture of the test, packed (`answers.pack`)."""


@dataclass(frozen=True)
class KeptHeads:
    """The parts of one method on one set. They need `key` and nothing else: JSON, the same wherever it is the same."""

    cache: Path
    key: Mapping[str, Any]

    @property
    def folder(self) -> Path:
        """Where the parts lie."""
        return self.cache / hashlib.sha256(json.dumps(self.key, sort_keys=True).encode()).hexdigest()

    def read(self, first: int) -> Part | None:
        """The part whose first head has this number; None if it is not there, or (with a word on stderr) damaged."""
        path = self._path(first)
        try:
            kept = read_sealed_json(path, FORMAT)
            if (kept["key"], kept["first"]) == (self.folder.name, first) and kept["heads"] > 0:
                rows, spectra = [Row(**one) for one in kept["rows"]], [Spectrum(**one) for one in kept["spectra"]]
                return Part(kept["heads"], rows, spectra, kept["answers"])
        except FileNotFoundError:
            return None
        except (FastptError, OSError, KeyError, TypeError):
            pass
        print(f"tune: what heads measured, kept in {path}, is damaged; they are trained anew", file=sys.stderr)
        remove(path)
        return None

    def write(self, first: int, part: Part) -> None:
        """Keep a part whose first head has this number."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / "key.json", self.key)
        place = {"format": FORMAT, "key": self.folder.name, "first": first}
        write_sealed_json(self._path(first), {**place, **asdict(part)})

    def _path(self, first: int) -> Path:
        return self.folder / f"{first:05d}.json"


def content(*arrays: np.ndarray | torch.Tensor | None) -> str:
    """XXH3-128 over types, shapes and bytes of arrays on the CPU, hexadecimal."""
    digest = xxhash.xxh3_128()
    for array in arrays:
        if array is None:
            digest.update(b"none")
            continue
        whole = np.ascontiguousarray(array)
        digest.update(f"{whole.dtype} {whole.shape}".encode())
        digest.update(whole.data)
    return digest.hexdigest()


def code(method: str) -> dict[str, Any]:
    """What code a method's numbers depend on: that of fastpt, its own, torch."""
    kind = type(METHODS.get(method))
    file = inspect.getsourcefile(kind) if kind.__module__ in sys.modules else None
    own = file_sha256(file) if file and Path(file).is_file() else None
    return {"fastpt": own_code(), "method": [kind.__module__, kind.__qualname__, own], "torch": torch.__version__}


@cache
def own_code() -> str:
    """SHA-256 over the source of this package."""
    digest = hashlib.sha256()
    for path in sorted(Path(fastpt.__file__).parent.rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()
