import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from fastpt.storage import stores
from fastpt.storage.stores import Stores


def in_a_fork(work) -> None:
    child = os.fork()
    if not child:
        work()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0


def test_what_a_forked_process_found_is_known_to_all_until_it_is_old_or_dropped(monkeypatch):
    known = Stores()
    known.share()
    known.add("a", "at a")
    in_a_fork(lambda: known.add("b", "at b"))
    in_a_fork(lambda: known.add("a", f"at {known.get('b')}"))
    assert (known.get("a"), known.get("b"), known.get("c")) == ("at at b", "at b", None)
    known.drop("a")
    assert (known.get("a"), known.get("b")) == (None, "at b")
    monkeypatch.setattr(stores, "SECONDS", 0)
    assert known.get("b") is None


def test_begun_anew_nothing_is_known():
    known = Stores()
    known.share()
    known.add("a", "at a")
    known.share()
    assert known.get("a") is None


def add(known: Stores, one: int, i: int) -> None:
    known.add(f"{one} {i}", "x" * (1 + i))
    known.get("")


def test_a_thread_that_reads_while_another_begins_anew_only_knows_nothing():
    known = Stores()
    known.share()
    known._file.close()  # as `share` does before it has another
    known.add("a", "at a")
    assert (known.get("a"), known.get("b")) == ("at a", None)


def test_many_processes_and_threads_at_once_lose_nothing():
    known = Stores()
    known.share()
    children = []
    for one in range(8):
        children.append(os.fork())
        if not children[-1]:
            with ThreadPoolExecutor(4) as threads:
                list(threads.map(partial(add, known, one), range(200)))
            os._exit(0)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 8
    assert all(known.get(f"{one} {i}") == "x" * (1 + i) for one in range(8) for i in range(200))


def test_a_disk_without_room_costs_only_what_is_shared(monkeypatch):
    known = Stores()
    known.share()
    known._file.close()
    with Path("/dev/full").open("r+b", buffering=0) as known._file:
        known.add("a", "at a")
        assert known._known["a"][0] == "at a"


@pytest.mark.parametrize("limit", ["MOST", "LARGEST"])
def test_what_is_kept_has_bounds(monkeypatch, limit):
    monkeypatch.setattr(stores, limit, 100)
    known = Stores()
    known.share()
    file = known._file
    for i in range(1000):
        known.add(str(i), f"at {i}")
        assert known.get(str(i)) == f"at {i}"
    assert len(known._known) <= (1000 if limit == "LARGEST" else 100)
    assert os.fstat(file.fileno()).st_size < 10_000
