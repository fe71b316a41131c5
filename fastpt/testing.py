"""Checks that a loader, a decoder or a kind of noise of one's own can be put through, as ours are in tests."""

import contextlib
import gc
import io
import json
import multiprocessing
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import torch
from PIL import Image

from fastpt.data.dataset import Dataset
from fastpt.data.plan import Changed, NoisePlan
from fastpt.data.samples import ImageDataset
from fastpt.loading.batch import Batch
from fastpt.loading.crops import random_resized_crops
from fastpt.loading.decoders import DECODERS
from fastpt.loading.loader import Loader
from fastpt.loading.order import epoch_order
from fastpt.noise.kinds import NoiseKind
from fastpt.noise.store import NO_FILES, realised_rates


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
    # Spawned: it shares no memory, no random state and no hash seed with this one.
    spawned = ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) if new_process else contextlib.nullcontext()
    with spawned as process:
        for resumed_at, step in enumerate(whole):
            state = json.loads(json.dumps(step.state))
            for world_size in world_sizes:
                arguments = (make_loader, world_size, epochs, state)
                rest = process.submit(_run, *arguments).result() if process else _run(*arguments)
                where = f"resumed after step {resumed_at} at {world_size} ranks (saved at {first})"
                _assert_follows(rest, whole[resumed_at + 1 :], world_size == first, where)


def assert_decodes(dataset: ImageDataset, decoder: str, min_psnr: float = 25.0) -> None:
    """Assert that a decoder keeps the contract of `fastpt.loading.decoders.Decoder`, on a split of some 40 samples.

    Batches have the ids, views, shapes and types of the order, be they full, short or empty. If the decoder reads, each
    picture shows its box, flipped or not, as Pillow does: bilinear, with a PSNR of `min_psnr` dB or more. No thread is
    left where an iteration is broken off. And it passes `assert_resumes_everywhere`. Raises AssertionError.
    """
    size, global_batch, ranks = 32, 12, len(dataset) - 1

    def make_loader(rank: int, world_size: int, batch_size: int | None = None) -> Loader:
        settings = {"seed": 0, "decoder": decoder, "rank": rank, "world_size": world_size, "drop_last": False}
        return Loader(
            dataset, batch_size or global_batch // world_size, size, interpolation="bilinear", threads=2, **settings
        )

    with make_loader(0, 1) as loader, make_loader(ranks - 1, ranks, 1) as last_rank:
        batches, (one, none) = list(loader), last_rank
    order, _ = epoch_order(len(dataset), 0, 0, "random", dataset.block)
    for start, batch in zip(range(0, len(order), global_batch), batches, strict=True):
        _assert_is_batch(batch, order[start : start + global_batch], size)
        if DECODERS.get(decoder).reads:
            _assert_shows(dataset, batch, min_psnr)
    _assert_is_batch(one, order[ranks - 1 : ranks], size)
    _assert_is_batch(none, order[:0], size)

    threads = _threads()
    loader = make_loader(0, 1)
    next(iter(loader))
    loader.close()
    gc.collect()
    deadline = time.monotonic() + 5
    while _threads() > threads and time.monotonic() < deadline:
        time.sleep(0.01)  # one that has ended is listed until the kernel has had the time to take it away
    assert _threads() <= threads, f"{_threads() - threads} threads are left of an iteration that was broken off"
    assert_resumes_everywhere(make_loader, epochs=1, world_sizes=(1, 2))


def _assert_is_batch(batch: Batch, sample_ids: np.ndarray, size: int) -> None:
    images, ids, views = batch[:3]
    assert ids.tolist() == sample_ids.tolist(), f"sample_ids are {ids.tolist()}, not {sample_ids.tolist()}"
    assert not views.any(), f"views are {views.tolist()}, not 0"
    assert ids.dtype == views.dtype == torch.int64, f"sample_ids and views are {ids.dtype} and {views.dtype}"
    found = f"{images.dtype} {list(images.shape)}{'' if images.is_contiguous() else ', not contiguous'}"
    expected = f"{torch.uint8} {[len(sample_ids), size, size, 3]}"
    assert found == expected, f"images are {found}, not {expected}"


