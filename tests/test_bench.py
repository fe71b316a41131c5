"""The benches' rules: who takes part, in which turns, and what is said of it. Nothing is timed here."""

import importlib
import json
import os
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from tools.bench import __main__ as bench
from tools.bench import floors, machine, page
from tools.bench.contest import LEAST, Contest, Entry, Outcome, Standing, hold, text
from tools.bench.options import Options
from tools.bench.scale import rows, threads
from tools.bench.stages import SHARES, STAGES

SVG = "{http://www.w3.org/2000/svg}"


def counting(file: str, name: str, amount: int = 10):
    """A contestant that notes its rounds."""

    def run() -> int:
        with Path(file).open("a") as out:
            out.write(name)
        return amount

    return run


def without_a_package():
    import no_such_package  # type: ignore[import-not-found]

    return no_such_package


def failing():
    def run() -> int:
        raise ValueError("a fault of\nits own")

    return run


def ending():
    return lambda: os._exit(3)


def noisy():
    print("bench is what this library prints, too")
    return lambda: print("more") or 10


def contest(*entries: tuple[str, str, dict], **given) -> Contest:
    made = [Entry(label, f"{__name__}:{make}", "fastpt", arguments) for label, make, arguments in entries]
    return Contest("stage", "name", "What.", "pictures/s", made, **given)


def test_contestants_take_turns_and_the_first_round_does_not_count(tmp_path):
    notes = tmp_path / "notes"
    pair = [(name, "counting", {"file": str(notes), "name": name}) for name in "ab"]
    outcome = hold(contest(*pair), 2, lambda _: None)
    assert notes.read_text() == "ababab"
    assert [len(one.values) for one in outcome.standings] == [2, 2]
    assert all(one.first for one in outcome.standings)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        ("without_a_package", "not installed (no_such_package)"),
        ("failing", "ValueError: a fault of its own"),
        ("ending", "it ended with exit code 3"),
    ],
)
def test_who_cannot_take_part_is_told_and_the_others_go_on(tmp_path, make, reason):
    good = ("good", "counting", {"file": str(tmp_path / "notes"), "name": "a"})
    said = []
    outcome = hold(contest(good, ("bad", make, {})), 1, said.append)
    assert len(outcome.standings[0].values) == 1
    assert outcome.standings[1].missing.startswith(reason)
    assert said == [f"  bad takes no part: {outcome.standings[1].missing}"]
    assert reason in text(outcome)


def test_who_does_less_than_the_work_takes_no_part(tmp_path):
    short = ("short", "counting", {"file": str(tmp_path / "notes"), "name": "a", "amount": 9})
    outcome = hold(contest(short, least=10), 1, lambda _: None)
    assert outcome.standings[0].missing == "it did 9 of 10"


def test_what_libraries_print_is_no_answer():
    assert len(hold(contest(("noisy", "noisy", {})), 1, lambda _: None).standings[0].values) == 1


@pytest.mark.parametrize(("unit", "ratio"), [("pictures/s", 2.0), ("s", 0.5), ("MB", 0.5)])
def test_a_ratio_above_one_says_that_the_first_is_better(unit, ratio):
    standings = [Standing("a", "fastpt", values=[20.0]), Standing("b", "peer", values=[10.0])]
    held = Outcome(Contest("stage", "name", "What.", unit, []), standings, 0.0)
    assert held.ratio(standings[1]) == ratio


@pytest.mark.parametrize("command", [bench.main, floors.main])
def test_a_busy_machine_is_refused(monkeypatch, command):
    monkeypatch.setattr(machine, "load", lambda seconds=0.5: 0.6)
    told = CliRunner().invoke(command, ["startup"] if command is bench.main else [])
    assert told.exit_code == 1
    assert "others use 60% of this machine's processors" in told.output


def test_a_program_without_a_package_says_so_in_a_line():
    @click.command()
    @machine.told()
    def program() -> None:
        without_a_package()

    done = CliRunner().invoke(program)
    assert (done.exit_code, done.output) == (
        1,
        "Error: no_such_package is not installed. Run tools/setup, which brings all.\n",
    )


