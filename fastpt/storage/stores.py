"""What servers said a while ago: where they redirect to, and until when they are not to be asked.

A hub counts what it is asked to redirect, and each range of a file is such a request.

What one process found is known to all that are forked from the same one, through a file without a name that they
inherit: a shard is a process, and in random order each touches every file of a source.
"""

import json
import os
import tempfile
import time
from contextlib import suppress
from typing import IO

SECONDS = 600  # for which it is believed; signed addresses hold longer
MOST = 4096  # addresses; where there are more, files are not of many pictures each, and nothing is gained
LARGEST = 256 << 20  # bytes of what is shared


class Stores:
    """By address, what it said a while ago. Both may hold what is secret, and go to no file with a name.

    Threads need no lock: each line that is taken in says all of an address, and may be taken in twice.
    """

    def __init__(self):
        self._known: dict[str, tuple[str, float]] = {}
        self._file: IO[bytes] | None = None
        self._read = 0, b""  # bytes of the file, and what of them is no whole line

    def share(self) -> None:
        """Begin anew, together with the processes that are forked from now on."""
        if self._file:
            self._file.close()
        self._known, self._file, self._read = {}, None, (0, b"")
        with suppress(OSError):  # without one, each process finds out by itself
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115

    def get(self, address: str) -> str | None:
        self._catch_up()
        store, since = self._known.get(address, ("", 0.0))
        return store if store and time.monotonic() - since < SECONDS else None

    def add(self, address: str, store: str) -> None:
        if len(self._known) >= MOST:
            self._known, self._file = {}, None
        now = time.monotonic()  # of the machine, so of the other processes too
        self._known[address] = store, now
        if (file := self._file) and self._read[0] < LARGEST:
            with suppress(OSError, ValueError):  # a full disk; another thread that begins anew
                file.write(json.dumps([address, store, now]).encode() + b"\n")  # at the end, which all share

    def drop(self, address: str) -> None:
        self._known.pop(address, None)

    def _catch_up(self) -> None:
        """Take in what other processes have added."""
        while file := self._file:
            at, rest = self._read
            try:
                part = os.pread(file.fileno(), 1 << 20, at)
            except ValueError:  # another thread begins anew
                return
            if not part:
                return
            *lines, rest = (rest + part).split(b"\n")
            for line in lines:
                with suppress(ValueError):  # cut where the disk was full
                    address, store, since = json.loads(line)
                    if since > self._known.get(address, ("", 0.0))[1]:
                        self._known[address] = store, since
            self._read = at + len(part), rest
