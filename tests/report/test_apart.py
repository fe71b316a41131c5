"""Results of other settings are not averaged or compared, and what differs is said."""

import json

import pytest

from fastpt.errors import FastptError
from fastpt.report.apart import compared, facts, in_short
from fastpt.report.compare import accuracies, families
from fastpt.runs import read_provenance, read_recipe, read_run, read_runs
from fastpt.runs.records import write_records
from tests.report.conftest import change_provenance, tune_results, write_run, write_tune

A, B = ("id", "a", "a-test"), ("id", "b", "b-test")


def results(value=0.5, label_noise=0.0, sets=(A,), methods=("lp",), versions=None, **settings):
    """Tuning results of some methods, all with the same settings."""
    found = tune_results({where: {method: [value] for method in methods} for where in sets}, spectra=False)
    known = {"epochs": 30, "lr": [0.1], **settings}
    splits = [
        {"domain": domain, "set": name, "test": test, "path": name, "samples_id": "1" * 64, "images_id": "2" * 64}
        for domain, name, own in sets
        for test in (None, own)
    ]
    described = {name: {"label": name.upper(), "colour": "#0072b2", "settings": known} for name in methods}
    return {
        **found,
        "config": {"label_noise": label_noise},
        "methods": described,
        "splits": splits,
        "made_with": {"versions": versions or {"torch": "2.7.0"}, "device": "cpu"},
    }


def names(comparison):
    return [[tune["suite"] for tune in run.tunes] for run in comparison.runs]


def test_results_of_the_same_settings_keep_their_suites_name(tmp_path):
    found = compared(read_runs([write_run(tmp_path, rate=rate, tune=results(0.5 - rate)) for rate in (0, 0.3)]))
    assert names(found) == [["demo"], ["demo"]]
    assert found.differences == []
    assert list(found.suites) == ["demo"]


def test_heads_that_were_trained_otherwise_are_called_by_what_differs_and_not_compared(tmp_path):
    clean = write_run(tmp_path, tune=results(epochs=10))
    noisy = write_run(tmp_path, rate=0.05, tune=results(epochs=1, label_noise=0.6))
    found = compared(read_runs([clean, noisy]))
    assert names(found) == [["demo [label_noise 0 %, epochs 10]"], ["demo [label_noise 60 %, epochs 1]"]]
    (family,) = families(found.runs)
    for suite, run in zip(found.suites, found.runs, strict=True):
        table = accuracies(family, suite, "id")
        assert [one.runs for one in table.conditions] == [(run,)]
    assert [(one.fields, one.role) for one in found.differences] == [(("label_noise", "lp.epochs"), "setting")]
    assert found.differences[0].values == (
        ("label_noise 0 %, epochs 10", (clean.name,)),
        ("label_noise 60 %, epochs 1", (noisy.name,)),
    )


@pytest.mark.parametrize(
    ("name", "value", "other"),
    [("precision", "fp32", "bf16"), ("preprocessing", {"size": 64}, {"size": 96}), ("features", 512, 1024)],
)
def test_features_of_another_kind_are_told_apart_within_a_recipe_but_not_between_recipes(tmp_path, name, value, other):
    one, two = results(), results()
    one["encoder"], two["encoder"] = {**one["encoder"], name: value}, {**two["encoder"], name: other}
    first = write_run(tmp_path, tune=one)
    same = compared(read_runs([first, write_run(tmp_path, rate=0.3, tune=two)]))
    assert all(f"encoder.{name}" in suite for (suite,) in names(same))
    apart = compared(read_runs([first, write_run(tmp_path, "demo_clip", 0.3, tune=two)]))
    assert names(apart) == [["demo"], ["demo"]]


@pytest.mark.parametrize("name", ["samples_id", "images_id", "samples", "answers"])
def test_a_split_of_other_samples_or_pictures_is_another_one(tmp_path, name):
    one, two = results(), results()
    one["splits"][1][name], two["splits"][1][name] = "a" * 64, "b" * 64
    found = compared(read_runs([write_run(tmp_path, tune=one), write_run(tmp_path, rate=0.3, tune=two)]))
    assert [[f"demo [id/a/a-test.{name} {sum_ * 12}" in suite for (suite,) in names(found)] for sum_ in "ab"]
    assert len(found.suites) == 2


