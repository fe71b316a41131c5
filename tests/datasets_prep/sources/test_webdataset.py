"""Samples of tars: their members, pictures and captions."""

import json
import tarfile

import pytest

from datasets_prep.records import IdList, RecordFormat
from fastpt.errors import FastptError
from tests.conftest import picture
from tests.datasets_prep.sources.tars_of_samples import listed, shard


def test_img2dataset_output_is_read_in_place(tmp_path):
    for number in range(2):
        members = {}
        for i in range(3):
            members |= {f"{i:09d}.jpg": picture(10 * number + i), f"{i:09d}.json": b'{"caption": "from json"}'}
            members[f"{i:09d}.txt"] = f"caption {number} {i}".encode()
        shard(tmp_path / f"{number:05d}.tar", members)
        (tmp_path / f"{number:05d}_stats.json").write_text("{}")
    (split,) = listed(tmp_path).splits
    assert split.keys[:2] == ["00000/000000000", "00000/000000001"]
    assert split.captions[3:] == ["caption 1 0", "caption 1 1", "caption 1 2"]
    assert [split.read(i) for i in range(6)] == [picture(i) for i in (0, 1, 2, 10, 11, 12)]
    assert split.labels is None


def test_labels_come_from_cls(tmp_path):
    shard(tmp_path / "a.tar", {"x.jpg": picture(0), "x.cls": b"2", "y.jpg": picture(1), "y.cls": b"0\n"})
    (split,) = listed(tmp_path / "a.tar").splits
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
    (split,) = listed(tmp_path).splits
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
        listed(tmp_path)


def test_no_tars_and_a_damaged_tar_are_told(tmp_path):
    with pytest.raises(FastptError, match=r"holds no \.tar"):
        listed(tmp_path)
    (tmp_path / "a.tar").write_bytes(b"rubbish" * 1000)
    with pytest.raises(FastptError, match=r"a\.tar cannot be read"):
        listed(tmp_path)


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
    (split,) = listed(tmp_path, records=RecordFormat(("title", "description"), strip_markup=True)).splits
    assert split.captions[1] == "a view of 1 Bread & butter"
    assert split.settings == {"caption_columns": ["title", "description"], "markup_stripped": True}


def test_a_subset_is_kept_and_its_coverage_told(tmp_path):
    yfcc(tmp_path)
    subset = IdList("openai", frozenset({"101", "104", "999"}), "checksum")
    (split,) = listed(tmp_path, records=RecordFormat(subset=subset, id_column="photoid")).splits
    assert split.keys == ["00000/000000001", "00001/000000004"]
    assert split.settings["subset"] == {"name": "openai", "sha256": "checksum", "ids": 3, "found": 2}
    assert "2 of its 3 ids (66.67%)" in split.note


@pytest.mark.parametrize(
    ("id_column", "told"),
    [
        (None, "the id of a record is the name of its picture, the subset has ids such as 7"),
        ("photo_id", r"its photo_id \(records have the columns .*photoid\)"),
    ],
)
def test_a_subset_that_holds_none_of_the_samples_is_told(tmp_path, id_column, told):
    shard(tmp_path / "0.tar", {"1.jpg": picture(0), "1.txt": b"x", "1.json": b'{"photoid": 7}'})
    records = RecordFormat(subset=IdList("mine", frozenset({"7"}), ""), id_column=id_column)
    with pytest.raises(FastptError, match=f"in the subset mine; .*{told}"):
        listed(tmp_path, records=records)


def test_a_split_outside_of_the_subset_is_told(tmp_path):
    for i, name in enumerate(("train", "val")):
        shard(tmp_path / f"{name}.tar", {f"{i}.jpg": picture(i), f"{i}.txt": b"x"})
    found = listed(tmp_path, records=RecordFormat(subset=IdList("mine", frozenset({"0"}), "")))
    assert [split.name for split in found.splits] == ["train"]
    assert found.warnings == ("no sample of split val is in the subset: it is left out",)
    assert found.beside["not in the subset"] == {"val.tar": 1}


def test_the_listing_does_not_depend_on_the_number_of_workers(tmp_path):
    yfcc(tmp_path)
    one, two = (listed(tmp_path, workers=workers).splits[0] for workers in (1, 2))
    assert one == two
    assert len(two) == 6


def test_tars_of_one_name_are_refused_and_both_are_named(tmp_path):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        shard(tmp_path / folder / "a.tar", {"1.jpg": picture(0), "1.txt": b"one"})
    with pytest.raises(FastptError, match=r"y/a\.tar and .*x/a\.tar have one name"):
        listed(tmp_path / "x", tmp_path / "y")


