"""Where shards are made: in processes of this machine, or as tasks of a Ray cluster. The bytes are the same.

A worker that dies, or that is busy with one picture for STALL_SECONDS, costs its shard only: the shard is made again
by another worker, and a shard that fails ATTEMPTS times ends the job by name.
"""

import contextlib
import gc
import multiprocessing
import os
import signal
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

from datasets_prep.shard import ShardJob
from fastpt import ray_cluster
from fastpt.errors import FastptError
from fastpt.processes import die_with

ATTEMPTS = 3
STALL_SECONDS = 600  # the largest picture takes some seconds; a file server that restarts, some minutes
POLL_SECONDS = 0.02  # a worker that only waits for the disk is noticed by looking
RAISED = 3  # exit code of a process that has sent the exception which ended it


def run_locally(
    jobs: Sequence[ShardJob],
    workers: int,
    progress: Callable[[int], None],
    work: Callable[[ShardJob, Callable[[], None]], Any] = ShardJob.make,
) -> list[Any]:
    """Make all shards in processes, one a shard, `workers` at work at a time. `progress` is told the pictures done.

    Returns what `work`, which makes a shard or reads it only, returned for each, in any order.
    """
    waiting, running, failures, finished, results = deque(jobs), [], Counter(), 0, []
    try:
        while waiting or running:
            # A worker whose pictures are done only waits for the disk, so the next one may begin.
            while waiting and sum(map(_Worker.is_busy, running)) < workers and len(running) < 2 * workers:
                running.append(_Worker(waiting.popleft(), work))
            wait([worker.process.sentinel for worker in running], timeout=POLL_SECONDS)
            for worker in list(running):
                if worker.is_working():
                    continue
                running.remove(worker)
                failure = worker.failure()
                if failure:
                    _count_failure(failures, worker.job, f"{failure} {worker.place()}")
                    waiting.append(worker.job)
                else:
                    finished += len(worker.job.rows)
                    results.append(worker.result)
            progress(finished + sum(worker.done.value for worker in running))
    finally:
        for worker in running:
            worker.process.kill()
        for worker in running:
            worker.process.join(5)
    return results


def _count_failure(failures: Counter, job: ShardJob, how: str) -> None:
    failures[job.path] += 1
    if failures[job.path] == ATTEMPTS:
        raise FastptError(
            f"the worker failed {ATTEMPTS} times while making {job.path.name}; the last time it {how}. If memory ran "
            "out, use fewer --workers; if it is that picture, take it out of the source. The same command goes on "
            "where it stopped."
        )


class _Worker:
    """A process that makes one shard. It inherits the listing, which may be large; nothing is pickled."""

    def __init__(self, job: ShardJob, work: Callable[[ShardJob, Callable[[], None]], Any]):
        context = multiprocessing.get_context("fork")
        self.job = job
        self.done = context.RawValue("q", 0)  # pictures; written by the process only
        self._pipe, pipe = context.Pipe(duplex=False)
        self.result: Any = None  # what the work returned, or the exception that ended it
        self.process = context.Process(target=_work, args=(work, job, self.done, pipe, os.getpid()), daemon=True)
        self.process.start()
        pipe.close()
        self._stalled = False
        self._seen, self._since = 0, time.monotonic()

    def is_busy(self) -> bool:
        return self.done.value < len(self.job.rows)

    def is_working(self) -> bool:
        """False if the process has ended, or had to be killed because its count stood still."""
        ended = not self.process.is_alive()
        with contextlib.suppress(EOFError, OSError):  # it was killed
            while self._pipe.poll():
                self.result = self._pipe.recv()
        if ended:
            return False
        if self.done.value != self._seen:
            self._seen, self._since = self.done.value, time.monotonic()
        self._stalled = time.monotonic() - self._since > STALL_SECONDS
        if self._stalled:
            self.process.kill()
            self.process.join(1)  # no longer: what hangs in the kernel cannot be killed
        return not self._stalled

    def failure(self) -> str | None:
        """How it failed, if it did. Raises what the process raised: that is no accident of the worker's."""
        if self._stalled:
            return f"was busy for {STALL_SECONDS} s"
        code = self.process.exitcode
        if code == RAISED:
            raise self.result
        return f"died ({_exit_name(code)})" if code else None

    def place(self) -> str:
        """Where it was: at which picture, or behind the last."""
        return f"at picture {self.job.key(self.done.value)}" if self.is_busy() else "while it wrote the shard to disk"


def _exit_name(code: int) -> str:
    return f"exit code {code}" if code > 0 else signal.Signals(-code).name


def _work(work: Callable[[ShardJob, Callable[[], None]], Any], job: ShardJob, done, pipe, parent: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its workers
    die_with(parent)
    gc.freeze()  # what was there before the fork stays: looking through it again and again copies its pages

    def tick() -> None:
        done.value += 1

    try:
        pipe.send(work(job, tick))
    except Exception as error:
        pipe.send(error)
        sys.exit(RAISED)


# --- Ray ---


def run_on_ray(address: str, jobs: Sequence[ShardJob], workers: int, progress: Callable[[int], None]) -> None:
    """Make all shards as tasks of the Ray cluster at `address`, or of one with `workers` CPUs here if it is "local".

    Every node must see the same files under the same paths, and have fastpt installed. `progress` is told the pictures
    of the shards that are done.
    """
    with ray_cluster.joined(address, workers) as ray:
        task = ray.remote(max_retries=0)(_ray_task)
        waiting, running, failures, finished = deque(jobs), {}, Counter(), 0
        most = 2 * int(ray.cluster_resources().get("CPU", 1))  # so that nodes need not wait, and slices do not pile up
        while waiting or running:
            while waiting and len(running) < most:
                job = waiting.popleft()
                running[task.remote(job.alone(), str(Path.cwd()), STALL_SECONDS)] = job
            for reference in ray.wait(list(running), timeout=POLL_SECONDS)[0]:
                job = running.pop(reference)
                try:
                    ray.get(reference)
                    finished += len(job.rows)
                except ray.exceptions.RayTaskError as error:
                    raise error.cause from None
                except ray.exceptions.RayError as error:
                    _count_failure(failures, job, f"was lost ({type(error).__name__}: {str(error).splitlines()[0]})")
                    waiting.append(job)
            progress(finished)


def _ray_task(job: ShardJob, folder: str, stall_seconds: int) -> None:
    os.chdir(folder)  # paths may be relative

    def tick() -> None:
        signal.alarm(stall_seconds)  # nobody else watches this process; the signal ends it, whatever it is doing

    tick()
    try:
        job.make(tick)
    finally:
        signal.alarm(0)
