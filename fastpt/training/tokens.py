"""Captions as tokens, made once for a split and kept in the user's cache; a training maps them into memory.

The cache is keyed by the samples and the tokenizer, not by noise: a noise plan says which row's caption is shown, so
another rate, or another training, costs no tokenising. Nothing is written beside the split, which may be read-only.

~/.cache/fastpt/tokens/<key>.npy     uint16 [N, context]
~/.cache/fastpt/tokens/<key>.json    what it was made of, and its xxh3: written last
"""

import logging
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from itertools import repeat
from pathlib import Path

import numpy as np
from open_clip.tokenizer import SimpleTokenizer, default_bpe

from fastpt.data.dataset import Dataset
from fastpt.errors import DamagedData, FastptError
from fastpt.files import atomic_write, cache_dir, file_sha256, file_xxh3, locked, read_sealed_json, write_sealed_json
from fastpt.processes import cores

FORMAT = "2.0"
TOKENIZER = "open_clip.SimpleTokenizer"
VOCABULARY = 49408  # words of CLIP's byte-pair encoding, so that uint16 holds a token
PART = 1 << 16  # captions that a process tokenises at a time

log = logging.getLogger("fastpt.training")


def tokenize(texts: Sequence[str], context: int) -> np.ndarray:
    """Tokens of CLIP's byte-pair encoding, uint16 [len(texts), context]: start, words, end, then zeros.

    A text that is too long is cut, and still ends with the end; an empty one is start and end alone.
    """
    tokenizer = _tokenizer()
    tokens = np.empty((len(texts), context), np.uint16)
    for start in range(0, len(texts), 4096):
        part = list(texts[start : start + 4096])
        tokens[start : start + len(part)] = tokenizer(part, context).numpy()
    return tokens


@cache
def _tokenizer() -> SimpleTokenizer:
    return SimpleTokenizer()


class Tokens:
    """The tokens of all captions of a split, or of several behind one another: `tokens[rows]`, uint16 [B, context].

    Made and kept if they are not there yet; of many processes one makes them and the others wait. What is damaged is
    made anew, with a warning. `folder` is by default ~/.cache/fastpt/tokens. Raises FastptError without captions.

    `once` is given what looks for damage and makes what is missing, and may do it in one of the processes of a machine.
    """

    def __init__(
        self,
        parts: Sequence[Dataset],
        context: int,
        folder: Path | None = None,
        once: Callable[[Callable[[], object]], object] = lambda work: work(),
    ):
        self.context = context
        folder = folder or cache_dir("tokens")
        once(lambda: [_keep(part, context, folder) for part in parts])
        self._arrays = [np.load(_path(part, context, folder), mmap_mode="r") for part in parts]
        self._starts = np.cumsum([0, *(len(array) for array in self._arrays)])

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        found = np.empty((len(rows), self.context), np.uint16)
        parts = np.searchsorted(self._starts, rows, side="right") - 1
        for index in np.unique(parts):
            here = parts == index
            found[here] = self._arrays[index][rows[here] - self._starts[index]]
        return found


@cache
def _vocabulary() -> str:
    return file_sha256(default_bpe())


def _path(dataset: Dataset, context: int, folder: Path) -> Path:
    return folder / f"{dataset.name}-{dataset.samples_id[:16]}-{_vocabulary()[:8]}-{context}.npy"


def _keep(dataset: Dataset, context: int, folder: Path) -> None:
    """See to it that the tokens are there and whole."""
    identity = {
        "format": FORMAT,
        "tokenizer": TOKENIZER,
        "vocabulary_sha256": _vocabulary(),
        "context": context,
        "samples_id": dataset.samples_id,
        "captions": len(dataset),
    }
    path = _path(dataset, context, folder)
    try:
        with locked(path.with_suffix(".lock")):
            if not _is_whole(path, identity):
                _make(path, dataset, context, identity)
    except OSError as error:
        raise FastptError(f"tokens cannot be kept in {folder} ({error}). Set XDG_CACHE_HOME to a folder.") from None


def _is_whole(path: Path, identity: dict) -> bool:
    """Whether the tokens are there and are what was written."""
    try:
        kept = read_sealed_json(path.with_suffix(".json"), FORMAT)
        if {key: kept.get(key) for key in identity} == identity and file_xxh3(path) == kept["xxh3"]:
            return True
    except DamagedData:
        pass
    except (FileNotFoundError, FastptError):  # none, or of another format
        return False
    log.warning("%s is damaged: its captions are tokenised anew.", path)
    return False


def _make(path: Path, dataset: Dataset, context: int, identity: dict) -> None:
    path.with_suffix(".json").unlink(missing_ok=True)
    with atomic_write(path) as file:
        header = {"descr": "<u2", "fortran_order": False, "shape": (len(dataset), context)}
        np.lib.format.write_array_header_1_0(file, header)
        for part in _tokenized(dataset, context):
            file.write(part.data)
    write_sealed_json(path.with_suffix(".json"), {**identity, "xxh3": file_xxh3(path)})


def _tokenized(dataset: Dataset, context: int) -> Iterator[np.ndarray]:
    """The tokens of all captions in parts, in order; by processes where there are enough captions to pay for them."""
    dataset.targets(None, of="captions")  # no captions is an error here, not in a process
    starts = range(0, len(dataset), PART)
    if len(starts) < 4:
        yield from (_part(dataset.path, start, context) for start in starts)
        return
    # Spawned: this process may have threads of its collectives, which do not survive a fork.
    with ProcessPoolExecutor(cores(), multiprocessing.get_context("spawn")) as pool:
        yield from pool.map(_part, repeat(dataset.path), starts, repeat(context))


def _part(path: Path, start: int, context: int) -> np.ndarray:
    dataset = _opened(path)
    return tokenize(dataset.captions(np.arange(start, min(start + PART, len(dataset)))), context)


@cache
def _opened(path: Path) -> Dataset:
    return Dataset(path)
