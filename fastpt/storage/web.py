"""Ranges of files over HTTP, which every kind of address comes down to: a web server's, the hub's, a bucket's.

A bucket's file is asked for by an address that is signed for some minutes. Threads wait for these connections, which
costs half of what the asynchronous file systems of fsspec cost a picture; those list buckets and datasets, and know the
credentials.
"""

import contextlib
import html
import logging
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

from fastpt.storage.address import DATASET
from fastpt.storage.names import normalised
from fastpt.storage.stores import Stores

if TYPE_CHECKING:
    from fastpt.storage.address import RemotePath

CONNECT_SECONDS, READ_SECONDS = 20, 60  # after which a server that says nothing counts as one that broke off
CONNECTIONS = 128  # to one server that are kept open
SIGNED_SECONDS = 3600
LINK = re.compile(r"""<a(?:\s[^<>]*?)?\shref\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'<>]+))""", re.IGNORECASE)
WAIT = re.compile(r"(?:.*;\s*t=)?(\d+)")  # as `RateLimit: "resolvers";r=0;t=30`, or `Retry-After: 30`
LONGEST_WAIT = 300.0  # seconds: the window in which the hub counts requests
PRECONDITION_FAILED = 412
PIECE = 1 << 20  # bytes that are lost at most where a connection is reset

# At level DEBUG these name whole addresses, signatures and all.
for name in ("urllib3.connectionpool", "fsspec.http", "s3fs", "botocore", "aiobotocore"):
    logging.getLogger(name).setLevel(logging.WARNING)


class StatusError(Exception):
    """An answer that is an error; `code` is what the hub says of it, `wait` the seconds after which to ask again."""

    def __init__(self, status: int, headers: Mapping[str, str]):
        super().__init__(status)
        self.status, self.code = status, headers.get("X-Error-Code", "")
        self.wait = min(_seconds_to_wait(headers), LONGEST_WAIT)


def _seconds_to_wait(headers: Mapping[str, str]) -> float:
    """After how many seconds an answer says to ask again; 0.0 if it does not say."""
    after = headers.get("Retry-After", "")
    if found := WAIT.search(headers.get("RateLimit", "")) or WAIT.fullmatch(after):
        return float(found[1])
    with contextlib.suppress(ValueError, TypeError):  # a date, by the server's clock
        since = parsedate_to_datetime(headers["Date"]) if "Date" in headers else datetime.now(UTC)
        return max(0.0, (parsedate_to_datetime(after) - since).total_seconds())
    return 0.0


class NoRangesError(Exception):
    """The server sends whole files only."""


@dataclass(frozen=True)
class Target:
    """Whom to ask for a file, and how. Both may hold what is secret."""

    url: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


def add_range(target: Target, size: int, version: str, parts: list[bytes], start: int, end: int) -> None:
    """Add the bytes from `start` to `end` of a file to the parts, as many as come before something breaks.

    `size` is the length of the file that is meant, `version` its ETag or its time of change; "" for any. Raises
    StatusError, NoRangesError, and what urllib3 raises.

    Where a server redirects to, later ranges are asked for at once: the hub counts what it is asked to redirect.
    """
    headers = {"Range": f"bytes={start}-{end - 1}"}
    if version.endswith(" GMT"):
        headers["If-Unmodified-Since"] = version
    elif version and not version.startswith("W/"):  # a weak one matches nothing
        headers["If-Match"] = f'"{version}"'
    response = _answer_from_store(target, headers)
    try:
        if response.status != 206:
            raise NoRangesError
        if _is_of_another(response.headers, size, version):  # not all servers keep to conditions
            raise StatusError(PRECONDITION_FAILED, response.headers)
        left = end - start
        while left > 0 and (part := response.read(min(PIECE, left), decode_content=False)):
            parts.append(part)
            left -= len(part)
        if left == 0:
            response.release_conn()
    finally:
        response.close()


def _is_of_another(headers: Mapping[str, str], size: int, version: str) -> bool:
    """Whether an answer says that its range is of another file than the one of this length and version."""
    total = headers.get("Content-Range", "").rpartition("/")[2]
    now = headers.get("Last-Modified" if version.endswith(" GMT") else "ETag", "")
    return (total.isdecimal() and int(total) != size) or bool(now and version and _bare(now) != _bare(version))


def _bare(version: str) -> str:
    """An ETag as it is compared weakly."""
    return version.removeprefix("W/").strip('"')


def describe(target: Target) -> dict[str, str]:
    """What a server says of a file: `size`, `type`, and `ETag`, `Last-Modified` if it has them.

    It is asked for its first byte, since who may get a file may not always ask for its head.
    """
    response = _answer(target, {"Range": "bytes=0-0"}, accepted=(416,))  # that of an empty file
    try:
        size = response.headers.get("Content-Range", "").rpartition("/")[2] or response.headers.get(
            "Content-Length", ""
        )
        kept = {name: response.headers[name] for name in ("ETag", "Last-Modified") if name in response.headers}
        return {"size": size, "type": response.headers.get("Content-Type", "").partition(";")[0], **kept}
    finally:
        response.close()


