"""Doing a study: every step that is not done, in a process of its own; then the report."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import filelock

from fastpt import ray_cluster
from fastpt.errors import FastptError, Preempted
from fastpt.files import write_json
from fastpt.processes import die_with
from fastpt.runs import PROVENANCE
from fastpt.study.declaration import Study
from fastpt.study.grid import Cell, Step, StudyGrid
from fastpt.study.table import steps_table

Say = Callable[[str], None]
FASTPT = (sys.executable, "-m", "fastpt")


def run_study(plan: StudyGrid, say: Say) -> Path:
    """Do what is not done, one step after the other, and write the report; return its path.

    Raises FastptError if the study cannot begin, and at the end if a step failed: the others have gone on. Raises
    Preempted if SIGTERM was received: the step under way got it too, and a training saves itself.
    """
    prepare(plan.study, say)
    with _alone(plan.folder / ".lock"):
        failed = [step for cell in plan.cells for step in run_cell(plan, cell, say)]
        page = write_report(plan, say)
    _raise_if(failed, plan)
    return page


def run_one(plan: StudyGrid, number: int, say: Say) -> None:
    """Do the steps of pre-training `number` of the grid: a task of a cluster's array. Raises FastptError."""
    if not 0 <= number < len(plan.cells):
        raise FastptError(f"--cell {number} is not in the grid: it has cells 0 to {len(plan.cells) - 1}.")
    with _alone(plan.folder / f".lock-{number}"):
        _raise_if(run_cell(plan, plan.cells[number], say), plan)


def run_on_ray(plan: StudyGrid, file: Path, address: str, say: Say) -> Path:
    """Do the grid as tasks of a Ray cluster that shares this folder (`local` starts one here), then the report."""
    prepare(plan.study, say)
    with ray_cluster.joined(address) as ray, _alone(plan.folder / ".lock"):
        gpus = int(any(node["Resources"].get("GPU") for node in ray.nodes()))
        work = ray.remote(num_gpus=gpus, max_retries=2)(_study_cell)
        to_do = [i for i, cell in enumerate(plan.cells) if any(plan.state(step) != "done" for step in cell.steps)]
        pending = {work.remote(str(Path.cwd()), str(file), str(plan.folder), number): number for number in to_do}
        while pending:
            [ended], _ = ray.wait(list(pending), num_returns=1)
            number = pending.pop(ended)
            say(f"{plan.cells[number].train.name}: {'failed' if ray.get(ended) else 'done'}")
        page = write_report(plan, say)
    _raise_if([step for cell in plan.cells for step in cell.steps if plan.state(step) != "done"], plan)
    return page


def _study_cell(folder: str, file: str, out: str, number: int) -> int:
    """On a node of a cluster: one cell, by the command that anyone could type; returns its exit code."""
    return subprocess.run([*FASTPT, "study", file, "--out", out, "--cell", str(number)], cwd=folder).returncode


def prepare(study: Study, say: Say) -> None:
    """Run the preparations whose splits are not all there. Raises FastptError if one fails."""
    for one in study.prepare:
        missing = [split for split in one.makes if not Path(split, "dataset.json").is_file()]
        if missing:
            say(f"{missing[0]} is not there: fastpt {one.run}")
            if subprocess.run([*FASTPT, *one.run.split()]).returncode:
                raise FastptError(f"`fastpt {one.run}` failed, see above. Nothing was trained.")


def run_cell(plan: StudyGrid, cell: Cell, say: Say) -> list[Step]:
    """Do the steps of a cell that are not done; return those that failed. Tuning needs the training."""
    if plan.state(cell.train) != "done" and not _run(plan, cell.train, plan.study.launcher or FASTPT, say):
        return [cell.train]
    return [step for step in cell.tunings if plan.state(step) != "done" and not _run(plan, step, FASTPT, say)]


def write_report(plan: StudyGrid, say: Say) -> Path:
    """The page over all runs that have begun."""
    from fastpt.report import write_report

    runs = [cell.train.result.parent for cell in plan.cells]
    begun = [run for run in runs if (run / PROVENANCE).is_file()]
    if not begun:
        raise FastptError(f"no run of the study has begun. What the steps printed is in {plan.folder / 'logs'}.")
    page = write_report(begun, plan.folder / "report.html", files=True, costs=steps_table(plan))
    say(f"report on {len(begun)} of {len(runs)} runs: {page}")
    return page


def _run(plan: StudyGrid, step: Step, launcher: Sequence[str], say: Say) -> bool:
    """Run a step, its output into its log, and record how it ended."""
    log = plan.folder / "logs" / f"{step.name}.log"
    record = plan.record_path(step)
    for folder in (log.parent, record.parent):
        folder.mkdir(parents=True, exist_ok=True)
    say(f"{step.kind} {step.name} (log: {log})")
    began = time.monotonic()
    with log.open("ab") as out:
        process = subprocess.Popen(
            [*launcher, *step.argv], stdout=out, stderr=subprocess.STDOUT, preexec_fn=partial(die_with, os.getpid())
        )
        code, asked_to_end = _wait(process)
    took = time.monotonic() - began
    if asked_to_end:
        raise Preempted(f"stopped by SIGTERM in {step.kind} {step.name}. The same command goes on from there.")
    if code:
        write_json(record, {"key": step.key, "failed": code})
        say(f"  failed with exit code {code} after {took:.0f} s: {_last_line(log)}")
        return False
    size = sum(file.stat().st_size for file in step.result.parent.rglob("*") if file.is_file())
    write_json(record, {"key": step.key, "kind": step.kind, "about": step.group, "seconds": took, "bytes": size})
    say(f"  done in {took:.0f} s")
    return True


def _wait(process: subprocess.Popen) -> tuple[int, bool]:
    """Wait for the end; return the exit code, and whether SIGTERM came meanwhile. The process gets it too."""
    asked = False

    def pass_on(number: int, _: object) -> None:
        nonlocal asked
        asked = True
        process.send_signal(number)

    before = signal.signal(signal.SIGTERM, pass_on)
    try:
        return process.wait(), asked
    finally:
        signal.signal(signal.SIGTERM, before)


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
    return next((line.strip()[:300] for line in reversed(lines) if line.strip()), "it printed nothing")


def _raise_if(failed: list[Step], plan: StudyGrid) -> None:
    if failed:
        names = "\n".join(f"  {step.kind} {step.name}" for step in failed)
        raise FastptError(
            f"{len(failed)} step(s) failed:\n{names}\nWhat they printed is in {plan.folder / 'logs'}. Mend it and run "
            "the same command again: what is done stays done."
        )


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with filelock.FileLock(path, timeout=0):
            yield
    except filelock.Timeout:
        raise FastptError(
            f"another `fastpt study` is at work in {path.parent}. Wait for it, or give another --out."
        ) from None
