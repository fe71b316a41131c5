"""Places that are reached over a network, by their address: `s3://bucket/x`, `gs://...`, `https://...`,
`hf://datasets/OWNER/NAME[@REVISION]/x`.

An address is a path whose files lie elsewhere: parts, names and suffixes are those of any path. What would open it on
this machine's disk raises, so nothing that was not made for addresses takes one for a local name.
"""

import re
from pathlib import PosixPath
from typing import NoReturn, Self
from urllib.parse import quote, unquote

from fastpt.errors import FastptError

SCHEMES = ("s3", "gs", "hf", "https", "http")
ADDRESS = re.compile(rf"({'|'.join(SCHEMES)}):/+", re.IGNORECASE)
REVISION = r"refs/(?:convert|pr)/[^/]+|[^/]+"  # of the hub's own branches, such as refs/convert/parquet, or any other
DATASET = re.compile(rf"hf://datasets/([^/@]+/[^/@]+)(?:@({REVISION}))?(?=/|$)")

# What of addresses is secret, kept out of every text: passwords by scheme and host, queries (which sign) by address.
_PASSWORDS: dict[str, str] = {}
_QUERIES: dict[str, str] = {}


def without_secrets(text: str) -> str:
    """A command, or another text with addresses in it, without their passwords and queries."""
    text = re.sub(r"(https?://)[^/\s@'\"]*@", r"\1", text, flags=re.IGNORECASE)
    return re.sub(r"(https?://[^\s?#'\"]*)\?[^\s'\"]*", r"\1", text, flags=re.IGNORECASE)


class RemotePath(PosixPath):
    """An address without what is secret of it."""

    @classmethod
    def parse(cls, text: str) -> "RemotePath":
        """The address that a user wrote. A password or a signed query in it is kept for this process only."""
        scheme, _, rest = text.partition(":")
        scheme, rest = scheme.lower(), rest.lstrip("/")
        query = ""
        if scheme in ("http", "https"):
            rest, mark, query = rest.partition("?")
            query, rest = f"{mark}{query}".partition("#")[0], unquote(rest.partition("#")[0])
        host, slash, inside = rest.partition("/")
        password, at, host = host.rpartition("@")
        if at and scheme not in ("http", "https"):
            raise FastptError(f"--source {scheme}://{host}: an address holds no password here. {CREDENTIALS[scheme]}.")
        path = cls(f"{scheme}://{host}{slash}{inside}")
        if not host:
            raise FastptError(f"--source {path} names no {'dataset' if scheme == 'hf' else 'place'}. Give all of it.")
        if scheme == "hf" and not DATASET.match(str(path)):
            raise FastptError(f"--source {path} is no dataset. Give hf://datasets/OWNER/NAME[@REVISION][/FOLDER].")
        if at:
            _PASSWORDS[f"{scheme}://{host}"] = f"{password}@"
        if query:
            _QUERIES[str(path)] = query
        return path

    def __str__(self) -> str:
        text = super().__str__()
        found = ADDRESS.match(text)
        return f"{found[1]}://{text[found.end() :]}" if found else text

    def __fspath__(self) -> NoReturn:
        raise FastptError(f"{self} is an address, which is not read here. Fetch what lies there first.")

    @property
    def scheme(self) -> str:
        return self.parts[0].rstrip(":")

    @property
    def url(self) -> str:
        """The address with what is secret of it, as the server wants it: to be asked for, and never shown."""
        text = str(self)
        if self.scheme not in ("http", "https"):
            return text
        start = f"{self.scheme}://{self.parts[1]}"
        inside = quote(text[len(start) :], safe="/~!$&'()*+,;=:@")
        return f"{self.scheme}://{_PASSWORDS.get(start, '')}{self.parts[1]}{inside}{_QUERIES.get(text, '')}"

    def pinned(self) -> "RemotePath":
        """The same at the revision that it has now, where addresses have revisions: the commit of a dataset."""
        from fastpt.storage.transfer import revision_of

        found = DATASET.match(str(self))
        if not found:
            return self
        return RemotePath(f"hf://datasets/{found[1]}@{revision_of(self, found[1], found[2])}{str(self)[found.end() :]}")

    def resolve(self, strict: bool = False) -> Self:
        return self

    def absolute(self) -> Self:
        return self

    def exists(self, **_: bool) -> bool:
        from fastpt.storage.transfer import look_up

        return look_up(self) is not None

    def is_dir(self, **_: bool) -> bool:
        from fastpt.storage.transfer import look_up

        return look_up(self) == "folder"

    def is_file(self, **_: bool) -> bool:
        from fastpt.storage.transfer import look_up

        return look_up(self) not in ("folder", None)


CREDENTIALS = {
    "s3": "Credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a profile in ~/.aws (AWS_PROFILE)",
    "gs": "Credentials come from `gcloud auth application-default login`, or GOOGLE_APPLICATION_CREDENTIALS",
    "hf": "Credentials come from `hf auth login`, or HF_TOKEN",
    "https": "Credentials come from ~/.netrc, or the address (https://USER:PASSWORD@HOST/...)",
    "http": "Credentials come from ~/.netrc, or the address (http://USER:PASSWORD@HOST/...)",
}
