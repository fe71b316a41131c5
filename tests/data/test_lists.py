"""Lists of pictures as people write them."""

import bz2
import csv
import gzip
import json
import lzma
import os

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fastpt.data import list_text, lists
from fastpt.data.lists import OTHER_COLUMNS, open_list
from fastpt.errors import DamagedData, FastptError
from fastpt.storage.files import open_files

ROWS = [{"file": "0.jpg", "kind": "cat"}, {"file": "1.jpg", "kind": "dog"}]
CSV = "file,kind\n0.jpg,cat\n1.jpg,dog\n"


@pytest.fixture
def read(tmp_path, monkeypatch):
    """Write a list, and read its rows and warnings."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "source").mkdir()

    def read(name: str, content: str | bytes, columns=("file", "kind"), quotes=None):
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        listed = open_list(open_files(tmp_path / "source"), name, columns, quotes)
        if listed.columns:
            listed.require(columns)
        rows = list(listed.rows)
        listed.require(columns)
        return rows, listed.warnings

    return read


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("l.csv", CSV),
        ("l.csv", "\ufeff" + CSV),
        ("l.csv", CSV.replace("\n", "\r\n")),
        ("l.csv", CSV.replace("\n", "\r")),
        ("l.csv", CSV.replace("\n", "\n\n")),
        ("L.CSV", CSV),
        ("l.tsv", CSV.replace(",", "\t")),
        ("l.csv.gz", gzip.compress(CSV.encode())),
        ("l.csv", gzip.compress(CSV.encode())),
        ("l.csv.bz2", bz2.compress(CSV.encode())),
        ("l.csv.xz", lzma.compress(CSV.encode())),
        ("l.jsonl", "\n".join(map(json.dumps, ROWS))),
        ("l.ndjson", "\n\n".join(map(json.dumps, ROWS))),
        ("l.json", json.dumps(ROWS)),
        ("l.json", json.dumps(ROWS, indent=1)),
        ("l.jsonl", json.dumps(ROWS)),
        ("l.json", "\n".join(map(json.dumps, ROWS))),
        ("l.jsonl.gz", gzip.compress("\n".join(map(json.dumps, ROWS)).encode())),
    ],
)
def test_a_list_is_read_whatever_wrote_it(read, name, content):
    rows, warnings = read(name, content)
    assert [row.values for row in rows] == ROWS
    assert [row.number for row in rows] == [1, 2]
    assert not warnings


def test_a_list_may_be_parquet_of_which_only_what_is_asked_for_is_read(read, tmp_path):
    pq.write_table(
        pa.table({"file": ["0.jpg", "1.jpg"], "kind": ["cat", "dog"], "emb": [[1], [2]]}), "source/l.parquet"
    )
    rows, _ = read("l.parquet", (tmp_path / "source/l.parquet").read_bytes())
    assert [row.values for row in rows] == ROWS


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("l.txt", CSV, r"none of \.csv, \.tsv"),
        ("list", CSV, r"none of \.csv, \.tsv"),
        ("l.csv", "", "is empty"),
        ("l.csv", b"PK\3\4...", "a zip or an Excel file"),
        ("l.csv", b"PAR1...", "is parquet. Name it"),
        ("l.csv", b"\x28\xb5\x2f\xfd...", "packed by Zstandard"),
        ("l.csv", CSV.encode("utf-16"), "UTF-16"),
        ("l.csv", CSV.encode("utf-16-le"), "zero byte in line 1.*UTF-16"),
        ("l.csv", CSV.replace("cat", "c\0t"), "zero byte in line 2"),
        ("l.csv", "0.jpg,cat\n1.jpg,dog\n", "no column 'file'.*first line looks like a row"),
        ("l.csv", CSV.replace(",", ";"), "no column 'file'.*separated by semicolons"),
        ("l.csv", CSV.replace(",", "\t"), "no column 'file'.*separated by tabs"),
        ("l.tsv", CSV, "no column 'file'.*separated by commas"),
        ("l.csv", CSV.replace("kind", " kind"), "no column 'kind'.*Did you mean ' kind'"),
        ("l.csv", CSV.replace("kind", "Kind"), "no column 'kind'.*Did you mean 'Kind'"),
        ("l.csv", "file,kind,kind\n0.jpg,a,b\n", "has 2 columns 'kind'"),
        ("l.csv", 'file,kind\n0.jpg,"cat\n1.jpg,dog\n', "near line 3.*--list-quotes plain"),
        ("l.jsonl", '{"file": 1}\n{"file": \n', "line 2, is no JSON object"),
        ("l.jsonl", '{"file": 1, "kind": 2, "kind": 3}\n', "'kind' stands there twice"),
        ("l.jsonl", '{"kind": ' + "[" * 100_000, "nested too deeply"),
        ("l.json", '[{"kind": ' + "[" * 100_000, "nested too deeply"),
        ("l.jsonl", '{"kind": ' + "9" * 5000 + "}", "line 1, is no JSON object"),
        ("l.json", "[1, 2]", "no JSON array of objects: found int"),
        ("l.json", pd.DataFrame(ROWS).to_json(), "holds columns, not rows"),
        ("l.jsonl", '{"file": "0.jpg"}\n', "no column 'kind'"),
        (
            "l.json",
            '{"images": [{"file": "0.jpg"}], "annotations": []}',
            "an object with 1 objects in 'images', not rows",
        ),
        ("l.json", '{"0.jpg": "cat", "1.jpg": "dog"}', "one object of pictures' names"),
    ],
)
def test_what_is_no_list_is_one_clear_error(read, name, content, said):
    with pytest.raises(FastptError, match=said):
        read(name, content)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("l.csv.gz", gzip.compress(CSV.encode())[:-9]),
        ("l.csv.bz2", bz2.compress(CSV.encode())[:-9]),
        ("l.csv.xz", lzma.compress(CSV.encode())[:-9]),
        ("l.parquet", b"PAR1" + bytes(100)),
    ],
)
def test_a_damaged_list_is_told(read, name, content):
    with pytest.raises(DamagedData, match=name):
        read(name, content)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("l.csv", "file,kind\n" + "x" * 1000, "line 2 has more than 200 characters"),
        ("l.csv", 'file,kind\n"' + "x\n" * 1000, "near line .*field larger"),
        ("l.jsonl", '{"file": "' + "x" * 1000, "line 1 has more than 200 characters"),
        ("l.json", "[" + "\n" * 1000 + "]", "array of more than 500 characters"),
    ],
)
def test_a_packed_list_without_end_is_refused(read, monkeypatch, name, content, said):
    monkeypatch.setattr(list_text, "LARGEST_LINE", 200)
    monkeypatch.setattr(lists, "LARGEST_ARRAY", 500)
    with pytest.raises(FastptError, match=said):
        read(f"{name}.gz", gzip.compress(content.encode()))


def test_quotes_that_would_enclose_whole_rows_are_asked_for(read):
    content = 'file\tkind\n0.jpg\t"cat\n1.jpg\tdog"\n'
    with pytest.raises(FastptError, match="can be read in two ways"):
        read("l.tsv", content)
    assert [row.values["kind"] for row in read("l.tsv", content, quotes="plain")[0]] == ['"cat', 'dog"']
    assert [row.values["kind"] for row in read("l.tsv", content, quotes="csv")[0]] == ["cat\n1.jpg\tdog"]


def test_a_pipe_and_a_folder_are_no_lists(read, tmp_path):
    os.mkfifo("p.csv")
    (tmp_path / "d.csv").mkdir()
    for name in ("p.csv", "d.csv"):
        with pytest.raises(FastptError, match="neither on disk nor inside"):
            open_list(open_files(tmp_path / "source"), name, ())


def test_rows_of_other_columns_are_told_and_nulls_are_not(read):
    rows, _ = read("l.csv", "file,kind,x\n0.jpg,cat,\n1.jpg\n2.jpg,dog,a,b\n")
    assert [row.problem for row in rows] == [None, OTHER_COLUMNS, OTHER_COLUMNS]
    rows, _ = read("l.jsonl", '{"file": "0.jpg", "kind": 1, "x": null}\n{"file": "1.jpg"}\n')
    assert [row.problem for row in rows] == [None, None]


TEXTS = ['a 5" disc', 'they "say" so', "plain", "a\ttab", "two\nlines", '"q" first', '"all"']
PLAIN = [text for text in TEXTS if "\t" not in text and "\n" not in text]


def tsv(texts) -> str:
    return "file\tkind\n" + "".join(f"{i}.jpg\t{text}\n" for i, text in enumerate(texts))


@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
@pytest.mark.parametrize("name", ["l.csv", "l.tsv"])
def test_what_pandas_wrote_is_read_as_it_was(read, name, quoting):
    table = pd.DataFrame({"file": [f"{i}.jpg" for i in range(len(TEXTS))], "kind": TEXTS})
    rows, warnings = read(name, table.to_csv(sep=",\t"[name == "l.tsv"], index=False, quoting=quoting))
    assert [row.values["kind"] for row in rows] == TEXTS
    assert ["quotes enclose fields" in warning for warning in warnings] == [True] * (name == "l.tsv")


@pytest.mark.parametrize(
    ("texts", "told"),
    [(['5" disc', 'a "b"'], False), (PLAIN[:-1], True), (['"never closed', "x"], True), (['"a', '"b'], True)],
)
def test_a_plain_tsv_stays_as_it_is(read, texts, told):
    rows, warnings = read("l.tsv", tsv(texts))
    assert [row.values["kind"] for row in rows] == texts
    assert bool(warnings) == told
    assert all("quotes are plain characters" in warning for warning in warnings)


@pytest.mark.parametrize("texts", [['"red"', "x"], ['"red, blue"'], ['"a ""b"" c"', "x\ty"]])
def test_a_tsv_that_can_be_read_in_two_ways_is_asked_for(read, texts):
    with pytest.raises(FastptError, match="Say --list-quotes csv or --list-quotes plain"):
        read("l.tsv", tsv(texts))
    assert read("l.tsv", tsv(texts), quotes="plain")[0][0].values["kind"] == texts[0]
    assert read("l.tsv", tsv(texts), quotes="csv")[0][0].values["kind"] == texts[0][1:-1].replace('""', '"')


def test_quotes_of_a_csv_may_be_plain(read):
    rows, _ = read("l.csv", 'file,kind\n0.jpg,"a 5" disc\n', quotes="plain")
    assert rows[0].values["kind"] == '"a 5" disc'
