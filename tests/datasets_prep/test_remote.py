"""Preparation from servers: the bytes that a disk gives, whatever breaks on the way, and no word of a password."""

import csv
import io
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from fastpt.cli import main
from fastpt.storage import transfer, web
from tests.conftest import picture
from tests.servers import COMMIT, Hub, s3_server, upload
from tools.bench.range_server import Answer, RangeServer

FASTPT = [sys.executable, "-c", "from fastpt.cli import main; main()"]
COMMON = ["--max-side", "60", "--shard-samples", "7", "--name", "set"]
KINDS = {
    "webdataset": ("tars", []),
    "parquet": ("tables", []),
    "imagefolder": ("tree", []),
    "list": ("photos", ["--list", "list.csv", "--path-column", "file", "--label-column", "label"]),
    "captions": ("photos", ["--list", "list.csv", "--path-column", "file", "--caption-column", "title"]),
    "yfcc15m": ("tars", []),
    "imagenet": ("ilsvrc", []),
    "imagenet: parquet": ("ilsvrc_tables", []),
    "imagefolder: zip": ("tree.zip", []),
    "list: zip": ("photos.zip", ["--list", "list.csv", "--path-column", "file", "--label-column", "label"]),
    "captions: tar": (
        "photos.tar",
        ["--list", "list.tsv", "--image-pattern", "{id} é.jpg", "--caption-column", "title"],
    ),
    "yfcc15m: list": (
        "photos.zip",
        [
            *("--list", "list.tsv", "--image-pattern", "{id} é.jpg", "--caption-column", "title"),
            *("--id-column", "id", "--subset", "declip", "--subset-ids", "ids.txt"),
        ],
    ),
    "yfcc15m: table": ("photos", ["--list", "list.parquet", "--path-column", "file", "--caption-column", "title"]),
}


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """The same kind of data in layouts of all kinds."""
    root = tmp_path_factory.mktemp("source")
    for folder in ("tars", "tables", "tree/cat", "tree/dog", "photos", "ilsvrc_tables"):
        (root / folder).mkdir(parents=True)
    wnids = ("n01440764", "n01443537")
    for split, short in (("train", "train"), ("val", "validation")):
        rows = []
        for i in range(8):
            content, wnid = picture(i + 50 * (split == "val")), wnids[i % 2]
            name = f"{wnid}_{i}" if split == "train" else f"ILSVRC2012_val_{i:08d}"
            path = root / f"ilsvrc/{split}/{wnid}/{name}.JPEG"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
            rows.append({"bytes": content, "path": f"{name}_{wnid}.JPEG"})
        table = pa.table({"image": rows, "label": [i % 2 for i in range(8)]})
        pq.write_table(table, root / f"ilsvrc_tables/{short}-00000-of-00001.parquet", row_group_size=5)
    for number in range(2):
        with tarfile.open(root / f"tars/{number:05d}.tar", "w") as tar:
            for i in range(20):
                for suffix, content in (("jpg", picture(100 * number + i)), ("txt", f"number {i}".encode())):
                    member = tarfile.TarInfo(f"{i:04d}.{suffix}")
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
        rows = [{"bytes": picture(100 * number + i), "path": f"{number}-{i}.jpg"} for i in range(20)]
        table = pa.table({"image": rows, "label": [i % 3 for i in range(20)]})
        pq.write_table(table, root / f"tables/train-{number:05d}-of-00002.parquet", row_group_size=5)
    for i in range(6):
        (root / f"tree/{'cat' if i % 2 else 'dog'}/{i}.jpg").write_bytes(picture(i))
        (root / f"photos/{i} é.jpg").write_bytes(picture(i))
    rows = [{"file": f"{i} é.jpg", "label": f"c{i % 2}", "id": str(i), "title": f"picture, {i}"} for i in range(6)]
    for name, mark in (("list.csv", ","), ("list.tsv", "\t")):
        with (root / "photos" / name).open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter=mark)
            writer.writeheader()
            writer.writerows(rows)
    pq.write_table(pa.Table.from_pylist(rows), root / "photos/list.parquet")
    for name in ("tree", "photos"):
        for kind in ("zip", "tar"):
            shutil.make_archive(str(root / name), kind, root / name)
    return root


