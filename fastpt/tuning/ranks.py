"""The processes that compute features side by side, one a GPU, as torchrun starts them. The first trains the heads.

    torchrun --nproc-per-node 8 -m fastpt tune --suite paper_id

Of each split every process computes a share, into the cache, which all have to see.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from fastpt.data.concat import ConcatDataset
from fastpt.errors import FastptError
from fastpt.processes import cores
from fastpt.tuning.encoders.encoder import Encoder
from fastpt.tuning.feature_files import FeatureSet
from fastpt.tuning.features import compute_share, training_view
from fastpt.tuning.suites import DownstreamSet

PATIENCE = timedelta(days=7)
"""Others wait for the first process while it trains a head; torchrun ends all once one has failed."""


@dataclass(frozen=True)
class Ranks:
    """Which of the processes this is."""

    rank: int = 0
    world_size: int = 1
    on_machine: int = 1
    """How many share the cores of this machine."""

    @property
    def cores(self) -> int:
        """This process's share of the cores, at least one."""
        return max(1, cores() // self.on_machine)


ALONE = Ranks()


@contextmanager
def joined() -> Iterator[Ranks]:
    """The processes that the environment describes; one alone where it describes none. Raises FastptError."""
    found = {name: os.environ.get(name) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")}
    if int(found["WORLD_SIZE"] or 1) == 1:
        yield ALONE
        return
    if missing := [name for name, value in found.items() if value is None]:
        raise FastptError(
            f"WORLD_SIZE is {found['WORLD_SIZE']}, but {' and '.join(missing)} not set: the processes cannot find each "
            "other. Start them by torchrun, or unset WORLD_SIZE."
        )
    dist.init_process_group("gloo", timeout=PATIENCE)
    try:
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        on_machine = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        yield Ranks(dist.get_rank(), dist.get_world_size(), on_machine)
    finally:
        dist.destroy_process_group()


def compute_shares(
    ranks: Ranks, encoder: Encoder, one: DownstreamSet, views: int, other: Encoder | None, **reading: Any
) -> None:
    """Have the cache hold the features of a set: each process computes its share, then waits for the others.

    `views` are of the training pictures; of the encoder that this one is held against, the tests are wanted. `reading`
    are further arguments of `features_of`. Raises FastptError if another process has ended.
    """
    tests = [(test.data, {"corruption": test.corruption}) for test in one.tests.values()]
    drawn = [(one.train, {"view": training_view(encoder, number)}) for number in range(views)]
    wanted = [(encoder, *pictures) for pictures in [(one.train, {}), *tests, *drawn]]
    wanted += [(other, *pictures) for pictures in tests if other]
    for by, data, how in wanted:
        assert not isinstance(data, FeatureSet)  # an encoder comes with prepared splits
        for split in data.parts if isinstance(data, ConcatDataset) else [data]:
            with suppress(FastptError):  # the first process meets it too when it reads the features, and tells
                compute_share(by, split, rank=ranks.rank, world_size=ranks.world_size, **how, **reading)
    try:
        dist.barrier()
    except RuntimeError:
        raise FastptError(
            "another of the processes that compute features has ended; what it said stands above. What is computed is "
            "kept: start the command again, and it goes on."
        ) from None
