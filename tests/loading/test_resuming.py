import functools
import itertools

import numpy as np
import pytest

from fastpt import Dataset, Loader
from fastpt.errors import FastptError
from fastpt.loading.order import epoch_order
from fastpt.testing import assert_resumes_everywhere
from tests.loading.conftest import damage

GLOBAL_BATCH = 12


def maker(dataset, decoder="cpu", **settings):
    """Makes loaders of one global batch for any world size, in a new process too."""
    return functools.partial(_make_loader, dataset.path, {"decoder": decoder, **settings})


def _make_loader(path, settings, rank, world_size):
    return Loader(
        Dataset(path), GLOBAL_BATCH // world_size, 16, seed=1, rank=rank, world_size=world_size, threads=1, **settings
    )


@pytest.mark.parametrize("decoder", ["cpu", "dali"])
@pytest.mark.parametrize("order", ["random", "quasi_random", "sequential"])
@pytest.mark.parametrize("drop_last", [True, False])
def test_resumes_at_every_step_at_any_number_of_ranks(split, decoder, order, drop_last):
    make_loader = maker(split, decoder, order=order, drop_last=drop_last)
    assert_resumes_everywhere(make_loader, epochs=3, world_sizes=(1, 2, 4, 3))


@pytest.mark.parametrize("decoder", ["cpu", "dali"])
def test_resumes_at_every_step_in_a_new_process(split, decoder):
    assert_resumes_everywhere(maker(split, decoder), world_sizes=(4, 3), new_process=True)


@pytest.mark.parametrize("decoder", ["cpu", "dali"])
def test_resumes_with_repeats(split, decoder):
    assert_resumes_everywhere(maker(split, decoder, repeats=3), world_sizes=(2, 1))


def pieces_maker(dataset, pieces, **settings):
    """Makes loaders of one global batch for any world size, in `pieces` batches a step."""
    return functools.partial(_make_pieces_loader, dataset.path, pieces, settings)


