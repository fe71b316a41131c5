"""Noise models: which samples are shown a wrong target, and which wrong target.

Pure functions of (keys, clean targets, rate, seed). Noise is keyed by content, not by row: a sample's rank and its
wrong target come from a hash of its key, so the same pictures are wrong in the same way whatever the format, picture
size or order of preparation; and, `pairswap` aside, what is wrong at 5 % is wrong in the same way at 10 %.
docs/noise.md defines each kind and compares it with other generators.
"""

import numpy as np

from fastpt.data.columns import Texts, xxh3_128
from fastpt.data.plan import check_rate
from fastpt.errors import FastptError

# --- labels -----------------------------------------------------------------------------------------------------


def symmetric(keys: Texts, labels: np.ndarray, classes: int, rate: float, seed: int) -> np.ndarray:
    """Flip exactly round(rate * n_c) samples of each class c uniformly to one of the *other* classes.

    labels: int [N], all in [0, classes). Returns int32 [N], the labels to be shown.
    """
    check_rate(rate)
    if classes < 2 and rate > 0:
        raise FastptError(f"symmetric noise flips to another class; found {classes} class. Use rate 0.")
    ranks, draws = xxh3_128(keys, seed)
    noisy = np.array(labels, np.int32)
    for flipped in _first_of_each_class(ranks, draws, labels, classes, rate):
        draw = (draws[flipped] % np.uint64(classes - 1)).astype(np.int32)
        noisy[flipped] = draw + (draw >= noisy[flipped])  # the draw skips the sample's own class
    return noisy


def asymmetric(keys: Texts, labels: np.ndarray, weights: np.ndarray, rate: float, seed: int) -> np.ndarray:
    """Flip exactly round(rate * n_c) samples of each class c, to class d with probability weights[c, d] / sum_d.

    labels: int [N]. weights: float [K, K], at least 0; the diagonal does not count. A class whose row is 0 is confused
    with none and stays clean. Returns int32 [N], the labels to be shown.
    """
    check_rate(rate)
    weights = np.array(weights, np.float64)
    classes = len(weights)
    if weights.shape != (classes, classes) or not np.isfinite(weights).all() or (weights < 0).any():
        raise FastptError(
            f"a confusion matrix is square, of finite weights of at least 0; found shape {weights.shape}, "
            f"least {np.min(weights, initial=np.inf):g}, greatest {np.max(weights, initial=-np.inf):g}."
        )
    np.fill_diagonal(weights, 0)
    confused = weights.any(axis=1)
    if rate > 0 and not confused.any():
        raise FastptError("the confusion matrix has no weight off its diagonal: no class is confused with another.")
    ranks, draws = xxh3_128(keys, seed)
    noisy = np.array(labels, np.int32)
    for label, flipped in enumerate(_first_of_each_class(ranks, draws, labels, classes, rate)):
        if confused[label]:
            cumulative = np.cumsum(weights[label])
            uniform = (draws[flipped] >> np.uint64(11)) * 2.0**-53  # in [0, 1)
            # The next weight that is not 0: equal sums are passed over, and the last sum is not reached.
            noisy[flipped] = np.searchsorted(cumulative / cumulative[-1], uniform, side="right")
    return noisy


def _first_of_each_class(ranks: np.ndarray, draws: np.ndarray, labels: np.ndarray, classes: int, rate: float):
    """For each class, the rows of its first round(rate * n_c) samples in the keyed order: int64 arrays."""
    labels = np.asarray(labels)
    order = _keyed_order(ranks, draws)
    narrow = np.uint16 if classes <= 1 << 16 else np.int64  # numpy sorts 16 bits in one pass
    by_class = order[np.argsort(labels[order].astype(narrow), kind="stable")]
    counts = np.bincount(labels, minlength=classes)
    first = np.cumsum(counts) - counts
    wanted = np.rint(rate * counts).astype(np.int64)
    return (by_class[start : start + some] for start, some in zip(first, wanted, strict=True))


