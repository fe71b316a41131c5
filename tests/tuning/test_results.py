import re
from dataclasses import replace

import pytest

from fastpt.tuning.results import Results, Row, Similarity, Spectrum, by_seed, summary
from fastpt.tuning.suites import Missing
from fastpt.tuning.tables import WIDTH, csv_table, text_table


def row(domain, name, test, method, seed, value, fraction=1.0, measures=(), **settings):
    return Row(domain, name, test, method, "accuracy", value, 10, seed, fraction, settings, dict(measures))


RESULTS = Results(
    suite="demo",
    encoder={"name": "run", "noise": {"kind": "symmetric", "realised_rate": 0.0501}},
    config={"label_noise": 0.0},
    methods={"lp": {"label": "LP", "colour": "#0072b2"}},
    rows=[
        row("id", "a", "test", "lp", 0, 0.5),
        row("id", "a", "test", "lp", 1, 0.7),
        row("id", "b", "test", "lp", 0, 0.1),
        row("id", "b", "test", "lp", 1, 0.3),
        row("ood", "c", "sketch", "lp", 0, 0.25),
        row("ood", "c", "sketch", "lp", 1, 0.25),
    ],
    answers=b"",
    spectra=[Spectrum("id", "a", "test", "encoder", 5.12345, 2.0, 168.0, 0.5, None, [1.0])],
    similarities=[Similarity("id", "a", "test", "noisy-run", 0.87654)],
    splits=[],
    missing=[Missing("id", "d", "not prepared")],
    made_with={},
    seconds={},
)


def test_text_states_means_spreads_noise_spectra_and_what_is_left_out():
    lines = {line.split("  ")[0].strip(): line for line in text_table(RESULTS).splitlines()}
    assert "5.01 % symmetric noise" in text_table(RESULTS)
    assert lines["ID average"].endswith("40.00 ± 127.06")
    assert lines["OOD c -> sketch"].endswith("25.00 ± 0.00")
    assert "5.123" in text_table(RESULTS)
    assert lines["ID a -> test, noisy-run"].endswith("0.877")
    assert "left out: d (not prepared)" in text_table(RESULTS)


def test_text_says_that_features_of_a_cross_fitted_set_are_of_fewer_samples_behind_the_heads():
    whole = Spectrum("id", "digits", "2 folds", "encoder", 5.0, 2.0, 168.0, 0.5, None, [1.0])
    said = "Of digits, which is cross-fitted, features of the encoder are those of all samples"
    for spectra, told in (([whole], False), ([whole, replace(whole, stage="lp")], True)):
        assert (said in text_table(replace(RESULTS, spectra=spectra))) is told


def test_csv_has_a_line_for_each_row_and_a_column_for_each_setting_and_measure():
    measures = {
        "accuracy": 0.5,
        "mean_per_class": 0.25,
        "auroc": 0.75,
        "average_precision": 0.5,
        "ece": None,
        "nll": 0.7,
    }
    rows = [
        row("id", "a", "test", "lp", 0, 0.5, lr=0.1, reg_weight=0.0),
        row("id", "a", "test", "ridge", 1, 0.75, 0.25, measures, l2=10.0),
    ]
    assert csv_table(replace(RESULTS, rows=rows)).splitlines() == [
        "domain,set,test,method,metric,seed,fraction,lr,reg_weight,l2,percent,samples,accuracy_percent,"
        "mean_per_class_percent,auroc_percent,average_precision_percent,ece_percent,nll",
        "id,a,test,lp,accuracy,0,1.0,0.1,0.0,,50.0,10,,,,,,",
        "id,a,test,ridge,accuracy,1,0.25,,,10.0,75.0,10,50.0,25.0,75.0,50.0,,0.7",
    ]


def test_measures_beside_accuracy_are_means_over_tests_and_none_is_made_up():
    measured = [
        ("lp", 0, {"accuracy": 0.5, "ece": 0.1, "nll": 1.5}),
        ("lp", 1, {"accuracy": 0.7, "ece": 0.3, "nll": 2.5}),
        ("ridge", 0, {"accuracy": 0.6, "ece": None, "nll": None}),
        ("ridge", 1, {"accuracy": 0.6, "ece": None, "nll": None}),
    ]
    methods = {**RESULTS.methods, "ridge": {"label": "Ridge", "colour": "#a8487f"}}
    rows = [row("id", "a", "test", method, seed, 0.5, 1.0, one) for method, seed, one in measured]
    text = text_table(replace(RESULTS, methods=methods, rows=rows))
    assert re.search(r"\nID LP +60.00 +20.00 +2.000\n", text)
    assert re.search(r"\nID Ridge +60.00 +– +–\n", text)
    assert "–: Ridge gives no probabilities" in text


def test_many_methods_make_several_tables_of_at_most_100_columns():
    methods = {f"m{i}": {"label": f"Method number {i}", "colour": "#0072b2"} for i in range(12)}
    rows = [row("id", "a", "test", method, seed, 0.5 + seed / 10) for method in methods for seed in (0, 1)]
    text = text_table(replace(RESULTS, methods=methods, rows=rows, missing=[Missing("id", "d", "not there " * 30)]))
    assert max(map(len, text.splitlines())) <= WIDTH
    heads = [line for line in text.splitlines() if line.startswith(" ") and "Method number" in line]
    assert re.findall(r"number (\d+)", " ".join(heads)) == [str(i) for i in range(12)]


