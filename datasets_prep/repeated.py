"""Pictures that are stored more than once: in a split, there perhaps with another label, or in two splits."""

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np

from fastpt.data.dataset import Dataset
from fastpt.data.overlap import also_in
from fastpt.printable import plural


def repeated_pictures(splits: Sequence[Dataset]) -> Iterator[str]:
    """What to say of pictures whose stored bytes are those of another (by their xxh3), by split and pair of splits."""
    hashes = [split.table(["xxh3"])["xxh3"].to_numpy() for split in splits]
    for split, found in zip(splits, hashes, strict=True):
        order = np.argsort(found, kind="stable")
        again = np.flatnonzero(found[order][1:] == found[order][:-1])
        if len(again) == 0:
            continue
        first, second = order[again], order[again + 1]
        labels = split.clean_labels if split.has_labels else np.zeros(len(split))
        differ = labels[first] != labels[second]
        others = f", {differ.sum():,} of them with another label" if differ.any() else ""
        i = int(differ.argmax())  # the first that differs, if there is one
        yield (
            f"{plural(len(again), 'picture')} of {_name(split)} {_is(len(again))} the same as another, byte for "
            f"byte{others}, such as {_key(split, int(second[i]))} and {_key(split, int(first[i]))}"
        )
    for (a, b), (of_a, of_b) in zip(combinations(splits, 2), combinations(hashes, 2), strict=True):
        both = np.flatnonzero(also_in(of_b, of_a))
        if len(both):
            first = int(np.flatnonzero(of_a == of_b[both[0]])[0])
            yield (
                f"{plural(len(both), 'picture')} of {_name(b)} {_is(len(both))} in {_name(a)} too, byte for byte, such "
                f"as {_key(b, int(both[0]))} ({_key(a, first)} there)"
            )


def _name(split: Dataset) -> str:
    return str(split.manifest["split"])


def _key(split: Dataset, row: int) -> str:
    return split.table(["key"])["key"][row].as_py()


def _is(count: int) -> str:
    return "is" if count == 1 else "are"
