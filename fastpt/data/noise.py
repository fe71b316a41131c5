"""Noise models: which samples are shown a wrong target, and which wrong target.

Pure functions of (keys, clean targets, rate, seed). Noise is keyed by content, not by row: a sample's rank and its
wrong target come from a hash of its key, so the same pictures are wrong in the same way whatever the format, picture
size or order of preparation, and what is wrong at 5 % is wrong in the same way at 10 %.
"""

from collections.abc import Sequence

import numpy as np
import xxhash

from fastpt.errors import FastptError

LABEL_KINDS = ("symmetric",)
CAPTION_KINDS = ("swap",)


def check_rate(rate: float) -> float:
    """Return `rate` if it is a share in [0, 1); raise FastptError otherwise."""
    if not 0 <= rate < 1:
        hint = f" For {rate:g} % write {rate / 100:g}." if 1 <= rate < 100 else ""
        raise FastptError(f"a noise rate is a share of samples, at least 0 and below 1; found {rate:g}.{hint}")
    return float(rate)


def plan_name(kind: str, rate: float, seed: int | str) -> str:
    """The file name of a plan, such as `symmetric-0.05-seed0`."""
    return f"{kind}-{rate:.12g}-seed{seed}"


def key_hashes(keys: Sequence[str], seed: int) -> np.ndarray:
    """xxh3-128 of each key under `seed`: uint64 [N, 2]. The first column ranks; the second draws."""
    digest = xxhash.xxh3_128_digest
    return (
        np.frombuffer(b"".join(digest(key.encode(), seed=seed) for key in keys), ">u8").astype(np.uint64).reshape(-1, 2)
    )


def symmetric(keys: Sequence[str], labels: np.ndarray, classes: int, rate: float, seed: int) -> np.ndarray:
    """Flip exactly round(rate * n_c) samples of each class c uniformly to one of the *other* classes.

    labels: int [N], all in [0, classes). Returns int32 [N], the labels to be shown.
    """
    check_rate(rate)
    if classes < 2 and rate > 0:
        raise FastptError(f"symmetric noise flips to another class; found {classes} class. Use rate 0.")
    labels = np.asarray(labels, dtype=np.int64)
    hashes = key_hashes(keys, seed)
    by_class = np.lexsort((hashes[:, 1], hashes[:, 0], labels))
    counts = np.bincount(labels, minlength=classes)
    first = np.cumsum(counts) - counts
    rank = np.empty(len(labels), np.int64)
    rank[by_class] = np.arange(len(labels)) - np.repeat(first, counts)
    flipped = rank < np.rint(rate * counts).astype(np.int64)[labels]

    draw = (hashes[:, 1] % np.uint64(max(classes - 1, 1))).astype(np.int64)
    other = draw + (draw >= labels)  # the draw skips the sample's own class
    return np.where(flipped, other, labels).astype(np.int32)


def swap(keys: Sequence[str], captions: Sequence[str], rate: float, seed: int) -> np.ndarray:
    """Swap the captions of pairs of samples with different texts until the rate is reached, exact to the pair.

    Returns int64 [N]: the row whose caption each sample is shown. Raises FastptError if the rate cannot be reached.
    """
    check_rate(rate)
    rows = np.arange(len(keys), dtype=np.int64)
    wanted = round(rate * len(keys) / 2)
    if wanted == 0:
        return rows
    texts = np.unique(np.asarray(captions, dtype=object).astype(str), return_inverse=True)[1]
    pairs = _different_pairs(key_hashes(keys, seed), texts)
    if wanted > len(pairs):
        raise FastptError(
            f"caption noise of {rate:g} cannot be reached: too many captions are the same text. "
            f"The maximum here is {2 * len(pairs) / len(keys):.4g}."
        )
    chosen = pairs[:wanted]
    rows[chosen] = chosen[:, ::-1]
    return rows


def _different_pairs(hashes: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """All samples paired, in a keyed order, such that partners differ in text: int64 [P, 2], P as large as possible.

    Neighbours in the order of their hashes are partners, within buckets of about 32, so that a sample that comes or
    goes changes the partners in its own bucket only; the odd ones out are paired at the end.
    """
    count = len(texts)
    order = np.lexsort((hashes[:, 1], hashes[:, 0]))
    bits = max(0, (count // 32).bit_length() - 1)
    bucket = hashes[order, 0] >> np.uint64(64 - bits) if bits else np.zeros(count, np.uint64)
    _, first, size = np.unique(bucket, return_index=True, return_counts=True)
    odd = (first + size - 1)[size % 2 == 1]
    order = np.concatenate([np.delete(order, odd), order[odd]])
    pairs = order[: count // 2 * 2].reshape(-1, 2)
    spare = order[count // 2 * 2 :]

    # Two partners with equal text t trade with the next pair without t: (t, t'), (c, d) -> (t, c), (d, t').
    # If no such pair is left, every other pair holds exactly one t, and no pairing could do better.
    alike = np.flatnonzero(texts[pairs[:, 0]] == texts[pairs[:, 1]])
    hopeless = None
    for i in alike:
        text = texts[pairs[i, 0]]
        if text != texts[pairs[i, 1]] or text == hopeless:
            continue
        partner = _next_pair_without(pairs, texts, text, i)
        if partner is not None:
            pairs[i, 1], pairs[partner, 0] = pairs[partner, 0], pairs[i, 1]
        elif len(spare) and texts[spare[0]] != text:
            pairs[i, 1], spare[0] = spare[0], pairs[i, 1]
        else:
            hopeless = text
    return pairs[texts[pairs[:, 0]] != texts[pairs[:, 1]]]


def _next_pair_without(pairs: np.ndarray, texts: np.ndarray, text: int, start: int) -> int | None:
    """The first pair after `start` (cyclically) in which neither caption is `text`."""
    step = 64
    offset = 1
    while offset < len(pairs):
        window = (start + np.arange(offset, min(offset + step, len(pairs)))) % len(pairs)
        free = np.flatnonzero((texts[pairs[window]] != text).all(axis=1))
        if len(free):
            return int(window[free[0]])
        offset, step = offset + step, step * 4
    return None
