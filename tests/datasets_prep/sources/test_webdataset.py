import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import re
import signal
import tarfile
from pathlib import Path

import pyarrow as pa
import pytest

from datasets_prep import tar_samples
from datasets_prep.listing import Found
from datasets_prep.records import IdList, RecordFormat
from datasets_prep.sources import Request
from datasets_prep.sources.webdataset import webdataset_splits
from datasets_prep.tar_samples import Members
from fastpt.errors import DamagedData, FastptError
from tests.conftest import picture, prepared


def shard(path, members: dict[str, bytes]):
    with tarfile.open(path, "w") as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))


def listed(
    *places: Path,
    split: str | None = None,
    workers: int = 1,
    ignore_damage: bool = False,
    records: RecordFormat | None = None,
    unpack_dir: Path = Path("unused"),
    **members,
) -> Found:
    """What is found, which adds up."""
    request = Request(places, split, unpack_dir, 0, workers, ignore_damage)
    found = webdataset_splits(request, Members(records or RecordFormat(), **members))
    found.check()
    return found


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


# --- tars -----------------------------------------------------------------------------------------------------------


SAMPLE = {"0.jpg": picture(0), "0.cls": b"0"}


@pytest.mark.parametrize(
    "names",
    [
        ("train-000.tar", "val-000.tar"),
        ("train/000.tar", "val/000.tar"),
        ("cc3m-train-0000.tar", "cc3m-validation-0000.tar"),
        ("Train/0/000.tar", "dev/0/000.tar"),
        ("train.tar", "val.tar"),
    ],
)
def test_tars_are_of_the_split_that_their_name_or_folder_tells(tmp_path, names):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shard(tmp_path / name, SAMPLE)
    assert [(split.name, len(split), split.is_train) for split in listed(tmp_path).splits] == [
        ("train", 1, True),
        ("val", 1, False),
    ]


@pytest.mark.parametrize("names", [("0.tar", "test/0.tar"), ("a.tar", "b.tar")])
def test_splits_that_are_unclear_are_asked_for(tmp_path, names):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shard(tmp_path / name, SAMPLE)
    with pytest.raises(FastptError, match=r"of which split is .*--source SPLIT=PATH"):
        listed(tmp_path)


def test_tars_of_a_split_of_its_own_are_not_trained_on(tmp_path):
    for name in ("train-0.tar", "evaluation-0.tar"):
        shard(tmp_path / name, SAMPLE)
    assert [split.name for split in listed(tmp_path).splits] == ["evaluation", "train"]


@pytest.mark.parametrize("folders", [("train", "val"), ("val",), ("data/Test",)])
def test_splits_inside_a_tar_are_not_melted(tmp_path, folders):
    shard(tmp_path / "0.tar", {f"{folder}/{name}": content for folder in folders for name, content in SAMPLE.items()})
    with pytest.raises(FastptError, match=rf"0\.tar has samples in {folders[-1]}/, and would be of split train"):
        listed(tmp_path)
    assert len(listed(tmp_path, split="train").splits[0]) == len(folders)


def test_a_split_that_the_user_names_needs_no_names(tmp_path):
    for name in ("a.tar", "b.tar", "train-val.tar"):
        shard(tmp_path / name, SAMPLE)
    (split,) = listed(tmp_path, split="train").splits
    assert len(split) == 3


def test_linked_folders_are_followed_and_pipes_told(tmp_path):
    for name in ("shards", "elsewhere"):
        (tmp_path / name).mkdir()
    shard(tmp_path / "shards/0.tar", SAMPLE)
    shard(tmp_path / "elsewhere/1.TAR", SAMPLE)
    (tmp_path / "shards/more").symlink_to("../elsewhere")
    os.mkfifo(tmp_path / "shards/2.tar")
    found = listed(tmp_path / "shards")
    assert len(found.splits[0]) == 2
    assert "2.tar is a pipe: it is not read" in found.warnings[0]


def zstandard(content: bytes) -> bytes:
    half = len(content) // 2
    return b"".join(pa.compress(part, codec="zstd", asbytes=True) for part in (content[:half], content[half:]))


PACKINGS = pytest.mark.parametrize(
    ("suffix", "pack"),
    [
        (".tar.gz", gzip.compress),
        (".tgz", gzip.compress),
        (".tar.bz2", bz2.compress),
        (".tar.xz", lzma.compress),
        (".tar.zst", zstandard),
        (".tar", gzip.compress),
    ],
)


