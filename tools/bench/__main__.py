"""fastpt beside what its users would pick: `python -m tools.bench STAGE ... [--data DIR]`.

Everybody does the same work on the same bytes; what differs is said with each contest. Contestants live in processes of
their own and take turns, a round each that warms up and does not count, then those that do; medians, ranges and ratios
to fastpt. A busy machine is refused. `tools/bench/setup` installs the peers; one that is not there is said to be.
"""

import dataclasses
import importlib
import math
import os
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import click

from tools.bench import machine, page
from tools.bench.contest import Contest, Outcome, hold, text
from tools.bench.options import DATA, MissingData, Options
from tools.bench.stages import SHARES, STAGES


@click.command(help=__doc__)
@click.argument("stages", nargs=-1, required=True, type=click.Choice([*STAGES, "all"]))
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), help=f"Tars ({DATA}).")
@click.option("--only", multiple=True, help="Contests whose name has this; repeatable.")
@click.option("--against", multiple=True, help="Contestants whose label has this, and ours; repeatable.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
@click.option("--minutes", type=click.FloatRange(0), help="For all: late contests have 3 rounds, or none.")
@click.option("--quick", is_flag=True, help="Fewer pictures and steps: for a look, not for figures to be told.")
@machine.BUSY
@click.option("--json", "out", type=click.Path(path_type=Path), help="Add what is found to this file.")
@click.option("--page", "to", type=click.Path(path_type=Path), help="Write the page of all in the --json file.")
def main(
    stages: tuple[str, ...],
    data: Path | None,
    only: tuple[str, ...],
    against: tuple[str, ...],
    rounds: int,
    minutes: float | None,
    quick: bool,
    busy: bool,
    out: Path | None,
    to: Path | None,
) -> None:
    if to and not out:
        raise click.UsageError("--page is made of the --json file; name one")
    if out:
        page.read(out)  # before hours are spent
    machine.refuse_if_busy(busy)
    data = data or Path(os.environ.get(DATA, "."))
    facts = machine.facts()
    print(", ".join(f"{key} {value}" for key, value in facts.items() if value), flush=True)
    asked = [stage for stage in STAGES if stage in stages or "all" in stages]
    seconds = minutes * 60 / sum(SHARES[stage] for stage in asked) if minutes is not None else math.inf
    missing, held, ends = [], 0, time.monotonic()
    stop = ends + 60 * (math.inf if minutes is None else minutes)
    for stage in asked:
        ends += seconds * SHARES[stage]
        try:
            for outcome in outcomes(stage, Options(data, quick), only, against, rounds, ends, stop):
                print(f"\n{text(outcome)}", flush=True)
                held += 1
                if out:
                    page.add(out, {**outcome.as_dict(), "machine": facts, "quick": quick, "command": command()})
        except MissingData as error:
            missing.append(f"{stage} was not held: {error}")
            print(missing[-1], flush=True)
    if to and out:
        page.write(to, page.read(out), out.name)
    if not held and not missing:
        raise click.ClickException(f"no contest of {', '.join(asked)} is called {' or '.join(only)}.")
    if missing:
        raise click.ClickException(" ".join(missing))


def outcomes(
    stage: str,
    options: Options,
    only: tuple[str, ...],
    against: tuple[str, ...],
    rounds: int,
    ends: float,
    stop: float,
) -> Iterator[Outcome]:
    """The contests of a stage that are asked for, held one by one.

    After `ends` with the fewest rounds. Raises MissingData for those whose inputs are missing, and after `stop`.
    """
    with tempfile.TemporaryDirectory() as scratch:
        for contest in importlib.import_module(STAGES[stage]).contests(options, Path(scratch)):
            if only and not any(one in contest.name for one in only):
                continue
            if time.monotonic() > stop:
                raise MissingData(f"the time was over at {contest.name}.")
            yield hold(chosen(contest, against), rounds, lambda line: print(line, flush=True), ends)


def chosen(contest: Contest, against: tuple[str, ...]) -> Contest:
    """A contest with the contestants that are asked for."""
    ours, *peers = contest.entries
    kept = [one for one in peers if not against or any(name in one.label for name in against)]
    return dataclasses.replace(contest, entries=[ours, *kept])


def command() -> str:
    """What was typed, without the folders of one machine."""
    words = [Path(word).name if word.startswith("/") else word for word in sys.argv[1:]]
    return shlex.join(["python", "-m", "tools.bench", *words])


if __name__ == "__main__":
    main()
