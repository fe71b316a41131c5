"""A contest: the same work by several contestants in turns, each in a process of its own."""

import json
import math
import os
import select
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tools.bench.machine import load, threads
from tools.bench.peers import PEERS, ROOT, python_of
from tools.bench.worker import MARK

LIMIT = 600.0  # seconds that a contestant may take for a round
LEAST = 3  # rounds that count, however little time there is
Measure = Literal["rate", "seconds", "value"]


@dataclass(frozen=True)
class Entry:
    """A contestant."""

    label: str
    call: str
    """MODULE:FUNCTION that makes what is measured; see `tools.bench.worker`."""
    peer: str = "fastpt"
    arguments: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""
    """Why it does better than ours, where it does."""


@dataclass(frozen=True)
class Contest:
    """What is compared: the first entry is ours, and the ratios are to it."""

    stage: str
    name: str
    what: str
    """The work, what is equal and what is not, in a sentence or two."""
    unit: str
    entries: Sequence[Entry]
    measure: Measure = "rate"
    """How much was done a second; the seconds that it took; or what was returned."""
    least: float = 0.0
    """What a round does at least: who does less takes no part."""
    fresh: bool = False
    """Each round in a new process, where its start is what is measured."""

    @property
    def less_is_better(self) -> bool:
        """Whether what is measured is a cost: a time, memory or disk."""
        return not self.unit.endswith("/s")


@dataclass
class Standing:
    """How an entry did."""

    label: str
    package: str
    version: str | None = None
    values: list[float] = field(default_factory=list)
    first: float | None = None
    """Of the round that warms up and does not count."""
    missing: str | None = None
    """Why it took no part."""
    why: str = ""
    """Of its entry."""

    @property
    def median(self) -> float | None:
        return statistics.median(self.values) if self.values else None


@dataclass
class Outcome:
    """A contest that was held."""

    contest: Contest
    standings: list[Standing]
    busy: float
    """The share of the machine's processors that others used, at most, before a round."""
    seconds: float = 0.0
    """What all of it took, preparation of its inputs left out."""

    def ratio(self, standing: Standing) -> float | None:
        """How many times as good the first entry is."""
        ours, theirs = self.standings[0].median, standing.median
        return self._ratio(ours, theirs) if ours and theirs else None

    def ratios(self, standing: Standing) -> list[float]:
        """The same of each round, in which both had their turn one after the other."""
        pairs = zip(self.standings[0].values, standing.values, strict=False)
        return [self._ratio(ours, theirs) for ours, theirs in pairs]

    def _ratio(self, ours: float, theirs: float) -> float:
        return theirs / ours if self.contest.less_is_better else ours / theirs

    def as_dict(self) -> dict[str, Any]:
        return {
            **{key: getattr(self.contest, key) for key in ("stage", "name", "what", "unit", "measure")},
            "busy": round(self.busy, 3),
            "seconds": round(self.seconds, 1),
            "entries": [
                {
                    "label": one.label,
                    "package": one.package,
                    "why": one.why,
                    "version": one.version,
                    "values": one.values,
                    "first": one.first,
                    "missing": one.missing,
                    "median": one.median,
                    "ratio": self.ratio(one),
                }
                for one in self.standings
            ],
        }


class Process:
    """A contestant at work. Raises RuntimeError with the reason if it cannot take part."""

    def __init__(self, entry: Entry):
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  (as long as the process)
        self._process = subprocess.Popen(
            [python_of(entry.peer), "-m", "tools.bench.worker", entry.call, PEERS[entry.peer].package],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(threads())},
        )
        self._unread = b""
        self.version: str | None = None
        self.version = self._ask(dict(entry.arguments))["version"]

    def round(self, measure: Measure, least: float) -> float:
        """What a round measured."""
        found = self._ask("round")
        if found["found"] is not None and found["found"] < least:
            raise RuntimeError(f"it did {found['found']:,} of {least:,.0f}")
        if measure == "value":
            return float(found["found"])
        return found["seconds"] if measure == "seconds" else found["found"] / found["seconds"]

    def end(self) -> None:
        self._process.kill()
        self._process.wait()
        self._errors.close()

    def _ask(self, what: Any) -> dict[str, Any]:
        assert self._process.stdin
        try:
            self._process.stdin.write(f"{json.dumps(what)}\n".encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # which the answer tells
        answer = self._answer(time.monotonic() + LIMIT)
        self.version = answer.get("version", self.version)
        if "missing" in answer:
            raise RuntimeError(answer["missing"])
        return answer

    def _answer(self, ends: float) -> dict[str, Any]:
        assert self._process.stdout
        while True:
            line, newline, rest = self._unread.partition(b"\n")
            if newline:
                self._unread = rest
                if line.startswith(MARK.encode()):
                    return json.loads(line[len(MARK) :])
                continue
            if not select.select([self._process.stdout], [], [], max(0.0, ends - time.monotonic()))[0]:
                raise RuntimeError(f"no answer within {LIMIT:.0f} s")
            if not (more := os.read(self._process.stdout.fileno(), 1 << 16)):
                raise RuntimeError(f"it ended with exit code {self._process.wait()}: {self._last_words()}")
            self._unread += more

    def _last_words(self) -> str:
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines()
        return lines[-1][:200] if lines else "it printed nothing"


def hold(contest: Contest, rounds: int, say: Callable[[str], None], ends: float = math.inf) -> Outcome:
    """All entries in turns: a round each that warms up, then `rounds` that count, or LEAST once it is `ends` o'clock.

    `ends` is of time.monotonic.
    """
    standings = [Standing(entry.label, PEERS[entry.peer].package, why=entry.why) for entry in contest.entries]
    processes: dict[str, Process] = {}
    busy, began = 0.0, time.monotonic()
    try:
        for number in range(rounds + 1):
            if number > LEAST and time.monotonic() > ends:
                break
            busy = max(busy, load())
            for entry, standing in zip(contest.entries, standings, strict=True):
                if standing.missing:
                    continue
                try:
                    process = processes.get(entry.label) or Process(entry)
                    processes[entry.label] = process
                    standing.version = process.version
                    value = process.round(contest.measure, contest.least)
                except RuntimeError as error:
                    standing.missing = str(error)
                    say(f"  {entry.label} takes no part: {error}")
                    processes.pop(entry.label).end() if entry.label in processes else None
                    continue
                if number:
                    standing.values.append(value)
                else:
                    standing.first = value
                if contest.fresh:
                    processes.pop(entry.label).end()
    finally:
        for process in processes.values():
            process.end()
    return Outcome(contest, standings, busy, time.monotonic() - began)


def text(outcome: Outcome) -> str:
    """A table of a contest."""
    contest = outcome.contest
    lines = [
        f"{contest.stage}: {contest.name} ({contest.unit})",
        f"  {'':26} {'median':>12}   {'range':<24} {'fastpt is':>9}",
    ]
    for one in outcome.standings:
        package = f"{one.label}"
        if one.median is None:
            lines.append(f"  {package:26} {'-':>12}   {one.missing or 'no round'}")
            continue
        ratio = outcome.ratio(one)
        told = f"{ratio:8.2f}x" if ratio and one is not outcome.standings[0] else ""
        low, high = number(min(one.values)), number(max(one.values))
        lines.append(f"  {package:26} {number(one.median):>12}   {f'({low} to {high})':<24} {told:>9}")
    return "\n".join(lines)


def number(value: float) -> str:
    """With three digits, and thousands apart."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if value >= 1e-4 or value <= 0 else f"{value:.7f}"
