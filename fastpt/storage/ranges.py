"""A file at an address, read by ranges."""

from collections import OrderedDict, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from threading import Lock

from fastpt.storage import transfer
from fastpt.storage.address import RemotePath
from fastpt.storage.opened import OpenedFile, Stamp

PIECE = 8 << 20  # bytes of a request at most
AT_ONCE = 8  # requests on their way
BLOCK = 4 << 20  # bytes that a walk asks for at once: less of a core than four requests for as much
FEWEST, MOST = 4, 8  # blocks on their way before a walk comes to them: at 100 ms each, the most are 2.7 Gbit/s
BEHIND = 2  # blocks that are kept besides


class RemoteFile(OpenedFile):
    """A file at an address, as it was listed: what is read of it later is of the same, or an error."""

    def __init__(self, path: RemotePath, stamp: Stamp):
        self.path, self.stamp = path, stamp

    def pread(self, size: int, at: int) -> bytes:
        end = min(at + size, self.stamp[0])
        if end - at <= PIECE:
            return transfer.fetch(self.path, self.stamp, at, end)
        return b"".join(self.pieces(at, end))

    def pieces(self, start: int, end: int) -> Iterator[bytes]:
        """The bytes from `start` to `end`, piece by piece, with the next ones on their way."""
        cuts = iter(range(start, end, PIECE))
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="fastpt-transfer") as threads:

            def begin(count: int) -> list[Future[bytes]]:
                some = [(cut, min(cut + PIECE, end)) for cut in islice(cuts, count)]
                return [threads.submit(transfer.fetch, self.path, self.stamp, *one) for one in some]

            started = deque(begin(AT_ONCE))
            try:
                while started:
                    yield started.popleft().result()
                    started.extend(begin(1))
            finally:
                threads.shutdown(wait=False, cancel_futures=True)

    def close(self) -> None:
        pass  # connections are the file system's


class WalkedFile(RemoteFile):
    """The same for what goes through a file in small steps: read in blocks, the next ones ahead.

    Each time that a block has to be waited for, twice as many are on their way from then on. An archive without a table
    of contents is gone through once; that takes few requests, and all of its bytes.
    """

    def __init__(self, path: RemotePath, stamp: Stamp):
        super().__init__(path, stamp)
        self._blocks: OrderedDict[int, Future[bytes]] = OrderedDict()
        self._lock = Lock()
        self._ahead = FEWEST
        self._threads = ThreadPoolExecutor(MOST, thread_name_prefix="fastpt-transfer")

    def pread(self, size: int, at: int) -> bytes:
        end = min(at + size, self.stamp[0])
        if end <= at:
            return b""
        if end - at > BLOCK * BEHIND:
            return super().pread(size, at)
        first, last = at // BLOCK, (end - 1) // BLOCK
        with self._lock:
            goes_on = first == 0 or first - 1 in self._blocks or first in self._blocks
            blocks = [self._block(number) for number in range(first, last + 1)]
            if goes_on and not blocks[-1].done():
                self._ahead = min(2 * self._ahead, MOST)
            for number in range(last + 1, last + 1 + self._ahead) if goes_on else ():
                self._block(number)
            for number in list(self._blocks)[: max(0, len(self._blocks) - self._ahead - BEHIND)]:
                self._blocks.pop(number).cancel()
        content = blocks[0].result() if first == last else b"".join(block.result() for block in blocks)
        return content[at - first * BLOCK : end - first * BLOCK]

    def _block(self, number: int) -> Future[bytes]:
        start, size = number * BLOCK, self.stamp[0]
        if number not in self._blocks and start < size:
            self._blocks[number] = self._threads.submit(
                transfer.fetch, self.path, self.stamp, start, min(start + BLOCK, size)
            )
        elif start < size:
            self._blocks.move_to_end(number)
        return self._blocks.get(number) or Future()

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._blocks.clear()
