import http.client
import threading

import pytest

from fastpt.errors import FastptError
from fastpt.report.serve import Report, server
from fastpt.report.serve import serve as serve_forever
from tests.report.conftest import add_lines, write_run


@pytest.fixture
def serve(tmp_path):
    """Serves the runs of a folder at a free port; returns (get, the page's file)."""
    begun = []

    def begin(*paths):
        out = tmp_path / "report.html"
        listening = server(Report(paths, out, files=False), 0)
        begun.append(listening)
        threading.Thread(target=listening.serve_forever, daemon=True).start()

        def get(path: str = "/", host: str | None = None) -> tuple[int, str]:
            address = listening.server_address
            assert address[0] == "127.0.0.1"
            connection = http.client.HTTPConnection("127.0.0.1", address[1], timeout=30)
            connection.request("GET", path, headers={"Host": host or f"127.0.0.1:{address[1]}"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

        return get, out

    yield begin
    for listening in begun:
        listening.shutdown()
        listening.server_close()


def test_the_page_is_that_of_the_file_and_made_once(tmp_path, serve):
    get, out = serve(write_run(tmp_path))
    status, page = get()
    assert status == 200
    assert page == out.read_text(encoding="utf-8")
    made = out.stat().st_mtime_ns
    get()
    assert out.stat().st_mtime_ns == made


def test_it_follows_a_run_under_way_and_runs_that_begin(tmp_path, serve):
    run = write_run(tmp_path)
    get, _ = serve(tmp_path / "runs")
    assert "demo_resnet-clean-s0" in get()[1]
    add_lines(run, {"event": "train", "step": 4_321, "loss": 0.1})
    assert "4,321" in get()[1]
    write_run(tmp_path, rate=0.2)
    assert "demo_resnet-symmetric-0.2-seed0-s0" in get()[1]


def test_what_is_wrong_is_shown_until_it_is_right(tmp_path, serve):
    (tmp_path / "runs").mkdir()
    get, _ = serve(tmp_path / "runs")
    assert "is no run folder" in get()[1]
    write_run(tmp_path)
    assert "demo_resnet-clean-s0" in get()[1]


def test_a_file_that_cannot_be_asked_for_is_said_on_the_page(tmp_path, serve):
    run = write_run(tmp_path)
    get, _ = serve(run)
    (run / "itself").symlink_to("itself")
    assert get()[0] == 200
    assert "itself" in get()[1]
    (run / "itself").unlink()
    assert "demo_resnet-clean-s0" in get()[1]


def test_only_the_page_is_served_and_to_this_machine(tmp_path, serve):
    get, _ = serve(write_run(tmp_path))
    assert get("/../../etc/passwd")[0] == 404
    assert get("/report.html")[0] == 404
    assert get(host="elsewhere.example:80")[0] == 403
    assert get(host="localhost:80")[0] == 200


def test_a_port_that_is_taken_is_said(tmp_path):
    report = Report([write_run(tmp_path)], tmp_path / "report.html", files=False)
    with server(report, 0) as first, pytest.raises(FastptError, match=r"cannot be listened on: .* Give another --port"):
        server(report, first.server_port)


def test_what_is_not_there_yet_is_said_in_the_terminal(tmp_path):
    run, said = write_run(tmp_path), []
    with server(Report([run], tmp_path / "report.html", files=False), 0) as first, pytest.raises(FastptError):
        serve_forever([run, tmp_path / "gone"], tmp_path / "report.html", False, first.server_port, said.append)
    assert said == [f"report: {tmp_path / 'gone'} is not there yet; the page shows it once it is"]
