import time
from contextlib import suppress
from dataclasses import replace

import pytest

from fastpt.errors import FastptError
from fastpt.storage import transfer
from fastpt.storage.address import RemotePath
from tests.servers import Answer, RangeServer

PAGES = {
    "apache": '<a href="?C=N;O=D">Name</a> <a href="/">Parent Directory</a> <a href="a%20b.tar">a b.tar</a>'
    '<a href="sub/">sub/</a>',
    "nginx": '<a href="../">../</a>\r\n<a href="a%20b.tar">a b.tar</a>\r\n<a href="sub/">sub/</a>',
    "iis": '<A HREF="/">[To Parent Directory]</A><br><A HREF="/set/a%20b.tar">a b.tar</A><A HREF="/set/sub/">sub</A>',
    "caddy": '<a href="./a%20b.tar"><svg/></a> <a class="dir" href="./sub/">sub</a>',
    "whole addresses": "<a href='{url}/set/a%20b.tar'>x</a><a href='{url}/set/sub/'>x</a>"
    "<a href='{url}/other/c.tar'>x</a>",
    "bare": "<a href=a%20b.tar>x</a><a\nhref=sub/ >x</a>",
    "others'": '<a href="https://elsewhere.org/set/c.tar">x</a><a href="http://[bad/">x</a><a href="mailto:a@b">x</a>'
    '<a href="a%20b.tar#top">x</a><a href="a%20b.tar?version=2">x</a><a name="d.tar">x</a><a href="sub/">x</a>'
    '<a data-href="d.tar" href="sub/">x</a><a href="%2e/">x</a><a href="%2e%2e/d.tar">x</a><abbr href="d.tar">x</abbr>',
}


@pytest.fixture
def server(tmp_path):
    """A web server whose page of the folder `set` the tests write."""
    (tmp_path / "set/sub").mkdir(parents=True)
    for name in ("a b.tar", "sub/d&e.tar"):
        (tmp_path / "set" / name).write_bytes(b"content")
    with RangeServer(tmp_path) as server:
        yield server
    transfer.forget()


def pages(server, **of: str) -> None:
    """Have the server give these pages of folders."""

    def answer(request, given):
        page = of.get(request.path.strip("/").replace("/", "_"))
        return Answer(200, {"Content-Type": "text/html; charset=utf-8"}, page.encode()) if page is not None else None

    server.fault = answer


def names(server) -> list[str]:
    return [name for name, _ in transfer.find(RemotePath.parse(f"{server.url}/set"))]


@pytest.mark.parametrize("kind", PAGES)
def test_the_pages_of_web_servers_list_what_lies_below_them(server, kind):
    pages(server, set=PAGES[kind].format(url=server.url))
    assert names(server) == ["a b.tar", "sub/d&e.tar"]


def test_a_page_is_asked_for_once_until_it_is_forgotten(server):
    place = RemotePath.parse(f"{server.url}/set")
    assert place.is_dir()
    assert names(server) == names(server)
    assert [request.path for request in server.requests].count("/set/") == 2  # the address is redirected there once
    transfer.forget()
    assert place.is_dir()
    assert [request.path for request in server.requests].count("/set/") == 4


def test_pages_that_link_to_each_other_end(server):
    pages(
        server, set='<a href="sub/">x</a>', set_sub='<a href="/set/">x</a><a href="../sub/">x</a><a href="d&amp;e.tar">'
    )
    assert names(server) == ["sub/d&e.tar"]


@pytest.mark.parametrize("link", ["gone/", "gone.tar"])
def test_a_link_to_nothing_is_named(server, link):
    pages(server, set=f'<a href="a%20b.tar">x</a><a href="{link}">x</a>')
    with pytest.raises(FastptError, match=f"/set/{link.rstrip('/')} is linked to, and is"):
        names(server)


def test_a_page_of_its_own_is_a_file(server, tmp_path):
    (tmp_path / "page.html").write_text('<a href="page.html/x.tar">x</a>')

    def answer(request, given):
        as_page = replace(given, headers={**given.headers, "Content-Type": "text/html"})
        return Answer(404) if request.path.endswith("/") else as_page

    server.fault = answer
    assert isinstance(transfer.look_up(RemotePath.parse(f"{server.url}/page.html")), tuple)


@pytest.mark.parametrize("text", ['<a href="', "<a <a\n", "<a href='x", '<a x="'])
def test_a_long_page_that_is_no_html_does_not_take_forever(server, text):
    pages(server, set=text * 100_000)
    began = time.monotonic()
    with suppress(FastptError):  # of what seems to be linked to
        names(server)
    assert time.monotonic() - began < 20  # by an expression that looks back, hours
