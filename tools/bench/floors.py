"""Ratios to peers against floors: see tools/bench/check."""

import importlib
import json
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click

from tools.bench import machine
from tools.bench.contest import Contest, hold
from tools.bench.options import DATA, MissingData, Options
from tools.bench.stages import STAGES

FLOORS = Path(__file__).with_suffix(".json")


@click.command(help=__doc__)
@machine.BUSY
@click.option("--rounds", type=click.IntRange(1), default=3, show_default=True)
def main(busy: bool, rounds: int) -> None:
    """Hold the contests that have floors; end with 1 if a ratio lies below its floor, or a peer took no part."""
    machine.refuse_if_busy(busy)
    began, floors = time.monotonic(), json.loads(FLOORS.read_text())
    options = Options(Path(os.environ.get(DATA, ".")), quick=True)
    print(f"{machine.facts()['processor']}, {machine.facts()['cores']} cores", flush=True)
    below = 0
    for stage in dict.fromkeys(floor["stage"] for floor in floors):
        mine = [floor for floor in floors if floor["stage"] == stage]
        why = "it has no such contest"
        try:
            with tempfile.TemporaryDirectory() as scratch:
                for contest in importlib.import_module(STAGES[stage]).contests(options, Path(scratch)):
                    asked = {floor["peer"]: floor for floor in mine if floor["contest"] == contest.name}
                    below += sum(_is_below(*one) for one in _sure_ratios(contest, asked, rounds)) if asked else 0
                    mine = [floor for floor in mine if floor["contest"] != contest.name]
                    if not mine:
                        break
        except MissingData as error:
            why = str(error)
        for floor in mine:
            below += 1
            print(f"BELOW  {stage}: {floor['contest']} was not held: {why}")
    print(f"{len(floors) - below} of {len(floors)} hold, {time.monotonic() - began:.0f} s")
    raise SystemExit(below > 0)


def _sure_ratios(contest: Contest, asked: dict[str, dict], rounds: int) -> list[tuple[dict, float | None, list[float]]]:
    """As `_ratios`; once more, over twice as many rounds, where one lies below: a peer may vary."""
    found = _ratios(contest, asked, rounds)
    if all(ratio is None or ratio >= floor["floor"] for floor, ratio, _ in found):
        return found
    print(f"  {contest.stage}: {contest.name}: below its floor over {rounds} rounds, held again", flush=True)
    return _ratios(contest, asked, 2 * rounds)


def _ratios(contest: Contest, asked: dict[str, dict], rounds: int) -> list[tuple[dict, float | None, list[float]]]:
    """The floors of a contest, each with the ratio that was found and those of single rounds."""
    ours, *peers = contest.entries
    kept = replace(contest, entries=[ours, *(one for one in peers if one.label in asked)])
    outcome = hold(kept, rounds, lambda line: print(line, flush=True))
    print(f"  {contest.stage}: {contest.name}: {outcome.seconds:.0f} s", flush=True)
    return [
        (asked[one.label], outcome.ratio(one), outcome.ratios(one)) for one in outcome.standings if one.label in asked
    ]


def _is_below(floor: dict, ratio: float | None, by_round: Sequence[float] = ()) -> bool:
    below = ratio is None or ratio < floor["floor"]
    told = "no ratio" if ratio is None else f"{ratio:.2f}x"
    if by_round:
        told += f" (rounds {min(by_round):.2f} to {max(by_round):.2f})"
    name = f"{floor['stage']}: {floor['contest']}, {floor['peer']}"
    print(f"{'BELOW' if below else 'holds'}  {name}: {told}, floor {floor['floor']}x", flush=True)
    return below


if __name__ == "__main__":
    main()
