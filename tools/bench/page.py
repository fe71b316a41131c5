"""The page of all contests, made from what runs of the benches have kept: tables and bars."""

import json
from pathlib import Path
from typing import Any

from tools.bench.contest import number

Found = dict[str, Any]
INTRO = """# Benchmarks

Made by `python -m tools.bench` from its own record; nothing on this page was written by hand. Everybody does the same
work on the same bytes, and what differs is said above each table. Contestants live in processes of their own and take
turns: a round each that warms up and does not count, then those that do. Medians and ranges; "fastpt is" is how many
times as fast, or as small, fastpt's first row is. Rows where fastpt loses stay.
"""


def add(path: Path, outcome: Found) -> None:
    """Add a contest to a record; the one of its name before goes."""
    there = json.loads(path.read_text()) if path.exists() else []
    kept = [one for one in there if (one["stage"], one["name"]) != (outcome["stage"], outcome["name"])]
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    new.write_text(json.dumps([*kept, outcome], indent=1) + "\n")
    new.replace(path)


def write(path: Path, found: list[Found]) -> None:
    """The page in Markdown, and beside it a picture of bars for each contest with peers."""
    parts = [INTRO]
    for stage in dict.fromkeys(one["stage"] for one in found):
        parts.append(f"## {stage.capitalize()}\n")
        for one in (one for one in found if one["stage"] == stage):
            parts.append(_section(one, path))
    path.write_text("\n".join(parts))


def _section(one: Found, path: Path) -> str:
    facts = one["machine"]
    marks = [
        f"others used up to {one['busy']:.0%} of the processors" if one["busy"] > 0.1 else "",
        "a quick look, not to be quoted" if one["quick"] else "",
    ]
    marked = "".join(f" **{mark}.**" for mark in marks if mark)
    rounds = max((len(entry["values"]) for entry in one["entries"]), default=0)
    lines = [
        f"### {one['name'].capitalize()}",
        f"{one['what']} {one['unit'].capitalize()}, n = {rounds}.{marked}",
        "",
        f"| | {one['unit']} | range | fastpt is | version |",
        "| --- | ---: | ---: | ---: | --- |",
        *(_row(entry, entry is one["entries"][0]) for entry in one["entries"]),
        "",
        f"{facts['processor']}, {facts['cores']} cores, {facts['memory_gib']} GiB"
        + (f", {facts['gpu']}" if facts["gpu"] else "")
        + f"; {facts['system']}; commit {facts['commit']}, {facts['time']}: `{one['command']}`",
        "",
    ]
    if sum(entry["median"] is not None for entry in one["entries"]) > 1:
        name = "bench-" + "-".join("".join(c if c.isalnum() else " " for c in f"{one['stage']} {one['name']}").split())
        picture = path.parent / "figures" / f"{name}.svg"
        picture.parent.mkdir(exist_ok=True)
        _bars(one, picture)
        lines += [f"![{one['name']}](figures/{picture.name})", ""]
    return "\n".join(lines)


def _row(entry: Found, first: bool) -> str:
    if entry["median"] is None:
        return f"| {entry['label']} | - | {entry['missing'] or 'no round'} | | |"
    low, high = number(min(entry["values"])), number(max(entry["values"]))
    ratio = "" if first or not entry["ratio"] else f"{entry['ratio']:.2f}x"
    version = f"{entry['package']} {entry['version'] or ''}".strip()
    return f"| {entry['label']} | {number(entry['median'])} | {low} to {high} | {ratio} | {version} |"


def _bars(one: Found, out: Path) -> None:
    """Medians as bars with their ranges, ours on top."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "fastpt", "font.size": 9})
    import matplotlib.pyplot as plt

    shown = [entry for entry in one["entries"] if entry["median"] is not None][::-1]
    medians = [entry["median"] for entry in shown]
    spread = [[m - min(e["values"]) for m, e in zip(medians, shown, strict=True)]]
    spread.append([max(e["values"]) - m for m, e in zip(medians, shown, strict=True)])
    colours = ["#0072b2" if entry["package"] == "fastpt" else "#999999" for entry in shown]
    figure, axes = plt.subplots(figsize=(7, 0.6 + 0.3 * len(shown)))
    axes.barh([entry["label"] for entry in shown], medians, xerr=spread, color=colours, ecolor="#333333", capsize=2)
    axes.set_xlabel(one["unit"])
    axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    figure.savefig(out, metadata={"Date": None})
    plt.close(figure)