@pytest.mark.parametrize("text", [b"caf\xe9", b"\x1b[31mred", b"<script>alert(1)</script>"])
def test_hostile_captions_are_data(tmp_path, text):
    shard(tmp_path / "a.tar", {"1.jpg": picture(0), "1.txt": text})
    (split,) = listed(tmp_path).splits
    assert split.captions == [text.decode("utf-8", errors="replace")]


def test_halves_of_characters_are_replaced(tmp_path):
    shard(tmp_path / "a.tar", {"1.jpg": picture(0), "1.json": b'{"caption": "half \\ud83d"}'})
    (split,) = listed(tmp_path).splits
    assert split.captions == ["half \N{REPLACEMENT CHARACTER}"]


# --- which members are the picture ---------------------------------------------------------------------------------


def test_the_picture_of_several_is_chosen(tmp_path):
    members = {"x.jpg": picture(0), "x.seg.png": picture(1), "x.png": picture(2), "x.cls": b"0"}
    shard(tmp_path / "a.tar", members)
    with pytest.raises(FastptError, match=r"two pictures of one key: x\.jpg and x\.png.*--image-member jpg or png"):
        listed(tmp_path)
    found = listed(tmp_path, image_member="jpg")
    assert found.splits[0].read(0) == picture(0)
    assert found.beside["other members"] == {".seg.png": 1, ".png": 1}


def test_samples_without_the_member_that_was_asked_for_are_named(tmp_path):
    shard(tmp_path / "a.tar", {"x.jpg": picture(0), "x.cls": b"0", "y.png": picture(1), "y.cls": b"0"})
    (split,) = listed(tmp_path, image_member=".JPG").splits
    assert split.keys == ["a/x"]
    assert split.rejected == (("a/y.png", "not the --image-member, JPG"),)


def test_each_file_whose_key_ends_at_another_dot_is_named(tmp_path):
    members = {f"a.{letter}.{suffix}": picture(1) for letter in "bc" for suffix in ("jpg", "txt")}
    shard(tmp_path / "a.tar", members | {"d.jpg": picture(0), "d.txt": b"d"})
    found = listed(tmp_path)
    assert [key for key, _ in found.splits[0].rejected] == ["a/a.b.jpg", "a/a.c.jpg"]
    assert found.beside["other members"] == {".b.txt": 1, ".c.txt": 1}


def test_a_picture_with_another_suffix_or_none_is_told_by_its_content(tmp_path):
    shard(
        tmp_path / "a.tar",
        {"x.jfif": picture(0), "x.cls": b"0", "y": picture(1), "y.cls": b"1", "z.mp4": b"\0\0\0\x18ftypmp42"},
    )
    found = listed(tmp_path)
    assert found.splits[0].keys == ["a/x", "a/y"]
    assert found.beside["other members"] == {".mp4": 1}


def test_every_member_is_counted(tmp_path):
    members = {"x.jpg": picture(0), "x.txt": b"x", "x.json": b"{}", "x.mask.npy": b"1", "README": b"read me"}
    shard(tmp_path / "a.tar", members | {".x.jpg.swp": b"1", "__MACOSX/x.jpg": b"1"})
    with tarfile.open(tmp_path / "a.tar", "a") as tar:
        for name, kind in (("pipe", tarfile.FIFOTYPE), ("link.jpg", tarfile.SYMTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "nowhere"
            tar.addfile(info)
    (tmp_path / "a_stats.json").write_text("{}")
    (tmp_path / "a.parquet").write_bytes(b"PAR1")
    (tmp_path / "preview.jpg").write_bytes(picture(1))
    found = listed(tmp_path)
    assert found.files == 12
    assert {what: dict(counts) for what, counts in found.beside.items()} == {
        "targets": {".txt": 1, ".json": 1},
        "other members": {".mask.npy": 1, "without suffix": 1},
        "hidden or system": {".x.jpg.swp": 1, "__MACOSX": 1},
        "a pipe": {"a.tar: pipe": 1},
        "no picture": {".json": 1, ".parquet": 1},
        "beside the .tar files": {"preview.jpg": 1},
    }
    assert found.splits[0].rejected == (("a/link", "link.jpg is a link to nothing"),)


def test_samples_whose_download_failed_are_counted_by_their_status(tmp_path):
    failed = {f"{i}.json": b'{"status": "failed_to_download", "caption": "gone"}' for i in range(3)}
    shard(tmp_path / "a.tar", failed | {"good.jpg": picture(0), "good.json": b'{"status": "success", "caption": "g"}'})
    found = listed(tmp_path)
    assert found.warnings == ("3 samples without a picture, as the .json says: failed_to_download 3",)
    assert found.splits[0].pictureless[0] == ("a/0", "no picture: its .json says failed_to_download")
