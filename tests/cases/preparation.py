"""A preparation in little memory, and what a preparation leaves: splits, numbers of pictures, what a user is told."""

import resource
from pathlib import Path

from fastpt import Dataset
from tests.cases.conftest import OUT, Ran, process
from tests.cases.pictures import left_out, stored

TRAIN = OUT / "train"
LITTLE_MEMORY = 4_000_000_000  # bytes of address space


def prep_in_little_memory(source: str, path: Path, *options: object) -> Ran:
    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (LITTLE_MEMORY, LITTLE_MEMORY))

    words = ("--source", path, "--workers", 1, "--out", OUT, *options)
    return process("prep", source, *words, limit=30, preexec_fn=limited)


def splits() -> set[str]:
    return {path.parent.name for path in OUT.glob("*/dataset.json")}


def told(ran: Ran) -> str:
    """All that a user is told of a preparation."""
    return ran.output + "".join(left_out(OUT / split) for split in splits())


def numbers(split: str) -> list[int]:
    return [one.number for one in stored(OUT / split)]


def in_place(*tars: Path) -> Dataset:
    return Dataset.from_webdataset(list(tars), cache="cache")
