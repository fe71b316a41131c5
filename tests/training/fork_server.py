"""Calls functions of test modules in N processes, forked from one whose imports took longer than what tests do.

Reads jobs, one JSON list a line: [ENVIRONMENT, FILE, N, MODULE, FUNCTION, ARGUMENT, ...]. Answers each by a line, its
exit code; what its processes printed is in FILE. An error of one of them ends all.
"""

import json
import os
import signal
import socket
import sys
import traceback
from importlib import import_module
from pathlib import Path

answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # imports print

import deepspeed  # noqa: E402, F401  (what jobs import, before they are forked)
import torch  # noqa: E402

import fastpt.training.run  # noqa: E402, F401
import tests.training.conftest  # noqa: E402, F401

SECONDS = 300  # that a job may take


def do(environment: dict[str, str], file: str, count: int, module: str, *words: str) -> None:
    """Of a process that is the job's own: fork those that call the function, and wait for them."""
    with Path(file).open("wb") as said, Path(os.devnull).open("rb") as nothing:
        for place, stream in enumerate((nothing, said, said)):
            os.dup2(stream.fileno(), place)
    signal.alarm(SECONDS)
    import_module(module)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    group = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ.clear()
    os.environ.update(environment | group)
    torch.multiprocessing.start_processes(one_process, (module, *words), nprocs=count, start_method="fork")


def one_process(rank: int, module: str, function: str, *arguments: str) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank)}
    torch.set_num_threads(1)
    getattr(import_module(module), function)(*arguments)


if __name__ == "__main__":
    for line in sys.stdin:
        if (job := os.fork()) == 0:
            try:
                do(*json.loads(line))
            except BaseException:
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(job, 0)[1]), file=answers, flush=True)
