"""Servers on the loopback address that tests fetch from: a folder over HTTP, S3 (moto's), a stand-in for the hub."""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha1
from pathlib import Path
from urllib.parse import parse_qs, quote

from fastpt.storage import transfer
from tools.bench.range_server import Answer, RangeServer, Request

API = r"/api/datasets/([^/]+/[^/]+)(?:/(revision|tree|paths-info)/([^/]+)(/.*)?)?"
COMMIT = "1f2e3d4c5b6a79880f1e2d3c4b5a69788f1e2d3c"


class Hub(RangeServer):
    """The endpoints of the Hugging Face hub that listing and reading a dataset use: OWNER/NAME is the folder
    `root/OWNER/NAME`, at one commit. Files are sent after a redirect, as from its store. With `gated`, without a token
    nothing is."""

    gated = False
    commit = COMMIT

    def answer(self, request: Request) -> Answer:
        if request.path.startswith("/store/"):
            return self.file(request, self.root / request.path.removeprefix("/store/"))
        if found := re.fullmatch(
            r"/api/datasets/([^/]+/[^/]+)(?:/(revision|tree|paths-info)/([^/]+)(/.*)?)?", request.path
        ):
            name, what, revision, inside = found.groups()
            folder = self.root / name
            if not folder.is_dir():
                return Answer(401, {"X-Error-Code": "RepoNotFound"})
            if revision not in (None, "main", "v1", self.commit):
                return Answer(404, {"X-Error-Code": "RevisionNotFound"})
            if what in (None, "revision"):
                return _json({"id": name, "sha": self.commit, "private": False, "tags": [], "siblings": []})
            if what == "tree":
                start = folder / (inside or "").strip("/")
                if not start.is_dir():
                    return Answer(404, {"X-Error-Code": "EntryNotFound"})
                recursive = parse_qs(request.target.partition("?")[2]).get("recursive", [""])[0].lower() == "true"
                return _json(
                    [_entry(one, folder) for one in sorted(start.rglob("*") if recursive else start.iterdir())]
                )
            body = request.body.decode()
            paths = json.loads(body)["paths"] if body.startswith("{") else parse_qs(body).get("paths", [])
            return _json([_entry(folder / path, folder) for path in paths if (folder / path).exists()])
        if found := re.fullmatch(r"/datasets/([^/]+/[^/]+)/resolve/([^/]+)/(.*)", request.path):
            name, revision, inside = found.groups()
            if self.gated and "authorization" not in request.headers:
                return Answer(401, {"X-Error-Code": "GatedRepo"})
            if not (self.root / name / inside).is_file():
                return Answer(404, {"X-Error-Code": "EntryNotFound"})
            return Answer(302, {"Location": quote(f"/store/{name}/{inside}"), "X-Repo-Commit": self.commit})
        return Answer(404)


def _json(value: object) -> Answer:
    return Answer(200, {"Content-Type": "application/json"}, json.dumps(value).encode())


def _entry(path: Path, folder: Path) -> dict:
    name = path.relative_to(folder).as_posix()
    if path.is_dir():
        return {"type": "directory", "path": name, "size": 0, "oid": sha1(name.encode()).hexdigest()}
    oid = sha1(path.read_bytes()).hexdigest()
    return {"type": "file", "path": name, "size": path.stat().st_size, "oid": oid}


@contextmanager
def s3_server() -> Iterator[str]:
    """moto's S3 server with credentials in the environment; its address, which AWS_ENDPOINT_URL names."""
    from moto.server import ThreadedMotoServer
    from s3fs import S3FileSystem

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    given = {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "testing",
        "AWS_SECRET_ACCESS_KEY": "not-to-be-seen",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    transfer._made_file_system.cache_clear()  # that of another server
    S3FileSystem.clear_instance_cache()
    try:
        yield given["AWS_ENDPOINT_URL"]
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        server.stop()


def upload(folder: Path, bucket: str) -> None:
    """Put all files of a folder into a new bucket."""
    import boto3

    client = boto3.client("s3")
    client.create_bucket(Bucket=bucket)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            client.upload_file(str(path), bucket, path.relative_to(folder).as_posix())
