"""`fastpt.torch`: the loader's samples in the loops of others, none twice and none left out."""

import json
import pickle
import shutil
import sys
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader

from fastpt import Dataset, Loader
from fastpt.augment.transforms import normalize
from fastpt.errors import DamagedData, FastptError
from fastpt.torch import FastptDataset, FastptMapDataset
from tests.loading.conftest import damage
from tests.training.conftest import run_command

HALF = (0.5, 0.5, 0.5)
EPOCHS = 3


def dataset(split, **settings) -> FastptDataset:
    return FastptDataset(split, 6, 16, seed=1, noise=0.25, threads=1, **settings)


def ids_of(batches) -> list[list[int]]:
    return [batch.sample_ids.tolist() for batch in batches]


@pytest.fixture(scope="module")
def epochs(labelled) -> list[list[list[int]]]:
    """What a Loader gives: sample ids of each batch of each epoch."""
    loader = Loader(labelled, 6, 16, seed=1, threads=1)
    return [ids_of(loader) for _ in range(EPOCHS)]


def test_batches_are_those_of_the_loader(labelled):
    loader, shown = Loader(labelled, 6, 16, seed=1, threads=1), labelled.targets(0.25)
    given = DataLoader(dataset(labelled), batch_size=None)
    assert len(given) == len(loader) == 6
    for _ in range(EPOCHS):
        for batch, expected in zip(given, loader, strict=True):
            assert torch.equal(batch.images, expected.images.permute(0, 3, 1, 2))
            assert batch.images.dtype == torch.uint8
            assert torch.equal(batch.sample_ids, expected.sample_ids)
            assert batch.targets.tolist() == shown[expected.sample_ids].tolist()


def test_pictures_are_normalised_if_asked_for(labelled):
    (batch, *_), (expected, *_) = dataset(labelled, normalize=(HALF, HALF)), Loader(labelled, 6, 16, seed=1, threads=1)
    assert torch.equal(batch.images, normalize(expected.images, HALF, HALF))


def test_captions_are_those_that_the_plan_shows(captioned):
    shown = captioned.targets(0.2, "captions")
    for batch in FastptDataset(captioned.path, 6, 16, seed=1, noise=0.2, of="captions", threads=1):
        assert batch.targets == captioned.captions(shown[batch.sample_ids.numpy()])


@pytest.mark.parametrize("loader", [DataLoader, StatefulDataLoader])
def test_each_pass_is_the_next_epoch(labelled, epochs, loader):
    given = loader(dataset(labelled), batch_size=None)
    assert [ids_of(given) for _ in range(EPOCHS)] == epochs


@pytest.mark.parametrize("loader", [DataLoader, StatefulDataLoader])
def test_a_pass_that_was_broken_off_is_followed_by_a_whole_one(labelled, epochs, loader):
    given = loader(dataset(labelled), batch_size=None)
    next(iter(given))
    assert ids_of(given) == epochs[1]


def test_set_epoch_begins_an_epoch_anew(labelled, epochs):
    given = dataset(labelled)
    next(iter(given))
    given.set_epoch(0)
    assert ids_of(given) == epochs[0]
    given.set_epoch(2)
    assert ids_of(given) == epochs[2]


@pytest.mark.parametrize("step", range(6))
def test_a_stateful_loader_goes_on_after_every_step(labelled, epochs, step):
    stopped = StatefulDataLoader(dataset(labelled), batch_size=None)
    list(stopped)
    batches = iter(stopped)
    for _ in range(step):
        next(batches)
    state = json.loads(json.dumps(stopped.state_dict()))
    given = StatefulDataLoader(dataset(labelled), batch_size=None)
    given.load_state_dict(state)
    assert ids_of(given) == epochs[1][step:]
    assert ids_of(given) == epochs[2]


@pytest.mark.parametrize("drop_last", [True, False])
def test_the_end_of_an_epoch_is_the_start_of_the_next(labelled, drop_last):
    given = dataset(labelled, drop_last=drop_last)
    batches = iter(given)
    for _ in range(len(given)):
        next(batches)
    state = given.state_dict()
    assert (state["epoch"], state["position"]) == (1, 0)
    assert list(batches) == []
    assert given.state_dict() == state


