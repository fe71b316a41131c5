"""Reading ahead of what is worked on, from where a picture takes longer to come than to be encoded."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

FEWEST, MOST = 16, 64  # pictures on their way: at 100 ms each, the most are more than a processor encodes meanwhile


def read_ahead(reads: Iterable[Callable[[], bytes]]) -> Generator[Callable[[], bytes], None, None]:
    """For each of `reads`, in order, what returns or raises what it does; the next ones are being read by threads.

    Each time that one has to be waited for, twice as many are ahead from then on; while half of those that are ahead
    have come, one fewer.
    """
    reads, ahead = iter(reads), FEWEST
    with ThreadPoolExecutor(MOST, thread_name_prefix="fastpt-ahead") as threads:
        try:
            started = deque(threads.submit(read) for read in islice(reads, ahead))
            while started:
                first = started.popleft()
                if not first.done():
                    ahead = min(2 * ahead, MOST)
                elif started and started[len(started) // 2].done():
                    ahead = max(ahead - 1, FEWEST)
                started.extend(threads.submit(read) for read in islice(reads, ahead - len(started)))
                yield first.result
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
