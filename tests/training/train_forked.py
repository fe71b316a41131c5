"""Trains recipes one after another in N processes: `train_forked.py N RECIPE RUN [RECIPE RUN ...]`, all with --resume.

The processes are forked after the imports, which take longer than the trainings. An error of one ends all.
"""

import os
import socket
import sys
from pathlib import Path

import deepspeed  # noqa: F401  (imported before the fork, for its cost)
import torch

from fastpt.recipe import load_recipe
from fastpt.training.loop import train


def one_process(rank: int, trainings: list[tuple[str, str]]) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    torch.set_num_threads(1)
    for recipe, run in trainings:
        train(load_recipe(recipe), "tiny", Path(run), resume=True)


if __name__ == "__main__":
    count, trainings = int(sys.argv[1]), list(zip(sys.argv[2::2], sys.argv[3::2], strict=True))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.multiprocessing.start_processes(one_process, (trainings,), nprocs=count, start_method="fork")
