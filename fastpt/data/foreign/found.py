"""What is found in files of others."""

from dataclasses import dataclass

import pyarrow as pa

from fastpt.data import manifest

COLUMNS = {  # of the samples table
    "key": pa.string(),
    "clean_label": pa.int64(),
    "caption": pa.string(),
    "shard": pa.uint16(),
    "offset": pa.uint64(),
    "size": pa.uint32(),
    "width": pa.uint16(),
    "height": pa.uint16(),
    "xxh3": pa.uint64(),
}


@dataclass(frozen=True)
class Found:
    """The samples table, what was left out and why, and what else there is to say of the files."""

    table: pa.Table
    rejected: list[manifest.Rejected]
    notes: tuple[str, ...] = ()
