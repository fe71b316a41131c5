"""Listing by several processes, which end with the one that started them, however that ends."""

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TypeVar

from fastpt.errors import FastptError
from fastpt.processes import die_with

Listed = TypeVar("Listed")


def map_in_processes(work: Callable[[Path], Listed], paths: Sequence[Path], workers: int) -> list[Listed]:
    """`work(path)` of each of the paths, in their order; with several workers, in processes that end with this one.

    What `work` holds is inherited, what it returns is pickled. It raises what `work` raises, and FastptError if a
    process was killed.
    """
    if min(workers, len(paths)) < 2:
        return [work(path) for path in paths]
    context = multiprocessing.get_context("fork")
    done: dict[int, Listed] = {}
    processes, pipes = [], {}
    try:
        for first in range(min(workers, len(paths))):
            turn = range(first, len(paths), workers)
            pipe, end = context.Pipe(duplex=False)
            process = context.Process(target=_map, args=(work, [paths[i] for i in turn], end, os.getpid()), daemon=True)
            process.start()
            end.close()
            processes.append(process)
            pipes[pipe] = deque(turn)
        while pipes:
            for pipe in [pipe for pipe in wait(list(pipes)) if isinstance(pipe, Connection)]:
                try:
                    result = pipe.recv()
                except EOFError:
                    raise FastptError(
                        f"the process that listed {paths[pipes[pipe][0]]} was killed. If memory ran out, use fewer "
                        "--workers. Run the same command again."
                    ) from None
                if isinstance(result, Exception):
                    raise result
                done[pipes[pipe].popleft()] = result
                if not pipes[pipe]:
                    del pipes[pipe]
    finally:
        for process in processes:
            process.kill()
        for process in processes:
            process.join(5)
    return [done[i] for i in range(len(paths))]


def _map(work: Callable[[Path], object], paths: Sequence[Path], pipe: Connection, parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
    die_with(parent)
    for path in paths:
        try:
            pipe.send(work(path))
        except Exception as error:
            pipe.send(error)
            return
