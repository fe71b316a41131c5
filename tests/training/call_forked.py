"""Calls a function of a test module in N processes: `call_forked.py N MODULE FUNCTION [ARGUMENT ...]`, all words.

The processes are forked after the imports, which take longer than what tests do in them. An error of one ends all.
"""

import os
import socket
import sys
from importlib import import_module

import deepspeed  # noqa: F401  (imported before the fork, for its cost)
import torch


def one_process(rank: int, module: str, function: str, *arguments: str) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    torch.set_num_threads(1)
    getattr(import_module(module), function)(*arguments)


if __name__ == "__main__":
    count, words = int(sys.argv[1]), sys.argv[2:]
    import_module(words[0])
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    os.environ |= {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.multiprocessing.start_processes(one_process, tuple(words), nprocs=count, start_method="fork")
