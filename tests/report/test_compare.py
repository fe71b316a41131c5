import pytest

from fastpt.errors import FastptError
from fastpt.report.compare import accuracies, families, run_average, set_label
from fastpt.report.tables import spread_words
from fastpt.runs import read_provenance, read_recipe, read_run
from fastpt.runs.records import write_records
from tests.report.conftest import change_provenance, noise_record, tune_results, write_run

A, B, C = ("id", "a", "a-test"), ("id", "b", "b-test"), ("ood", "photo", "art")


def read(*paths):
    return [read_run(path) for path in paths]


def table_of(runs, domain="id"):
    (family,) = families(runs)
    return family.conditions, accuracies(family, "demo", domain)


def test_averages_over_sets_and_seeds_of_the_head(tmp_path):
    values = {A: {"lp": [0.5, 0.7], "mlp": [0.8, 0.8]}, B: {"lp": [0.1, 0.3], "mlp": [0.2, 0.4]}}
    (condition,), table = table_of(read(write_run(tmp_path, tune=tune_results(values))))
    cell = table.cell(condition, ("a", "a-test", "accuracy"), "lp")
    assert (cell.mean, cell.ci95_half, cell.n) == (pytest.approx(0.6), pytest.approx(12.7062 * 0.1, rel=1e-5), 2)
    # seed 0: (0.5 + 0.1) / 2 = 0.3; seed 1: (0.7 + 0.3) / 2 = 0.5
    average = table.cell(condition, None, "lp")
    assert (average.mean, average.ci95_half) == (pytest.approx(0.4), pytest.approx(12.7062 * 0.1, rel=1e-5))
    assert table.cell(condition, None, "mlp").mean == pytest.approx(0.55)
    assert table.best(condition, None) == {"mlp"}


def test_heads_that_are_all_alike_tell_no_spread(tmp_path):
    """As of zero-shot, which no seed changes; that two heads of others are alike on one test is chance."""
    values = {A: {"zero-shot": [0.4] * 3, "lp": [0.5] * 3}, B: {"zero-shot": [0.2] * 3, "lp": [0.1, 0.2, 0.3]}}
    (condition,), table = table_of(read(write_run(tmp_path, tune=tune_results(values))))
    assert table.cell(condition, None, "zero-shot") == (pytest.approx(0.3), None, 1)
    assert table.cell(condition, ("a", "a-test", "accuracy"), "lp").ci95_half == 0
    assert table.cell(condition, None, "lp").ci95_half > 0
    assert spread_words(table).endswith("another pre-training. Without ±: one head, or heads that are all alike.")


def test_pretraining_seeds_are_the_replicates_where_there_are_several(tmp_path):
    runs = read(
        write_run(tmp_path, seed=0, tune=tune_results({A: {"lp": [0.5, 0.7]}})),
        write_run(tmp_path, seed=1, tune=tune_results({A: {"lp": [0.7, 0.9]}})),
    )
    (condition,), table = table_of(runs)
    average = table.cell(condition, None, "lp")
    assert (average.mean, average.n) == (pytest.approx(0.7), 2)
    assert average.ci95_half == pytest.approx(12.7062 * 0.1, rel=1e-5)  # of 0.6 and 0.8, not of the four heads
    assert condition.label == "clean"


def test_labels_count_seeds_where_conditions_differ_in_them(tmp_path):
    runs = read(*(write_run(tmp_path, rate=rate, seed=seed) for rate, seed in ((0, 0), (0, 1), (0.3, 0))))
    (family,) = families(runs)
    assert [one.label for one in family.conditions] == ["clean (2 seeds)", "30\u00a0% symmetric (1 seed)"]


