import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from fastpt.errors import FastptError
from fastpt.storage import stores, transfer, web
from fastpt.storage.address import RemotePath
from tests.servers import Answer, Hub, RangeServer

CONTENT = os.urandom(10_000)


def test_the_hub_is_asked_once_where_a_file_lies(tmp_path, monkeypatch):
    (tmp_path / "own/set").mkdir(parents=True)
    (tmp_path / "own/set/a.tar").write_bytes(CONTENT)
    transfer.forget()
    with Hub(tmp_path) as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        template = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        path = RemotePath.parse("hf://datasets/own/set@v1/a.tar")

        def read(at: int) -> None:
            assert transfer.fetch(path, (len(CONTENT), ""), at, at + 1000) == CONTENT[at : at + 1000]

        def asked() -> tuple[int, int]:
            paths = [request.path for request in hub.requests]
            return sum("/resolve/" in path for path in paths), sum(path.startswith("/store/") for path in paths)

        for at in range(0, 5000, 1000):
            read(at)
        assert asked() == (1, 5)
        hub.fault = lambda request, answer: Answer(403) if "old" in request.target else None
        address = web.hub_target(path).url
        web.STORES.add(address, f"{hub.url}/store/old")
        read(5000)  # what was signed has expired
        read(6000)
        assert asked() == (2, 8)
        monkeypatch.setattr(stores, "SECONDS", 0)
        read(7000)
        assert asked() == (3, 9)


NOON = {"Date": "Sun, 29 Nov 2026 12:00:00 GMT", "Retry-After": "Sun, 29 Nov 2026 12:00:01 GMT"}


@pytest.mark.parametrize("header", [{"Retry-After": "1"}, {"RateLimit": '"resolvers";r=0;t=1'}, NOON])
def test_a_server_that_says_when_to_ask_again_is_asked_then(tmp_path, monkeypatch, header):
    first = []

    def limits(request, answer):
        first.append(time.monotonic())
        return Answer(429, header) if time.monotonic() - first[0] < 0.9 else None

    monkeypatch.setattr(transfer, "WAITS", (0.01, 0.01, 0.01))
    (tmp_path / "a.tar").write_bytes(CONTENT)
    with RangeServer(tmp_path) as server:
        server.fault = limits
        path = RemotePath.parse(f"{server.url}/a.tar")
        assert transfer.fetch(path, (len(CONTENT), ""), 0, 1000) == CONTENT[:1000]
    assert len(first) == 2


def test_a_long_wait_is_told_once_to_whoever_waits_for_the_server(tmp_path, monkeypatch, caplog):
    began = time.monotonic()
    monkeypatch.setattr(transfer, "WAITS", (0.01,) * 3)
    monkeypatch.setattr(transfer, "LONG_WAIT", 1)
    transfer.forget()
    (tmp_path / "a.tar").write_bytes(CONTENT)
    with RangeServer(tmp_path) as server, ThreadPoolExecutor(4) as threads:
        server.fault = lambda *_: Answer(429, {"Retry-After": "1"}) if time.monotonic() - began < 0.9 else None
        path = RemotePath.parse(f"{server.url}/a.tar")
        parts = list(threads.map(lambda at: transfer.fetch(path, (len(CONTENT), ""), at, at + 9), range(4)))
    assert parts == [CONTENT[at : at + 9] for at in range(4)]
    assert caplog.messages == [f"{server.url}: the server answers 429, and says to wait 1 s. The work goes on then."]


def weak(headers):
    return {**headers, "ETag": f"W/{headers['ETag']}"}


def without_version(headers):
    return {name: value for name, value in headers.items() if name not in ("ETag", "Last-Modified")}


def by_time_alone(headers):
    return {name: value for name, value in headers.items() if name != "ETag"}


@pytest.mark.parametrize(
    ("told", "now", "said"),
    [
        (weak, CONTENT[::-1], "its ETag is another one"),
        (by_time_alone, CONTENT[::-1], "its time of change is another one"),
        (without_version, CONTENT + b"x", "it had 10,000 bytes and has 10,001 now"),
    ],
)
def test_a_file_that_is_replaced_is_told_though_the_server_keeps_to_no_condition(tmp_path, told, now, said):
    (tmp_path / "a.tar").write_bytes(CONTENT)
    os.utime(tmp_path / "a.tar", (1, 1))
    transfer.forget()
    with RangeServer(tmp_path) as server:
        server.fault = lambda _, answer: replace(answer, headers=told(answer.headers))
        path = RemotePath.parse(f"{server.url}/a.tar")
        listed = transfer.look_up(path)
        assert transfer.fetch(path, listed, 0, 1000) == CONTENT[:1000]
        (tmp_path / "a.tar").write_bytes(now)
        with pytest.raises(FastptError, match=rf"a\.tar changed while it was read \({said}\)"):
            transfer.fetch(path, listed, 0, 1000)


def test_where_the_hub_cannot_be_reached_it_is_told_in_a_line(tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "WAITS", (0.01,))
    with Hub(tmp_path) as hub:
        url = hub.url
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", url)  # nobody listens there any more
    with pytest.raises(FastptError, match=r"own/set/a\.tar could not be read, 2 times in a row .*\. Check the network"):
        RemotePath.parse("hf://datasets/own/set/a.tar").pinned()
