from fastpt.tuning.results import csv_table, text_table


def row(setting, name, test, method, seed, value):
    return {
        "setting": setting,
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
    "spectra": [{"setting": "id", "set": "a", "test": "test", "stage": "encoder", "sve": 5.12345, "lsvr": 2.0}],
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
    assert lines[0] == "setting,set,test,method,metric,seed,fraction,lr,reg_weight,l2,value,samples"
    assert lines[1] == "id,a,test,lp,accuracy,0,,,,,0.5,10"
    assert len(lines) == 7


def test_gains_are_paired_by_seed_and_fractions_stand_apart():
    rows = [
        {**row("id", "a", "test", method, seed, value + gain), "fraction": fraction}
        for method, gain in (("lp", 0.0), ("nmtune", 0.1))
        for seed, value in ((0, 0.2), (1, 0.6))
        for fraction in (0.1, 1.0)
    ]
    text = text_table({**RESULTS, "rows": rows})
    assert text.count("ID average, NMTune over LP: +10.00 ± 0.00") == 2
    assert text.index("100% of the data") < text.index("10% of the data", text.index("100% of the data") + 5)
