"""Reading ahead of what is worked on, from where a picture takes longer to come than to be encoded."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

AHEAD = 64  # pictures on their way: at 100 ms each, more than a processor encodes meanwhile


def read_ahead(reads: Iterable[Callable[[], bytes]]) -> Generator[Callable[[], bytes], None, None]:
    """For each of `reads`, in order, what returns or raises what it does; the next ones are being read by threads."""
    reads = iter(reads)
    with ThreadPoolExecutor(AHEAD, thread_name_prefix="fastpt-ahead") as threads:
        try:
            started = deque(threads.submit(read) for read in islice(reads, AHEAD))
            while started:
                yield started.popleft().result
                started.extend(threads.submit(read) for read in islice(reads, 1))
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
