"""The report as a page on this machine that follows runs under way: made anew when a run has changed.

It has no script: the browser is told by a header to ask again. Only this machine may ask, and only for the page.
"""

import contextlib
import html
from collections.abc import Callable, Iterable, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock

from fastpt.errors import FastptError
from fastpt.printable import printable
from fastpt.report.page import write_report
from fastpt.runs import read_runs
from fastpt.runs.folder import CHECKPOINTS, TENSORBOARD, is_run

HOST = "127.0.0.1"
NAMES = (HOST, "localhost")  # by which a browser here may call it; another name is a foreign page's, led here
ASK_AGAIN = 10  # seconds
UNREAD = {CHECKPOINTS, TENSORBOARD}  # of a run, what no page shows


class Report:
    """The page of some runs in the file `out`, as new as they are."""

    def __init__(self, paths: Iterable[Path], out: Path, files: bool):
        self._paths, self._out, self._files = list(paths), out, files
        self._lock, self._shown, self._page = Lock(), None, b""

    def page(self) -> bytes:
        """HTML; what is wrong, where there is no page to be made. Safe to call from many threads."""
        with self._lock:
            try:
                runs = runs_at(self._paths)
                if (found := state(runs)) != self._shown:
                    write_report(read_runs(runs), self._out, self._files)
                    self._page, self._shown = self._out.read_bytes(), found
            except (FastptError, OSError) as error:  # also of a run that is deleted while it is read
                told = html.escape(printable(str(error)))
                self._page = f"<!doctype html><meta charset=utf-8><title>fastpt</title><p>{told}".encode()
                self._shown = None
            return self._page


def runs_at(paths: Iterable[Path]) -> list[Path]:
    """The runs among `paths`, and those inside folders that are none, in order of name; other paths as they are."""
    found: list[Path] = []
    for path in paths:
        inside = [] if is_run(path) or not path.is_dir() else sorted(child for child in path.iterdir() if is_run(child))
        found += inside or [path]
    return found


def state(runs: Iterable[Path]) -> list[tuple[str, int, int]]:
    """Name, bytes and time of change of each file of the runs that a page may show."""
    found = []
    for run in runs:
        for top in sorted(run.glob("*")) if run.is_dir() else ():
            for file in sorted(top.rglob("*")) if top.is_dir() and top.name not in UNREAD else [top]:
                try:
                    status = file.stat()
                except FileNotFoundError:  # replaced meanwhile
                    continue
                if file.is_file():
                    found.append((str(file), status.st_size, status.st_mtime_ns))
    return found


def server(report: Report, port: int) -> ThreadingHTTPServer:
    """The server of the page, listening on this machine's own address; a free port for 0.

    Raises FastptError if the port is taken.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.headers.get("Host", "").rpartition(":")[0] not in NAMES:
                self.send_error(HTTPStatus.FORBIDDEN)
            elif self.path != "/":
                self.send_error(HTTPStatus.NOT_FOUND)
            else:
                page = report.page()
                self.send_response(HTTPStatus.OK)
                self.send_header("Content-Type", "text/html; charset=utf-8")
                self.send_header("Content-Length", str(len(page)))
                self.send_header("Cache-Control", "no-store")
                self.send_header("Refresh", str(ASK_AGAIN))
                self.end_headers()
                self.wfile.write(page)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the terminal is the user's."""

    try:
        return ThreadingHTTPServer((HOST, port), Handler)
    except OSError as error:
        raise FastptError(f"port {port} cannot be listened on: {error.strerror}. Give another --port.") from None


def serve(paths: Sequence[Path], out: Path, files: bool, port: int, say: Callable[[str], None]) -> None:
    """Serve until Ctrl-C. `say` is told the address, and which paths are not there yet."""
    for path in paths:
        if not path.exists():
            say(f"report: {path} is not there yet; the page shows it once it is")
    report = Report(paths, out, files)
    report.page()
    with server(report, port) as listening, contextlib.suppress(KeyboardInterrupt):
        say(f"report: http://{HOST}:{listening.server_port}/ shows {out} as runs change; Ctrl-C ends it")
        listening.serve_forever()
