"""Steps of a study in processes of their own, of several cells side by side; one loop looks after all of them."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from fastpt.errors import Preempted
from fastpt.files import write_sealed_json
from fastpt.processes import cores, die_with
from fastpt.study.grid import RECORD_FORMAT, Cell, Step, StudyGrid

Say = Callable[[str], None]
FASTPT = (sys.executable, "-m", "fastpt")
PAUSE = 0.05  # seconds between two looks at the processes


@dataclass(frozen=True)
class Running:
    """A step at work."""

    step: Step
    process: subprocess.Popen
    log: Path
    began: float = field(default_factory=time.monotonic)


def run_cells(
    grid: StudyGrid, cells: Sequence[Cell], say: Say, jobs: int = 1, seconds: float | None = None
) -> list[Step]:
    """Do the steps of `cells` that are not done, of `jobs` cells at a time; return those that failed.

    When SIGTERM comes, or after `seconds`, the steps at work get SIGTERM, upon which a training saves itself, and
    Preempted is raised: the same call goes on from there.
    """
    failed: list[Step] = []
    waiting = iter(cells)
    at_work: list[tuple[Iterator[Running], Running]] = []
    with _asked_to_stop(seconds) as why:
        while True:
            workers = [worker for worker, _ in at_work]
            while len(workers) < jobs and (cell := next(waiting, None)):
                workers.append(_work(grid, cell, say, failed, jobs))
            at_work = [(worker, running) for worker in workers if (running := next(worker, None))]
            if reason := why():
                _stop(grid, [running for _, running in at_work], reason, say)
            if not workers:
                return failed
            if len(at_work) == len(workers):
                time.sleep(PAUSE)


def _work(grid: StudyGrid, cell: Cell, say: Say, failed: list[Step], jobs: int) -> Iterator[Running]:
    """Do the steps of a cell that are not done: yields the one at work until it has ended. Tuning needs the training.

    Those that fail are added to `failed`.
    """
    for step in cell.steps:
        if grid.state(step) == "done":
            continue
        launcher = (grid.study.launcher if step is cell.train else None) or FASTPT
        running = _start(grid, step, launcher, jobs, say)
        while running.process.poll() is None:
            yield running
        if not _recorded(grid, running, say):
            failed.append(step)
            if step is cell.train:
                return


def _start(grid: StudyGrid, step: Step, launcher: Sequence[str], jobs: int, say: Say) -> Running:
    """Start a step, its output into its log."""
    log = grid.folder / "logs" / f"{step.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    say(f"{step.kind} {step.name} (log: {log})")
    environment = {"OMP_NUM_THREADS": str(max(1, cores() // jobs))} if jobs > 1 else {}
    with log.open("ab") as out:
        process = subprocess.Popen(
            [*launcher, *step.argv],
            env={**environment, **os.environ},
            stdout=out,
            stderr=subprocess.STDOUT,
            preexec_fn=partial(die_with, os.getpid()),
        )
    return Running(step, process, log)


def _recorded(grid: StudyGrid, running: Running, say: Say) -> bool:
    """Record how a step ended; whether well."""
    step, code, took = running.step, running.process.wait(), time.monotonic() - running.began
    record = grid.record_path(step)
    record.parent.mkdir(parents=True, exist_ok=True)
    if code:
        write_sealed_json(record, {"format": RECORD_FORMAT, "key": step.key, "failed": code})
        say(f"  {step.name} failed with exit code {code} after {took:.0f} s: {_last_line(running.log)}")
        return False
    size = sum(file.stat().st_size for file in step.result.parent.rglob("*") if file.is_file())
    found = {"key": step.key, "kind": step.kind, "group": step.group, "seconds": took, "bytes": size}
    write_sealed_json(record, {"format": RECORD_FORMAT, **found})
    say(f"  {step.name} done in {took:.0f} s")
    return True


def _stop(grid: StudyGrid, at_work: Sequence[Running], reason: str, say: Say) -> None:
    """End the steps at work; those that have come to their end all the same are recorded. Raises Preempted."""
    for running in at_work:
        running.process.send_signal(signal.SIGTERM)
    stopped = [one for one in at_work if one.process.wait() or not _recorded(grid, one, say)]
    where = f" in {' and '.join(f'{one.step.kind} {one.step.name}' for one in stopped)}" if stopped else ""
    raise Preempted(f"stopped {reason}{where}. The same command goes on from there.")


@contextmanager
def _asked_to_stop(seconds: float | None) -> Iterator[Callable[[], str | None]]:
    """A function that says why to stop, once there is a reason: SIGTERM, or the end of the time that there is."""
    ends = None if seconds is None else time.monotonic() + seconds
    asked = False

    def note(number: int, _: object) -> None:
        nonlocal asked
        asked = True

    def why() -> str | None:
        if asked:
            return "by SIGTERM"
        return f"after {seconds:,.0f} s" if ends is not None and time.monotonic() > ends else None

    before = signal.signal(signal.SIGTERM, note)
    try:
        yield why
    finally:
        signal.signal(signal.SIGTERM, before)


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "it printed nothing")
