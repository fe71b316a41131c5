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


def test_more_are_read_at_once_the_longer_they_take():
    at_once, most, lock = 0, 0, threading.Lock()

    def read(seconds: float) -> bytes:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(seconds)
        with lock:
            at_once -= 1
        return b""

    for one in read_ahead(partial(read, 0.02) for _ in range(400)):
        one()
    assert FEWEST < most <= MOST


def test_what_nobody_waits_for_is_not_read():
    begun = []
    ahead = read_ahead(partial(begun.append, i) for i in range(1000))
    next(ahead)()
    ahead.close()
    assert len(begun) < 2 * MOST