def test_a_method_or_a_set_that_one_lacks_keeps_nothing_apart(tmp_path):
    one = write_run(tmp_path, tune=results(methods=("lp",)))
    two = write_run(tmp_path, rate=0.3, tune=results(methods=("lp", "mlp"), sets=(A, B)))
    assert names(compared(read_runs([one, two]))) == [["demo"], ["demo"]]


def test_two_results_of_one_suite_in_a_run_are_told_apart(tmp_path):
    run = write_run(tmp_path)
    write_tune(run, results(0.7), "right")
    write_tune(run, results(0.3, label_noise=0.6), "wrong")
    found = compared(read_runs([run]))
    assert names(found) == [["demo [label_noise 0 %]", "demo [label_noise 60 %]"]]
    assert found.differences[0].values[0] == ("0 %", (f"{run.name} (tune/right.json)",))


def test_two_results_of_the_same_heads_are_one_or_refused_whatever_their_files_are_called(tmp_path):
    run = write_run(tmp_path)
    write_tune(run, results(0.7), "first")
    write_tune(run, results(0.7, methods=("lp", "mlp")), "second")
    (tune,) = compared(read_runs([run])).runs[0].tunes
    assert [row["method"] for row in tune["rows"]] == ["lp", "mlp"]
    write_tune(run, results(0.6), "a-third")
    with pytest.raises(FastptError, match=r"tune/a-third.json and tune/first.json measured the same .* 0.6 and 0.7"):
        compared(read_runs([run]))


def test_what_one_method_failed_on_is_left_out_even_where_another_measured_it(tmp_path):
    run = write_run(tmp_path)
    failed = [
        {"domain": "id", "set": "a", "reason": "diverged", "method": method, "failed": True} for method in ("mlp", "lp")
    ]
    whole = {"domain": "id", "set": "a", "reason": "not prepared", "method": None, "failed": False}
    write_tune(run, {**results(0.7), "missing": [*failed, whole]}, "first")
    write_tune(run, results(0.6, methods=("nmtune",)), "second")
    (tune,) = compared(read_runs([run])).runs[0].tunes
    assert [one["method"] for one in tune["missing"]] == ["mlp"]  # LP was measured elsewhere, and the set, too


def test_versions_and_devices_are_averaged_over_and_said(tmp_path):
    one = write_run(tmp_path, tune=results())
    two = write_run(tmp_path, rate=0.3, tune=results(versions={"torch": "2.8.0"}))
    change_provenance(two, device="another")
    found = compared(read_runs([one, two]))
    assert names(found) == [["demo"], ["demo"]]
    assert found.warnings == [
        "runs differ in device (none; another), which is averaged over; a term of the model of claims and effects",
        "runs differ in versions.torch (2.7.0; 2.8.0), which is averaged over",
    ]


def test_what_a_run_was_trained_with_is_listed_where_it_differs(tmp_path):
    one, two = write_run(tmp_path), write_run(tmp_path, rate=0.3, seed=1)
    write_records(two, {**read_recipe(two), "optim": {"name": "lamb", "lr": 0.02}}, read_provenance(two))
    (difference,) = compared(read_runs([one, two])).differences
    assert (difference.fields, difference.consequence) == (("optim.lr",), "shown apart")
    assert difference.values == (("0.01", (one.name,)), ("0.02", (two.name,)))


def test_a_run_that_was_changed_on_the_way_is_not_one_that_was_not(tmp_path):
    one, two = write_run(tmp_path), write_run(tmp_path, seed=1)
    change_provenance(two, resumed=[{"step": 10, "changes": ["optim.lr was 0.1, is 0.01", "log_every was 1, is 2"]}])
    assert len(families(read_runs([one, two]))) == 2


def test_what_is_free_to_change_on_the_way_keeps_no_runs_apart(tmp_path):
    one, two = write_run(tmp_path), write_run(tmp_path, seed=1)
    changes = ["log_every was 1, is 2", "checkpoint.keep was 1, is 2", "supervised.memorization_samples was 1, is 2"]
    change_provenance(two, resumed=[{"step": 10, "device": "another", "changes": changes}])
    runs = read_runs([one, two])
    assert len(families(runs)) == 1
    assert [one.fields for one in compared(runs).differences] == [("device",)]