def test_gains_are_paired_by_seed_and_fractions_stand_apart():
    rows = [
        row("id", "a", "test", method, seed, value + gain, fraction)
        for method, gain in (("lp", 0.0), ("nmtune", 0.1))
        for seed, value in ((0, 0.2), (1, 0.6))
        for fraction in (0.1, 1.0)
    ]
    methods = {**RESULTS.methods, "nmtune": {"label": "NMTune", "colour": "#008f68"}}
    text = text_table(replace(RESULTS, methods=methods, rows=rows))
    assert text.count("ID average, NMTune over LP: +10.00 ± 0.00") == 2
    assert text.index("100 % of the data") < text.index("10 % of the data", text.index("100 % of the data") + 5)


def test_heads_that_are_all_alike_have_no_spread_and_a_gain_over_others_has():
    rows = [
        row("id", name, "test", method, seed, value)
        for name in "ab"
        for method, values in (("lp", (0.2, 0.6)), ("zero-shot", (0.5, 0.5)), ("knn", (0.3, 0.3)))
        for seed, value in enumerate(values)
    ]
    more = {
        name: {"label": label, "colour": "#8a6d3b"} for name, label in (("zero-shot", "Zero-shot"), ("knn", "k-NN"))
    }
    text = text_table(replace(RESULTS, methods=RESULTS.methods | more, rows=rows))
    assert re.search(r"\nID a -> test +40.00 ± 254.12 +50.00 +30.00\n", text)
    assert re.search(r"\nID average +40.00 ± 254.12 +50.00 +30.00\n", text)
    assert "no ±: the heads of Zero-shot, k-NN are all alike" in text
    assert "ID average, Zero-shot over LP: +10.00 ± 254.12" in text
    assert "k-NN over Zero-shot" not in text
    assert "all alike" not in text_table(RESULTS)


def test_averages_are_over_tests_for_each_seed_and_fraction():
    rows = [
        row("id", "a", "a", "lp", 0, 0.2),
        row("id", "a", "b", "lp", 0, 0.4),
        row("id", "a", "a", "lp", 0, 0.9, 0.1),
        row("id", "a", "a", "lp", 1, 0.5),
    ]
    assert by_seed(rows, "id", "lp") == pytest.approx({0: 0.3, 1: 0.5})
    assert by_seed(rows, "id", "lp", 0.1) == {0: 0.9}


def test_the_summary_pairs_each_method_with_lp():
    rows = [
        row("id", "a", "a", "lp", 0, 0.2),
        row("id", "a", "a", "lp", 1, 0.4),
        row("id", "a", "a", "mlp", 0, 0.3),
        row("id", "a", "a", "mlp", 1, 0.5),
    ]
    lp, mlp = summary(rows)
    assert lp["gain_over_lp"] is None
    assert mlp["average"]["mean"] == pytest.approx(0.4)
    assert mlp["gain_over_lp"]["mean"] == pytest.approx(0.1)
    assert mlp["gain_over_lp"]["ci95_half"] == pytest.approx(0, abs=1e-12)


def test_averages_are_over_the_tests_that_every_method_has():
    rows = [
        row("id", "a", "test", "lp", 0, 0.5),
        row("id", "b", "test", "lp", 0, 0.1),
        row("id", "a", "test", "mlp", 0, 0.6),
    ]
    methods = {**RESULTS.methods, "mlp": {"label": "MLP", "colour": "#c77f00"}}
    lp, mlp = summary(rows)
    assert (lp["average"]["mean"], mlp["average"]["mean"]) == (0.5, 0.6)
    text = text_table(replace(RESULTS, methods=methods, rows=rows))
    assert re.search(r"ID average of the 1 test that all have +50.00 +60.00", text)


def test_shares_are_not_rounded_to_nothing():
    rows = [row("id", "a", "test", "lp", 0, 0.5, fraction) for fraction in (0.001, 0.0035)]
    text = text_table(replace(RESULTS, rows=rows, config={"label_noise": 0.001}))
    assert "0.1 % of the training labels flipped" in text
    assert "0.35 % of the data" in text
    assert not re.search(r"(?<![\d.])0 ?%", text)


def test_the_table_says_what_heads_were_trained_with_and_what_features_are_of():
    encoder = {**RESULTS.encoder, "precision": "bf16", "preprocessing": {"size": 96, "crop_fraction": 0.875}}
    text = text_table(replace(RESULTS, encoder=encoder, config={"label_noise": 0, "epochs": 10, "lrs": [0.1, 1.0]}))
    assert "features in bf16 of centre crops of 87.5 % at 96 px" in text
    assert "heads: epochs 10, lrs 0.1, 1.0" in text


def test_what_failed_is_told_from_what_is_not_there():
    failed = Missing("id", "d", "all alike", "ridge", failed=True)
    assert "failed: d, ridge (all alike)" in text_table(replace(RESULTS, missing=[failed]))
