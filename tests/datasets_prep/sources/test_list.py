import io
import tarfile

import pytest

from datasets_prep.records import RecordFormat
from datasets_prep.sources import Request
from datasets_prep.sources.list import Columns, listed_splits
from fastpt.errors import FastptError
from tests.conftest import picture


def caption_splits(place, listed, pattern, records, label_column=None):
    request = Request((place,), None, place.parent, 0, 1)
    return listed_splits(request, [(None, listed)], Columns(records, None, pattern, label_column))


CSV = """id,kind,caption
1,shoe,a red shoe
2,hat,"a hat, with feathers"
3,hat,
2,hat,"a hat, with feathers"
4,,a thing
"""


@pytest.fixture
def shop(tmp_path):
    (tmp_path / "images").mkdir()
    for i in range(1, 5):
        (tmp_path / f"images/{i}.jpg").write_bytes(picture(i))
    (tmp_path / "list.csv").write_text(CSV)
    return tmp_path


def test_rows_become_samples_and_unusable_rows_are_named(shop):
    (split,) = caption_splits(shop, "list.csv", "images/{id}.jpg", RecordFormat(), "kind").splits
    assert split.keys == ["images/1.jpg", "images/2.jpg"]
    assert split.captions == ["a red shoe", "a hat, with feathers"]
    assert split.classes == ["hat", "shoe"]
    assert split.labels.tolist() == [1, 0]
    assert split.read(1) == picture(2)
    assert dict(split.rejected) == {"images/3.jpg": "no caption", "images/4.jpg": "no label"}
    assert split.pictureless == ()


def test_without_a_label_column_there_are_no_labels(shop):
    (split,) = caption_splits(shop, "list.csv", "images/{id}.jpg", RecordFormat()).splits
    assert split.labels is None
    assert len(split) == 3


def test_the_csv_is_looked_up_inside_the_archive(shop, tmp_path):
    with tarfile.open(tmp_path / "shop.tar", "w") as tar:
        for name in ("images/1.jpg", "images/2.jpg", "list.csv"):
            content = (shop / name).read_bytes()
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    (split,) = caption_splits(tmp_path / "shop.tar", "list.csv", "images/{id}.jpg", RecordFormat()).splits
    assert split.read(0) == picture(1)
    assert dict(split.pictureless)["images/4.jpg"] == "missing from the source"


@pytest.mark.parametrize(
    ("csv", "pattern", "column", "said"),
    [
        ("other.csv", "images/{id}.jpg", "caption", "neither on disk nor inside"),
        ("list.csv", "images/{nr}.jpg", "caption", r"no column 'nr'; it has: id, kind, caption"),
        ("list.csv", "images/{id}.jpg", "text", "no column 'text'; it has: id, kind, caption"),
    ],
)
def test_wrong_names_are_one_clear_error(shop, csv, pattern, column, said):
    with pytest.raises(FastptError, match=said):
        caption_splits(shop, csv, pattern, RecordFormat((column,)))


def test_broken_utf8_is_kept_as_replacement_characters(shop):
    (shop / "list.csv").write_bytes(b"id,caption\n1,caf\xe9\n")
    (split,) = caption_splits(shop, "list.csv", "images/{id}.jpg", RecordFormat()).splits
    assert split.captions == ["caf\N{REPLACEMENT CHARACTER}"]
    assert split.note.startswith("1 captions hold bytes that are not UTF-8")


def test_a_quote_that_is_never_closed_is_told_instead_of_swallowing_rows(shop):
    (shop / "list.csv").write_text('id,caption\n1,"open\n2,two\n3,three\n')
    with pytest.raises(FastptError, match="Mend its quotes"):
        caption_splits(shop, "list.csv", "images/{id}.jpg", RecordFormat())


@pytest.mark.parametrize("row", ["2,two,extra", "2"])
def test_a_row_with_other_columns_than_the_header_is_named(shop, row):
    (shop / "list.csv").write_text(f"id,caption\n1,one\n{row}\n")
    (split,) = caption_splits(shop, "list.csv", "images/{id}.jpg", RecordFormat()).splits
    assert split.captions == ["one"]
    assert "other columns than the header" in dict(split.rejected)["images/2.jpg"]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("list.csv", 'id,title,text\n1,"a ""red"" shoe",new\n2,hat,old\n'),
        ("list.tsv", 'id\ttitle\ttext\n1\ta "red" shoe\tnew\n2\that\told\n'),
        (
            "list.jsonl",
            '{"id": 1, "title": "a \\"red\\" shoe", "text": "new"}\n\n{"id": 2, "title": "hat", "text": "old"}\n',
        ),
    ],
)
def test_a_list_is_csv_tsv_or_json_lines(shop, name, content):
    (shop / name).write_text(content)
    (split,) = caption_splits(shop, name, "images/{id}.jpg", RecordFormat(("title", "text"))).splits
    assert split.keys == ["images/1.jpg", "images/2.jpg"]
    assert split.captions == ['a "red" shoe new', "hat old"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("list.txt", "id,caption\n1,one\n", r"is none of \.csv, \.tsv, \.jsonl"),
        ("list.jsonl", '{"id": 1, "caption": "one"}\n[]\n{', "no JSON object"),
        ("list.csv", "id,caption\n", "has no rows"),
    ],
)
def test_a_list_that_is_none_is_one_clear_error(shop, name, content, said):
    (shop / name).write_text(content)
    with pytest.raises(FastptError, match=said):
        caption_splits(shop, name, "images/{id}.jpg", RecordFormat())
