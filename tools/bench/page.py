"""The page of all contests, made from what runs of the benches have kept: `python -m tools.bench.page RECORD PAGE`."""

import json
import re
from pathlib import Path
from typing import Any

import click

from tools.bench import bars
from tools.bench.contest import number
from tools.bench.stages import STAGES

Found = dict[str, Any]
INTRO = """# Benchmarks

Made by `python -m tools.bench` from its own record ([{record}]({record})); nothing on this page was written by hand.
Everybody does the same work on the same bytes, and what differs is said above each table. Contestants live in
processes of their own and take turns: a round each that warms up and does not count, then those that do. Medians and
ranges; "fastpt is" is how many times as fast, or as small, fastpt's first row is. Who could not be installed or took no
part is in the table with the reason, and rows where fastpt loses stay. `tools/bench/setup` installs the others.
Crops are resized by area in fastpt and FFCV, and by an antialiased triangle elsewhere.
"""


def read(path: Path) -> list[Found]:
    """The contests of a record; none if there is no such file. Raises ClickException if it is something else."""
    try:
        found = json.loads(path.read_text()) if path.exists() else []
    except (OSError, ValueError) as error:
        raise click.ClickException(f"{path} cannot be read as a record ({error}). Name another file.") from None
    if not isinstance(found, list) or not all(isinstance(one, dict) and "stage" in one for one in found):
        raise click.ClickException(f"{path} is no record of contests. Name another file.")
    return found


def add(path: Path, outcome: Found) -> None:
    """Add a contest to a record; the one of its name before goes."""
    kept = [one for one in read(path) if (one["stage"], one["name"]) != (outcome["stage"], outcome["name"])]
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(json.dumps([*kept, outcome], indent=1) + "\n")
    new.replace(path)


def write(path: Path, found: list[Found], record: str) -> None:
    """The page in Markdown, and in `figures` beside it a picture of bars for each contest with peers."""
    stages = [stage for stage in STAGES if any(one["stage"] == stage for one in found)]
    stages += sorted({one["stage"] for one in found} - {*stages})
    parts = [INTRO.format(record=record)]
    parts += [*_runs(found), *_costs(found, stages), *_lost(found)] if found else []
    figures = path.parent / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    for old in figures.glob("bench-*.svg"):
        old.unlink()
    for stage in stages:
        parts.append(f"## {_title(stage)}\n")
        parts += [_section(one, figures) for one in found if one["stage"] == stage]
    if not found:
        parts.append("Nothing is in the record yet.\n")
    path.write_text("\n".join(parts))


def put(path: Path, name: str, text: str) -> None:
    """Put a text between the marks of its name on a page that is else written by hand. Raises ClickException."""
    begins, ends = f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, begin, rest = path.read_text().partition(begins)
    _, end, after = rest.partition(ends)
    if not begin or not end:
        raise click.ClickException(f"{path} has no place for it: {begins} and {ends} on lines of their own.")
    path.write_text(f"{before}{begins}\n{text}\n{ends}{after}")


def source(record: Path, facts: dict[str, Any], busy: float, command: str) -> str:
    """From which file figures come, and where and how that was made."""
    used = f", others used {busy:.0%} of the processors" if busy > 0.1 else ""
    return f"From [{record.name}]({record.name}): {_machine(facts)}{used}; `{command}`."


def _runs(found: list[Found]) -> list[str]:
    """On which machines and by which commands."""
    lines = dict.fromkeys(f"- {_machine(one['machine'])}: `{one['command']}`" for one in found)
    return ["Run by:", "", *lines, ""]


def _machine(facts: dict[str, Any]) -> str:
    gpu = f", {facts['gpu']}" if facts["gpu"] else ", no GPU"
    where = f"{facts['processor']}, {facts['cores']} cores, {facts['memory_gib']} GiB{gpu}; {facts['system']}"
    return f"{where}; commit {facts['commit']}, {facts['time'].split()[0]}"