def test_a_state_goes_on_at_another_number_of_ranks(labelled, epochs):
    stopped = dataset(labelled)
    batches = iter(stopped)
    next(batches), next(batches)
    ranks = [FastptDataset(labelled, 3, 16, seed=1, noise=0.25, threads=1, rank=r, world_size=2) for r in range(2)]
    for one in ranks:
        one.load_state_dict(stopped.state_dict())
    found = [sorted(chain(*both)) for both in zip(*map(ids_of, ranks), strict=True)]
    assert found == [sorted(ids) for ids in epochs[0][2:]]


@pytest.mark.parametrize("change", [{"noise": None}, {"seed": 2}, {"order": "sequential"}])
def test_a_state_of_other_samples_or_targets_is_refused(labelled, change):
    settings = {"seed": 1, "noise": 0.25, "threads": 1}
    state = FastptDataset(labelled, 6, 16, **settings).state_dict()
    with pytest.raises(FastptError, match="Resume with the same"):
        FastptDataset(labelled, 6, 16, **(settings | change)).load_state_dict(state)


@pytest.mark.parametrize("name", ["epoch", "position"])
@pytest.mark.parametrize("value", [None, "3", 1.5, True, -1, 10**30])
def test_a_state_that_is_nowhere_is_refused(labelled, name, value):
    data = FastptDataset(labelled, 4, 32, seed=0)
    with pytest.raises(FastptError, match=f"has {name} .*, which is no number from 0 to"):
        data.load_state_dict({**data.state_dict(), name: value})


@pytest.mark.parametrize("state", [None, [1], "x"])
def test_what_is_no_state_is_refused(labelled, state):
    with pytest.raises(FastptError, match=r"Give what state_dict\(\) returned"):
        FastptDataset(labelled, 4, 32, seed=0).load_state_dict(state)


@pytest.mark.parametrize(
    ("loader", "workers"), [(StatefulDataLoader, 1), pytest.param(DataLoader, 2, marks=pytest.mark.long)]
)  # torch takes 5 s to give up each worker that failed
def test_worker_processes_are_refused(labelled, loader, workers):
    with pytest.raises(FastptError, match=r"threads of its own. Set num_workers=0"):
        list(loader(dataset(labelled), batch_size=None, num_workers=workers))


@pytest.mark.parametrize("loader", [DataLoader, StatefulDataLoader])
@pytest.mark.parametrize("settings", [{}, {"batch_size": 6}])
def test_batches_are_not_batched_again(labelled, loader, settings):
    with pytest.raises(FastptError, match=r"batched again\. Write batch_size=None"):
        next(iter(loader(dataset(labelled), **settings)))


def test_wrong_settings_are_told_when_the_dataset_is_made(labelled):
    with pytest.raises(FastptError, match="the loader's order is 'rnadom'"):
        dataset(labelled, order="rnadom")
    with pytest.raises(FastptError, match=r"has no noise plan 0\.1"):
        FastptDataset(labelled, 6, 16, seed=1, noise=0.1)


def test_it_may_be_pickled_and_goes_on_there(labelled, epochs):
    given = dataset(labelled)
    batches = iter(given)
    next(batches)
    copy = pickle.loads(pickle.dumps(given))
    assert ids_of(copy) == epochs[0][1:]
    assert ids_of(batches) == epochs[0][1:]


def run(code: str, processes: int, folder: Path) -> list[dict]:
    """What each of several gloo processes wrote to `out`, by rank. `code` has `rank` and `path`."""
    script = folder / "script.py"
    script.write_text(code)
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    done = run_command([*launcher, str(script)])
    assert done.returncode == 0, done.stderr[:3000]
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(processes)]


HEAD = """
import json, os, sys
import torch
from torch.utils.data import DataLoader
from torchdata.stateful_dataloader import StatefulDataLoader
from fastpt.errors import FastptError
from fastpt.torch import FastptDataset, FastptMapDataset

def write(found):
    with open(f"{FOLDER}/{os.environ['RANK']}.json", "w") as file:
        json.dump(found, file)

def ids_of(batches):
    return [batch.sample_ids.tolist() for batch in batches]
"""


def head(split: Dataset, folder: Path) -> str:
    return f"FOLDER, SPLIT = {str(folder)!r}, {str(split.path)!r}\n{HEAD}"


