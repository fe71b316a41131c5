"""fastpt beside what its users would pick: `python -m tools.bench STAGE ... [--data DIR]`.

Everybody does the same work on the same bytes; what differs is said with each contest. Contestants live in processes of
their own and take turns, a round each that warms up and does not count, then those that do; medians, ranges and ratios
to fastpt. A busy machine is refused. `tools/bench/setup` installs the peers; one that is not there is said to be.
"""

import importlib
import json
import os
import sys
import tempfile
from pathlib import Path

import click

from tools.bench import machine, page
from tools.bench.contest import hold, text
from tools.bench.options import DATA, Options
from tools.bench.stages import STAGES


@click.command(help=__doc__)
@click.argument("stages", nargs=-1, required=True, type=click.Choice([*STAGES, "all"]))
@click.option("--data", type=click.Path(exists=True, file_okay=False, path_type=Path), help=f"Tars ({DATA}).")
@click.option("--only", multiple=True, help="Contests whose name has this; repeatable.")
@click.option("--against", multiple=True, help="Contestants whose label has this, and ours; repeatable.")
@click.option("--rounds", type=click.IntRange(1), default=5, show_default=True)
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
    quick: bool,
    busy: bool,
    out: Path | None,
    to: Path | None,
) -> None:
    if to and not out:
        raise click.UsageError("--page is made of the --json file; name one")
    machine.refuse_if_busy(busy)
    data = data or Path(os.environ.get(DATA, "."))
    facts = machine.facts()
    print(", ".join(f"{key} {value}" for key, value in facts.items() if value), flush=True)
    found = []
    for stage in STAGES if "all" in stages else dict.fromkeys(stages):
        with tempfile.TemporaryDirectory() as scratch:
            for contest in importlib.import_module(STAGES[stage]).contests(Options(data, quick), Path(scratch)):
                if only and not any(one in contest.name for one in only):
                    continue
                outcome = hold(chosen(contest, against), rounds, lambda line: print(line, flush=True))
                print(f"\n{text(outcome)}", flush=True)
                found.append({**outcome.as_dict(), "machine": facts, "quick": quick, "command": command()})
                if out:
                    page.add(out, found[-1])
    if to and out:
        page.write(to, json.loads(out.read_text()))


def chosen(contest, against: tuple[str, ...]):
    """A contest with the contestants that are asked for."""
    import dataclasses

    ours, *peers = contest.entries
    kept = [one for one in peers if not against or any(name in one.label for name in against)]
    return dataclasses.replace(contest, entries=[ours, *kept])


def command() -> str:
    words = [word for word in sys.argv[1:] if not word.startswith("/")]
    return f"python -m tools.bench {' '.join(words)}"


if __name__ == "__main__":
    main()
