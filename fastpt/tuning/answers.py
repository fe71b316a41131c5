"""What every head answered on every picture of every test, as a table beside the results: enough to compare heads
picture by picture (McNemar's test), or to measure anew. It is read by `fastpt.tuned.read_answers`.
"""

import base64
import io
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fastpt.tuning.results import Row


@dataclass(frozen=True, eq=False)
class Truth:
    """The pictures of a test, in the order of all answers."""

    where: tuple[str, str, str]
    """Domain, set and test."""
    sample_ids: np.ndarray
    """int64 [N], in the test's split; of features, their rows."""
    labels: np.ndarray
    """int64 [N], numbers of the test's classes."""


def pack(answers: np.ndarray) -> str:
    """Answers, int64 [N], as text for JSON."""
    return base64.b64encode(zlib.compress(answers.astype("<i4").tobytes(), 6)).decode()


def unpack(text: str) -> np.ndarray:
    """What `pack` was given: int32 [N]. Raises ValueError if the text is damaged."""
    try:
        return np.frombuffer(zlib.decompress(base64.b64decode(text, validate=True)), "<i4")
    except zlib.error as error:
        raise ValueError(str(error)) from None


def head_name(row: Row) -> str:
    """'lp s0', of a share of the training data 'lp s0 25 %'."""
    return f"{row.method} s{row.seed}" + ("" if row.fraction == 1 else f" {100 * row.fraction:g} %")


def answers_file(truths: Sequence[Truth], heads: Iterable[tuple[Row, str]]) -> bytes:
    """A parquet file with a row for each picture of each test, and of each head a column of answers, null where the
    test has none of it: domain, set, test, sample, label, 'lp s0', ...; classes by their number in the test's list."""
    starts = np.cumsum([0, *(len(truth.labels) for truth in truths)])
    places = {truth.where: slice(*starts[i : i + 2]) for i, truth in enumerate(truths)}
    columns: dict[str, np.ndarray] = {}
    for row, packed in heads:
        column = columns.setdefault(head_name(row), np.full(starts[-1], -1, np.int32))
        column[places[row.domain, row.set, row.test]] = unpack(packed)
    names = [np.repeat([truth.where[i] for truth in truths], np.diff(starts)) for i in range(3)]
    table = {
        **{
            name: pa.array(values).dictionary_encode()
            for name, values in zip(("domain", "set", "test"), names, strict=True)
        },
        "sample": np.concatenate([truth.sample_ids for truth in truths]) if truths else np.empty(0, np.int64),
        "label": np.concatenate([truth.labels for truth in truths]) if truths else np.empty(0, np.int64),
        **{name: pa.array(values, mask=values < 0) for name, values in columns.items()},
    }
    out = io.BytesIO()
    pq.write_table(pa.table(table), out, compression="zstd")
    return out.getvalue()
