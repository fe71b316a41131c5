import bz2
import gzip

import pytest

from datasets_prep.records import RecordFormat, read_subset, without_markup
from fastpt.errors import FastptError


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("A+walk+in+the+park%21", "A walk in the park!"),
        ("100% wool + silk", "100% wool + silk"),  # spaces: this was never URL-encoded
        ("C++ and you", "C++ and you"),
        ("1+1=2", "1+1=2"),  # nor this: `=` would be %3D
        ("AC/DC+friends", "AC/DC+friends"),
        ("100%25,", "100%25,"),
        ("日本+東京", "日本+東京"),
        ("Tom &amp; <b>Jerry</b><br />  again", "Tom & Jerry again"),
        ("I <3 you & 2 < 3 > 1", "I <3 you & 2 < 3 > 1"),
        ("caf%C3%A9", "caf\N{LATIN SMALL LETTER E WITH ACUTE}"),
        (" \t\n ", ""),
    ],
)
def test_cleaning_takes_url_encoding_html_and_extra_spaces(raw, cleaned):
    assert without_markup(raw) == cleaned


def test_a_caption_is_its_columns_in_order_and_raw_unless_cleaned():
    record = {"title": " A+b ", "description": "", "tags": "x"}
    assert RecordFormat(("title", "description", "tags")).caption(record) == "A+b x"
    assert RecordFormat(("title",), strip_markup=True).caption(record) == "A b"
    assert RecordFormat(("description",)).caption(record) == ""
    assert RecordFormat(("other",)).caption(record) is None


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("ids.txt", b"11\n22\n"),
        ("yfcc100m_subset_data.tsv", b"0\t11\tabcdef\n1\t22\tfedcba\n"),
        ("open_data.jsonl", b'{"photoid": 11, "caption": "x"}\n{"filename": "a/22.jpg", "caption": "y"}\n'),
        ("ids.txt.gz", gzip.compress(b"11\n22\n")),
        ("ids", gzip.compress(b"11\n22\n")),
        ("ids.txt", b"\xef\xbb\xbf11\r\n22\r\n"),
        ("ids.tsv.bz2", bz2.compress(b"0\t11\tabcdef\n1\t22\tfedcba\n")),
    ],
)
def test_ids_are_read_from_every_kind_of_list(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    subset = read_subset("mine", tmp_path / name)
    assert subset.ids == {"11", "22"}
    assert len(subset.sha256) == 64


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "lists no ids"),
        (b'1\n{"other": 1}\n', "line 2, is no JSON object with an id: it has neither photoid nor filename, but other"),
        (b"{\n", "line 1, is no JSON object"),
        (b"PAR1....", "is parquet"),
        ("1\n".encode("utf-16"), "is written in UTF-16"),
        (gzip.compress(b"1\n")[:-4], "it is damaged"),
        (None, "does not exist. Give the path of a file"),
    ],
)
def test_a_list_without_ids_is_one_clear_error(tmp_path, content, told):
    if content is not None:
        (tmp_path / "ids").write_bytes(content)
    with pytest.raises(FastptError, match=f"--subset-ids .*{told}"):
        read_subset("mine", tmp_path / "ids")
