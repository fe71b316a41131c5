import pytest

from fastpt.tuning.results import by_seed, csv_table, summary, text_table


def row(domain, name, test, method, seed, value):
    return {
        "domain": domain,
        "set": name,
        "test": test,
        "method": method,
        "metric": "accuracy",
        "seed": seed,
        "value": value,
        "samples": 10,
    }


RESULTS = {
    "suite": "demo",
    "encoder": {"name": "run", "noise": {"kind": "symmetric", "realised_rate": 0.0501}},
    "rows": [
        row("id", "a", "test", "lp", 0, 0.5),
        row("id", "a", "test", "lp", 1, 0.7),
        row("id", "b", "test", "lp", 0, 0.1),
        row("id", "b", "test", "lp", 1, 0.3),
        row("ood", "c", "sketch", "lp", 0, 0.25),
        row("ood", "c", "sketch", "lp", 1, 0.25),
    ],
    "methods": {"lp": {"label": "LP", "colour": "#0072b2"}},
    "spectra": [{"domain": "id", "set": "a", "test": "test", "stage": "encoder", "sve": 5.12345, "lsvr": 2.0}],
    "missing": [{"set": "d", "reason": "not prepared"}],
}


def test_text_states_means_spreads_noise_spectra_and_what_is_left_out():
    lines = {line.split("  ")[0].strip(): line for line in text_table(RESULTS).splitlines()}
    assert "5.01% symmetric noise" in text_table(RESULTS)
    assert lines["ID average"].endswith("40.00 ± 127.06")
    assert lines["OOD c -> sketch"].endswith("25.00 ± 0.00")
    assert "5.123" in text_table(RESULTS)
    assert "left out: d (not prepared)" in text_table(RESULTS)


def test_csv_has_a_line_for_each_row():
    lines = csv_table(RESULTS).splitlines()
    assert lines[0] == "domain,set,test,method,metric,seed,fraction,lr,reg_weight,l2,value,samples"
    assert lines[1] == "id,a,test,lp,accuracy,0,,,,,0.5,10"
    assert len(lines) == 7


def test_gains_are_paired_by_seed_and_fractions_stand_apart():
    rows = [
        {**row("id", "a", "test", method, seed, value + gain), "fraction": fraction}
        for method, gain in (("lp", 0.0), ("nmtune", 0.1))
        for seed, value in ((0, 0.2), (1, 0.6))
        for fraction in (0.1, 1.0)
    ]
    methods = {**RESULTS["methods"], "nmtune": {"label": "NMTune", "colour": "#008f68"}}
    text = text_table({**RESULTS, "methods": methods, "rows": rows})
    assert text.count("ID average, NMTune over LP: +10.00 ± 0.00") == 2
    assert text.index("100% of the data") < text.index("10% of the data", text.index("100% of the data") + 5)


def test_averages_are_over_tests_for_each_seed_and_fraction():
    rows = [
        row("id", "a", "a", "lp", 0, 0.2),
        row("id", "a", "b", "lp", 0, 0.4),
        {**row("id", "a", "a", "lp", 0, 0.9), "fraction": 0.1},
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