def links(target: Target) -> list[str]:
    """The names that the page of a folder links to, below its own address; none if what lies there is no page."""
    response = _answer(target, {})
    try:
        if response.headers.get("Content-Type", "text/html").partition(";")[0].strip() != "text/html":
            return []
        page = response.read().decode("utf-8", "replace")
    finally:
        response.close()
    found = ("".join(filter(None, link.groups())) for link in LINK.finditer(page))
    return [name for link in found if (name := _below(html.unescape(link), target.url))]


def _below(link: str, page: str) -> str:
    """The name of what is linked to, below the address of the page; "" for what lies elsewhere."""
    try:
        there, here = urlsplit(urljoin(page, link)), urlsplit(page)
    except ValueError:  # no address at all
        return ""
    inside, start = unquote(there.path), unquote(here.path)
    if there.netloc != here.netloc or not inside.startswith(start):
        return ""
    name = normalised(inside[len(start) :])
    return name + "/" * inside.endswith("/") if name and name.split("/")[0] != ".." else ""


STORES = Stores()


def _answer_from_store(target: Target, headers: Mapping[str, str]) -> Any:
    """The answer of where a target redirected to a while ago; else, or if that refuses by now, the target's own."""
    if store := STORES.get(target.url):
        is_theirs = urlsplit(store).netloc == urlsplit(target.url).netloc
        try:
            return _answer(Target(store, target.headers if is_theirs else {}), headers)  # to others no token goes
        except Exception as error:
            STORES.drop(target.url)
            if not isinstance(error, StatusError):
                raise
    response = _answer(target, headers)
    url = target.url
    for passed in response.retries.history:
        url = urljoin(url, passed.redirect_location or "")
    if url != target.url:
        STORES.add(target.url, url)
    return response


def _answer(target: Target, headers: Mapping[str, str], accepted: tuple[int, ...] = ()) -> Any:
    headers = {"Accept-Encoding": "identity", **target.headers, **headers}
    whole = urlsplit(target.url)
    pool = _pool(os.getpid(), _proxy(whole.scheme, whole.hostname or ""))
    response = pool.urlopen("GET", target.url, headers=headers, preload_content=False)
    if response.status >= 400 and response.status not in accepted:
        response.close()
        raise StatusError(response.status, response.headers)
    return response


@lru_cache(maxsize=4)
def _pool(process: int, proxy: str | None) -> Any:
    import urllib3

    timeout = urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS)
    retries = urllib3.Retry(connect=0, read=0, status=0, other=0, redirect=5, respect_retry_after_header=False)
    kept = {"num_pools": 16, "maxsize": CONNECTIONS, "timeout": timeout, "retries": retries}
    if proxy is None:
        return urllib3.PoolManager(**kept)
    whole = urlsplit(proxy)
    user = f"{unquote(whole.username)}:{unquote(whole.password or '')}" if whole.username else None
    return urllib3.ProxyManager(proxy, proxy_headers=urllib3.make_headers(proxy_basic_auth=user), **kept)


@lru_cache(maxsize=64)
def _proxy(scheme: str, host: str) -> str | None:
    """The proxy that the environment names for a server."""
    from urllib.request import getproxies, proxy_bypass

    return None if proxy_bypass(host) else getproxies().get(scheme)


# --- whom to ask --------------------------------------------------------------------------------------------------


@lru_cache(maxsize=4096)
def web_target(url: str) -> Target:
    """Of a web server, with the password in its address or in ~/.netrc."""
    whole = urlsplit(url)
    if whole.username:
        user = f"{unquote(whole.username)}:{unquote(whole.password or '')}"
    else:
        user = _netrc(whole.hostname or "")
    bare = urlunsplit(whole._replace(netloc=whole.netloc.rpartition("@")[2]))
    return Target(bare, _basic(user) if user else {})


def _basic(user: str) -> dict[str, str]:
    from urllib3 import make_headers

    return dict(make_headers(basic_auth=user))


def _netrc(host: str) -> str | None:
    import netrc

    try:
        found = netrc.netrc(os.environ.get("NETRC")).authenticators(host)
    except (OSError, netrc.NetrcParseError):
        return None
    return f"{found[0]}:{found[2]}" if found else None


def hub_target(path: "RemotePath") -> Target:
    """Of a file of a dataset on the hub, with the token that huggingface_hub finds."""
    from huggingface_hub import hf_hub_url

    found = DATASET.match(str(path))
    assert found is not None  # as `RemotePath.parse` has seen
    inside = str(path)[found.end() :].lstrip("/")
    return Target(hf_hub_url(found[1], inside, repo_type="dataset", revision=found[2]), _hub_headers(os.getpid()))


@lru_cache(maxsize=1)
def _hub_headers(process: int) -> dict[str, str]:
    from huggingface_hub.utils import build_hf_headers

    return build_hf_headers(library_name="fastpt")


def bucket_target(system: Any, inside: str) -> Target:
    """Of a file of a bucket, signed by its file system."""
    return Target(_signed(system, inside, int(time.time() / SIGNED_SECONDS * 2)))


@lru_cache(maxsize=4096)
def _signed(system: Any, inside: str, half: int) -> str:
    return system.sign(inside, expiration=SIGNED_SECONDS)
