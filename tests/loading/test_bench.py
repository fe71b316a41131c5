import json
import sys
from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner

from fastpt.cli import main
from fastpt.loading.bench import DecoderRate, Report, judge


def report(cpu: float, threads: int = 4, cores: int = 8, smaller: dict[int, float] | None = None) -> Report:
    decoders = [
        DecoderRate("cpu", "cpu", cpu),
        DecoderRate("dali", "cpu", missing="no DALI"),
        DecoderRate("synthetic", "cpu", 9000.0),
    ]
    return Report("split", 100, 224, 64, threads, cores, "kernel", 3000.0, decoders, smaller or {})


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


def test_a_decoder_on_a_gpu_is_advised_where_none_was_measured():
    slow = report(1000.0)
    assert judge(slow, 9000.0)[-1] == "or decode on a GPU: decoder dali with device cuda"
    on_gpu = replace(slow, decoders=[*slow.decoders, DecoderRate("dali", "cuda", 2000.0)])
    assert "dali on GPU: 0.22x of what the model takes: DATA-BOUND" in judge(on_gpu, 9000.0)
    assert not any(line.startswith("or decode on a GPU") for line in judge(on_gpu, 9000.0))


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
    monkeypatch.setitem(sys.modules, "nvidia.dali", None)
    monkeypatch.delitem(sys.modules, "nvidia.dali.plugin.pytorch", raising=False)
    result = bench(split)
    assert result.exit_code == 0, result.output
    assert "dali         cannot be had: decoder dali needs NVIDIA DALI" in result.output
    assert "synthetic" in result.output


def test_bench_of_no_prepared_split_is_an_error_in_a_line(tmp_path):
    result = CliRunner().invoke(main, ["bench", str(tmp_path / "none")])
    assert result.exit_code == 1
    assert "does not exist" in result.output
    assert "Traceback" not in result.output