def _assert_shows(dataset: ImageDataset, batch: Batch, min_psnr: float) -> None:
    """Against Pillow, for the boxes of seed 0 in epoch 0."""
    ids, views, size = batch.sample_ids.numpy(), batch.views.numpy(), batch.images.shape[1]
    samples = dataset.samples
    boxes, flips = random_resized_crops(samples.width[ids], samples.height[ids], ids, views, seed=0, epoch=0)
    jpegs, images = dataset.jpegs(ids, checked=True), batch.images.cpu().numpy()
    for image, jpeg, sample_id, box, flip in zip(images, jpegs, ids, boxes, flips, strict=True):
        top, left, height, width = box.tolist()
        with Image.open(io.BytesIO(jpeg.tobytes()), formats=["JPEG"]) as picture:
            cut = picture.convert("RGB").crop((left, top, left + width, top + height))
        shown = np.asarray(cut.resize((size, size), Image.Resampling.BILINEAR), np.float64)
        error = np.square(image - (shown[:, ::-1] if flip else shown)).mean()
        psnr = 10 * np.log10(255**2 / max(error, 1e-9))
        assert psnr >= min_psnr, f"sample {sample_id} is {psnr:.1f} dB from what Pillow shows of box {box}, flip {flip}"


def _threads() -> int:
    """Of this process, those of C libraries too."""
    return len(list(Path("/proc/self/task").iterdir()))


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


def assert_makes_noise(
    kind: NoiseKind, dataset: Dataset, of: Changed, files: Mapping[str, Path] = NO_FILES, nested: bool = True
) -> None:
    """Assert that a kind of noise keeps the contract of `fastpt.noise.kinds.NoiseKind` on a split with such targets.

    Arrays are as stated, the same each time and in any order of the rows, other ones for another seed; `kind.check` has
    nothing to say of them. With `nested`, what is wrong at a low rate is wrong in the same way at a higher one. Raises
    AssertionError.
    """
    count = len(dataset)
    if of == "pictures":  # of the split that the kind's one option names
        clean, least, limit = np.full(count, -1), -1, len(Dataset(next(iter(files.values()))))
    else:
        clean, least, limit = dataset.targets(None, of), 0, len(dataset.classes) if of == "labels" else count

    def make(rate: float, seed: int = 0, made_of: Dataset = dataset) -> np.ndarray:
        return kind.make(made_of, of, rate if kind.takes_rate else 0.0, seed, files).array

    low, high = make(0.2), make(0.5)
    for array in (low, high):
        assert array.dtype == (np.int32 if of == "labels" else np.int64)
        assert array.shape == (count,)
        assert least <= array.min() <= array.max() < limit
        assert (array != clean).any(), "nothing is wrong"
    assert np.array_equal(high, make(0.5)), "it is not the same noise each time"
    realised = realised_rates(dataset, of, low, 0.2 if kind.takes_rate else None)
    asked = 0.2 if kind.takes_rate else realised.rate
    plan = NoisePlan("plan", of, "kind", asked, *realised, 0, None, None, None, low)
    assert kind.check(plan, dataset) == []
    if nested:
        wrong = low != clean
        assert np.array_equal(low[wrong], high[wrong]), "what is wrong at 0.2 is not wrong in the same way at 0.5"
    if kind.takes_rate:
        assert not np.array_equal(high, make(0.5, seed=1)), "another seed is the same noise"
        rows = np.random.default_rng(0).permutation(count)
        shuffled = make(0.5, made_of=cast(Dataset, _Shuffled(dataset, rows)))
        expected = np.argsort(rows)[high[rows]] if of == "captions" else high[rows]
        assert np.array_equal(shuffled, expected), "it is another noise in another order of the rows"


class _Shuffled:
    """A split as kinds of noise see it, its rows in another order."""

    def __init__(self, dataset: Dataset, rows: np.ndarray):
        self.path, self.classes, self.class_names = dataset.path, dataset.classes, dataset.class_names
        self.has_labels, self.has_captions = dataset.has_labels, dataset.has_captions
        self.table = lambda columns: dataset.table(columns).take(rows)
        self.stored_keys = self.keys = [dataset.keys[row] for row in rows]
        self.require_captions = dataset.require_captions
        if dataset.has_labels:
            self.clean_labels = dataset.clean_labels[rows]
        if dataset.has_captions:
            self.caption_hashes = dataset.caption_hashes[rows]

    def __len__(self) -> int:
        return len(self.keys)
