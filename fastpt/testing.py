"""Checks that a loader of one's own can be put through, as ours are in tests/loading."""

import json
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from fastpt.loading.loader import Loader


class _Step(NamedTuple):
    """One global step: the state after it, and what all ranks delivered, in order of rank."""

    state: dict
    sample_ids: np.ndarray  # int64 [G]
    views: np.ndarray  # int64 [G]
    images: np.ndarray  # uint8 [G, H, W, 3]


def assert_resumes_everywhere(
    make_loader: Callable[[int, int], Loader], epochs: int = 2, world_sizes: Sequence[int] = (1,)
) -> None:
    """Assert that a loader resumed after any step delivers just what it would have delivered without a stop.

    `make_loader(rank, world_size)` makes a new loader, always for the same global batch. The first of `world_sizes`
    runs through `epochs` epochs; then the state of every step is loaded, as JSON, by new loaders of every world size,
    and all that follows is compared: sample ids, views and pixels, for equal world sizes rank by rank, otherwise as
    the set of a global step. The cost grows with the square of the steps: use a small dataset.

    Raises AssertionError naming the step and the difference.
    """
    whole = _run(make_loader, world_sizes[0], epochs)
    for resumed_at, step in enumerate(whole):
        for world_size in world_sizes:
            rest = _run(make_loader, world_size, epochs, json.loads(json.dumps(step.state)))
            where = f"resumed after step {resumed_at} at {world_size} ranks (saved at {world_sizes[0]})"
            wanted = whole[resumed_at + 1 :]
            assert len(rest) == len(wanted), f"{where}: {len(rest)} steps followed, not {len(wanted)}"
            for offset, (found, expected) in enumerate(zip(rest, wanted, strict=True), 1):
                _assert_equal(found, expected, world_size == world_sizes[0], f"{where}, step {resumed_at + offset}")


def _run(make_loader: Callable[[int, int], Loader], world_size: int, epochs: int, state: dict | None = None) -> list:
    """The steps from `state` (or the start) to the end of the last epoch."""
    loaders = [make_loader(rank, world_size) for rank in range(world_size)]
    steps = []
    try:
        for loader in loaders:
            if state is not None:
                loader.load_state_dict(state)
        while loaders[0].epoch < epochs:
            for batches in zip(*loaders, strict=True):
                states = [loader.state_dict() for loader in loaders]
                assert all(other == states[0] for other in states), f"the ranks' states differ: {states}"
                columns = (np.concatenate([part.numpy() for part in parts]) for parts in zip(*batches, strict=True))
                images, sample_ids, views = columns
                steps.append(_Step(states[0], sample_ids, views, images))
    finally:
        for loader in loaders:
            loader.close()
    return steps


def _assert_equal(found: _Step, expected: _Step, in_order: bool, where: str) -> None:
    if not in_order:
        found, expected = _sorted(found), _sorted(expected)
    for name in ("sample_ids", "views"):
        ours, theirs = getattr(found, name), getattr(expected, name)
        assert np.array_equal(ours, theirs), f"{where}: {name} are {ours.tolist()}, not {theirs.tolist()}"
    differ = [
        i for i, (ours, theirs) in enumerate(zip(found.images, expected.images, strict=True)) if (ours != theirs).any()
    ]
    assert not differ, f"{where}: the pixels of samples {found.sample_ids[differ].tolist()} differ"
    assert found.state == expected.state, f"{where}: the state is {found.state}, not {expected.state}"


def _sorted(step: _Step) -> _Step:
    order = np.lexsort((step.views, step.sample_ids))
    return _Step(step.state, step.sample_ids[order], step.views[order], step.images[order])
