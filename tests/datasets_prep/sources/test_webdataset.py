import io
import json
import tarfile

import pytest

from datasets_prep.records import IdList, RecordFormat
from datasets_prep.sources.webdataset import webdataset_splits
from fastpt.errors import FastptError
from tests.conftest import picture


def shard(path, members: dict[str, bytes]):
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def test_img2dataset_output_is_read_in_place(tmp_path):
    for number in range(2):
        members = {}
        for i in range(3):
            members |= {f"{i:09d}.jpg": picture(10 * number + i), f"{i:09d}.json": b'{"caption": "from json"}'}
            members[f"{i:09d}.txt"] = f"caption {number} {i}".encode()
        shard(tmp_path / f"{number:05d}.tar", members)
        (tmp_path / f"{number:05d}_stats.json").write_text("{}")
    (split,) = webdataset_splits([tmp_path], RecordFormat()).splits
    assert split.keys[:2] == ["00000/000000000", "00000/000000001"]
    assert split.captions[3:] == ["caption 1 0", "caption 1 1", "caption 1 2"]
    assert [split.read(i) for i in range(6)] == [picture(i) for i in (0, 1, 2, 10, 11, 12)]
    assert split.labels is None


def test_labels_come_from_cls(tmp_path):
    shard(tmp_path / "a.tar", {"x.jpg": picture(0), "x.cls": b"2", "y.jpg": picture(1), "y.cls": b"0\n"})
    (split,) = webdataset_splits([tmp_path / "a.tar"], RecordFormat()).splits
    assert split.labels.tolist() == [2, 0]
    assert split.classes == ["0", "1", "2"]
    assert split.captions is None


def test_samples_that_lack_something_are_named(tmp_path):
    shard(
        tmp_path / "a.tar",
        {
            "good.jpg": picture(0),
            "good.txt": b"good",
            "text.txt": b"alone",
            "picture.jpg": picture(1),
            "empty.jpg": picture(2),
            "empty.txt": b" ",
            "odd.jpg": picture(3),
            "odd.json": b"{",
        },
    )
    (split,) = webdataset_splits([tmp_path], RecordFormat()).splits
    assert split.keys == ["a/good"]
    assert dict(split.pictureless) == {"a/text": "no picture"}
    assert dict(split.rejected) == {
        "a/picture": "no caption",
        "a/empty": "no caption",
        "a/odd": "its .json does not parse",
    }


@pytest.mark.parametrize("members", [{}, {"a.jpg": b"x"}])
def test_tars_without_targets_are_one_clear_error(tmp_path, members):
    shard(tmp_path / "a.tar", members)
    with pytest.raises(FastptError, match="no sample has"):
        webdataset_splits([tmp_path], RecordFormat())


def test_no_tars_and_a_damaged_tar_are_told(tmp_path):
    with pytest.raises(FastptError, match=r"holds no \.tar"):
        webdataset_splits([tmp_path], RecordFormat())
    (tmp_path / "a.tar").write_bytes(b"rubbish" * 1000)
    with pytest.raises(FastptError, match=r"a\.tar cannot be read"):
        webdataset_splits([tmp_path], RecordFormat())


def yfcc(path, count=6):
    """Tars as img2dataset writes them from a list with Flickr's columns."""
    for number in range(2):
        members = {}
        for i in range(number * count // 2, (number + 1) * count // 2):
            record = {"photoid": 100 + i, "title": f"a+view+of+{i}", "description": "<b>Bread</b> &amp; butter"}
            members |= {f"{i:09d}.jpg": picture(i), f"{i:09d}.txt": b"as it lies", f"{i:09d}.json": json.dumps(record)}
        members = {name: value.encode() if isinstance(value, str) else value for name, value in members.items()}
        shard(path / f"{number:05d}.tar", members)


def test_captions_from_columns_of_the_json_cleaned(tmp_path):
    yfcc(tmp_path)
    (split,) = webdataset_splits([tmp_path], RecordFormat(("title", "description"), strip_markup=True)).splits
    assert split.captions[1] == "a view of 1 Bread & butter"
    assert split.settings == {"caption_columns": ["title", "description"], "markup_stripped": True}


def test_a_subset_is_kept_and_its_coverage_told(tmp_path):
    yfcc(tmp_path)
    subset = IdList("openai", frozenset({"101", "104", "999"}), "checksum")
    (split,) = webdataset_splits([tmp_path], RecordFormat(subset=subset, id_column="photoid")).splits
    assert split.keys == ["00000/000000001", "00001/000000004"]
    assert split.settings["subset"] == {"name": "openai", "sha256": "checksum", "ids": 3, "found": 2}
    assert "2 of its 3 ids (66.67%)" in split.note


def test_the_listing_does_not_depend_on_the_number_of_workers(tmp_path):
    yfcc(tmp_path)
    one, two = (webdataset_splits([tmp_path], RecordFormat(), workers).splits[0] for workers in (1, 2))
    assert one == two
    assert len(two) == 6


def test_tars_of_one_name_are_refused_and_both_are_named(tmp_path):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        shard(tmp_path / folder / "a.tar", {"1.jpg": picture(0), "1.txt": b"one"})
    with pytest.raises(FastptError, match=r"y/a\.tar and .*x/a\.tar have one name"):
        webdataset_splits([tmp_path / "x", tmp_path / "y"], RecordFormat())


@pytest.mark.parametrize("text", [b"caf\xe9", b"\x1b[31mred", b"<script>alert(1)</script>"])
def test_hostile_captions_are_data(tmp_path, text):
    shard(tmp_path / "a.tar", {"1.jpg": picture(0), "1.txt": text})
    (split,) = webdataset_splits([tmp_path], RecordFormat()).splits
    assert split.captions == [text.decode("utf-8", errors="replace")]


def test_halves_of_characters_are_replaced(tmp_path):
    shard(tmp_path / "a.tar", {"1.jpg": picture(0), "1.json": b'{"caption": "half \\ud83d"}'})
    (split,) = webdataset_splits([tmp_path], RecordFormat()).splits
    assert split.captions == ["half \N{REPLACEMENT CHARACTER}"]
