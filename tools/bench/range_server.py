"""A light server of a folder on the loopback address, with ranges, ETags, index pages, added latency, and faults.

    with RangeServer(folder, latency=0.1) as server:
        ... server.url ... server.requests ...

It runs in a thread of its own, without one a connection, so that it takes little of the processor.
"""

import asyncio
import html
import os
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path
from typing import Self
from urllib.parse import quote, unquote

PIECE = 1 << 18  # bytes written at once


@dataclass
class Request:
    """What was asked for."""

    method: str
    target: str  # path and query as they came
    headers: dict[str, str]  # names in lower case
    body: bytes = b""

    @property
    def path(self) -> str:
        return unquote(self.target.partition("?")[0])


@dataclass
class Answer:
    """What is answered. Of `content`, a file's bytes from `start` to `stop` are sent, and after `breaks_after` bytes
    the connection is closed."""

    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes | Path = b""
    start: int = 0
    stop: int | None = None
    breaks_after: int | None = None


class RangeServer:
    """Serves the files below `root`. `fault` may answer in its place, or change the answer."""

    def __init__(self, root: Path, latency: float = 0.0):
        self.root, self.latency = root, latency
        self.requests: list[Request] = []
        self.bytes_sent = 0
        self.fault: Callable[[Request, Answer], Answer | None] = lambda request, answer: None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        start = asyncio.start_server(self._serve, "127.0.0.1", 0, limit=1 << 20)
        self._server = asyncio.run_coroutine_threadsafe(start, self._loop).result()
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(5)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    async def _end(self) -> None:
        self._server.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                first, *lines = head.decode("latin-1").split("\r\n")
                method, target, _ = first.split(" ", 2)
                headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                body = await reader.readexactly(int(headers.get("content-length", 0)))
                if self.latency:
                    await asyncio.sleep(self.latency)
                request = Request(method, target, headers, body)
                self.requests.append(request)
                answer = self.answer(request)
                if not await self._send(writer, request, self.fault(request, answer) or answer):
                    break
        except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError, ValueError):
            pass
        finally:
            writer.close()

    async def _send(self, writer: asyncio.StreamWriter, request: Request, answer: Answer) -> bool:
        """Whether all was sent."""
        content = answer.content
        size = content.stat().st_size if isinstance(content, Path) else len(content)
        stop = size if answer.stop is None else answer.stop
        headers = {"Content-Length": str(stop - answer.start), **answer.headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"HTTP/1.1 {answer.status} -\r\n{lines}\r\n".encode())
        if request.method == "HEAD":
            await writer.drain()
            return True
        until = stop if answer.breaks_after is None else min(stop, answer.start + answer.breaks_after)
        if isinstance(content, Path):
            descriptor = os.open(content, os.O_RDONLY)
            try:
                for at in range(answer.start, until, PIECE):
                    writer.write(os.pread(descriptor, min(PIECE, until - at), at))
                    await writer.drain()
            finally:
                os.close(descriptor)
        else:
            writer.write(content[answer.start : until])
            await writer.drain()
        self.bytes_sent += until - answer.start
        return until == stop

    def answer(self, request: Request) -> Answer:
        """A file or a part of it, or the index of a folder."""
        path = self.root / request.path.lstrip("/")
        if path.is_dir():
            if not request.path.endswith("/"):
                return Answer(301, {"Location": quote(f"{request.path}/")})
            names = sorted(f"{one.name}/" if one.is_dir() else one.name for one in path.iterdir())
            page = "".join(f'<li><a href="{quote(name)}">{html.escape(name)}</a></li>\n' for name in names)
            return Answer(200, {"Content-Type": "text/html"}, f"<ul>\n{page}</ul>".encode())
        return self.file(request, path)

    def file(self, request: Request, path: Path) -> Answer:
        """A file, or the part of it that is asked for if it is still the one that is meant."""
        if not path.is_file():
            return Answer(404)
        status = path.stat()
        etag = f'"{status.st_mtime_ns:x}-{status.st_size:x}"'
        headers = {
            "ETag": etag,
            "Accept-Ranges": "bytes",
            "Content-Type": "application/octet-stream",
            "Last-Modified": formatdate(status.st_mtime, usegmt=True),
        }
        if request.headers.get("if-match", etag) != etag:
            return Answer(412)
        if found := re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", "")):
            start, last = int(found[1]), int(found[2] or status.st_size - 1)
            if start >= status.st_size:
                return Answer(416)
            stop = min(last + 1, status.st_size)
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{status.st_size}"
            return Answer(206, headers, path, start, stop)
        return Answer(200, headers, path)
