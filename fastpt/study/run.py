"""Doing a study: every step that is not done, in a process of its own; then the report."""

import os
import subprocess
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from fastpt import ray_cluster
from fastpt.errors import FastptError
from fastpt.files import atomic_write, locked
from fastpt.printable import plural
from fastpt.runs import Run, read_runs
from fastpt.runs.folder import PROVENANCE
from fastpt.study import preregistration
from fastpt.study.declaration import Study
from fastpt.study.grid import Step, StudyGrid
from fastpt.study.sets import left_out, without
from fastpt.study.table import steps_table
from fastpt.study.work import FASTPT, Say, run_cells

PAGE = "report.html"  # in the study's folder
FILE = "file.txt"  # of which a study's folder is


def claim_folder(folder: Path, file: Path) -> None:
    """Write down which file's study lies in a folder, which its name alone chose: as the way there from the folder, so
    that both can be moved, or copied, together.

    Raises FastptError if it is another file's, and that is still there: the two would write over each other's results.
    """
    mark, ours = folder / FILE, file.resolve()
    with suppress(FileNotFoundError):
        theirs = (folder / mark.read_text(encoding="utf-8").strip()).resolve()
        if theirs != ours and theirs.is_file():
            raise FastptError(
                f"{folder} holds the study of {theirs}. Give this one another name, or a folder by --out."
            )
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(mark, "w") as out:
        out.write(f"{os.path.relpath(ours, folder.resolve())}\n")


def run_study(grid: StudyGrid, say: Say, jobs: int = 1, seconds: float | None = None) -> Path:
    """Do what is not done, `jobs` pre-trainings side by side, and write the report; return its path.

    Raises FastptError if the study cannot begin, and at the end if a step failed: the others have gone on. Raises
    Preempted if SIGTERM was received, or after `seconds`: see `run_cells`.
    """
    prepare(grid.study, say)
    with _alone(grid, ".lock"):
        register(grid, say)
        failed = run_cells(grid, grid.cells, say, jobs, seconds)
        page = write_report(grid, say)
    _raise_if(failed, grid)
    return page


def run_one(grid: StudyGrid, number: int, say: Say) -> None:
    """Do the steps of pre-training `number` of the grid: a task of a cluster's array. Raises FastptError."""
    if not 0 <= number < grid.study.size:  # before the cells, which make noise plans
        raise FastptError(f"--cell {number} is not in the grid: it has cells 0 to {grid.study.size - 1}.")
    with _alone(grid, f".lock-{number}"):
        register(grid, say)
        _raise_if(run_cells(grid, [grid.cells[number]], say), grid)


def run_on_ray(grid: StudyGrid, file: Path, address: str, say: Say) -> Path:
    """Do the grid as tasks of a Ray cluster that shares this folder (`local` starts one here), then the report."""
    prepare(grid.study, say)
    with ray_cluster.joined(address) as ray, _alone(grid, ".lock"):
        register(grid, say)
        gpus = int(any(node["Resources"].get("GPU") for node in ray.nodes()))
        work = ray.remote(num_gpus=gpus, max_retries=2)(_study_cell)
        to_do = [i for i, cell in enumerate(grid.cells) if any(grid.state(step) != "done" for step in cell.steps)]
        pending = {work.remote(str(Path.cwd()), str(file), str(grid.folder), number): number for number in to_do}
        while pending:
            [ended], _ = ray.wait(list(pending), num_returns=1)
            number = pending.pop(ended)
            say(f"{grid.cells[number].train.name}: {'failed' if ray.get(ended) else 'done'}")
        page = write_report(grid, say)
    _raise_if([step for cell in grid.cells for step in cell.steps if grid.state(step) != "done"], grid)
    return page


def _study_cell(folder: str, file: str, out: str, number: int) -> int:
    """On a node of a cluster: one cell, by the command that anyone could type; returns its exit code."""
    return subprocess.run([*FASTPT, "study", file, "--out", out, "--cell", str(number)], cwd=folder).returncode


def prepare(study: Study, say: Say) -> None:
    """Run the preparations whose splits are not all there. Raises FastptError if one fails."""
    for one in study.prepare:
        if one.missing:
            say(f"{one.missing[0]} is not there: fastpt {one.run}")
            if subprocess.run([*FASTPT, *one.words]).returncode:
                raise FastptError(f"`fastpt {one.run}` failed, see above. Nothing was trained.")


def register(grid: StudyGrid, say: Say) -> None:
    """Record what the study declares, before anything is trained."""
    sum_ = preregistration.record(grid, grid.folder / PAGE)
    say(f"{plural(len(grid.study.claims), 'claim')} and the grid are declared, sha256 {sum_[:16]}: {grid.folder}")


def report_alone(grid: StudyGrid, say: Say) -> Path:
    """The page, by the declaration that is on record.

    Raises FastptError if the study's file says otherwise now: nobody would see on the page that it does.
    """
    preregistration.check(grid)
    return write_report(grid, say)


def write_report(grid: StudyGrid, say: Say) -> Path:
    """The page over all runs that have begun."""
    from fastpt.report.page import write_report

    runs = [cell.train.result.parent for cell in grid.cells]
    begun = [run for run in runs if (run / PROVENANCE).is_file()]
    if not begun:
        raise FastptError(f"no run of the study has begun. What the steps printed is in {grid.folder / 'logs'}.")
    page = grid.folder / PAGE
    read = read_runs(begun)
    for line in [*mixed_blocks(grid, read), *mixed_code(read)]:
        say(f"warning: {line}")
    told = without(read, left_out(grid.study))
    for line in write_report(told, page, True, steps_table(grid), preregistration.declaration(grid)):
        say(line)
    say(f"report on {len(begun)} of {len(runs)} runs: {page}")
    return page


def mixed_blocks(grid: StudyGrid, runs: Sequence[Run]) -> list[str]:
    """A line for each block whose runs were trained on several kinds of machine: they differ by more than noise."""
    machine = {run.path.name: run.machine for run in runs}
    lines = []
    for number, block in enumerate(grid.blocks, 1):
        kinds = list(dict.fromkeys(machine[cell.train.name] for cell in block if cell.train.name in machine))
        if len(kinds) > 1:
            lines.append(f"block {number} was trained on {len(kinds)} kinds of machine: {'; '.join(kinds)}.")
    return lines


def mixed_code(runs: Sequence[Run]) -> list[str]:
    """A line if the runs were trained by several commits, which may differ in what they train."""
    commits = list(dict.fromkeys(str(commit) for run in runs for commit in run.over_starts("git")))
    if len(commits) < 2:
        return []
    told = ", ".join(commit[:12] + "-dirty" * commit.endswith("-dirty") for commit in commits)
    return [f"its runs were trained by {len(commits)} commits: {told}. Keep to one clone if they are to be one study."]


def _raise_if(failed: list[Step], grid: StudyGrid) -> None:
    if failed:
        names = "\n".join(f"  {step.kind} {step.name}" for step in failed)
        raise FastptError(
            f"{len(failed)} step(s) failed:\n{names}\nWhat they printed is in {grid.folder / 'logs'}. Mend it and run "
            "the same command again: what is done stays done."
        )


def _alone(grid: StudyGrid, lock: str) -> AbstractContextManager[None]:
    """Keep a second study out. Raises FastptError if one is at work."""
    return locked(
        grid.folder / lock,
        f"another `fastpt study` is at work in {grid.folder}. Wait for it, or give another --out.",
    )