def test_where_the_splits_lay_keeps_no_runs_apart_but_what_they_held_does(tmp_path):
    one, two = write_run(tmp_path), write_run(tmp_path, seed=1, train="elsewhere/train")
    ids = {"samples_id": "a" * 64, "images_id": "b" * 64}
    for run, folder in ((one, "data/demo/val"), (two, "elsewhere/val")):
        recipe = read_recipe(run)
        recipe["data"]["val"] = folder
        record = {**read_provenance(run), **ids, "measured_on": {"data.val": {"data": folder, **ids}}}
        write_records(run, recipe, record)
    assert len(families(read_runs([one, two]))) == 1
    change_provenance(two, measured_on={"data.val": {"data": "elsewhere/val", **ids, "images_id": "c" * 64}})
    assert len(families(read_runs([one, two]))) == 2


def test_the_precision_that_a_machine_made_of_the_same_recipe_is_of_the_machine(tmp_path):
    one, two = write_run(tmp_path, tune=results()), write_run(tmp_path, seed=1, tune=results())
    for run, precision in ((one, "bf16"), (two, "fp32")):
        change_provenance(run, precision=precision, git=f"commit on {precision}")
    found = compared(read_runs([one, two]))
    assert len(families(found.runs)) == len(found.suites) == 1
    assert found.warnings == [
        "runs differ in precision (bf16; fp32), which is averaged over; a term of the model of claims and effects",
        "runs differ in git (commit on bf16; commit on fp32), which is averaged over",
    ]


def test_the_device_that_heads_were_trained_on_is_no_term_of_the_model(tmp_path):
    one, two = (write_run(tmp_path, seed=i, tune=results()) for i in (0, 1))
    for run, device in ((one, "cpu"), (two, "cuda")):
        write_tune(run, {**results(), "made_with": {**results()["made_with"], "device": device}}, "demo")
    assert compared(read_runs([one, two])).warnings == [
        "runs differ in heads.device (cpu; cuda), which is averaged over"
    ]


def test_the_precision_that_was_asked_for_is_a_setting(tmp_path):
    one, two = write_run(tmp_path), write_run(tmp_path, seed=1)
    for run, precision in ((one, "bf16"), (two, "fp32")):
        write_records(run, {**read_recipe(run), "engine": {"precision": precision}}, read_provenance(run))
    assert len(families(read_runs([one, two]))) == 2


def test_facts_say_how_results_were_measured(tmp_path):
    run = write_run(tmp_path, tune=results(label_noise=0.1, methods=("lp", "mlp")))
    (suite,) = compared(read_runs([run])).suites.values()
    assert in_short(suite) == "heads of 30 epochs; 10 % of the training labels flipped"
    said = dict(facts(suite))
    assert said["Heads: lp, mlp"] == "epochs 30, lr 0.1"
    assert said["Labels that heads saw"] == "10 % flipped"
    assert said["id/a/a-test"] == f"samples_id {'1' * 12}, images_id {'2' * 12}"


def test_settings_that_are_no_json_mapping_fail_nothing(tmp_path):
    odd = {**results(), "methods": ["lp"], "splits": [1], "config": None, "made_with": 3, "encoder": None}
    run = write_run(tmp_path, tune=odd)
    assert names(compared([read_run(run)])) == [["demo"]]
    assert json.dumps(compared([read_run(run)]).suites["demo"].settings)


def test_a_suite_that_is_called_like_a_name_of_another_is_not_taken_for_it(tmp_path):
    run, other = write_run(tmp_path), write_run(tmp_path, rate=0.3)
    write_tune(run, results(epochs=1), "one")
    write_tune(other, results(epochs=2), "two")
    write_tune(other, {**results(0.9, epochs=9), "suite": "demo [epochs 1]"}, "three")
    first, second = names(compared(read_runs([run, other])))
    assert len({*first, *second}) == 3


def test_settings_that_differ_beyond_what_a_name_says_have_names_of_their_own(tmp_path):
    runs = [
        write_run(tmp_path, rate=rate, tune=results(a=i, b=i, c=i, z=i // 2, epochs=5))
        for i, rate in enumerate((0, 0.1, 0.3))
    ]
    assert len(compared(read_runs(runs)).suites) == 3
