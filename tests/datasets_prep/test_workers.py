"""Hung workers, and Ray. Dead workers are in test_convert.py."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from datasets_prep import convert, workers
from datasets_prep.convert import prepare
from datasets_prep.listing import Found
from datasets_prep.shard import Options
from fastpt.errors import FastptError
from tests.conftest import made_up, picture, prepared
from tests.datasets_prep.test_convert import content


def test_a_worker_that_hangs_is_killed_and_its_shard_made_again(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "STALL_SECONDS", 3)  # a busy machine may let a healthy worker wait for 2
    marker = tmp_path / "hung"

    def hanging(i):
        if i == 7 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGSTOP)
        return picture(i)

    dataset = prepared(tmp_path / "data", made_up(20, read=hanging), workers=2, shard_samples=5)
    assert marker.exists()
    assert content(dataset.path) == content(prepared(tmp_path / "whole", made_up(20), shard_samples=5).path)


def test_a_picture_that_hangs_every_worker_fails_by_name(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "STALL_SECONDS", 0.2)

    def hanging(i):
        while i == 7:
            time.sleep(1)
        return picture(i)

    split = made_up(10, read=hanging)
    with pytest.raises(FastptError, match=r"train-00000\.beton; .* was busy for 0\.2 s at picture pictures/0007\.jpg"):
        prepared(tmp_path, split, order="source")


def test_a_shard_that_hangs_after_its_last_picture_is_not_blamed_on_a_picture(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "STALL_SECONDS", 2)
    monkeypatch.setattr(workers, "ATTEMPTS", 1)
    monkeypatch.setattr(convert.manifest, "file_entry", lambda path: time.sleep(60))
    with pytest.raises(FastptError, match=r"was busy for 2 s while it wrote the shard to disk"):
        prepared(tmp_path, made_up(3))


def test_a_slow_picture_is_no_hung_worker_while_others_are_done(tmp_path, monkeypatch):
    monkeypatch.setattr(workers, "STALL_SECONDS", 2)

    def slow(i):
        time.sleep(0.3)
        return picture(i)

    assert len(prepared(tmp_path, made_up(8, read=slow))) == 8


def test_a_fault_of_a_worker_is_raised_and_not_tried_again(tmp_path):
    calls = tmp_path / "calls"

    def faulty(i):
        with calls.open("a") as file:
            file.write("x")
        raise ZeroDivisionError("a bug")

    with pytest.raises(ZeroDivisionError, match="a bug"):
        prepared(tmp_path / "data", made_up(3, read=faulty))
    assert calls.read_text() == "x"


@pytest.mark.parametrize("workers", [1, 3])
def test_reading_alone_names_the_same_pictures_and_survives_a_killed_worker(tmp_path, monkeypatch, workers):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(convert, "FEW_SAMPLES", 6)
    marker = tmp_path / "died"

    def deadly(i):
        if i == 7 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return b"" if i in (3, 11) else picture(i)

    found, done = Found.only([made_up(20, read=deadly)]), []
    rejected = convert.read_all(found, Options(), workers, lambda *counts: done.append(counts))
    empty = "the file is empty"
    assert rejected == {"train": [("pictures/0003.jpg", empty), ("pictures/0011.jpg", empty)]}
    assert done[-1] == (20, 20)
    assert list(tmp_path.iterdir()) == [marker]


def test_ray_makes_the_same_bytes_and_lost_or_hung_tasks_are_made_again(tmp_path, monkeypatch):
    pytest.importorskip("ray")
    monkeypatch.setattr(workers, "STALL_SECONDS", 3)
    monkeypatch.chdir(tmp_path)  # paths may be relative, and Ray's workers have a folder of their own
    pictures, died, hung = [picture(i) for i in range(20)], tmp_path / "died", tmp_path / "hung"

    def unlucky(i):
        if i == 7 and not died.exists():
            died.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if i == 12 and not hung.exists():
            hung.touch()
            time.sleep(60)
        return pictures[i]

    found, options = Found.only([made_up(20, captions=True, read=unlucky)]), Options(shard_samples=5)
    ((there, _),) = prepare(found, Path("there"), "made-up", options, [], 2, 0.0, lambda *_: None, ray="local")
    assert died.exists()
    assert hung.exists()
    here = prepared(tmp_path / "here", made_up(20, captions=True), shard_samples=5)
    assert content(there.path) == content(here.path)


def test_ray_that_is_not_installed_is_told(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    job = prepare(Found.only([made_up(3)]), tmp_path, "made-up", Options(), [], 1, 0.0, lambda *_: None, ray="local")
    with pytest.raises(FastptError, match=r"pip install 'fastpt\[ray\]'"):
        next(job)
