import json
import subprocess
import sys

import numpy as np
import pytest

from fastpt import Loader
from fastpt.errors import FastptError
from fastpt.testing import assert_resumes_everywhere
from tests.loading.conftest import damage

GLOBAL_BATCH = 12


def maker(dataset, decoder="ffcv", **settings):
    """Makes loaders of one global batch for any world size."""

    def make_loader(rank, world_size):
        return Loader(
            dataset, GLOBAL_BATCH // world_size, 16, seed=1, decoder=decoder, rank=rank, world_size=world_size,
            **settings,
        )  # fmt: skip

    return make_loader


@pytest.mark.parametrize("decoder", ["ffcv", "dali"])
@pytest.mark.parametrize("order", ["random", "quasi_random", "sequential"])
@pytest.mark.parametrize("drop_last", [True, False])
def test_resumes_at_every_step(split, decoder, order, drop_last):
    assert_resumes_everywhere(maker(split, decoder, order=order, drop_last=drop_last), epochs=3)


@pytest.mark.parametrize("decoder", ["ffcv", "dali"])
@pytest.mark.parametrize("drop_last", [True, False])
def test_resumes_at_every_step_at_another_number_of_ranks(split, decoder, drop_last):
    assert_resumes_everywhere(maker(split, decoder, drop_last=drop_last), world_sizes=(1, 2, 4, 3))


@pytest.mark.parametrize("decoder", ["ffcv", "dali"])
def test_resumes_with_repeats(split, decoder):
    assert_resumes_everywhere(maker(split, decoder, repeats=3), world_sizes=(2, 1))


@pytest.mark.parametrize("decoder", ["ffcv", "dali"])
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


def test_resumes_in_a_new_process(split):
    make_loader = maker(split)
    with make_loader(0, 1) as loader:
        batches = iter(loader)
        next(batches)
        state = json.dumps(loader.state_dict())
        wanted = [[batch.sample_ids.tolist(), int(batch.images.sum())] for batch in batches]
    code = (
        "import json, sys; from fastpt import Dataset, Loader\n"
        "loader = Loader(Dataset(sys.argv[1]), 12, 16, seed=1)\n"
        "loader.load_state_dict(json.loads(sys.argv[2]))\n"
        "print(json.dumps([[b.sample_ids.tolist(), int(b.images.sum())] for b in loader]))"
    )
    done = subprocess.run([sys.executable, "-c", code, split.path, state], capture_output=True, check=True)
    assert json.loads(done.stdout) == wanted


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
