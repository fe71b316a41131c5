"""Pictures that are in two splits: what is measured on those that were trained on is what was learned by heart."""

import numpy as np

PART = 1 << 20  # hashes that are looked up at once


def also_in(these: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Which of the pictures with hashes `these`, uint64 [N], are among `others`, uint64 [M], byte for byte: bool [N].

    0 is the hash of a picture of which none is known, which is told of no picture.
    """
    known, inverse = np.unique(these, return_inverse=True)
    found = np.zeros(len(known), bool)
    for start in range(0, len(others) if len(known) else 0, PART):
        part = others[start : start + PART]
        at = np.searchsorted(known, part).clip(max=len(known) - 1)
        found[at[known[at] == part]] = True
    return found[inverse] & (these != 0)
