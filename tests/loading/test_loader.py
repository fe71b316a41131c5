import gc
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from fastpt import Batch, Loader
from fastpt.errors import FastptError
from fastpt.loading.loader import default_threads
from fastpt.loading.order import epoch_order
from tests.loading.conftest import damage, own_threads

DECODERS = ("cpu", "dali", "synthetic")


def delivered(loader) -> tuple[np.ndarray, np.ndarray]:
    """Ids and images of what is left of an epoch."""
    batches = list(loader)
    return tuple(np.concatenate([batch[column].numpy() for batch in batches]) for column in (1, 0))


def ids_of(loader) -> np.ndarray:
    return delivered(loader)[0]


@pytest.mark.parametrize("decoder", DECODERS)
def test_batches_have_the_promised_shapes_and_types(split, decoder):
    with Loader(split, 8, 32, seed=0, decoder=decoder) as loader:
        batches = list(loader)
    assert len(batches) == len(loader) == 4
    for batch in batches:
        assert isinstance(batch, Batch)
        assert batch.images.shape == (8, 32, 32, 3)
        assert batch.images.dtype == torch.uint8
        assert batch.images.is_contiguous()
        assert batch.sample_ids.dtype == batch.views.dtype == torch.int64
        assert batch.views.tolist() == [0] * 8


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("order", ["random", "quasi_random", "sequential"])
def test_samples_come_in_the_order_of_the_epoch(split, decoder, order):
    with Loader(split, 5, 16, seed=3, order=order, decoder=decoder, drop_last=False) as loader:
        for epoch in range(2):
            assert np.array_equal(ids_of(loader), epoch_order(len(split), 3, epoch, order, split.block)[0])


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("world_size", [1, 2, 3, 4])
def test_evaluation_counts_every_sample_once_at_any_number_of_ranks(split, decoder, world_size):
    ids = []
    for rank in range(world_size):
        with Loader(
            split,
            7,
            16,
            seed=0,
            crop="center",
            order="sequential",
            decoder=decoder,
            drop_last=False,
            rank=rank,
            world_size=world_size,
        ) as loader:
            batches = list(loader)
        assert len(batches) == len(loader) == -(-38 // (7 * world_size))
        ids += [batch.sample_ids for batch in batches]
    assert sorted(torch.cat(ids).tolist()) == list(range(38))


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_rank_left_without_samples_gets_an_empty_batch(split, decoder):
    settings = {"seed": 0, "decoder": decoder, "drop_last": False, "world_size": 37}
    with Loader(split, 1, 16, rank=36, **settings) as loader:
        first, last = list(loader)
    assert first.images.shape == (1, 16, 16, 3)
    assert last.images.shape == (0, 16, 16, 3)
    assert last.sample_ids.shape == last.views.shape == (0,)


@pytest.mark.parametrize("decoder", ["cpu", "dali"])
def test_pixels_do_not_depend_on_threads_batches_or_ranks(split, decoder):
    def pixels(**settings):
        with Loader(split, seed=0, size=24, decoder=decoder, drop_last=False, **settings) as loader:
            ids, images = delivered(loader)
        return dict(zip(ids.tolist(), images, strict=True))

    whole = pixels(batch_size=38, threads=1)
    for settings in ({"batch_size": 5, "threads": 3}, {"batch_size": 6, "threads": 2, "rank": 1, "world_size": 2}):
        for sample_id, image in pixels(**settings).items():
            assert np.array_equal(image, whole[sample_id])


@pytest.mark.parametrize("decoder", ["cpu", "dali"])
def test_repeats_are_other_crops_of_the_same_sample(split, decoder):
    with Loader(split, 6, 32, seed=0, decoder=decoder, repeats=3) as loader:
        batch = next(iter(loader))
    assert batch.views.tolist() == [0, 1, 2, 0, 1, 2]
    assert batch.sample_ids[0] == batch.sample_ids[1] == batch.sample_ids[2] != batch.sample_ids[3]
    assert not torch.equal(batch.images[0], batch.images[1])


def test_each_batch_owns_its_memory(split):
    with Loader(split, 6, 32, seed=0) as loader:
        batches = list(loader)
        kept = [batch.images.clone() for batch in batches]
        list(loader)
    assert all(torch.equal(batch.images, copy) for batch, copy in zip(batches, kept, strict=True))
    assert len({batch.images.data_ptr() for batch in batches}) == len(batches)


@pytest.mark.parametrize("decoder", ["cpu", "dali"])
def test_flips_mirror_the_picture(split, decoder):
    settings = {"seed": 0, "decoder": decoder, "order": "sequential"}
    with Loader(split, 38, 32, **settings) as flipped, Loader(split, 38, 32, flip=False, **settings) as upright:
        ours, theirs = next(iter(flipped)).images, next(iter(upright)).images
    mirrored = [bool((a == b.flip(1)).all()) for a, b in zip(ours, theirs, strict=True)]
    same = [bool((a == b).all()) for a, b in zip(ours, theirs, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert 8 < sum(mirrored) < 30


def test_center_crops_are_not_flipped_unless_asked(split):
    settings = {"seed": 0, "crop": "center", "order": "sequential"}
    with Loader(split, 38, 32, **settings) as default, Loader(split, 38, 32, flip=False, **settings) as upright:
        assert torch.equal(next(iter(default)).images, next(iter(upright)).images)


def test_epochs_follow_each_other_and_set_epoch_goes_to_the_start_of_another(split):
    with Loader(split, 8, 16, seed=0) as loader:
        first, second = ids_of(loader), ids_of(loader)
        assert loader.epoch == 2
        assert not np.array_equal(first, second)
        loader.set_epoch(0)
        assert np.array_equal(ids_of(loader), first)
        loader.set_epoch(1)  # where it already is
        assert np.array_equal(ids_of(loader), second)


def test_iterating_goes_on_where_the_last_iteration_stopped(split):
    with Loader(split, 8, 16, seed=0) as loader:
        whole = ids_of(loader)
        loader.set_epoch(0)
        for batch in loader:
            assert batch.sample_ids.tolist() == whole[:8].tolist()
            break
        assert np.array_equal(ids_of(loader), whole[8:])


@pytest.mark.parametrize("decoder", DECODERS)
def test_the_size_can_change_between_epochs_and_nothing_else_does(split, decoder):
    settings = {"seed": 0, "decoder": decoder}
    with Loader(split, 8, 16, **settings) as growing, Loader(split, 8, 32, **settings) as large:
        small = next(iter(growing))
        growing.set_size(32)
        assert growing.state_dict()["position"] == 8
        next(iter(large))
        for ours, theirs in zip(growing, large, strict=True):
            assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))
        assert growing.state_dict() == large.state_dict()
    assert small.images.shape == (8, 16, 16, 3)


def test_a_size_out_of_range_is_refused(split):
    with Loader(split, 8, 16, seed=0) as loader, pytest.raises(FastptError, match="size is 0"):
        loader.set_size(0)


def test_keys_are_of_the_sample_its_view_the_epoch_and_the_seed(split):
    def keys_of(seed, **settings):
        with Loader(split, 6, 16, seed=seed, decoder="synthetic", drop_last=False, **settings) as loader:
            batches = list(loader) + list(loader)
        return [key for batch in batches for key in batch.rng_keys.tolist()]

    one, other = keys_of(0), keys_of(1, repeats=2)
    assert len(set(one)) == len(one) == len(set(other)) == len(other)
    assert not set(one) & set(other)
    assert sorted(keys_of(0, order="sequential")) == sorted(one)


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_new_iterator_goes_on_and_ends_the_older_one(split, decoder):
    with (
        Loader(split, 8, 16, seed=0, decoder=decoder) as loader,
        Loader(split, 8, 16, seed=0, decoder=decoder) as other,
    ):
        whole = list(other)
        older = iter(loader)
        next(older)
        newer = next(iter(loader))
        assert torch.equal(newer.sample_ids, whole[1].sample_ids)
        assert torch.equal(newer.images, whole[1].images)
        with pytest.raises(FastptError, match="out of use"):
            next(older)


@pytest.mark.parametrize("decoder", ["cpu", "dali"])
def test_a_consumer_that_stops_leaves_no_threads(split, decoder):
    loader = Loader(split, 4, 16, seed=0, decoder=decoder)
    for _ in loader:
        assert own_threads()
        break
    gc.collect()
    assert not own_threads()
    assert len(list(loader)) == len(loader) - 1  # and can be gone on with
    loader.close()


@pytest.mark.parametrize("decoder", ["cpu", "dali"])
def test_closing_the_loader_ends_the_threads_of_an_iterator_that_is_still_held(split, decoder):
    loader = Loader(split, 4, 16, seed=0, decoder=decoder)
    held = iter(loader)
    next(held)
    assert own_threads()
    loader.close()
    assert not own_threads()


@pytest.mark.parametrize("decoder", ["cpu", "dali"])
def test_threads_stay_flat_over_many_loaders(split, decoder):
    def threads_after(count):
        for _ in range(count):
            with Loader(split, 8, 16, seed=0, decoder=decoder) as loader:
                next(iter(loader))
        gc.collect()
        return len(list(Path("/proc/self/task").iterdir()))  # those of C libraries too

    before = threads_after(2)
    assert threads_after(10) <= before


@pytest.mark.parametrize("decoder", ["cpu", "dali"])
def test_an_exception_in_a_decoding_thread_reaches_the_consumer(copied, decoder, monkeypatch):
    damage(copied, 7)
    monkeypatch.setattr("fastpt.loading.reading.BatchReader.intact", lambda *_: 1 / 0)
    with Loader(copied, 4, 16, seed=0, decoder=decoder) as loader, pytest.raises(ZeroDivisionError):
        list(loader)
    assert not own_threads()


@pytest.mark.parametrize("decoder", ["cpu", "dali"])
def test_an_interrupt_while_waiting_ends_the_iteration(split, decoder, slow_reading):
    slow_reading(0.1)
    with Loader(split, 4, 16, seed=0, decoder=decoder, threads=1) as loader:
        timer = threading.Timer(0.2, lambda: signal.raise_signal(signal.SIGINT))
        timer.start()
        start = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            list(loader)
    assert time.monotonic() - start < 4
    assert not own_threads()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"decoder": "pil"}, "decoder is 'pil'. It must be one of cpu, dali, synthetic"),
        ({"order": "shuffled"}, "order is 'shuffled'"),
        ({"interpolation": "nearest"}, "interpolation is 'nearest'"),
        ({"crop": "none"}, "crop is 'none'"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"seed": -1}, "seed is -1"),
        ({"rank": 2, "world_size": 2}, "rank is 2. It must be from 0 to world_size - 1, which is 1"),
        ({"scale": (0.5, 0.2)}, "scale is"),
        ({"ratio": (0, 1)}, "ratio is"),
        ({"crop_fraction": 1.5}, "crop_fraction is 1.5"),
        ({"threads": 0}, "threads is 0"),
        (
            {"decoder": "dali", "decoder_options": {"hw_decoder_load": 2}},
            "hw_decoder_load is 2. It must be from 0 to 1",
        ),
        (
            {"decoder": "dali", "decoder_options": {"hw_load": 1}},
            "decoder dali has no option 'hw_load'; did you mean hw_decoder_load?",
        ),
        ({"decoder_options": {"hw_decoder_load": 1}}, "decoder cpu has no option 'hw_decoder_load'"),
        ({"repeats": 2, "order": "sequential"}, "repeats is 2"),
        ({"gradient_accumulation_steps": 2, "drop_last": False}, "gradient_accumulation_steps is 2"),
        ({"batch_size": 39}, "38 samples, less than one global batch of 39"),
    ],
)
def test_settings_out_of_range_are_refused_by_name(split, settings, message):
    with pytest.raises(FastptError) as error:
        Loader(split, **{"batch_size": 4, "size": 16, "seed": 0, **settings})
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("of_job", "of_rank", "ranks", "threads"),
    [(12, 12, 1, 12), (12, 12, 4, 3), (12, 3, 4, 3), (12, 6, 4, 3), (12, 2, 1, 2), (4, 4, 8, 1)],
    ids=["alone", "unbound ranks", "bound ranks", "ranks bound to sockets", "bound alone", "more ranks than cores"],
)
def test_threads_default_to_this_process_share_of_the_cores(monkeypatch, of_job, of_rank, ranks, threads):
    monkeypatch.setattr("os.sched_getaffinity", lambda process: set(range(of_job if process else of_rank)))
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(ranks))
    assert default_threads() == threads
