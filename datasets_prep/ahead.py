"""Reading ahead of what is worked on, from where a picture takes longer to come than to be encoded."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

FEWEST, MOST = 4, 64  # pictures on their way: at 100 ms each, the most are more than a processor encodes meanwhile


def read_ahead(reads: Iterable[Callable[[], bytes]]) -> Generator[Callable[[], bytes], None, None]:
    """For each of `reads`, in order, what returns or raises what it does; the next ones are being read by threads.

    As long as one has to be waited for, there are more of them each time.
    """
    reads = iter(reads)
    with ThreadPoolExecutor(MOST, thread_name_prefix="fastpt-ahead") as threads:
        try:
            started = deque(threads.submit(read) for read in islice(reads, FEWEST))
            while started:
                first = started.popleft()
                more = 1 if first.done() or len(started) >= MOST else 2
                yield first.result
                started.extend(threads.submit(read) for read in islice(reads, more))
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