def test_two_processes_share_the_global_batches_whether_or_not_the_group_is_there_yet(labelled, epochs, tmp_path):
    code = """
early = FastptDataset(SPLIT, 3, 16, seed=1, threads=1)
place = os.environ.pop("RANK"), os.environ.pop("WORLD_SIZE")
unlaunched = FastptDataset(SPLIT, 3, 16, seed=1, threads=1)
os.environ["RANK"], os.environ["WORLD_SIZE"] = place
torch.distributed.init_process_group("gloo")
write([ids_of(DataLoader(one, batch_size=None)) for one in (early, unlaunched)])
torch.distributed.barrier()  # a process that ends early would fail the other
torch.distributed.destroy_process_group()
"""
    ranks = run(head(labelled, tmp_path) + code, 2, tmp_path)
    for first, second in zip(*ranks, strict=True):
        assert [sorted(a + b) for a, b in zip(first, second, strict=True)] == [sorted(ids) for ids in epochs[0]]


def test_accelerate_may_not_split_again_and_may_split_what_is_whole(labelled, epochs, tmp_path):
    code = """
import accelerate
accelerator = accelerate.Accelerator(cpu=True)
found = {}
for dispatch, size in ((None, None), (False, 1)):  # where it shards, accelerate wants a size
    accelerator.dataloader_config.dispatch_batches = dispatch
    try:
        list(accelerator.prepare(DataLoader(FastptDataset(SPLIT, 3, 16, seed=1, threads=1), batch_size=size)))
    except FastptError as error:
        found[f"refused {dispatch}"] = str(error)
found["left out"] = ids_of(DataLoader(FastptDataset(SPLIT, 3, 16, seed=1, threads=1), batch_size=None))
accelerator.dataloader_config.dispatch_batches = None
whole = FastptDataset(SPLIT, 4, 16, seed=1, threads=1, world_size=1)
found["whole"] = ids_of(accelerator.prepare(DataLoader(whole, batch_size=None)))
sampled = FastptMapDataset(SPLIT, transform=lambda image: 0)
sampled.targets = sampled.targets * 0 + list(range(len(sampled)))
loader = accelerator.prepare(DataLoader(sampled, batch_size=4, shuffle=True))
found["sampled"] = [ids.tolist() for _, ids in loader]
write(found)
accelerator.end_training()
"""
    first, second = run(head(labelled, tmp_path) + code, 2, tmp_path)
    for found in (first, second):
        assert "Leave its DataLoader out of accelerator.prepare()" in found["refused None"]
        assert "Leave its DataLoader out of accelerator.prepare()" in found["refused False"]
    both = zip(first["left out"], second["left out"], strict=True)
    assert [sorted(a + b) for a, b in both] == [sorted(ids) for ids in epochs[0]]
    assert sorted(chain(*first["whole"], *second["whole"])) == list(range(40))
    assert sorted(chain(*first["sampled"], *second["sampled"])) == list(range(40))


def test_a_sample_under_each_index_with_its_noisy_target(labelled):
    given = FastptMapDataset(labelled, 0.25)
    assert len(given) == 40
    for index in (0, 17, -1):
        picture, target = given[index]
        row = index % 40
        assert target == labelled.targets(0.25)[row]
        assert picture.mode == "RGB"
        assert picture.size == (labelled.samples.width[row], labelled.samples.height[row])
    with pytest.raises(IndexError):
        given[40]
    assert given.classes == labelled.class_names


def test_indices_are_those_of_a_sequence(labelled):
    data = FastptMapDataset(labelled)
    assert data[-1][1] == data[np.int64(39)][1] == labelled.clean_labels[39]
    for beyond in (40, -41):
        with pytest.raises(IndexError):
            data[beyond]
    for other in (slice(0, 2), 1.0, "1"):
        with pytest.raises(TypeError):
            data[other]


def test_captions_under_each_index(captioned):
    given = FastptMapDataset(captioned, 0.2, of="captions")
    shown = captioned.captions(captioned.targets(0.2, "captions"))
    assert [given[i][1] for i in range(40)] == shown


def to_array(picture: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.asarray(picture.resize((8, 8))).copy())


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_workers_read_by_index(labelled, context):
    given = FastptMapDataset(labelled.path, 0.25, transform=to_array)
    given[3]  # its shards are open here
    loader = DataLoader(given, batch_size=8, num_workers=2, multiprocessing_context=context)
    pictures, targets = map(torch.cat, zip(*loader, strict=True))
    assert targets.tolist() == labelled.targets(0.25).tolist()
    assert torch.equal(pictures, torch.stack([given[i][0] for i in range(40)]))


def test_a_damaged_picture_is_named(labelled, tmp_path):
    copy = Dataset(shutil.copytree(labelled.path, tmp_path / "copy"))
    damage(copy, 7)
    with pytest.raises(DamagedData, match="sample 7 of"):
        FastptMapDataset(copy)[7]
