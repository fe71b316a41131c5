import threading
import time
from functools import partial

import pytest

from datasets_prep.ahead import FEWEST, MOST, read_ahead


def test_what_is_read_ahead_comes_in_its_order_and_raises_where_it_raised():
    def read(i: int) -> bytes:
        time.sleep(0.002 * (i % 3))
        if i == 7:
            raise OSError("broken")
        return bytes([i])

    for i, one in enumerate(read_ahead(partial(read, i) for i in range(30))):
        if i == 7:
            with pytest.raises(OSError, match="broken"):
                one()
        else:
            assert one() == bytes([i])


def test_twice_as_many_are_read_each_time_that_one_is_waited_for_and_fewer_while_none_is():
    begun, come = [], threading.Event()

    def read() -> bytes:
        begun.append(0)
        come.wait(10)
        return b""

    ahead = read_ahead(read for _ in range(1000))
    for taken, most in ((1, 2 * FEWEST), (2, MOST), (3, MOST)):  # what is taken is on its way no longer
        next(ahead)
        wait_until(lambda of=taken - 1 + most: len(begun) >= min(of, MOST))  # by a thread each
    come.set()
    for _ in range(300):
        next(ahead)()
        time.sleep(0.001)  # as long as it is worked on
    assert len(begun) < 303 + MOST
    ahead.close()


def wait_until(holds) -> None:
    end = time.monotonic() + 5
    while not holds() and time.monotonic() < end:
        time.sleep(0.001)
    assert holds()


def test_what_nobody_waits_for_is_not_read():
    begun = []
    ahead = read_ahead(partial(begun.append, i) for i in range(1000))
    next(ahead)()
    ahead.close()
    assert len(begun) < 2 * MOST
