from fastpt.tuning.table import averages, csv_table, text_table


def row(setting, name, test, method, seed, value):
    return {"setting": setting, "set": name, "test": test, "method": method, "metric": "accuracy", "seed": seed,
            "value": value, "samples": 10}  # fmt: skip


RESULTS = {
    "suite": "demo",
    "encoder": {"name": "run", "noise": {"kind": "symmetric", "realised_rate": 0.0501}},
    "rows": [
        row("id", "a", "test", "lp", 0, 0.5), row("id", "a", "test", "lp", 1, 0.7),
        row("id", "b", "test", "lp", 0, 0.1), row("id", "b", "test", "lp", 1, 0.3),
        row("ood", "c", "sketch", "lp", 0, 0.25), row("ood", "c", "sketch", "lp", 1, 0.25),
    ],
    "spectra": [{"setting": "id", "set": "a", "test": "test", "stage": "encoder", "sve": 5.12345, "lsvr": 2.0}],
    "missing": [{"set": "d", "reason": "not prepared"}],
}  # fmt: skip


def test_averages_are_over_sets_for_each_seed():
    assert averages(RESULTS["rows"], "id", "lp") == [0.3, 0.5]


def test_text_states_means_spreads_noise_spectra_and_what_is_left_out():
    lines = {line.split("  ")[0].strip(): line for line in text_table(RESULTS).splitlines()}
    assert "5.01% symmetric noise" in text_table(RESULTS)
    assert lines["ID average"].endswith("40.00 ± 14.14")
    assert lines["OOD c -> sketch"].endswith("25.00 ± 0.00")
    assert "5.123" in text_table(RESULTS)
    assert "left out: d (not prepared)" in text_table(RESULTS)


def test_csv_has_a_line_for_each_row():
    lines = csv_table(RESULTS).splitlines()
    assert lines[0] == "setting,set,test,method,metric,seed,value,samples"
    assert lines[1] == "id,a,test,lp,accuracy,0,0.5,10"
    assert len(lines) == 7
