import platform
from concurrent.futures import ThreadPoolExecutor

import pytest

from fastpt.cli.prep import prep
from fastpt.data import verify
from fastpt.processes import cores, cpu_kind


@pytest.fixture
def three_of_many_cores(monkeypatch):
    """This process may use three cores of a machine that has more."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {1, 4, 7})
    monkeypatch.setattr("os.cpu_count", lambda: 96)


@pytest.mark.usefixtures("three_of_many_cores")
def test_cores_are_those_that_this_process_may_use():
    assert cores() == 3


@pytest.mark.usefixtures("three_of_many_cores")
def test_prep_starts_a_process_for_each_core():
    context = prep.make_context("prep", ["demo"])
    assert context.params["workers"] == 3


@pytest.mark.usefixtures("three_of_many_cores")
def test_the_deep_check_starts_a_thread_for_each_core(labelled, monkeypatch):
    started = []
    monkeypatch.setattr(
        verify, "ThreadPoolExecutor", lambda threads: started.append(threads) or ThreadPoolExecutor(threads)
    )
    assert verify.verify_deep(labelled.path, lambda *_: None) == []
    assert started == [3]


def test_a_cpu_is_called_by_its_model_and_widest_instructions(tmp_path):
    told = tmp_path / "cpuinfo"
    told.write_text(
        "processor\t: 0\nmodel name\t: AMD EPYC\nflags\t\t: avx2 avx512f avx512_bf16\n\nmodel name\t: another\n"
    )
    assert cpu_kind(told) == "AMD EPYC, avx512_bf16"
    told.write_text("processor: 0\nmodel name: Intel Xeon\nflags: avx2 avx512f avx512_bf16 amx_bf16\n")
    assert cpu_kind(told) == "Intel Xeon, amx_bf16"
    assert cpu_kind(tmp_path / "none") == platform.machine()
