"""Memory of batches is used again, and never while somebody can still see what is in it."""

import gc

import pytest

from fastpt import Loader
from fastpt.loading.memory import BatchMemory


def test_memory_is_used_again_once_its_holder_is_gone():
    memory = BatchMemory(1000, kept=2)
    first = memory.take((10, 10, 3))
    assert (first.shape, str(first.dtype), first.is_contiguous()) == ((10, 10, 3), "torch.uint8", True)
    place = first.data_ptr()
    assert memory.take((10,)).data_ptr() != place
    del first
    gc.collect()
    assert place in {memory.take((2, 5)).data_ptr() for _ in range(2)}


@pytest.mark.parametrize("part", [lambda batch: batch[3:], lambda batch: batch.numpy(), lambda batch: batch.view(-1)])
def test_a_part_that_is_held_holds_the_memory(part):
    memory = BatchMemory(1000, kept=2)
    batch = memory.take((10, 10))
    batch[:] = 7
    held, place = part(batch), batch.data_ptr()
    del batch
    gc.collect()
    for _ in range(3):
        other = memory.take((10, 10))
        assert other.data_ptr() != place
        other[:] = 0
    assert (held == 7).all()


def test_no_more_waits_than_is_kept_and_nothing_once_it_is_cleared():
    memory = BatchMemory(1000, kept=2)
    batches = [memory.take((1000,)) for _ in range(5)]
    del batches
    assert len(memory._free) == 2
    memory.clear()
    assert not memory._free


def test_an_epoch_takes_the_memory_of_the_batches_in_work_and_not_more(split):
    with Loader(split, 2, 16, seed=0) as loader:
        places = [batch.images.data_ptr() for batch in loader]
    assert len(places) == 19
    assert len(set(places)) <= 5