def _make_pieces_loader(path, pieces, settings, rank, world_size):
    settings = {"gradient_accumulation_steps": pieces, "rank": rank, "world_size": world_size, **settings}
    return Loader(Dataset(path), GLOBAL_BATCH // world_size // pieces, 16, seed=1, threads=1, **settings)


@pytest.mark.parametrize("decoder", ["cpu", "dali"])
@pytest.mark.parametrize("order", ["random", "quasi_random"])
@pytest.mark.parametrize("pieces", [2, 3])
@pytest.mark.parametrize("world_size", [1, 2])
def test_resumes_within_a_step_of_several_pieces(split, decoder, order, pieces, world_size):
    make_loader = pieces_maker(split, pieces, decoder=decoder, order=order, repeats=3)
    assert_resumes_everywhere(make_loader, world_sizes=(world_size,))


def shown(loader, pieces):
    """What the steps of an epoch show: sorted (sample id, view), one list a step."""
    batches = [list(zip(batch.sample_ids.tolist(), batch.views.tolist(), strict=True)) for batch in loader]
    steps = zip(*[iter(batches)] * pieces, strict=True)
    return [sorted(itertools.chain(*step)) for step in steps]


@pytest.mark.parametrize("pieces", [1, 2, 3, 4])
@pytest.mark.parametrize("then", [1, 2, 3, 4])
def test_a_step_shows_the_same_samples_in_any_number_of_pieces_and_resumes_in_another(split, pieces, then):
    with maker(split, repeats=3)(0, 1) as loader:
        whole = shown(loader, 1)
    with pieces_maker(split, pieces, repeats=3)(0, 1) as loader, pieces_maker(split, then, repeats=3)(0, 1) as other:
        assert shown(loader, pieces) == whole
        assert len(loader) == len(whole) * pieces
        loader.set_epoch(0)
        for _ in zip(range(pieces), loader, strict=False):
            pass
        other.load_state_dict(loader.state_dict())
        assert shown(other, then) == whole[1:]


def test_a_state_within_a_step_is_refused_in_another_number_of_pieces(split):
    with pieces_maker(split, 3)(0, 1) as loader, pieces_maker(split, 2)(0, 1) as other:
        next(iter(loader))
        with pytest.raises(FastptError, match="its gradient_accumulation_steps is 3, here it is 2"):
            other.load_state_dict(loader.state_dict())


@pytest.mark.parametrize("decoder", ["cpu", "dali"])
def test_resumes_over_damaged_pictures(copied, decoder):
    for sample_id in (0, 1, 20):
        damage(copied, sample_id)
    assert_resumes_everywhere(maker(copied, decoder), epochs=1, world_sizes=(1, 3))


def test_a_loader_that_resumes_wrongly_is_found_out(split):
    class Forgetful(Loader):
        def load_state_dict(self, state):
            super().load_state_dict({**state, "position": 0})

    def make_loader(rank, world_size):
        return Forgetful(split, GLOBAL_BATCH, 16, seed=1)

    with pytest.raises(AssertionError, match="resumed after step 0"):
        assert_resumes_everywhere(make_loader)


def test_a_loader_whose_samples_depend_on_the_ranks_is_found_out(split):
    def make_loader(rank, world_size):
        return Loader(split, GLOBAL_BATCH // world_size, 16, seed=world_size, rank=rank, world_size=world_size)

    with pytest.raises(AssertionError, match="at 2 ranks, not 1, 1 steps on: sample_ids are"):
        assert_resumes_everywhere(make_loader, world_sizes=(1, 2))


@pytest.mark.parametrize("decoder", ["cpu", "dali"])
@pytest.mark.parametrize("order", ["random", "quasi_random", "sequential"])
@pytest.mark.parametrize("world_size", [1, 2, 4, 3])
def test_training_shows_every_sample_once_but_the_last_that_fill_no_batch(split, decoder, order, world_size):
    ids = []
    for rank in range(world_size):
        with maker(split, decoder, order=order)(rank, world_size) as loader:
            ids += [batch.sample_ids.numpy() for batch in loader]
    whole = epoch_order(len(split), 1, 0, order, split.block)[0]
    dropped = len(split) % GLOBAL_BATCH
    assert dropped == 2
    assert sorted(np.concatenate(ids)) == sorted(whole[:-dropped])


def test_state_counts_what_was_delivered_not_what_was_prefetched(split):
    with maker(split)(0, 1) as loader:
        positions = [loader.state_dict()["position"] for _ in loader]
        assert positions == [12, 24, 36]
        assert (loader.state_dict()["epoch"], loader.state_dict()["position"]) == (1, 0)


def test_setting_the_epoch_that_was_loaded_keeps_the_place(split):
    with maker(split)(0, 1) as loader:
        next(iter(loader))
        state = loader.state_dict()
        rest = [batch.sample_ids.numpy() for batch in loader]
    with maker(split)(0, 1) as loader:
        loader.load_state_dict(state)
        loader.set_epoch(0)
        assert np.array_equal([batch.sample_ids.numpy() for batch in loader], rest)


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"batch_size": 6}, "its global_batch is 12, here it is 6"),
        ({"seed": 2}, "its seed is 1, here it is 2"),
        ({"order": "sequential"}, "its order is 'random', here it is 'sequential'"),
        ({"repeats": 2}, "its repeats is 1, here it is 2"),
        ({"drop_last": False}, "its drop_last is True, here it is False"),
    ],
)
def test_a_state_taken_under_another_order_is_refused_with_the_reason(split, settings, reason):
    with maker(split)(0, 1) as loader:
        state = loader.state_dict()
    with Loader(split, **{"batch_size": 12, "size": 16, "seed": 1, **settings}) as other:
        with pytest.raises(FastptError) as error:
            other.load_state_dict(state)
        assert reason in str(error.value)


def test_a_state_of_another_dataset_is_refused(split, labelled):
    state = maker(split)(0, 1).state_dict()
    with maker(labelled)(0, 1) as other, pytest.raises(FastptError, match="its samples_id is"):
        other.load_state_dict(state)


@pytest.mark.parametrize("format", [1, "2.0", None])
def test_a_state_of_another_format_is_refused_with_what_to_do(split, format):
    with maker(split)(0, 1) as loader:
        state = {**loader.state_dict(), "format": format}
        with pytest.raises(FastptError, match=r"state has format .* start a new run"):
            loader.load_state_dict(state)
