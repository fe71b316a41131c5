"""Tuning and reports: figures under the name of what produced them.

What differs is shown apart or refused. Nothing finished is deleted or falsified by a later command.
"""

import csv
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

from tests.cases.conftest import Command, Ran, process, train
from tests.cases.workplace import SUITE, files_below, write_yaml

pytestmark = pytest.mark.long
RNG = np.random.default_rng(0)
CENTRES = 2 * RNG.normal(size=(3, 16))
FEATURES = {  # labels, scale, shift
    "train": ([0, 1, 2] * 40, 1, 0),
    "test": ([0, 1, 2] * 20, 1, 0),
    "one-class": ([0] * 120, 1, 0),
    "five-each": ([0, 1, 2] * 5, 1, 0),
    "constant": ([0, 1, 2] * 40, 0, 1),
    "zeros": ([0, 1, 2] * 20, 0, 0),
}


def tune(fastpt: Command, run: str, *options: object) -> Ran:
    return fastpt("tune", "--run", run, "--lp", *options)


def report(fastpt: Command, *runs: str | Path, out: str = "page.html") -> Ran:
    return fastpt("report", *runs, "--files", "--out", out)


def table(name: str) -> list[dict[str, str]]:
    with Path(name).open(newline="") as file:
        return list(csv.DictReader(file))


def write_features(**sets_: tuple[str, str]) -> None:
    """features.yaml, a suite of sets of (train, test), which are names of FEATURES."""
    for name in {name for both in sets_.values() for name in both}:
        labels, scale, shift = FEATURES[name]
        values = (CENTRES[labels] + RNG.normal(size=(len(labels), 16))) * scale + shift
        np.save(f"{name}.npy", values.astype(np.float32))
        np.save(f"{name}-labels.npy", np.array(labels))
    files = {name: {"features": f"{name}.npy", "labels": f"{name}-labels.npy"} for name in FEATURES}
    rows = [{"name": name, "train": files[train], "test": files[test]} for name, (train, test) in sets_.items()]
    write_yaml("features.yaml", {"name": "features", "id": rows})


def tune_features(fastpt: Command, *options: object) -> Ran:
    return fastpt("tune", "--suite", "features.yaml", *options)


def test_heads_that_were_trained_otherwise_are_shown_apart_or_refused(here, fastpt):
    train(fastpt, "clean", "data.noise=0").must()
    train(fastpt, "noisy", "data.noise=0.25").must()
    tune(fastpt, "clean", "--epochs", 10).must()
    tune(fastpt, "noisy", "--epochs", 1, "--label-noise", 0.6).must()
    if not report(fastpt, "clean", "noisy").refused("epochs|label.noise"):
        assert not table("page_files/effects.csv")
        page = Path("page.html").read_text()
        assert re.search(r"\b60.?%", page)
        assert re.search(r"\b10\b[^<]{0,20}epochs|epochs[^<]{0,20}\b10\b", page)


def test_results_of_other_weights_are_left_out(here, fastpt):
    train(fastpt, "run", "data.noise=0.25").must()
    tune(fastpt, "run", "--epochs", 3).must()
    for path in Path("run").iterdir():
        if path.name != "tune":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    train(fastpt, "run", "data.noise=0", "seed=1").must()
    if not report(fastpt, "run").refused(r"small\.json"):
        assert not table("page_files/accuracy.csv")
        assert re.search(r"small\.json|weights", Path("page.html").read_text())


def test_two_results_of_one_suite_are_told_apart_or_refused(finished, fastpt):
    tune(fastpt, "run", "--epochs", 3, "--num-seeds", 2, "--out", "run/tune/right.json").must()
    flipped = ("--label-noise", 0.6, "--out", "run/tune/wrong.json")
    tune(fastpt, "run", "--epochs", 3, "--num-seeds", 3, *flipped).must()
    if not report(fastpt, "run").refused(r"right\.json", r"wrong\.json"):
        rows = table("page_files/accuracy.csv")
        assert len(rows) == 2
        assert rows[0] != rows[1]


def test_a_report_over_all_runs_passes_over_folders_that_are_none(here, fastpt):
    train(fastpt, "runs/one").must()
    write_features(good=("train", "test"))
    tune_features(fastpt, "--lp", "--epochs", 1).must()
    report(fastpt, *sorted(Path("runs").iterdir())).worked()


def test_a_report_leaves_no_figures_of_before_and_others_files_alone(here, fastpt):
    for run in ("one", "two"):
        train(fastpt, run, f"data.noise={0.25 * (run == 'two')}").must()
        tune(fastpt, run, "--epochs", 1).must()
    report(fastpt, "one", "two", out="left.html").must()
    Path("left_files/mine.txt").write_text("of others")
    report(fastpt, "one", out="left.html").must()
    report(fastpt, "one", out="right.html").must()
    assert files_below("left_files") == files_below("right_files") | {"mine.txt"}


