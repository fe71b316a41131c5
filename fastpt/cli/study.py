"""`fastpt study`: a grid of pre-trainings, their tuning and the report, by one command."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fastpt.cli.shared import FOLDER, JSON, OUTPUT
from fastpt.printable import printable

if TYPE_CHECKING:
    from fastpt.study.grid import StudyGrid

FILE = click.argument("file", type=FOLDER)
OUT = click.option("--out", type=OUTPUT, help="Folder of the study (default: studies/NAME).")


class Time(click.ParamType[float]):
    """A time with its unit, in seconds: 90s, 150m, 8h."""

    name = "time"
    UNITS = {"s": 1, "m": 60, "h": 3600}

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The seconds of `value`."""
        number, unit = value[:-1], value[-1:]
        if not number.isascii() or not number.isdigit() or int(number) == 0 or unit not in self.UNITS:
            self.fail(f"{value!r} is no time. Write a whole number with its unit, such as 90s, 150m or 8h.", param, ctx)
        return float(int(number) * self.UNITS[unit])


class StudyCommands(click.Group):
    """`fastpt study FILE` is `fastpt study run FILE`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        named = bool(args) and args[0] in (*self.commands, *ctx.help_option_names)
        return super().parse_args(ctx, args if named else ["run", *args])


@click.group(cls=StudyCommands)
def study() -> None:
    """Pre-train and tune a grid of noise rates and seeds. From images to the paper's figures.

    \b
    fastpt study recipes/study_demo.yaml             run what is not done yet
    fastpt study recipes/study_demo.yaml --dry-run   say what that is
    fastpt study status recipes/study_demo.yaml
    fastpt study report recipes/study_demo.yaml      the page over what is there; nothing is run
    fastpt study power FILE --sd CLAIM=POINTS        what its claims could see
    """


@study.command()
@FILE
@OUT
@click.option("--dry-run", is_flag=True, help="Say what would run, with the time and disk expected; run nothing.")
@click.option("--cell", type=click.IntRange(0), help="Run one pre-training of the grid and its tunings only.")
@click.option("--ray", metavar="ADDRESS", help="Run on the Ray cluster at ADDRESS, or on one started here: local.")
@click.option(
    "--jobs", type=click.IntRange(1), default=1, help="Pre-trainings side by side; each has its share of cores."
)
@click.option("--for", "seconds", type=Time(), help="Stop after a time such as 150m or 8h; what is at work is saved.")
def run(
    file: Path, out: Path | None, dry_run: bool, cell: int | None, ray: str | None, jobs: int, seconds: float | None
) -> None:
    """Run what is not done yet of the study FILE, then write its report."""
    if cell is not None and ray:
        raise click.UsageError("--cell and --ray do not go together")
    if (cell is not None or ray) and (jobs > 1 or seconds):
        raise click.UsageError("--jobs and --for are about a study run here; leave --cell and --ray out")
    if cell is not None and dry_run:
        raise click.UsageError("--dry-run shows the whole grid; leave --cell out")
    from fastpt.study.declaration import load_study
    from fastpt.study.grid import StudyGrid

    grid = StudyGrid(load_study(file), out, look_only=dry_run)
    if dry_run:
        _tell(grid, as_json=False)
        return
    from fastpt.study.run import claim_folder, run_on_ray, run_one, run_study

    if out is None:
        claim_folder(grid.folder, file)
    if cell is not None:
        run_one(grid, cell, _say)
    else:
        page = run_on_ray(grid, file, ray, _say) if ray else run_study(grid, _say, jobs, seconds)
        click.echo(f"report: {page}")


def _say(text: str) -> None:
    click.echo(printable(f"study: {text}"), err=True)


@study.command()
@FILE
@OUT
def report(file: Path, out: Path | None) -> None:
    """Write the report of the study FILE over the runs that are there. Runs nothing, and may while the study does."""
    from fastpt.study.declaration import load_study
    from fastpt.study.grid import StudyGrid
    from fastpt.study.run import report_alone

    click.echo(f"report: {report_alone(StudyGrid(load_study(file), out, look_only=True), _say)}")


@study.command()
@FILE
@OUT
@JSON
def status(file: Path, out: Path | None, as_json: bool) -> None:
    """Say which steps of the study FILE are done, and what they cost."""
    from fastpt.study.declaration import load_study
    from fastpt.study.grid import StudyGrid

    _tell(StudyGrid(load_study(file), out, look_only=True), as_json)


@study.command()
@FILE
@click.argument("runs", type=FOLDER, nargs=-1)
@click.option("--sd", "sds", metavar="CLAIM=POINTS", multiple=True, help="A claim's spread between runs. Repeatable.")
@OUT
@JSON
def power(file: Path, runs: tuple[Path, ...], sds: tuple[str, ...], out: Path | None, as_json: bool) -> None:
    """Say what effects the claims of the study FILE could see.

    By the number of runs a noisy condition. A claim's spread between runs is given, or that of RUNS (default: the pilot
    that the study names, or its own that are there). No difference between conditions is looked at.

    \b
    fastpt study power recipes/study.yaml studies/pilot/runs/*
    fastpt study power recipes/study.yaml --sd C1=0.45 --sd C2=0.75
    """
    from fastpt.runs import read_runs
    from fastpt.runs.folder import RUNS
    from fastpt.study.declaration import load_study
    from fastpt.study.grid import StudyGrid
    from fastpt.study.power import power_table, text
    from fastpt.study.sets import left_out, pilot_runs, without

    declared = load_study(file)
    folders = runs or sorted((StudyGrid(declared, out).folder / RUNS).glob("*"))
    pilot = pilot_runs(declared) if declared.pilot and not runs else read_runs(folders) if folders else []
    given = dict(map(_spread, sds))
    if len(given) < len(sds):
        raise click.UsageError("--sd names a claim twice; give each claim one")
    found = power_table(declared, given, without(pilot, left_out(declared)))
    click.echo(json.dumps([one.as_dict() for one in found], indent=2) if as_json else printable(text(found)))


def _spread(given: str) -> tuple[str, float]:
    name, equals, points = given.rpartition("=")
    try:
        value = float(points)
    except ValueError:
        value = 0.0
    if not name or not equals or not 0 < value < 100:
        raise click.UsageError(f"--sd {given!r}: write a claim's name and points above 0, such as --sd C1=0.45")
    return name, value


def _tell(grid: "StudyGrid", as_json: bool) -> None:
    from fastpt.study.table import steps_table, text_table

    missing = [f"fastpt {one.run}" for one in grid.study.prepare if one.missing]
    if missing:  # the steps are keyed by the data, which is not there
        count = grid.study.size
        document = {"prepare": missing, "pretrainings": count}
        text = "\n  ".join(["to be prepared first:", *missing]) + f"\nthen {count} pre-trainings"
    else:
        rows = steps_table(grid)
        document = [dataclasses.asdict(row) for row in rows]
        text = text_table(rows, grid.folder)
    click.echo(json.dumps(document, indent=2) if as_json else printable(text))