def test_a_stage_without_its_data_is_told_and_the_others_are_held(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "load", lambda seconds=0.5: 0.0)
    done = CliRunner().invoke(bench.main, ["disk", "--data", str(tmp_path), "--rounds", "1"])
    assert done.exit_code == 1
    assert f"disk was not held: sign_digits_64.tar is not in {tmp_path}. Give --data" in done.output


def test_what_is_no_record_is_refused_before_anything_is_measured(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "load", lambda seconds=0.5: 0.0)
    for content in ("{", "{}", "[1]"):
        (tmp_path / "record.json").write_text(content)
        done = CliRunner().invoke(bench.main, ["order", "--quick", "--json", str(tmp_path / "record.json")])
        assert done.exit_code == 1
        assert "Name another file" in done.output


def test_a_name_that_no_contest_has_is_told(monkeypatch):
    monkeypatch.setattr(machine, "load", lambda seconds=0.5: 0.0)
    done = CliRunner().invoke(bench.main, ["order", "--quick", "--only", "nothing"])
    assert (done.exit_code, done.output.splitlines()[-1]) == (1, "Error: no contest of order is called nothing.")


def outcome(name: str, **changes) -> dict:
    standings = [
        Standing("ours", "fastpt", "0.2", [30.0, 31.0, 29.0], 5.0),
        Standing("peer", "peer", "1.0", [10.0, 11.0, 9.0], 5.0),
        Standing("gone", "gone", missing="not installed (gone)"),
    ]
    held = Outcome(Contest("loading", name, "What.", "pictures/s", []), standings, 0.0)
    facts = {"processor": "P", "cores": 2, "memory_gib": 3, "gpu": None, "system": "S", "commit": "c", "time": "t"}
    return {**held.as_dict(), "machine": facts, "quick": False, "command": "python -m tools.bench loading", **changes}


def test_the_page_tells_all_that_a_figure_is_stated_with(tmp_path):
    told = written(tmp_path, [outcome("photos"), outcome("tiny", busy=0.5, quick=True)])
    assert "| peer | 10 | 9 to 11 | 3.00x | peer 1.0 |" in told
    assert "| gone | - | not installed (gone) | | |" in told
    assert "- P, 2 cores, 3 GiB, no GPU; S; commit c, t: `python -m tools.bench loading`" in told
    assert told.count("A quick look, not to be quoted") == told.count("Others used up to 50% of the processors") == 1


def written(folder: Path, found: list[dict]) -> str:
    page.write(folder / "page.md", found, "record.json")
    return (folder / "page.md").read_text()


def test_the_page_says_where_fastpt_loses_and_why(tmp_path):
    slow = outcome("photos")
    slow["entries"][1] |= {"ratio": 0.5, "why": "it does less"}
    assert "| [Loading: photos](#loading-photos) | peer | 0.50x | it does less |" in written(tmp_path, [slow])
    assert "loses" not in written(tmp_path, [outcome("photos")]).partition("## Loading")[0].partition("Run by")[2]


def test_a_table_takes_its_place_on_a_page_and_the_rest_stays(tmp_path):
    (tmp_path / "page.md").write_text("before\n<!-- rows -->\nold\n<!-- end of rows -->\nafter\n")
    page.put(tmp_path / "page.md", "rows", "new")
    assert (tmp_path / "page.md").read_text() == "before\n<!-- rows -->\nnew\n<!-- end of rows -->\nafter\n"
    with pytest.raises(click.ClickException, match="has no place for it"):
        page.put(tmp_path / "page.md", "threads", "new")


def test_more_threads_are_bound_by_python_or_by_memory_in_the_end():
    one = {"rate": 9e3, "native": 9e-5, "python": 1e-5}
    kind = {"moved": 1e5, "threads": {"1": [one], "2": [one, one | {"rate": 18e3}]}}
    wide = {"bandwidth": 1e12, "kinds": {"photos": kind}}
    told = threads.table(wide)
    assert "| 2 | 20,000 | threads | 13,500 (9,000 to 18,000) |" in told
    assert "| 64 | 100,000 | Python |  |" in told
    assert "| 64 | 50,000 | memory |  |" in threads.table(wide, 5e9)