def test_averages_are_over_the_sets_that_all_runs_and_methods_have(tmp_path):
    runs = read(
        write_run(tmp_path, tune=tune_results({A: {"lp": [0.5]}, B: {"lp": [0.9]}})),
        write_run(tmp_path, rate=0.3, tune=tune_results({A: {"lp": [0.4]}})),
    )
    (clean, noisy), table = table_of(runs)
    assert [key[0] for key in table.common] == ["a"]
    assert table.cell(clean, None, "lp").mean == pytest.approx(0.5)
    assert table.cell(noisy, None, "lp").mean == pytest.approx(0.4)


def test_no_common_set_gives_no_average(tmp_path):
    values = {A: {"lp": [0.5]}, B: {"mlp": [0.9]}}
    _, table = table_of(read(write_run(tmp_path, tune=tune_results(values))))
    assert (table.common, table.averages) == ([], {})


def test_the_average_of_one_run_is_over_the_sets_that_all_have(tmp_path):
    one = write_run(tmp_path, seed=0, tune=tune_results({A: {"lp": [0.5, 0.7]}, B: {"lp": [0.1, 0.3]}}))
    two = write_run(tmp_path, seed=1, tune=tune_results({A: {"lp": [0.9, 0.9]}}))
    runs = read(one, two)
    _, table = table_of(runs)
    assert [run_average(run, "demo", table, "lp") for run in runs] == [pytest.approx(0.6), pytest.approx(0.9)]
    assert run_average(runs[0], "demo", table, "nmtune") is None


def test_ties_as_shown_are_all_best_and_one_method_is_never_best(tmp_path):
    (condition,), table = table_of(read(write_run(tmp_path, tune=tune_results({A: {"lp": [0.5001], "mlp": [0.5004]}}))))
    assert table.best(condition, None) == {"lp", "mlp"}
    other = write_run(tmp_path / "b", tune=tune_results({A: {"lp": [0.5]}}))
    (condition,), table = table_of(read(other))
    assert table.best(condition, None) == set()


def test_domains_are_kept_apart(tmp_path):
    runs = read(write_run(tmp_path, tune=tune_results({A: {"lp": [0.5]}, C: {"lp": [0.2]}})))
    (condition,), table = table_of(runs, "ood")
    assert table.cell(condition, None, "lp").mean == pytest.approx(0.2)


def test_conditions_go_from_clean_to_the_highest_rate(tmp_path):
    (family,) = families(read(*[write_run(tmp_path, rate=rate) for rate in (0.3, 0.0, 0.05)]))
    assert [condition.rate for condition in family.conditions] == [0.0, 0.05, 0.3]


def test_the_same_replicate_twice_is_refused(tmp_path):
    with pytest.raises(FastptError, match=r"runs/once and .*runs/again are the same replicate: .* seed 0"):
        families(read(write_run(tmp_path, name="once"), write_run(tmp_path, name="again")))


def test_plans_of_several_noise_seeds_are_replicates_of_one_seed_of_training(tmp_path):
    plans = [
        {**noise_record(0.3), "seed": seed, "plan": f"symmetric-0.3-seed{seed}", "array_sha256": f"{seed}" * 64}
        for seed in (0, 1)
    ]
    runs = [write_run(tmp_path, rate=0.3, plan=plan, tune=tune_results({A: {"lp": [0.5]}})) for plan in plans]
    (condition,), table = table_of(read(*runs))
    assert (condition.label, table.cell(condition, None, "lp").n) == ("30\u00a0% symmetric", 2)


def test_noise_that_nothing_was_drawn_for_is_another_noise_under_another_plan(tmp_path):
    plans = [{**noise_record(0.3, "external"), "seed": None, "array_sha256": sum_ * 64} for sum_ in "ab"]
    runs = [write_run(tmp_path, plan=plan, name=name) for plan, name in zip(plans, ("one", "two"), strict=True)]
    (family,) = families(read(*runs))
    assert [one.label for one in family.conditions] == ["30\u00a0% external [one]", "30\u00a0% external [two]"]


