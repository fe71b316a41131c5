"""Bytes and listings over a network, by HTTP and fsspec: ranges, tried again where they broke, and errors in a line.

Asynchronous file systems do not survive a fork: fsspec makes another one in each process, and nothing here is kept from
before a fork.
"""

import logging
import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Literal

from fastpt.errors import FastptError
from fastpt.storage import web
from fastpt.storage.address import CREDENTIALS
from fastpt.storage.names import normalised
from fastpt.storage.opened import Stamp, changed, gone
from fastpt.storage.stores import Stores

if TYPE_CHECKING:
    from fastpt.storage.address import RemotePath

log = logging.getLogger("fastpt.storage")

WAITS = (0.1, 0.5, 2.0, 5.0, 10.0)  # seconds before a transfer that gave nothing is tried again
LONG_WAIT = 12.0  # seconds, more than any of these: the server asked for it
LOOKED_UP = 32  # files whose stamp is asked for at once
PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "hf": "huggingface_hub", "https": "urllib3", "http": "urllib3"}


def revision_of(path: "RemotePath", dataset: str, revision: str | None) -> str:
    """The commit that a revision of a dataset on the hub is now."""

    def asked() -> str:
        from huggingface_hub import HfApi

        return str(HfApi().repo_info(dataset, repo_type="dataset", revision=revision).sha)

    with _explained(path):
        return _tried(path, asked)


# --- listings -----------------------------------------------------------------------------------------------------


_WAITS = Stores()  # by server, until when it is not to be asked
_FOUND: dict["RemotePath", "Stamp | Literal['folder'] | None"] = {}
_LINKED: dict["RemotePath", list[str] | None] = {}


def forget() -> None:
    """Forget what was found at addresses: what is listed next is listed anew."""
    _FOUND.clear()
    _LINKED.clear()
    web.STORES.share()
    _WAITS.share()


def look_up(path: "RemotePath") -> "Stamp | Literal['folder'] | None":
    """What stands at an address: a file by its stamp, a folder, or nothing. It is asked for once, until `forget`."""
    if path not in _FOUND:
        with _explained(path):
            _FOUND[path] = _look_up(path)
    return _FOUND[path]


def _look_up(path: "RemotePath") -> "Stamp | Literal['folder'] | None":
    web_server = path.scheme.startswith("http")
    try:
        info = _tried(path, lambda: _describe(path) if web_server else _file_system(path).info(_inside(path)))
    except FileNotFoundError:
        info = {"type": "absent"}
    if web_server and info.get("mimetype") in (None, "text/html") and _linked(path):
        return "folder"  # a page that links to what lies below it
    return {"absent": None, "directory": "folder"}.get(info["type"]) if info["type"] != "file" else _stamp(path, info)


def _describe(path: "RemotePath") -> dict[str, Any]:
    found = web.describe(web.web_target(path.url))
    return {**found, "type": "file", "mimetype": found["type"]}


def _linked(path: "RemotePath") -> list[str] | None:
    """The names that the page of a folder links to, below its own address, those of folders with a `/` behind; None if
    nothing is there."""
    if path not in _LINKED:
        url, mark, query = path.url.partition("?")
        try:
            _LINKED[path] = _tried(path, lambda: web.links(web.web_target(f"{url}/{mark}{query}")))
        except FileNotFoundError:
            _LINKED[path] = None
    return _LINKED[path]


def _files(path: "RemotePath") -> list[str]:
    """The names of all files that pages link to, from that of a folder on."""
    files: dict[str, None] = {}  # in their order
    folders, seen = [""], {""}
    with ThreadPoolExecutor(LOOKED_UP, thread_name_prefix="fastpt-transfer") as threads:
        while folders:
            names = []
            pages = threads.map(_linked, [path / folder for folder in folders])
            for folder, links in zip(folders, pages, strict=True):
                if links is None and folder:
                    raise FastptError(f"{path / folder} is linked to, and is not there. Name the files one by one.")
                names += [folder + name for name in links or ()]
            files |= dict.fromkeys(name for name in names if not name.endswith("/"))
            folders = [name for name in dict.fromkeys(names) if name.endswith("/") and name not in seen]
            seen.update(folders)
    return list(files)