def test_what_larger_splits_would_take_goes_on_by_the_exponent_but_no_less_than_in_proportion():
    def costs(seconds: float, megabytes: float) -> dict[str, float]:
        return {"cpu": seconds, "peak": megabytes}

    found = {
        "step": {"1000": costs(1, 10), "1000000": costs(2, 30), "10000000": costs(101, 60)},
        "no growth": {"1000": costs(1, 10), "10000000": costs(1, 9)},
        "tried": {"1000": costs(1, 10), "100000000": costs(1, 10)},
    }
    told = rows.table(found).splitlines()
    assert told[2] == "| step | 1 s, 10 MB | 2 s, 30 MB | 101 s, 60 MB | 2.00, 0.40 | 10,001 s, 510 MB |"
    assert told[3].endswith("| -, - | 1 s, 10 MB |")
    assert told[4].endswith("| 1 s, 10 MB (measured) |")


def test_a_bar_is_as_long_as_its_median_and_old_pictures_go(tmp_path):
    written(tmp_path, [outcome("tiny")])
    written(tmp_path, [outcome("photos")])
    (picture,) = (tmp_path / "figures").iterdir()
    assert picture.name == "bench-loading-photos.svg"
    widths = [float(bar.get("width")) for bar in ElementTree.parse(picture).iter(f"{SVG}rect")][1:]
    assert widths[0] / widths[1] == pytest.approx(3, rel=0.01)


def test_what_an_error_says_breaks_no_table(tmp_path):
    broken = outcome("photos")
    broken["entries"][2]["missing"] = "ValueError: a|b <c>"
    assert r"| gone | - | ValueError: a\|b \<c\> | | |" in written(tmp_path, [broken])


def test_an_empty_record_makes_a_page(tmp_path):
    assert written(tmp_path, []).startswith("# Benchmarks")


def test_a_contest_that_comes_late_has_its_fewest_rounds(tmp_path):
    given = {"file": str(tmp_path / "notes"), "name": "a"}
    assert len(hold(contest(("a", "counting", given)), 5, lambda _: None, ends=0.0).standings[0].values) == LEAST
    assert len(hold(contest(("a", "counting", given)), 5, lambda _: None).standings[0].values) == 5


def test_the_shares_of_the_stages_are_of_one_whole():
    assert sum(SHARES.values()) == pytest.approx(1)


def test_a_contest_held_again_replaces_itself_in_the_record(tmp_path):
    for commit in "ab":
        page.add(tmp_path / "record.json", {**outcome("photos"), "commit": commit})
        page.add(tmp_path / "record.json", {**outcome("tiny"), "commit": commit})
    found = json.loads((tmp_path / "record.json").read_text())
    assert [(one["name"], one["commit"]) for one in found] == [("photos", "b"), ("tiny", "b")]


@pytest.mark.parametrize(("floor", "below"), [(2.9, False), (3.1, True)])
def test_a_ratio_below_its_floor_is_told(capsys, floor, below):
    asked = {"stage": "loading", "contest": "photos", "peer": "peer", "floor": floor}
    assert floors._is_below(asked, 3.0) == below
    assert capsys.readouterr().out.startswith("BELOW" if below else "holds")


@pytest.mark.parametrize(("found", "rounds"), [([3.0], [3]), ([1.0, 3.0], [3, 6]), ([1.0, 1.0], [3, 6]), ([None], [3])])
def test_a_contest_below_its_floor_is_held_once_more_over_more_rounds(monkeypatch, found, rounds):
    held = []

    def ratios(contest, asked, count):
        held.append(count)
        return [(asked["peer"], found[len(held) - 1], [])]

    monkeypatch.setattr(floors, "_ratios", ratios)
    contest = Contest("stage", "name", "What.", "s", [])
    [(_, ratio, _)] = floors._sure_ratios(contest, {"peer": {"floor": 2.0}}, 3)
    assert (ratio, held) == (found[-1], rounds)


