import json
import sys

import pytest
import torch
from click.testing import CliRunner

from fastpt.cli import main
from fastpt.loading.bench import judge


def report(ffcv: float, threads: int = 4, cores: int = 8, smaller: dict | None = None) -> dict:
    decoders = {"cpu": {"rate": ffcv}, "dali": {"missing": "no DALI"}, "synthetic": {"rate": 9000.0}}
    return {"threads": threads, "cores": cores, "decoders": decoders, "smaller": smaller or {}}


def test_a_model_that_is_slower_than_the_loader_is_the_limit_and_spare_threads_are_told():
    assert judge(report(4000.0), 1000.0) == [
        "cpu: 4.00x of what the model takes: the model is the limit",
        "2 of 4 threads would do for decoder cpu",
    ]


def test_a_model_that_is_faster_is_data_bound_and_more_threads_are_advised():
    lines = judge(report(1000.0), 1500.0)
    assert lines[0] == "cpu: 0.67x of what the model takes: DATA-BOUND"
    assert "use 8 threads" in lines


def test_without_the_cores_smaller_pictures_are_advised_if_they_help_enough():
    smaller = {400: 1.4, 320: 2.0, 256: 3.0}
    lines = judge(report(1000.0, threads=8, smaller=smaller), 1500.0)
    assert "about 15 cores would be needed; this process may use 8" in lines
    assert "or prepare with --max-side 320: about 2.0x faster" in lines
    assert not any("max-side" in line for line in judge(report(1000.0, threads=8, smaller=smaller), 9000.0))


def test_a_loader_that_just_keeps_up_is_told_as_such():
    assert "barely enough" in judge(report(1000.0), 900.0)[0]


def bench(split, *options):
    return CliRunner().invoke(main, ["bench", str(split.path), "--seconds", "0.05", "--size", "16", *options])


def test_bench_measures_every_decoder_against_full_decoding(split):
    result = bench(split, "--json", "--model-rate", "0.001")
    assert result.exit_code == 0, result.output
    document = json.loads(result.output)
    assert document["samples"] == len(split)
    assert set(document["decoders"]) == {"cpu", "dali", "synthetic", *["dali on GPU"] * torch.cuda.is_available()}
    for found in document["decoders"].values():
        assert found["of_full_decode"] == pytest.approx(found["rate"] / document["full_decode"])
    assert "the model is the limit" in document["advice"][0]


def test_bench_goes_on_where_dali_is_missing(split, monkeypatch):
    monkeypatch.setitem(sys.modules, "fastpt.loading.decoders.dali", None)
    result = bench(split)
    assert result.exit_code == 0, result.output
    assert "dali         cannot be had" in result.output
    assert "synthetic" in result.output


def test_bench_of_no_prepared_split_is_an_error_in_a_line(tmp_path):
    result = CliRunner().invoke(main, ["bench", str(tmp_path / "none")])
    assert result.exit_code == 1
    assert "does not exist" in result.output
    assert "Traceback" not in result.output