def find(path: "RemotePath") -> Iterator[tuple[str, Stamp]]:
    """The names of all files below an address, with `/` between folders, and the stamp of each."""
    with _explained(path):
        if path.scheme.startswith("http"):
            names = _files(path)
            with ThreadPoolExecutor(LOOKED_UP, thread_name_prefix="fastpt-transfer") as threads:
                stamps = list(threads.map(look_up, [path / name for name in names]))
            for name, found in zip(names, stamps, strict=True):
                if not isinstance(found, tuple):
                    raise FastptError(f"{path / name} is linked to, and is no file. Name the files one by one.")
                yield name, found
            return
        system = _file_system(path)
        root = _inside(path).rstrip("/")
        for full, info in _tried(path, lambda: system.find(root, detail=True)).items():
            name = full[len(root) :].lstrip("/")
            if info["type"] == "file" and name:
                stamp = _stamp(path, info)
                if name == normalised(name):
                    _FOUND[path / name] = stamp
                yield name, stamp


def _stamp(path: "RemotePath", info: dict[str, Any]) -> Stamp:
    """Length and version: the ETag, or what stands for one."""
    lfs = info.get("lfs") or {}
    content = lfs.get("sha256") if isinstance(lfs, dict) else lfs.sha256
    keys = ("ETag", "etag", "md5Hash", "blob_id", "Last-Modified")
    version = str(content or next(filter(None, map(info.get, keys)), ""))
    size = str(info.get("size"))
    if not size.isdecimal():
        raise FastptError(f"{path} has no length that the server tells. Fetch it first.")
    return int(size), version if version.startswith("W/") else version.strip('"')


# --- bytes --------------------------------------------------------------------------------------------------------


def fetch(path: "RemotePath", stamp: Stamp, start: int, end: int) -> bytes:
    """The bytes from `start` to `end` of the file that was listed with this stamp.

    A transfer that breaks goes on where it broke, after a wait of WAITS, each of which has to bring something, or as
    long as the server says. Raises FastptError for what cannot be had, and for a file that is another one by now.
    """
    parts: list[bytes] = []
    had, broke = 0, 0
    while had < end - start:
        why, wait = "it ended early", 0.0
        try:
            with _explained(path, listed=stamp):
                _transfer(path, stamp, parts, start + had, end)
        except _BrokenError as error:
            why, wait = str(error), error.wait
        before, had = had, sum(map(len, parts))
        if had > end - start:
            raise FastptError(f"{path}: the server sends more than was asked for. Fetch it first.")
        if had == end - start:
            break
        broke = 0 if had > before else broke + 1
        if broke > len(WAITS):
            raise _unreachable(path, why, broke)
        if broke:
            _wait(path, why, max(WAITS[broke - 1], wait))
    return b"".join(parts)  # of one part that is itself


def _transfer(path: "RemotePath", stamp: Stamp, parts: list[bytes], start: int, end: int) -> None:
    """Add the bytes from `start` to `end` to the parts, as many as come before something breaks."""
    size, version = stamp[0], str(stamp[1])
    if path.scheme in ("http", "https"):
        web.add_range(web.web_target(path.url), size, version, parts, start, end)
    elif path.scheme == "s3":
        web.add_range(web.bucket_target(_file_system(path), _inside(path)), size, version, parts, start, end)
    elif path.scheme == "hf":
        web.add_range(web.hub_target(path), size, "", parts, start, end)  # a commit's files stay what they are
    else:
        parts.append(_file_system(path).cat_file(_inside(path), start=start, end=end))


# --- file systems -------------------------------------------------------------------------------------------------


def _file_system(path: "RemotePath") -> Any:
    """fsspec's file system for an address. Raises FastptError if its package is not installed."""
    return _made_file_system(os.getpid(), path.scheme)


@lru_cache(maxsize=16)
def _made_file_system(process: int, scheme: str) -> Any:
    import fsspec

    if scheme == "hf":
        from huggingface_hub import HfFileSystem

        return HfFileSystem(skip_instance_cache=True, use_listings_cache=False)
    if scheme == "s3":
        config = {"connect_timeout": web.CONNECT_SECONDS, "read_timeout": web.READ_SECONDS}
        return fsspec.filesystem("s3", config_kwargs=config, use_listings_cache=False)
    return fsspec.filesystem("gs", use_listings_cache=False)


def _inside(path: "RemotePath") -> str:
    """An address as its file system takes it."""
    return str(path).partition("://")[2]


# --- errors -------------------------------------------------------------------------------------------------------


class _BrokenError(Exception):
    """A transfer that may succeed if it is tried again; the message says how it broke, and the server may say when."""

    def __init__(self, how: str, wait: float = 0.0):
        super().__init__(how)
        self.wait = wait  # seconds