def _keyed_order(ranks: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """The rows in the order of their hashes, int64 [N]: np.lexsort((draws, ranks)), in a fraction of its time."""
    order = np.argsort(ranks)
    ordered = ranks[order]
    if (ordered[1:] == ordered[:-1]).any():  # equal keys, or one chance in 10^5 at 15 M
        return np.lexsort((draws, ranks))
    return order


def nearest_classes(edges: list[tuple[str, str]], classes: list[str]) -> np.ndarray:
    """Weights for `asymmetric`: 1 for each of the classes nearest to a class in a hierarchy, else 0; float [K, K].

    edges: (parent, child) pairs. The distance of two classes is the length of the shortest path through a common
    ancestor (which may be one of the two). Raises FastptError if a class is not in the hierarchy.
    """
    parents: dict[str, list[str]] = {}
    for parent, child in edges:
        parents.setdefault(child, []).append(parent)
    nodes = parents.keys() | {parent for parent, _ in edges}
    missing = [name for name in classes if name not in nodes]
    if missing:
        raise FastptError(
            f"the hierarchy has no {', '.join(missing[:3])}{' ...' * (len(missing) > 3)} ({len(missing)} of "
            f"{len(classes)} classes). It names classes as the split does: by folder name or WordNet id."
        )
    heights = [_ancestors(name, parents) for name in classes]
    below: dict[str, list[tuple[int, int]]] = {}  # ancestor -> (class, steps up from it)
    for index, ancestors in enumerate(heights):
        for ancestor, steps in ancestors.items():
            below.setdefault(ancestor, []).append((index, steps))
    reach = {ancestor: np.array(found).T for ancestor, found in below.items()}  # int [2, those below]
    weights = np.zeros((len(classes), len(classes)))
    for index, ancestors in enumerate(heights):
        distance = np.full(len(classes), np.inf)
        for ancestor, steps in ancestors.items():
            others, down = reach[ancestor]
            distance[others] = np.minimum(distance[others], steps + down)
        distance[index] = np.inf
        if np.isfinite(distance).any():
            weights[index, distance == distance.min()] = 1
    return weights


def _ancestors(name: str, parents: dict[str, list[str]]) -> dict[str, int]:
    """`name` and all that is above it, with the least number of steps up."""
    found = {name: 0}
    level = [name]
    while level:
        level = [parent for node in level for parent in parents.get(node, ()) if parent not in found]
        found |= dict.fromkeys(level, max(found.values()) + 1)
    return found


# --- captions ---------------------------------------------------------------------------------------------------


def swap(keys: Texts, texts: np.ndarray, rate: float, seed: int) -> np.ndarray:
    """Swap the captions of pairs of samples with different texts until the rate is reached, exact to the pair.

    texts: uint64 [N], equal where the captions are (`xxh3_64`). Returns int64 [N]: the row whose caption each sample is
    shown. Raises FastptError if the rate cannot be reached.
    """
    check_rate(rate)
    rows = np.arange(len(keys), dtype=np.int64)
    wanted = round(rate * len(keys) / 2)
    if wanted == 0:
        return rows
    pairs = _different_pairs(*xxh3_128(keys, seed), texts)
    if wanted > len(pairs):
        raise FastptError(
            f"caption noise of {rate:g} cannot be reached: too many captions are the same text. "
            f"The maximum here is {2 * len(pairs) / len(keys):.4g}."
        )
    chosen = pairs[:wanted]
    rows[chosen] = chosen[:, ::-1]
    return rows


def pairswap(keys: Texts, rate: float, seed: int) -> np.ndarray:
    """The procedure of the paper's code: N * rate times, swap what two random samples are shown, with replacement.

    A sample may be drawn again, come back to its own caption, or get an equal text; so the share of wrong captions is
    about 1 - exp(-2 * rate), and plans of different rates are not nested. Returns int64 [N]: the row whose caption each
    sample is shown.
    """
    check_rate(rate)
    count = len(keys)
    swaps = round(rate * count)
    rows = np.arange(count, dtype=np.int64)
    if swaps == 0:
        return rows
    if count < 2:
        raise FastptError("captions are swapped between two samples; found one. Use rate 0.")
    order = _keyed_order(*xxh3_128(keys, seed))  # what is drawn are places in this order: keyed, like all noise
    raw = np.random.PCG64(seed).random_raw(2 * swaps).reshape(-1, 2)  # a stream that numpy promises to keep
    pairs = np.stack([raw[:, 0] % np.uint64(count), raw[:, 1] % np.uint64(count - 1)], 1).astype(np.int64)
    pairs[:, 1] += pairs[:, 1] >= pairs[:, 0]  # two different samples
    pairs = order[pairs]
    # One after the other gives the same as all at once of those that no earlier one touches, until none is left.
    earliest = np.empty(count, np.int64)
    while len(pairs):
        numbers = np.arange(len(pairs))
        earliest[pairs[::-1].ravel()] = np.repeat(numbers[::-1], 2)  # of equal indices the last is assigned
        ready = (earliest[pairs] == numbers[:, None]).all(axis=1)
        these = pairs[ready]
        rows[these] = rows[these[:, ::-1]]
        pairs = pairs[~ready]
    return rows


def _different_pairs(ranks: np.ndarray, draws: np.ndarray, texts: np.ndarray) -> np.ndarray:
    """All samples paired, in a keyed order, such that partners differ in text: int64 [P, 2], P as large as possible.

    Neighbours in the order of their hashes are partners, within buckets of about 32, so that a sample that comes or
    goes changes the partners in its own bucket only; the odd ones out are paired at the end. texts: uint64 [N].
    """
    count = len(texts)
    order = _keyed_order(ranks, draws)
    bits = max(0, (count // 32).bit_length() - 1)
    bucket = ranks[order] >> np.uint64(64 - bits) if bits else np.zeros(count, np.uint64)
    first = np.flatnonzero(np.diff(bucket, prepend=~bucket[:1]))
    size = np.diff(first, append=count)
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
