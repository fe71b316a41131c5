"""Tars of samples that tests make, and what is found in them."""

import io
import tarfile
from pathlib import Path

from datasets_prep.listing import Found
from datasets_prep.records import RecordFormat
from datasets_prep.sources import Request
from datasets_prep.sources.webdataset import webdataset_splits
from datasets_prep.tar_samples import Members
from tests.conftest import picture

SAMPLE = {"0.jpg": picture(0), "0.cls": b"0"}


def shard(path, members: dict[str, bytes]):
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def listed(
    *places: Path,
    split: str | None = None,
    workers: int = 1,
    ignore_damage: bool = False,
    records: RecordFormat | None = None,
    unpack_dir: Path = Path("unused"),
    **members,
) -> Found:
    """What is found, which adds up."""
    request = Request(places, split, unpack_dir, 0, workers, ignore_damage)
    found = webdataset_splits(request, Members(records or RecordFormat(), **members))
    found.check()
    return found