@PACKINGS
def test_packed_tars_give_the_samples_of_plain_ones(tmp_path, suffix, pack):
    for folder in ("plain", "packed"):
        (tmp_path / folder).mkdir()
    for i in range(3):
        shard(
            tmp_path / f"plain/{i}.tar",
            {f"{k}.jpg": picture(10 * i + k) for k in range(3)} | {"0.cls": b"1", "1.cls": b"0"},
        )
        content = (tmp_path / f"plain/{i}.tar").read_bytes()
        (tmp_path / f"packed/{i}{suffix if i else '.tar'}").write_bytes(pack(content) if i else content)
    plain, packed = (listed(folder, unpack_dir=tmp_path) for folder in (tmp_path / "plain", tmp_path / "packed"))
    (one,), (two,) = plain.splits, packed.splits
    assert (one.keys, one.labels.tolist(), one.rejected) == (two.keys, two.labels.tolist(), two.rejected)
    assert [one.read(i) for i in range(len(one))] == [two.read(i) for i in range(len(two))]
    assert prepared(tmp_path / "out", two, workers=2, shard_samples=2, max_rejects=1).keys
    with pytest.raises(FastptError, match="For --ray, unpack it"):
        pickle.dumps(two)


@PACKINGS
def test_a_packed_tar_that_is_cut_is_refused(tmp_path, suffix, pack):
    shard(tmp_path / "0.tar", {f"{k}.{end}": picture(k) for k in range(30) for end in ("jpg", "txt")})
    content = pack((tmp_path / "0.tar").read_bytes())
    (tmp_path / "0.tar").unlink()
    (tmp_path / f"0{suffix}").write_bytes(content[: len(content) * 2 // 3])
    with pytest.raises(DamagedData, match=f"0{suffix} is damaged: "):
        listed(tmp_path, unpack_dir=tmp_path)


@pytest.mark.parametrize(("suffix", "pack"), [("gz", gzip.compress), ("zst", zstandard)])
def test_of_a_packed_tar_that_is_cut_the_rest_can_be_read(tmp_path, suffix, pack):
    shard(tmp_path / "0.tar", {"0.cls": b"0"} | {f"{k}.jpg": picture(k) for k in range(99)})
    content = pack((tmp_path / "0.tar").read_bytes())
    (tmp_path / f"1.tar.{suffix}").write_bytes(content[: len(content) * 2 // 3])
    found = listed(tmp_path / f"1.tar.{suffix}", unpack_dir=tmp_path, ignore_damage=True)
    assert re.search(r"1\.tar\.\w+: what was compressed|it is cut", found.warnings[0])


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("1.tar.lz4", b"x", r"1\.tar\.lz4 cannot be read, packed as it is\. Unpack it"),
        ("1.tar.gz", gzip.compress(b"<html>" * 100), r"1\.tar\.gz is packed, and holds no tar, but HTML"),
        ("1.tar.gz", gzip.compress(gzip.compress(bytes(1000))), "holds no tar, but gzip"),
        ("1.tar.gz", gzip.compress(bytes(1 << 24)), "unpacks to more than 100 times its size"),
    ],
)
def test_what_is_packed_and_no_tar_is_called_what_it_is(tmp_path, name, content, told):
    shard(tmp_path / "0.tar", SAMPLE)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FastptError, match=told):
        listed(tmp_path, unpack_dir=tmp_path)


def test_a_tar_and_the_same_packed_are_refused(tmp_path):
    shard(tmp_path / "0.tar", SAMPLE)
    (tmp_path / "0.tar.gz").write_bytes(gzip.compress((tmp_path / "0.tar").read_bytes()))
    with pytest.raises(FastptError, match=r"0\.tar\.gz and .*0\.tar have one name"):
        listed(tmp_path, unpack_dir=tmp_path)


def test_tars_that_are_not_finished_and_empty_ones_are_told(tmp_path):
    shard(tmp_path / "0.tar", SAMPLE)
    shard(tmp_path / "1.tar", {})
    (tmp_path / "2.tar.incomplete").write_bytes(b"x")
    first, second = listed(tmp_path).warnings
    assert re.search(r"2\.tar\.incomplete: by the name a tar that is not finished", first)
    assert re.search(r"1\.tar: no sample with a picture", second)


def test_what_is_no_tar_is_called_what_it_is(tmp_path):
    shard(tmp_path / "0.tar", SAMPLE)
    (tmp_path / "1.tar").write_bytes(b"PK\3\4" + bytes(1000))
    with pytest.raises(DamagedData, match=r"1\.tar cannot be read as a \.tar: it is zip\. Unpack it"):
        listed(tmp_path)


def test_pictures_beside_the_tars_are_told(tmp_path):
    shard(tmp_path / "0.tar", SAMPLE)
    (tmp_path / "1.tar").mkdir()
    (tmp_path / "1.tar/x.jpg").write_bytes(picture(0))
    assert "1 picture in " in listed(tmp_path).warnings[0]


@pytest.mark.parametrize("content", [b"", b"\0\1rubbish" * 1000, b"<html>" * 1000])
def test_a_tar_that_is_none_is_left_out_by_name_if_damage_is_to_be_ignored(tmp_path, content):
    shard(tmp_path / "0.tar", SAMPLE)
    (tmp_path / "1.tar").write_bytes(content)
    with pytest.raises(DamagedData, match=r"1\.tar cannot be read"):
        listed(tmp_path)
    found = listed(tmp_path, ignore_damage=True)
    assert found.beside["damaged"] == {"1.tar": 1}
    assert re.search(r"1\.tar is left out: ", found.warnings[0])


# --- targets --------------------------------------------------------------------------------------------------------


def labelled(folder: Path, *labels: bytes) -> None:
    shard(
        folder / "a.tar",
        {f"{i}.{suffix}": x for i, y in enumerate(labels) for suffix, x in (("jpg", b"x"), ("cls", y))},
    )


@pytest.mark.parametrize(
    ("labels", "classes", "numbers"),
    [
        ((b"cat\n", b" dog "), ["cat", "dog"], [0, 1]),
        ((b"1.0", b"0"), ["0", "1"], [1, 0]),
        ((b"007", b"1"), ["007", "1"], [0, 1]),
        ((b"\xef\xbb\xbfcat", b"cat\r\n"), ["cat"], [0, 0]),
    ],
)
def test_labels_are_read_like_those_of_all_sources(tmp_path, labels, classes, numbers):
    labelled(tmp_path, *labels)
    (split,) = listed(tmp_path).splits
    assert (split.classes, split.labels.tolist()) == (classes, numbers)


def test_labels_that_mix_numbers_and_names_are_told(tmp_path):
    labelled(tmp_path, b"cat", b"2")
    assert "the .cls: 1 number and 1 name" in listed(tmp_path).warnings[0]


@pytest.mark.parametrize(
    ("member", "content", "told"),
    [
        ("0.cls", b"-1", r"a/0: no label \('-1'\)"),
        ("0.txt", b" ", "a/0: its caption is empty"),
        (
            "0.json",
            b'{"caption": ["x"], "url": "y"}',
            "a/0: its caption is a list; columns of the .json are caption, url",
        ),
        ("0.json", b'{"text": "x"}', "columns of the .json are text"),
        ("0.caption.txt", b"x", r"other members are \.caption\.txt"),
    ],
)
def test_what_stands_where_targets_should_be_is_told(tmp_path, member, content, told):
    shard(tmp_path / "a.tar", {"0.jpg": b"x", member: content})
    with pytest.raises(FastptError, match=f"no sample has .* \\(.*{told}"):
        listed(tmp_path)


@pytest.mark.parametrize("label", [b"-1", b"", b" \n", b"nan"])
def test_samples_without_a_label_are_named(tmp_path, label):
    labelled(tmp_path, b"0", label)
    (split,) = listed(tmp_path).splits
    assert [key for key, _ in split.rejected] == ["a/1"]
    assert "no label" in split.rejected[0][1]


@pytest.mark.parametrize(
    ("label", "told"),
    [
        (b"48600114712", "id"),
        (b"1.5", "no whole number"),
        (b"-2", "negative"),
        (b"[0, 1]", "is a list"),
        (b'{"label": 1}', "is an object"),
    ],
)
def test_what_is_no_label_is_refused_by_name(tmp_path, label, told):
    labelled(tmp_path, b"0", label)
    with pytest.raises(FastptError, match=rf"the \.cls: the label of a/1, .*{told}"):
        listed(tmp_path)


@pytest.mark.parametrize("text", ["cat".encode("utf-16"), "cat".encode("utf-16-le"), b"cat\0"])
@pytest.mark.parametrize("suffix", ["cls", "txt"])
def test_a_target_that_is_no_utf8_text_is_rejected_by_name(tmp_path, suffix, text):
    shard(tmp_path / "a.tar", {"0.jpg": b"x", f"0.{suffix}": b"dog", "1.jpg": b"x", f"1.{suffix}": text})
    (split,) = listed(tmp_path).splits
    assert split.rejected == (("a/1", f"its .{suffix} holds zero bytes: it is UTF-16, or no text"),)


def test_a_json_that_is_no_utf8_is_rejected_by_name(tmp_path):
    json_of = {"0": '{"caption": "café"}', "1": '{"caption": "cafe"}'}
    shard(
        tmp_path / "a.tar",
        {f"{i}.jpg": b"x" for i in json_of} | {f"{i}.json": t.encode("latin-1") for i, t in json_of.items()},
    )
    assert listed(tmp_path).splits[0].rejected == (("a/0", "its .json cannot be taken: it is not UTF-8"),)


def test_the_mark_at_the_start_of_a_caption_is_no_part_of_it(tmp_path):
    shard(tmp_path / "a.tar", {"0.jpg": b"x", "0.txt": b"\xef\xbb\xbfa cat"})
    assert listed(tmp_path).splits[0].captions == ["a cat"]


def test_a_place_that_is_not_there_is_told(tmp_path):
    with pytest.raises(FastptError, match=r"nowhere does not exist"):
        listed(tmp_path / "nowhere")


def test_a_label_of_several_lines_is_rejected_by_name(tmp_path):
    labelled(tmp_path, b"0", b"1\n2")
    (split,) = listed(tmp_path).splits
    assert split.rejected == (("a/1", "its .cls has several lines"),)


def in_json(folder: Path, **more: bytes) -> None:
    shard(
        folder / "a.tar",
        {
            f"{i}.{suffix}": x
            for i in range(2)
            for suffix, x in {"jpg": b"x", "json": b'{"label": %d}' % i, **more}.items()
        },
    )


def test_labels_of_the_json_are_taken_if_there_is_nothing_else_and_told(tmp_path):
    in_json(tmp_path)
    found = listed(tmp_path)
    assert found.splits[0].labels.tolist() == [0, 1]
    assert "2 samples has a 'label': it is taken" in found.warnings[0]


def test_labels_of_the_json_beside_captions_are_told_and_taken_if_asked(tmp_path):
    in_json(tmp_path, txt=b"a caption")
    found = listed(tmp_path)
    assert found.splits[0].labels is None
    assert "it is not used (--label-column label would)" in found.warnings[0]
    (split,) = listed(tmp_path, label_column="label").splits
    assert split.labels.tolist() == [0, 1]
    assert split.captions == ["a caption"] * 2
    with pytest.raises(FastptError, match=r"no \.json has a 'kind'"):
        listed(tmp_path, label_column="kind")


def test_a_long_caption_is_whole_and_a_gigantic_one_rejected(tmp_path, monkeypatch):
    monkeypatch.setattr(tar_samples, "LARGEST_TARGET", 3 << 20)
    texts = {"0.txt": b"x" * (2 << 20), "1.txt": b"x" * (4 << 20)}
    shard(tmp_path / "a.tar", {"0.jpg": b"x", "1.jpg": b"x"} | texts)
    (split,) = listed(tmp_path).splits
    assert [len(caption) for caption in split.captions] == [2 << 20]
    assert split.rejected == (("a/1", "its .txt has 4,194,304 bytes, more than a target may have"),)


def test_a_split_without_targets_is_left_out_and_told(tmp_path):
    shard(tmp_path / "train-0.tar", SAMPLE)
    shard(tmp_path / "test-0.tar", {"0.jpg": b"x", "1.jpg": b"x"})
    found = listed(tmp_path)
    assert [split.name for split in found.splits] == ["train"]
    assert found.beside["samples without a target"] == {"test": 2}
    assert "no sample of split test has a caption or a label: it is left out" in found.warnings


def test_a_tar_that_changes_before_it_is_read_is_an_error_that_names_it(tmp_path):
    shard(tmp_path / "a.tar", SAMPLE)
    (split,) = listed(tmp_path).splits
    shard(tmp_path / "a.tar", SAMPLE | {"1.jpg": b"x" * 20_000})
    with pytest.raises(FastptError, match=r"a\.tar changed while it was read"):
        split.read(0)


def test_a_process_that_is_killed_while_it_lists_is_one_line(tmp_path, monkeypatch):
    for number in range(4):
        shard(tmp_path / f"{number}.tar", SAMPLE)
    monkeypatch.setattr(tar_samples, "open_tar", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    with pytest.raises(FastptError, match=r"the process that listed .*\.tar was killed.*fewer --workers"):
        listed(tmp_path, workers=2)