def test_runs_whose_recipe_or_data_differ_are_not_averaged(tmp_path):
    one, two, three = (write_run(tmp_path, name=name, seed=seed) for seed, name in enumerate(("one", "two", "three")))
    write_records(two, {**read_recipe(two), "schedule": {"epochs": 8}}, read_provenance(two))
    change_provenance(three, samples_id="d4" * 32)
    found = families(read(one, two, three))
    assert [family.label for family in found] == [
        "demo_resnet [schedule.epochs 4, samples_id c3c3c3c3c3c3]",
        "demo_resnet [schedule.epochs 8, samples_id c3c3c3c3c3c3]",
        "demo_resnet [schedule.epochs 4, samples_id d4d4d4d4d4d4]",
    ]


def test_runs_on_other_pictures_under_the_same_names_are_not_averaged(tmp_path):
    one, two = (write_run(tmp_path, name=name, seed=seed) for seed, name in enumerate(("one", "two")))
    change_provenance(one, images_id="a" * 64)
    change_provenance(two, images_id="b" * 64)
    assert [family.label for family in families(read(one, two))] == [
        f"demo_resnet [images_id {sum_ * 12}]" for sum_ in "ab"
    ]


def test_what_should_not_matter_keeps_no_runs_apart(tmp_path):
    one, two = (write_run(tmp_path, name=name, seed=seed) for seed, name in enumerate(("one", "two")))
    recipe = read_recipe(two)
    change_provenance(two, git="other", versions={"torch": "9"})
    write_records(two, {**recipe, "log_every": 5, "checkpoint": {"keep": 9}}, read_provenance(two))
    (family,) = families(read(one, two))
    assert len(family.conditions) == 1


def test_a_key_that_an_older_recipe_lacks_has_its_default(tmp_path):
    one, two = (write_run(tmp_path, name=name, seed=seed) for seed, name in enumerate(("one", "two")))
    recipe = read_recipe(two)
    recipe["data"] |= {"flip": True, "crop_fraction": 0.95}
    write_records(two, {**recipe, "batch_size": 128, "ema": None}, read_provenance(two))
    assert len(families(read(one, two))) == 1


@pytest.mark.parametrize(
    ("where", "label"),
    [
        (("id", "textures", "textures-test"), "textures"),
        (("ood", "photo", "art"), "photo → art"),
        (("ood", "photo", "photo"), "photo"),
        (("id", "photo", "art"), "photo → art"),
        (("id", "flowers", "2 folds"), "flowers"),
        (("id", "grocery", "test"), "grocery"),
    ],
)
def test_set_labels(where, label):
    assert set_label(*where) == label


def test_heads_of_one_run_are_no_replicates_beside_conditions_of_several_runs(tmp_path):
    runs = read(
        *(write_run(tmp_path, seed=seed, tune=tune_results({A: {"lp": [0.5, 0.7]}})) for seed in (0, 1)),
        write_run(tmp_path, rate=0.3, tune=tune_results({A: {"lp": [0.4, 0.6]}})),
    )
    (_, noisy), table = table_of(runs)
    assert table.cell(noisy, None, "lp") == (pytest.approx(0.5), None, 1)


def test_the_largest_fraction_of_the_data_is_shown_unless_another_is_asked_for(tmp_path):
    tune = tune_results({A: {"lp": [0.5, 0.7]}})
    for row, fraction in zip(tune["rows"], (0.1, 0.5), strict=True):
        row["fraction"] = fraction
    runs = read(write_run(tmp_path, tune=tune))
    (family,) = families(runs)
    (condition,), table = family.conditions, accuracies(family, "demo", "id")
    assert (table.fraction, table.cell(condition, None, "lp").mean) == (0.5, 0.7)
    assert accuracies(family, "demo", "id", 0.1).cell(condition, None, "lp").mean == 0.5
    assert accuracies(family, "demo", "id", 1.0) is None


def test_rows_of_the_stage_before_all_methods_are_no_results(tmp_path):
    _, table = table_of(read(write_run(tmp_path, tune=tune_results({A: {"encoder": [0.5]}}))))
    assert table is None