@pytest.fixture(scope="module")
def bucket(source):
    """The data in a bucket of S3."""
    with s3_server():
        upload(source, "bucket")
        yield "s3://bucket"


@pytest.fixture
def server(source):
    with RangeServer(source) as server:
        yield server


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(transfer, "WAITS", (0.01, 0.01, 0.01))


@pytest.fixture
def prep(tmp_path, monkeypatch):
    """`fastpt prep KIND` of a place into a folder below the test's own: (exit code, output)."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ids.txt").write_text("1\n2\n3\n5\n77\n")

    def prep(kind: str, place: object, out: str, *more: str) -> tuple[int, str]:
        words = [*COMMON, kind.partition(":")[0], "--source", str(place), "--out", out, *KINDS[kind][1], *more]
        result = CliRunner().invoke(main, ["prep", "--workers", "2", *words])
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
        return result.exit_code, result.output

    return prep


def process(kind: str, place: object, out: Path, *more: str, **env: str) -> subprocess.Popen:
    """The same in a process of its own."""
    words = ["prep", "--workers", "2", *COMMON, kind.partition(":")[0], "--source", str(place), "--out", str(out)]
    words += [*KINDS[kind][1], *more]
    environment = {**os.environ, **env}
    return subprocess.Popen([*FASTPT, *words], env=environment, stdout=-1, stderr=subprocess.STDOUT, text=True)


def finished(running: subprocess.Popen) -> tuple[int, str]:
    output = running.communicate(timeout=120)[0]
    return running.returncode, output


def assert_same(there: Path, here: Path) -> dict:
    """The same files, but for what dataset.json says of the source, which is returned."""
    names = [sorted(path.relative_to(one).as_posix() for path in one.rglob("*")) for one in (there, here)]
    assert names[0] == names[1]
    source = {}
    for name in names[0]:
        if name.endswith("dataset.json"):
            remote, local = (json.loads((one / name).read_text()) for one in (there, here))
            source = remote.pop("source")
            assert "source" not in local
            assert remote | {"self_sha256": ""} == local | {"self_sha256": ""}
        elif (here / name).is_file():
            assert (there / name).read_bytes() == (here / name).read_bytes(), name
    return source


# --- the same bytes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_web_server_gives_the_bytes_of_a_disk(prep, source, server, kind):
    place = KINDS[kind][0]
    assert prep(kind, source / place, "disk")[0] == 0
    code, output = prep(kind, f"{server.url}/{place}", "web")
    assert code == 0, output
    recorded = assert_same(Path("web"), Path("disk"))
    assert recorded["addresses"] == [f"{server.url}/{place}"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_bucket_gives_the_bytes_of_a_disk(prep, source, bucket, kind):
    place = KINDS[kind][0]
    assert prep(kind, source / place, "disk")[0] == 0
    code, output = prep(kind, f"{bucket}/{place}", "s3")
    assert code == 0, output
    recorded = assert_same(Path("s3"), Path("disk"))
    assert (recorded["addresses"], recorded["bytes"] > 0) == ([f"{bucket}/{place}"], True)


@pytest.mark.parametrize(
    "kind", [*list(KINDS)[:4], *(pytest.param(kind, marks=pytest.mark.long) for kind in list(KINDS)[4:])]
)
def test_a_dataset_on_the_hub_gives_the_bytes_of_a_disk_and_its_commit_is_recorded(prep, source, tmp_path, kind):
    place = KINDS[kind][0]
    (tmp_path / "hub/own").mkdir(parents=True)
    (tmp_path / "hub/own/set").symlink_to(source)
    assert prep(kind, source / place, "disk")[0] == 0
    with Hub(tmp_path / "hub") as hub:
        running = process(kind, f"hf://datasets/own/set@v1/{place}", tmp_path / "hf", HF_ENDPOINT=hub.url)
        code, output = finished(running)
    assert code == 0, output
    recorded = assert_same(Path("hf"), Path("disk"))
    assert recorded["addresses"] == [f"hf://datasets/own/set@{COMMIT}/{place}"]


def test_one_tar_at_an_address_is_a_place(prep, source, server):
    assert prep("webdataset", source / "tars/00001.tar", "disk")[0] == 0
    code, output = prep("webdataset", f"{server.url}/tars/00001.tar", "web")
    assert code == 0, output
    assert_same(Path("web"), Path("disk"))


def test_a_picture_in_a_zip_is_one_request(prep, server, tmp_path, source):
    code, output = prep("imagefolder: zip", f"{server.url}/tree.zip", "web", "--dry-run")
    assert code == 0, output
    listing = len(server.requests)
    server.requests.clear()
    assert prep("imagefolder: zip", f"{server.url}/tree.zip", "web")[0] == 0
    assert len(server.requests) <= listing + 6  # with two a picture it is 11 more


def test_a_list_at_an_address_of_its_own_is_a_line(prep, server, source):
    words = ["--list", f"{server.url}/photos/list.csv", "--path-column", "file", "--label-column", "label"]
    result = CliRunner().invoke(
        main, ["prep", *COMMON, "list", "--source", f"{server.url}/photos", "--out", "web", *words]
    )
    assert (result.exit_code, result.output.count("\n")) == (1, 1), result.output
    assert "It is an address: name a list inside the source by its path there" in result.output


def test_listing_does_not_download(prep, server, tmp_path):
    rows = [{"bytes": os.urandom(20_000), "path": f"{i}.jpg"} for i in range(100)]
    (tmp_path / "tables").mkdir()
    table = pa.table({"image": rows, "label": [i % 3 for i in range(100)]})
    pq.write_table(table, tmp_path / "tables/train.parquet", row_group_size=25)
    with RangeServer(tmp_path) as tables:
        assert prep("parquet", f"{tables.url}/tables", "web", "--dry-run")[0] == 0
    assert tables.bytes_sent < 200_000  # two times the footer, of 2 MB
    assert prep("imagefolder", f"{server.url}/tree", "web", "--dry-run")[0] == 0
    assert {request.headers.get("range", "bytes=0-0") for request in server.requests} == {"bytes=0-0"}


# --- what breaks --------------------------------------------------------------------------------------------------


def test_a_transfer_that_breaks_goes_on_where_it_broke(prep, source, server):
    broken = []

    def fault(request, answer):
        if answer.status == 206 and answer.stop - answer.start > 2000 and len(server.requests) % 2:
            broken.append((request.path, answer.start + 1000, answer.stop))
            return replace(answer, breaks_after=1000)
        return None

    server.fault = fault
    code, output = prep("webdataset", f"{server.url}/tars", "web")
    assert code == 0, output
    assert prep("webdataset", source / "tars", "disk")[0] == 0
    assert_same(Path("web"), Path("disk"))
    ranges = {(request.path, request.headers.get("range")) for request in server.requests}
    assert broken
    assert all((path, f"bytes={start}-{stop - 1}") in ranges for path, start, stop in broken)


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_server_that_stumbles_is_asked_again_and_one_that_does_not_recover_is_an_error(prep, server, status):
    seen = set()

    def stumbles(request, answer):
        first = (request.path, answer.start) not in seen
        seen.add((request.path, answer.start))
        return Answer(status) if answer.status == 206 and first else None

    server.fault = stumbles
    code, output = prep("webdataset", f"{server.url}/tars", "web")
    assert code == 0, output
    server.fault = lambda request, answer: Answer(status) if answer.status == 206 else None
    code, output = prep("webdataset", f"{server.url}/tars", "again")
    assert code == 1
    assert f"could not be read, 4 times in a row (the server answers {status})" in output


def test_a_picture_that_cannot_be_fetched_is_not_rejected_but_stops_the_job_which_goes_on_later(prep, source, server):
    begun = []

    def fault(request, answer):
        if answer.status == 206 and answer.stop - answer.start < 5000:
            begun.append(request)
            return Answer(503) if len(begun) > 15 else None
        return None

    server.fault = fault
    code, output = prep("webdataset", f"{server.url}/tars", "web")
    assert (code, "the same command goes on where it stopped" in output) == (1, True), output
    server.fault = lambda request, answer: None
    assert prep("webdataset", f"{server.url}/tars", "web")[0] == 0
    assert prep("webdataset", source / "tars", "disk")[0] == 0
    assert_same(Path("web"), Path("disk"))


def test_a_killed_preparation_from_a_bucket_goes_on_to_the_same_bytes(prep, source, bucket, tmp_path):
    out = tmp_path / "s3"
    for _ in range(3):
        running = process("webdataset", f"{bucket}/tars", out)
        until = time.monotonic() + 30
        done = len(list(out.glob("train/.parts/*.parquet")))
        while running.poll() is None and time.monotonic() < until:
            if len(list(out.glob("train/.parts/*.parquet"))) > done:
                break
            time.sleep(0.005)
        running.send_signal(signal.SIGKILL)
        running.wait()
    code, output = finished(process("webdataset", f"{bucket}/tars", out))
    assert code == 0, output
    assert prep("webdataset", source / "tars", "disk")[0] == 0
    assert_same(out, Path("disk"))


# --- what changes -------------------------------------------------------------------------------------------------


def test_a_file_that_changes_between_listing_and_reading_is_named(prep, source, tmp_path):
    shutil.copytree(source / "tree", tmp_path / "tree")

    def fault(request, answer):
        if answer.status == 206 and request.headers["range"] != "bytes=0-0":
            for path in (tmp_path / "tree").rglob("*.jpg"):
                os.utime(path, (1, 1))
        return

    with RangeServer(tmp_path) as server:
        server.fault = fault
        code, output = prep("imagefolder", f"{server.url}/tree", "web")
    assert (code, ".jpg changed while it was read (its ETag is another one)" in output) == (1, True), output


def test_a_file_that_changes_between_a_stopped_job_and_its_resume_is_named(prep, source, tmp_path, bucket):
    import boto3

    upload(source / "tars", "changing")
    out, name = tmp_path / "s3", "s3://changing"
    running = process("webdataset", name, out)
    while not list(out.glob("train/.parts/0*.parquet")) and running.poll() is None:
        time.sleep(0.005)
    running.send_signal(signal.SIGKILL)
    running.wait()
    other = (source / "tars/00000.tar").read_bytes().replace(picture(3), picture(3)[:-2] + b"\0\0")
    boto3.client("s3").put_object(Bucket="changing", Key="00000.tar", Body=other)
    code, output = prep("webdataset", name, str(out))
    assert (code, "00000.tar changed since" in output, "its ETag is another one" in output) == (1, True, True), output


def test_a_cut_tar_at_an_address_is_told_as_one_on_a_disk(prep, source, tmp_path):
    (tmp_path / "cut.tar").write_bytes((source / "tars/00000.tar").read_bytes()[:30_000])
    here = prep("webdataset", tmp_path / "cut.tar", "disk")
    with RangeServer(tmp_path) as server:
        there = prep("webdataset", f"{server.url}/cut.tar", "web")
        assert (here[0], there[0]) == (3, 3)
        assert there[1].replace(server.url, str(tmp_path)) == here[1]


# --- errors in a line ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "told"),
    [(401, "may not be read (401). Credentials come from"), (403, "may not be read (403)"), (418, "answers 418")],
)
def test_what_a_server_refuses_is_a_line(prep, server, status, told):
    server.fault = lambda request, answer: Answer(status)
    code, output = prep("webdataset", f"{server.url}/tars", "web")
    assert (code, told in output, output.count("\n")) == (1, True, 1), output


@pytest.mark.parametrize("kind", ["webdataset", "parquet", "imagefolder"])
def test_an_address_where_nothing_is_is_a_line(prep, server, kind):
    code, output = prep(kind, f"{server.url}/nowhere", "web")
    assert (code, "does not exist" in output, output.count("\n")) == (1, True, 1), output


def test_no_network_is_a_line(prep):
    code, output = prep("webdataset", "http://127.0.0.1:9/tars", "web")
    assert (code, "http://127.0.0.1:9/tars could not be read, 4 times in a row" in output) == (1, True), output
    assert output.count("\n") == 1


@pytest.mark.parametrize("place", ["s3://bucket", "s3://nowhere/x"])
def test_no_credentials_and_no_bucket_are_a_line(bucket, tmp_path, place):
    without = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "AWS_EC2_METADATA_DISABLED": "true"}
    env = without if place == "s3://bucket" else {}
    code, output = finished(process("webdataset", place, tmp_path / "out", HOME=str(tmp_path), **env))
    told = "there are no credentials. Credentials come from AWS_ACCESS_KEY_ID" if env else "does not exist"
    assert (code, told in output, output.count("\n")) == (1, True, 1), output


def test_a_gated_dataset_says_where_its_terms_are(source, tmp_path):
    (tmp_path / "own").mkdir()
    (tmp_path / "own/set").symlink_to(source)
    with Hub(tmp_path) as hub:
        hub.gated = True
        place = "hf://datasets/own/set/tars"
        env = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_TOKEN": ""}
        code, output = finished(process("webdataset", place, tmp_path / "out", **env))
        assert (code, "is gated. Accept its terms at https://huggingface.co/datasets/own/set, then" in output) == (
            1,
            True,
        ), output
        code, output = finished(process("webdataset", place, tmp_path / "out", **{**env, "HF_TOKEN": "hf_secret"}))
        assert (code, "hf_secret" in output) == (0, False), output


def test_a_package_that_is_missing_is_named(prep, monkeypatch):
    monkeypatch.setitem(sys.modules, "urllib3", None)
    web._pool.cache_clear()
    code, output = prep("webdataset", "https://host/x", "web")
    assert (code, "wants the package urllib3, which is not installed. pip install 'fastpt[remote]'" in output) == (
        1,
        True,
    )


def test_a_server_without_ranges_is_a_line(prep, server, source):
    server.fault = lambda request, answer: replace(answer, status=200) if answer.status == 206 else None
    code, output = prep("webdataset", f"{server.url}/tars", "web")
    assert (code, "sends whole files only" in output) == (1, True), output


# --- what is secret -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [None, 403, 404, 500, "break"])
def test_passwords_and_signatures_reach_no_output_log_or_file(prep, server, caplog, fault, tmp_path):
    host = server.url.partition("://")[2]
    place = f"http://user:pa%73sword1@{host}/tars/00000.tar?X-Amz-Signature=verysecret&x=1"
    caplog.set_level(logging.INFO)

    def fails(request, answer):
        if answer.status == 206 and fault:
            return replace(answer, breaks_after=0) if fault == "break" else Answer(fault)
        return None

    server.fault = fails
    code, output = prep("webdataset", place, "web", "--json")
    assert code == (1 if fault else 0)
    asked = server.requests[-1]
    assert ("verysecret" in asked.target, asked.headers.get("authorization", "")[:5]) == (True, "Basic")
    written = b"".join(path.read_bytes() for path in Path("web").rglob("*") if path.is_file())
    for secret in ("verysecret", "password1", "pa%73sword1", "user:"):
        assert secret not in output + caplog.text
        assert secret.encode() not in written


def test_a_secret_in_an_address_of_a_bucket_is_refused_without_being_shown(prep):
    code, output = prep("webdataset", "s3://AKIA:supersecret@bucket/x", "s3")
    assert (code, "supersecret" in output, "AWS_ACCESS_KEY_ID" in output) == (1, False, True)