def _costs(found: list[Found], stages: list[str]) -> list[str]:
    """What each stage took and whether others used the machine."""
    lines = [
        "| stage | contests | took | rounds | others used the processors, at most |",
        "| --- | ---: | ---: | --- | ---: |",
    ]
    for stage in stages:
        mine = [one for one in found if one["stage"] == stage]
        rounds = sorted({_rounds(one) for one in mine})
        told = f"{rounds[0]} to {rounds[-1]}" if len(rounds) > 1 else f"{rounds[0]}"
        seconds, busy = sum(one["seconds"] for one in mine), max(one["busy"] for one in mine)
        lines.append(f"| [{stage}](#{stage}) | {len(mine)} | {seconds:.0f} s | {told} | {busy:.0%} |")
    return [*lines, ""]


def _rounds(one: Found) -> int:
    return max((len(entry["values"]) for entry in one["entries"]), default=0)


def _lost(found: list[Found]) -> list[str]:
    """Where a peer did better, and why."""
    lines = [
        f"| [{_heading(one)}](#{_anchor(one)}) | {entry['label']} | {entry['ratio']:.2f}x | {entry['why']} |"
        for one in found
        for entry in one["entries"][1:]
        if entry["ratio"] and entry["ratio"] < 1 and entry["package"] != "fastpt"
    ]
    if not lines:
        return []
    head = ["## Where fastpt loses\n", "| contest | to | fastpt is | because |", "| --- | --- | ---: | --- |"]
    return [*head, *lines, ""]


def _section(one: Found, figures: Path) -> str:
    marks = [
        f"others used up to {one['busy']:.0%} of the processors" if one["busy"] > 0.1 else "",
        "a quick look, not to be quoted" if one["quick"] else "",
    ]
    marked = "".join(f" **{_title(mark)}.**" for mark in marks if mark)
    lines = [
        f"### {_heading(one)}",
        "",
        f"{one['what']} In {one['unit']}, n = {_rounds(one)}.{marked}",
        "",
        f"| | {one['unit']} | range | fastpt is | version |",
        "| --- | ---: | ---: | ---: | --- |",
        *(_row(entry, entry is one["entries"][0]) for entry in one["entries"]),
        "",
    ]
    shown = [entry for entry in one["entries"] if entry["median"] is not None]
    if len(shown) > 1:
        picture = figures / f"bench-{_anchor(one)}.svg"
        picture.write_text(bars.svg(one["unit"], shown))
        lines += [f"![{one['name']}: {one['unit']}](figures/{picture.name})", ""]
    return "\n".join(lines)


def _title(text: str) -> str:
    return text[:1].upper() + text[1:]


def _heading(one: Found) -> str:
    """Unlike all others on the page, so that links to it hold."""
    return f"{_title(one['stage'])}: {one['name']}"


def _anchor(one: Found) -> str:
    """The heading's, as Markdown makes it."""
    return re.sub(r"[\s-]+", "-", re.sub(r"[^\w\s-]", "", _heading(one)).strip().lower())


def _row(entry: Found, first: bool) -> str:
    if entry["median"] is None:
        return f"| {entry['label']} | - | {_cell(entry['missing'] or 'no round')} | | |"
    low, high = number(min(entry["values"])), number(max(entry["values"]))
    ratio = "" if first or not entry["ratio"] else f"{entry['ratio']:.2f}x"
    version = f"{entry['package']} {entry['version'] or ''}".strip()
    return f"| {entry['label']} | {number(entry['median'])} | {low} to {high} | {ratio} | {version} |"


def _cell(text: str) -> str:
    """Of a table, whatever an error's message has in it."""
    return re.sub(r"([|\\`*_<>\[\]])", r"\\\1", text)


@click.command(help=__doc__)
@click.argument("record", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("to", metavar="PAGE", type=click.Path(dir_okay=False, path_type=Path))
def main(record: Path, to: Path) -> None:
    write(to, read(record), record.name)


if __name__ == "__main__":
    main()
