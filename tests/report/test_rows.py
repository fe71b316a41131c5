"""What is shown of the measures beside accuracy."""

import csv

from fastpt.report.compare import families
from fastpt.report.feature_tables import FEATURE_PAIRS, features_table, similarity_table
from fastpt.report.figures import stage_figure
from fastpt.report.rows import measures_table, rows_csv
from fastpt.runs import read_run
from tests.report.conftest import tune_results, write_run

A, B = ("id", "a", "a-test"), ("id", "b", "b-test")


def run_with_measures(tmp_path):
    results = tune_results({A: {"lp": [0.5], "ridge": [0.7]}, B: {"lp": [0.1], "ridge": [0.3]}})
    results["measures"] = {"ece": {"label": "ECE", "is_share": True}, "nll": {"label": "NLL", "is_share": False}}
    for row in results["rows"]:
        is_lp = row["method"] == "lp"
        row["measures"] = {"ece": row["value"] / 5, "nll": 1.25} if is_lp else {"ece": None, "nll": None}
    for one in results["spectra"]:
        one |= {"alignment": 0.75, "uniformity": None}
    return read_run(write_run(tmp_path, tune=results))


def test_the_table_has_averages_and_a_dash_where_there_are_no_probabilities(tmp_path):
    (family,) = families([run_with_measures(tmp_path)])
    table = measures_table(family, "demo")
    assert table is not None
    assert table.columns == ["ECE, %", "NLL"]
    (group,) = table.groups
    assert (group.label, [(row.label, [cell.text for cell in row.cells]) for row in group.rows]) == (
        "ID, clean",
        [("LP", ["6.0", "1.250"])],
    )


def test_each_head_has_its_measures_in_the_csv_in_per_cent(tmp_path):
    rows = list(csv.DictReader(rows_csv([run_with_measures(tmp_path)]).splitlines()))
    assert [(row["method"], row["percent"], row["ece_percent"], row["nll"]) for row in rows] == [
        ("lp", "50.0", "10.0", "1.25"),
        ("ridge", "70.0", "", ""),
        ("lp", "10.0", "2.0", "1.25"),
        ("ridge", "30.0", "", ""),
    ]


def test_alignment_and_uniformity_have_a_table_of_their_own(tmp_path):
    (family,) = families([run_with_measures(tmp_path)])
    spectra, alignment = (features_table(family, "demo", pair) for pair in FEATURE_PAIRS)
    assert spectra is not None
    assert alignment is not None
    assert spectra.title.startswith("SVE / LSVR")
    assert alignment.groups[0].rows[0].cells[0].text == "0.75 / –"
    old = tune_results({A: {"lp": [0.5]}})
    (family,) = families([read_run(write_run(tmp_path / "old", tune=old))])
    assert features_table(family, "demo", FEATURE_PAIRS[1]) is None


def test_features_of_a_cross_fitted_set_are_said_to_be_of_fewer_samples_behind_the_heads(tmp_path):
    for name, told in (("a-test", False), ("2 folds", True)):
        tune = tune_results({("id", "digits", name): {"lp": [0.5]}})
        (family,) = families([read_run(write_run(tmp_path / name, tune=tune))])
        said = "Of digits, which is cross-fitted, features of the encoder are those of all samples"
        assert (said in features_table(family, "demo", FEATURE_PAIRS[0]).note) is told
        assert (said in stage_figure(family, "demo", "0").caption) is told


def test_cka_is_shown_for_each_condition_and_other_encoder(tmp_path):
    results = tune_results({A: {"lp": [0.5]}})
    results["similarities"] = [{"domain": "id", "set": "a", "test": "a-test", "other": "clean-s0", "cka": 0.875}]
    (family,) = families([read_run(write_run(tmp_path, rate=0.3, tune=results))])
    table = similarity_table(family, "demo")
    assert table is not None
    assert (table.columns, table.groups[0].rows[0].cells[0].text) == (["clean-s0"], "0.88")
    (family,) = families([read_run(write_run(tmp_path / "without", tune=tune_results({A: {"lp": [0.5]}})))])
    assert similarity_table(family, "demo") is None
