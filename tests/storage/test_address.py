import os
import pickle
from pathlib import Path

import pytest

from fastpt.errors import FastptError
from fastpt.storage import transfer
from fastpt.storage.address import ADDRESS, RemotePath


@pytest.mark.parametrize(
    "text",
    [
        "s3://bucket",
        "s3://bucket/a/b.tar",
        "gs://bucket/a",
        "https://host:8080/a%20b/c.tar".replace("%20", " "),
        "hf://datasets/own/set@main/data",
        "hf://datasets/own/set@refs/convert/parquet",
    ],
)
def test_an_address_is_a_path_whose_text_stays(text):
    path = RemotePath.parse(text)
    assert str(path) == text
    assert str(path / "x" / "y.tar") == f"{text}/x/y.tar"
    assert (path / "x" / "y.tar").name == "y.tar"
    assert str((path / "x.tar").with_name("z.tar")) == f"{text}/z.tar"
    assert str((path / "x").parent) == text
    assert str((path / "x/y").relative_to(path)) == "x/y"
    assert (pickle.loads(pickle.dumps(path)), path.resolve(), path.absolute()) == (path, path, path)
    assert ADDRESS.match(str(path))


@pytest.mark.parametrize("revision", [None, "main", "refs/convert/parquet", "refs/pr/3"])
def test_a_revision_of_a_dataset_is_pinned_to_its_commit(monkeypatch, revision):
    def revision_of(path, dataset, asked):
        assert (dataset, asked) == ("own/set", revision)
        return "c0ffee"

    monkeypatch.setattr(transfer, "revision_of", revision_of)
    path = RemotePath.parse(f"hf://datasets/own/set{f'@{revision}' if revision else ''}/default/train")
    assert str(path.pinned()) == "hf://datasets/own/set@c0ffee/default/train"


def test_an_address_is_never_taken_for_a_name_on_this_disk(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("s3:/bucket").mkdir(parents=True)
    path = RemotePath.parse("s3://bucket")
    for use in (lambda: os.fspath(path), path.read_bytes, path.stat, lambda: list(path.iterdir())):
        with pytest.raises(FastptError, match="s3://bucket is an address"):
            use()


def test_secrets_of_an_address_are_in_its_url_only():
    path = RemotePath.parse("https://me:pass@host/a b/c.tar?sig=s3cret#part")
    assert str(path) == "https://host/a b/c.tar"
    assert path.url == "https://me:pass@host/a%20b/c.tar?sig=s3cret"
    assert path.parent.url == "https://me:pass@host/a%20b"
    assert "s3cret" not in repr(path) + str(pickle.dumps(path))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("s3://", "names no place"),
        ("hf://own/set", "is no dataset. Give hf://datasets/OWNER/NAME"),
        ("hf://datasets/set", "is no dataset"),
        ("gs://key:secret@bucket", "an address holds no password here"),
    ],
)
def test_an_address_that_cannot_be_one_is_refused(text, told):
    with pytest.raises(FastptError, match=told) as caught:
        RemotePath.parse(text)
    assert "secret" not in str(caught.value)
