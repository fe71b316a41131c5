"""Processes that list: their order, their faults, and that none outlives who started it."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from datasets_prep.parallel import map_in_processes
from fastpt.errors import DamagedData, FastptError
from tests.datasets_prep.test_convert import _wait_until_no_worker_is_left

PATHS = [Path(f"{i}.tar") for i in range(7)]


@pytest.mark.parametrize("workers", [1, 2, 7, 20])
def test_results_come_in_the_order_of_the_paths(workers):
    assert map_in_processes(lambda path: path.stem * 100_000, PATHS, workers) == [str(i) * 100_000 for i in range(7)]


def test_nothing_to_list_is_nothing():
    assert map_in_processes(len, [], 4) == []


@pytest.mark.parametrize("workers", [1, 3])
def test_a_fault_is_raised_as_it_was(workers):
    def work(path: Path) -> None:
        if path.stem == "4":
            raise DamagedData("4.tar is damaged")

    with pytest.raises(DamagedData, match=r"4\.tar is damaged"):
        map_in_processes(work, PATHS, workers)


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_process_is_one_line_that_names_its_file(signal_number):
    def work(path: Path) -> None:
        if path.stem == "4":
            os.kill(os.getpid(), signal_number)

    with pytest.raises(FastptError, match=r"the process that listed 4\.tar was killed"):
        map_in_processes(work, PATHS, 3)


LISTING = """
import sys, time
from pathlib import Path
from datasets_prep.parallel import map_in_processes

def work(path):
    path.touch()
    time.sleep(60)

try:
    map_in_processes(work, [Path(sys.argv[1]) / str(i) for i in range(3)], 3)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.parametrize("signal_number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_processes_that_list_end_with_their_parent(tmp_path, signal_number):
    job = subprocess.Popen([sys.executable, "-c", LISTING, str(tmp_path)], start_new_session=True)
    while len(list(tmp_path.iterdir())) < 3:
        assert job.poll() is None, "the job ended before it could be stopped"
        time.sleep(0.01)
    job.send_signal(signal_number)
    assert job.wait(10) == (130 if signal_number == signal.SIGINT else -signal_number)
    _wait_until_no_worker_is_left(job.pid)