def _tried(path: "RemotePath", work: Any) -> Any:
    """What a request gives, tried again where it breaks. Raises what it raises, and FastptError."""
    for number in range(len(WAITS) + 1):
        try:
            with _explained(path, absent_is_error=False):
                return work()
        except _BrokenError as error:
            if number == len(WAITS):
                raise _unreachable(path, str(error), number + 1) from None
            _wait(path, str(error), max(WAITS[number], error.wait))
    raise AssertionError


def _wait(path: "RemotePath", why: str, seconds: float) -> None:
    """Wait before something is tried again. A wait that people notice is told, once for all who wait for a server."""
    server, now = f"{path.scheme}://{path.parts[1]}", time.monotonic()
    if seconds >= LONG_WAIT and float(_WAITS.get(server) or 0) <= now:
        _WAITS.add(server, str(now + seconds))
        log.warning("%s: %s, and says to wait %.0f s. The work goes on then.", server, why, seconds)
    time.sleep(seconds)


def _unreachable(path: "RemotePath", why: str, times: int) -> FastptError:
    return FastptError(
        f"{path} could not be read, {times} times in a row ({why}). Check the network; the same command goes on where "
        "it stopped."
    )


@contextmanager
def _explained(path: "RemotePath", listed: Stamp | None = None, absent_is_error: bool = True) -> Iterator[None]:
    """Errors of a request as FastptError, without a word of what may hold a password; `_BrokenError` for those that
    are worth another try. With `absent_is_error=False` what is not there raises FileNotFoundError."""
    try:
        yield
    except (FastptError, _BrokenError):
        raise
    except Exception as error:
        raise _reason(error, path, listed, absent_is_error) from None


def _reason(error: Exception, path: "RemotePath", listed: Stamp | None, absent_is_error: bool) -> Exception:
    status, names = _status(error), {kind.__name__ for kind in type(error).__mro__}
    if isinstance(error, ImportError):
        return FastptError(
            f"{path.scheme}:// wants the package {PACKAGES[path.scheme]}, which is not installed. "
            f"pip install 'fastpt[remote]'{' gcsfs' if path.scheme == 'gs' else ''}"
        )
    if isinstance(error, web.NoRangesError):
        return FastptError(f"{path}: the server sends whole files only, and no ranges of them. Fetch it first.")
    if "GatedRepoError" in names or getattr(error, "code", "") == "GatedRepo":
        page = f"https://huggingface.co/{'/'.join(path.parts[1:4]).partition('@')[0]}"
        return FastptError(f"{path} is gated. Accept its terms at {page}, then `hf auth login` (or set HF_TOKEN).")
    if names & {"NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError"}:
        return FastptError(f"{path}: there are no credentials. {CREDENTIALS[path.scheme]}.")
    if status in (401, 403) or isinstance(error, PermissionError):
        return FastptError(f"{path} may not be read ({status or 403}). {CREDENTIALS[path.scheme]}.")
    if status in (404, 410) or isinstance(error, FileNotFoundError):
        if listed:
            return gone(path)
        if not absent_is_error:
            return FileNotFoundError(str(path))
        return FastptError(f"{path} does not exist ({status or 404}). Check the address.")
    if status in (412, 416) and listed:
        _FOUND.pop(path, None)
        now = look_up(path)
        return changed(path, listed, now) if isinstance(now, tuple) else gone(path)
    if status and 400 <= status < 500 and status not in (408, 425, 429):
        return FastptError(f"{path} cannot be read: the server answers {status}. Check the address.")
    if isinstance(error, ValueError | TypeError | AttributeError | LookupError) and not status:
        return FastptError(f"{path} cannot be read ({type(error).__name__}). Check the address.")
    return _BrokenError(f"the server answers {status}" if status else _words(error), getattr(error, "wait", 0.0))


def _status(error: BaseException | None) -> int | None:
    """The HTTP status that an error, or what caused it, is of."""
    while error is not None:
        response = getattr(error, "response", None)
        found = getattr(error, "status", None) or getattr(response, "status_code", None)
        if isinstance(response, dict):
            found = response.get("ResponseMetadata", {}).get("HTTPStatusCode")
        if isinstance(found, int):
            return found
        error = error.__cause__ or error.__context__
    return None


def _words(error: Exception) -> str:
    """How a connection failed, in words that hold no address."""
    error = getattr(error, "reason", None) or error  # urllib3's
    if "Timeout" in type(error).__name__:
        return "no answer in time"
    return "no connection" if "Connect" in type(error).__name__ else "the connection broke"