def test_a_report_on_the_current_folder_has_its_name(finished, fastpt, monkeypatch):
    monkeypatch.chdir("run")
    report(fastpt, ".", out="../page.html").must()
    assert [row["Run"] for row in table("../page_files/runs.csv")] == ["run"]


@pytest.mark.parametrize(
    ("bad", "options"),
    [
        (("one-class", "one-class"), ["--lp"]),
        (("constant", "constant"), ["--lp", "--ridge"]),
        (("five-each", "test"), ["--lp", "--fractions", "1,0.2", "--lrs", "0.01,0.1"]),
        (("train", "zeros"), []),
    ],
    ids=["one class", "constant", "one sample a class", "zeros"],
)
def test_a_set_that_cannot_be_costs_no_other(fastpt, bad, options):
    write_features(good=("train", "test"), odd=bad)
    ran = tune_features(fastpt, *options, "--epochs", 2, "--out", "results.json")
    assert ran.refused("odd")
    found = json.loads(Path("results.json").read_text())
    assert {row["method"] for row in found["rows"] if row["set"] == "good"} == set(found["methods"])
    assert all(one["set"] == "odd" and one["failed"] and one["reason"] for one in found["missing"])
    measured = {(row["set"], row["method"]) for row in found["rows"]}
    assert not measured & {(one["set"], one["method"]) for one in found["missing"]}
    assert found["missing"]


def results_and_tables(folder: Path) -> tuple[int, int]:
    """How many files hold results as JSON, and how many a table of them as CSV."""
    texts = [path.read_text() for path in folder.iterdir() if path.suffix != ".parquet"]  # what heads answered
    return sum(text.startswith("{") for text in texts), sum("lp,accuracy" in text for text in texts)


@pytest.mark.parametrize("ending", [".csv", ".txt"])
def test_an_ending_that_a_table_needs_is_refused_or_another_added(fastpt, ending):
    write_features(good=("train", "test"))
    if not tune_features(fastpt, "--lp", "--epochs", 1, "--out", f"out/results{ending}").refused(ending):
        assert results_and_tables(Path("out")) == (1, 1)


def test_results_with_a_point_in_their_names_have_tables_of_their_own(fastpt):
    write_features(good=("train", "test"))
    for name in ("noise-0.05", "noise-0.1"):
        assert tune_features(fastpt, "--lp", "--epochs", 1, "--out", f"out/{name}").refused(rf"{name}\.json")
        tune_features(fastpt, "--lp", "--epochs", 1, "--out", f"out/{name}.json").must()
    assert results_and_tables(Path("out")) == (2, 2)


def test_features_in_bfloat16_are_read_or_it_is_said_what_to_store(fastpt):
    for part, labels in (("train", [0, 1, 2] * 40), ("test", [0, 1, 2] * 20)):
        values = torch.from_numpy(CENTRES[labels]).bfloat16()
        save_file({"features": values, "labels": torch.tensor(labels)}, f"{part}.safetensors")
    row = {"name": "set", "train": {"features": "train.safetensors"}, "test": {"features": "test.safetensors"}}
    write_yaml("features.yaml", {"name": "features", "id": [row]})
    ran = tune_features(fastpt, "--lp", "--epochs", 1, "--out", "results.json")
    if not ran.refused(r"train\.safetensors", r"\bfloat16|\bfloat32"):
        assert json.loads(Path("results.json").read_text())["rows"]


def test_small_shares_are_not_rounded_to_nothing(fastpt):
    write_features(good=("train", "test"))
    shares = ("--fractions", "0.001,1", "--label-noise", 0.001)
    ran = tune_features(fastpt, "--lp", "--epochs", 1, *shares, "--out", "results.json")
    ran.worked(r"\b0\.1\s?%")
    assert not re.search(r"(?<![\d.])0\s?%", ran.output)


def test_a_run_folder_that_is_not_utf_8_works_or_is_refused_at_the_start(here, fastpt):
    run = os.fsdecode(b"lat\xe9n")
    if not train(fastpt, run).refused("lat"):
        tune(fastpt, run, "--epochs", 1).worked()
        report(fastpt, run).worked()


def test_a_suite_of_another_name_works_in_a_plain_locale_or_is_refused_at_the_start(finished):
    Path("micro.yaml").write_text(yaml.safe_dump({**SUITE, "name": "µ"}, allow_unicode=True), encoding="utf-8")
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    ran = process("tune", "--run", "run", "--suite", "micro.yaml", "--lp", "--epochs", 1, env=plain)
    assert ran.refused(r"micro\.yaml") or Path("run/tune/µ.json").is_file()
