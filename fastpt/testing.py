"""Checks that a loader of one's own can be put through, as ours are in tests/loading."""

import contextlib
import json
import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import NamedTuple

import numpy as np
import torch

from fastpt.loading.loader import Loader


class _Step(NamedTuple):
    """One global step: the state after it, and what all ranks delivered, in order of rank."""

    state: dict
    images: np.ndarray  # uint8 [G, H, W, 3]
    sample_ids: np.ndarray  # int64 [G]
    views: np.ndarray  # int64 [G]
    rng_keys: np.ndarray  # int64 [G]


def assert_resumes_everywhere(
    make_loader: Callable[[int, int], Loader],
    epochs: int = 2,
    world_sizes: Sequence[int] = (1,),
    new_process: bool = False,
) -> None:
    """Assert that a loader resumed after any step, at any number of ranks, delivers what it would have without a stop.

    `make_loader(rank, world_size)` makes a new loader, always with the same global batch. First, every one of
    `world_sizes` runs through `epochs` epochs and must deliver the same samples and states, step by step. Then the
    state after every step is loaded, as JSON, by new loaders at every world size, and all that follows is compared:
    sample ids, views, pixels and states, for the first world size row by row, for others as the set of a global step.
    With `new_process` the resumed loaders live in a process started afresh; then `make_loader` must be picklable (a
    function of a module, or a functools.partial of one).

    The cost grows with the square of the steps: use a small dataset. Raises AssertionError naming the step and the
    difference.
    """
    first = world_sizes[0]
    whole = _run(make_loader, first, epochs)
    assert whole, f"no step in {epochs} epochs: there is nothing to resume"
    for world_size in world_sizes[1:]:
        _assert_follows(_run(make_loader, world_size, epochs), whole, False, f"at {world_size} ranks, not {first}")
    with _process() if new_process else contextlib.nullcontext() as process:
        for resumed_at, step in enumerate(whole):
            state = json.loads(json.dumps(step.state))
            for world_size in world_sizes:
                arguments = (make_loader, world_size, epochs, state)
                rest = process.submit(_run, *arguments).result() if process else _run(*arguments)
                where = f"resumed after step {resumed_at} at {world_size} ranks (saved at {first})"
                _assert_follows(rest, whole[resumed_at + 1 :], world_size == first, where)


def _process() -> ProcessPoolExecutor:
    """One process that starts from nothing: it shares no memory, no random state and no hash seed with this one."""
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))


def _assert_follows(found: list[_Step], wanted: list[_Step], in_order: bool, where: str) -> None:
    assert len(found) == len(wanted), f"{where}: {len(found)} steps came, not {len(wanted)}"
    for further, (ours, theirs) in enumerate(zip(found, wanted, strict=True), 1):
        _assert_equal(ours, theirs, in_order, f"{where}, {further} steps on")


def _run(
    make_loader: Callable[[int, int], Loader], world_size: int, epochs: int, state: dict | None = None
) -> list[_Step]:
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
                columns = (torch.cat([part.cpu() for part in parts]).numpy() for parts in zip(*batches, strict=True))
                steps.append(_Step(states[0], *columns))
    finally:
        for loader in loaders:
            loader.close()
    return steps


def _assert_equal(found: _Step, expected: _Step, in_order: bool, where: str) -> None:
    if not in_order:
        found, expected = _sorted(found), _sorted(expected)
    for name in ("sample_ids", "views", "rng_keys"):
        ours, theirs = getattr(found, name), getattr(expected, name)
        assert np.array_equal(ours, theirs), f"{where}: {name} are {ours.tolist()}, not {theirs.tolist()}"
    differ = [
        i for i, (ours, theirs) in enumerate(zip(found.images, expected.images, strict=True)) if (ours != theirs).any()
    ]
    assert not differ, f"{where}: the pixels of samples {found.sample_ids[differ].tolist()} differ"
    assert found.state == expected.state, f"{where}: the state is {found.state}, not {expected.state}"


def _sorted(step: _Step) -> _Step:
    order = np.lexsort((step.views, step.sample_ids))
    return _Step(step.state, *(column[order] for column in step[1:]))