def test_a_peer_that_is_not_there_is_told_and_the_check_fails(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "load", lambda seconds=0.5: 0.0)
    monkeypatch.setattr(floors, "STAGES", {"stage": f"{__name__}"})
    file = tmp_path / "floors.json"
    file.write_text(json.dumps([{"stage": "stage", "contest": "name", "peer": "gone", "floor": 0.001}]))
    monkeypatch.setattr(floors, "FLOORS", file)
    told = CliRunner().invoke(floors.main, ["--rounds", "1"])
    assert told.exit_code == 1
    assert "gone takes no part: not installed (no_such_package)" in told.output
    assert "BELOW  stage: name, gone: no ratio" in told.output


def test_the_check_says_why_a_contest_was_not_held(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "load", lambda seconds=0.5: 0.0)
    monkeypatch.setenv("FASTPT_REAL_DATA", str(tmp_path))
    file = tmp_path / "floors.json"
    file.write_text(json.dumps([{"stage": "disk", "contest": "five noise rates", "peer": "x", "floor": 1.0}]))
    monkeypatch.setattr(floors, "FLOORS", file)
    told = CliRunner().invoke(floors.main, ["--rounds", "1"])
    assert told.exit_code == 1
    assert f"five noise rates was not held: sign_digits_64.tar is not in {tmp_path}" in told.output
    assert "FASTPT_REAL_DATA" in told.output


def test_a_ratio_has_a_range_over_the_rounds():
    standings = [Standing("a", "fastpt", values=[20.0, 30.0]), Standing("b", "peer", values=[10.0, 10.0])]
    held = Outcome(Contest("stage", "name", "What.", "pictures/s", []), standings, 0.0)
    assert (held.ratio(standings[1]), held.ratios(standings[1])) == (2.5, [2.0, 3.0])


def test_a_peer_without_a_ratio_is_below_its_floor():
    assert floors._is_below({"stage": "s", "contest": "c", "peer": "p", "floor": 1.0}, None)


def test_every_stage_makes_contests_whose_functions_are_there(tmp_path, real_data):
    """Of those that are quick to prepare; the functions are looked up as workers do."""
    for stage in ("order", "startup", "tuning", "index"):
        for number, found in enumerate(
            importlib.import_module(STAGES[stage]).contests(Options(real_data, quick=True), tmp_path / stage)
        ):
            for entry in found.entries:
                module, _, name = entry.call.partition(":")
                assert callable(getattr(importlib.import_module(module), name)), (stage, number)


def test_the_check_fails_where_a_ratio_is_below_its_floor(monkeypatch, tmp_path):
    """A contest of two that do the same, against a floor that they hold and one that they do not."""
    monkeypatch.setattr(machine, "load", lambda seconds=0.5: 0.0)
    monkeypatch.setattr(floors, "STAGES", {"stage": __name__})
    for floor, code in ((0.001, 0), (1e6, 1)):
        file = tmp_path / "floors.json"
        file.write_text(json.dumps([{"stage": "stage", "contest": "name", "peer": "b", "floor": floor}]))
        monkeypatch.setattr(floors, "FLOORS", file)
        told = CliRunner().invoke(floors.main, ["--rounds", "1"])
        assert told.exit_code == code, told.output


def contests(options: Options, scratch: Path):
    """As a stage has it."""
    pair = ((name, "counting", {"file": str(scratch / "notes"), "name": name}) for name in "ab")
    yield contest(*pair, ("gone", "without_a_package", {}))


def test_floors_lie_below_what_the_record_of_the_page_has():
    record = {
        (one["stage"], one["name"], entry["label"]): entry["ratio"]
        for one in page.read(Path(__file__).parents[1] / "docs/results/benchmarks.json")
        for entry in one["entries"]
    }
    asked = {(one["stage"], one["contest"], one["peer"]): one["floor"] for one in json.loads(floors.FLOORS.read_text())}
    known = asked.keys() & record.keys()
    assert len(known) >= 9  # a quick look has contests of other sizes, too
    assert {one: asked[one] for one in known if asked[one] > 0.95 * record[one]} == {}


def test_floors_are_of_stages_that_there_are():
    assert {floor["stage"] for floor in json.loads(floors.FLOORS.read_text())} <= STAGES.keys()
