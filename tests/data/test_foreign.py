"""FFCV files and WebDataset tars that others wrote, read in place: against the libraries that write them."""

import io
import json
import os
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from fastpt import Dataset, Loader
from fastpt.data.foreign import tars as reader
from fastpt.data.foreign.index import expand_braces
from fastpt.data.verify import verify, verify_deep
from fastpt.errors import DamagedData, FastptError
from fastpt.jpeg.exif import ORIENTATION
from fastpt.noise import add_noise
from tests.conftest import picture

COUNT = 24


@pytest.fixture(scope="session")
def written(tmp_path_factory):
    """An FFCV file by FFCV's own writer: pictures, two integers, a float, JSON, bytes and an array."""
    pytest.importorskip("ffcv.writer")
    from ffcv.fields import BytesField, FloatField, IntField, JSONField, NDArrayField, RGBImageField
    from ffcv.writer import DatasetWriter

    file = tmp_path_factory.mktemp("ffcv") / "theirs.beton"
    fields = {
        "score": FloatField(),
        "photo": RGBImageField(write_mode="jpg"),
        "label": IntField(),
        "row": IntField(),
        "caption": JSONField(),
        "note": BytesField(),
        "matrix": NDArrayField(np.dtype("float32"), (2, 3)),
    }
    DatasetWriter(str(file), fields, num_workers=1).from_indexed_dataset(Rows())
    return file


class Rows:
    def __len__(self):
        return COUNT

    def __getitem__(self, i):
        note = np.frombuffer(f"note {i}".encode(), np.uint8)
        pixels = np.array(Image.open(io.BytesIO(picture(i))))
        return i / 2, pixels, i % 3, 100 + i, {"caption": f"picture {i}"}, note, np.zeros((2, 3), np.float32)


def mean_difference(dataset: Dataset, decoder: str, row_of=lambda i: i) -> float:
    """Mean absolute difference between the whole pictures that the loader gives and the originals."""
    with Loader(
        dataset, 8, 64, seed=0, decoder=decoder, order="sequential", crop="center", crop_fraction=1.0
    ) as loader:
        batches = list(loader)
    images = torch.cat([batch.images for batch in batches]).numpy()
    ids = torch.cat([batch.sample_ids for batch in batches]).tolist()
    assert ids == list(range(COUNT))
    originals = [np.array(Image.open(io.BytesIO(picture(row_of(i)))).crop((8, 0, 72, 64))) for i in ids]
    return float(np.abs(images.astype(float) - np.stack(originals)).mean())


@pytest.mark.parametrize("decoder", ["cpu", "dali"])
def test_an_ffcv_file_is_read_in_place(written, tmp_path, decoder):
    dataset = Dataset.from_ffcv(written, cache=tmp_path)
    assert len(dataset) == COUNT
    assert dataset.clean_labels.tolist() == [i % 3 for i in range(COUNT)]
    assert dataset.captions([5]) == ["picture 5"]
    assert dataset.classes == ["0", "1", "2"]
    assert mean_difference(dataset, decoder) < 3  # FFCV encodes at quality 90


def test_fields_of_an_ffcv_file_are_chosen_by_name(written, tmp_path):
    dataset = Dataset.from_ffcv(written, label="row", caption="note", cache=tmp_path)
    assert dataset.clean_labels[:2].tolist() == [100, 101]
    assert dataset.captions([5]) == ["note 5"]
    with pytest.raises(FastptError, match=r"has no field 'score' of the right kind \(found: label, row\)"):
        Dataset.from_ffcv(written, label="score", cache=tmp_path)


def test_an_ffcv_file_of_raw_pixels_is_refused(tmp_path):
    pytest.importorskip("ffcv.writer")
    from ffcv.fields import RGBImageField
    from ffcv.writer import DatasetWriter

    file = tmp_path / "raw.beton"
    writer = DatasetWriter(str(file), {"image": RGBImageField(write_mode="raw")}, num_workers=1)
    writer.from_indexed_dataset([(np.zeros((8, 8, 3), np.uint8),)] * 2)
    with pytest.raises(FastptError, match=r"2 of 2 pictures of field image are stored raw"):
        Dataset.from_ffcv(file, cache=tmp_path)


def test_what_is_no_ffcv_file_is_refused(written, tmp_path):
    for name, content in {"text": b"no FFCV file", "cut": written.read_bytes()[:3000]}.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(FastptError, match=r"is no whole FFCV file of version 2"):
            Dataset.from_ffcv(tmp_path / name, cache=tmp_path)
    with pytest.raises(FastptError, match=r"nowhere.beton cannot be read \(No such file"):
        Dataset.from_ffcv(tmp_path / "nowhere.beton", cache=tmp_path)


def test_our_own_shards_are_ffcv_files_like_others(labelled, tmp_path):
    shard = labelled.shard_path(1)
    dataset = Dataset.from_ffcv(shard, cache=tmp_path)
    first = labelled.manifest["shards"][1]["first_id"]
    assert dataset.clean_labels.tolist() == labelled.clean_labels[first : first + len(dataset)].tolist()
    assert all(np.array_equal(dataset.jpeg(i), labelled.jpeg(first + i)) for i in range(len(dataset)))


def tars(folder, change=None, count=COUNT) -> list:
    """Two tars by webdataset's own writer; `change(i, sample)` may alter a sample."""
    wds = pytest.importorskip("webdataset")
    files = [folder / f"their-{number}.tar" for number in range(2)]
    for number, file in enumerate(files):
        with wds.TarWriter(str(file)) as writer:
            for i in range(number * count // 2, (number + 1) * count // 2):
                sample = {"__key__": f"{i:05d}", "jpg": picture(i), "cls": i % 3, "json": {"caption": f"picture {i}"}}
                if change:
                    change(i, sample)
                writer.write(sample)
    return files


@pytest.mark.parametrize("decoder", ["cpu", "dali"])
def test_webdataset_tars_are_read_in_place(tmp_path, decoder):
    tars(tmp_path)
    dataset = Dataset.from_webdataset(f"{tmp_path}/their-{{0..1}}.tar", cache=tmp_path / "cache")
    assert dataset.clean_labels.tolist() == [i % 3 for i in range(COUNT)]
    assert dataset.captions([5]) == ["picture 5"]
    assert dataset.keys[0] == "their-0/00000"
    assert all(dataset.jpeg(i).tobytes() == picture(i) for i in range(COUNT))
    assert mean_difference(dataset, decoder) < 1.5


def test_a_picture_that_changed_since_the_tar_was_read_is_replaced(tmp_path):
    file, _ = tars(tmp_path)
    dataset = Dataset.from_webdataset(file, cache=tmp_path / "cache")
    with file.open("r+b") as opened:
        opened.seek(int(dataset.samples.offset[3]) + 400)
        opened.write(b"\x55\xaa\x55")
    with Loader(dataset, 4, 16, seed=0, order="sequential") as loader:
        assert [i for batch in loader for i in batch.sample_ids.tolist()][:6] == [0, 1, 2, 4, 4, 5]
        assert loader.bad_samples == {3: 1}


def test_samples_of_tars_that_cannot_be_used_are_left_out_by_name(tmp_path):
    def change(i, sample):
        if i == 1:
            del sample["cls"]
        if i == 2:
            del sample["jpg"]
        if i == 3:
            sample["jpg"] = b"no picture at all"
        if i == 4:
            sample["jpg"] = picture(4, mode="CMYK")
        if i == 5:
            sample["jpg"] = picture(5).replace(b"\xff\xdb", b"\0\xff\xdb", 1)

    dataset = Dataset.from_webdataset(tars(tmp_path, change), cache=tmp_path / "cache")
    reasons = [json.loads(line)["reason"] for line in (dataset.path / "rejected.jsonl").read_text().splitlines()]
    assert reasons == [
        "no label",
        "no picture",
        "no JPEG",
        "its colours are CMYK, not RGB or grey",
        "stray bytes or several sizes among its headers; `fastpt prep webdataset` encodes it anew",
    ]
    assert len(dataset) == COUNT - 5


def test_tars_with_other_pictures_than_jpeg_are_refused(tmp_path):
    files = tars(tmp_path, lambda i, sample: sample.update(png=sample.pop("jpg")))
    with pytest.raises(FastptError, match=r"their-0.tar has 00000.png: only JPEG can be read in place.*fastpt prep"):
        Dataset.from_webdataset(files, cache=tmp_path)


def test_what_is_no_tar_is_refused(tmp_path):
    (tmp_path / "x.tar").write_bytes(b"no tar" * 1000)
    with pytest.raises(FastptError, match=r"x.tar cannot be read as a .tar"):
        Dataset.from_webdataset(tmp_path / "x.tar", cache=tmp_path)


def tar_of(path, members):
    with tarfile.open(path, "w") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def left_out(dataset):
    lines = map(json.loads, (dataset.path / "rejected.jsonl").read_text().splitlines())
    return {line["key"]: line["reason"] for line in lines}


def pictures(count, **others):
    """Members of `count` samples: a picture each, and what `others` have beside it, by suffix."""
    members = [(f"{i}.jpg", picture(i)) for i in range(count)]
    return members + [(f"{i}.{suffix}", of(i)) for suffix, of in others.items() for i in range(count)]


def test_captions_that_are_empty_are_left_out_by_name(tmp_path):
    texts = (b"red", b"", b" \n", b"blue")
    tar_of(tmp_path / "x.tar", pictures(4, txt=lambda i: texts[i]))
    dataset = Dataset.from_webdataset(tmp_path / "x.tar", cache=tmp_path / "cache")
    assert dataset.captions(range(len(dataset))) == ["red", "blue"]
    assert left_out(dataset) == {"x/1": "no caption", "x/2": "no caption"}


@pytest.mark.parametrize("label", [b"48600114712", b"2345678", b"9" * 5000])
def test_an_id_is_no_label(tmp_path, label):
    tar_of(tmp_path / "x.tar", pictures(3, cls=lambda i: label if i == 2 else b"0"))
    with pytest.raises(FastptError, match=r"2\.cls.* looks like an id"):
        Dataset.from_webdataset(tmp_path / "x.tar", cache=tmp_path)


def test_a_label_of_far_more_classes_than_samples_is_an_id(tmp_path):
    tar_of(tmp_path / "x.tar", pictures(3, cls=lambda i: b"345678" if i == 1 else b"0"))
    with pytest.raises(FastptError, match=r"label of x/1 in x is 345678.* looks like an id"):
        Dataset.from_webdataset(tmp_path / "x.tar", cache=tmp_path)


def test_minus_one_is_no_label_and_other_text_is_a_reason(tmp_path):
    labels = (b"1\n", b"-1", b"-2", b"1_0", b"2.0", b"nan")
    tar_of(tmp_path / "x.tar", pictures(6, cls=lambda i: labels[i]))
    dataset = Dataset.from_webdataset(tmp_path / "x.tar", cache=tmp_path)
    assert dataset.clean_labels.tolist() == [1, 2]
    assert left_out(dataset)["x/1"] == "no label"
    assert all("no class number" in left_out(dataset)[f"x/{i}"] for i in (2, 3, 5))


def test_the_picture_of_several_is_chosen_by_its_suffix(tmp_path):
    members = [member for i in range(2) for member in ((f"{i}.jpg", picture(i)), (f"{i}.depth.jpg", picture(9)))]
    tar_of(tmp_path / "x.tar", [*members, ("0.jpeg", picture(5))])
    with pytest.raises(FastptError, match=r"two pictures of one key: 0\.jpg and 0\.jpeg.*--image-member jpeg or jpg"):
        Dataset.from_webdataset(tmp_path / "x.tar", cache=tmp_path)
    dataset = Dataset.from_webdataset(tmp_path / "x.tar", cache=tmp_path, image_member="jpg")
    assert [dataset.jpeg(i).tobytes() for i in range(2)] == [picture(0), picture(1)]
    depths = Dataset.from_webdataset(tmp_path / "x.tar", cache=tmp_path, image_member="depth.jpg")
    assert [depths.jpeg(i).tobytes() for i in range(2)] == [picture(9)] * 2


def test_files_whose_keys_end_early_are_each_left_out_by_name(tmp_path):
    members = [(f"a.{letter}.{suffix}", picture(0)) for letter in "bc" for suffix in ("jpg", "txt")]
    tar_of(tmp_path / "x.tar", [*members, *pictures(1, txt=lambda i: b"red")])
    dataset = Dataset.from_webdataset(tmp_path / "x.tar", cache=tmp_path)
    assert dataset.keys == ["x/0"]
    assert sorted(left_out(dataset)) == ["x/a.b.jpg", "x/a.c.jpg"]


def test_what_is_no_file_is_the_reason_why_its_sample_is_left_out(tmp_path):
    with tarfile.open(tar_of(tmp_path / "x.tar", pictures(1, cls=lambda i: b"0")), "a") as tar:
        link = tarfile.TarInfo("1.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "nowhere.jpg"
        tar.addfile(link)
    dataset = Dataset.from_webdataset(tmp_path / "x.tar", cache=tmp_path)
    assert left_out(dataset) == {"x/1": "1.jpg is a link to nothing"}


def test_json_that_is_too_deep_or_holds_half_a_character_is_no_end(tmp_path):
    twice = b'{"caption": "red", "caption": "blue"}'
    texts = (b'{"caption": "red"}', b"[" * 100_000, b'{"caption": "half \\ud83d"}', twice)
    tar_of(tmp_path / "x.tar", pictures(4, json=lambda i: texts[i]))
    dataset = Dataset.from_webdataset(tmp_path / "x.tar", cache=tmp_path)
    assert dataset.captions(range(2)) == ["red", "half \ufffd"]
    assert left_out(dataset) == {"x/1": "1.json is no JSON", "x/3": "3.json: the key 'caption' stands there twice"}


def test_damage_ends_it_or_is_noted(tmp_path, caplog):
    path = tar_of(tmp_path / "x.tar", pictures(4))
    content = bytearray(path.read_bytes())
    content[content.index(b"2.jpg") + 100] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedData, match=r"x\.tar is damaged: .* 2 members were read before, the last one is 1\.jpg"):
        Dataset.from_webdataset(path, cache=tmp_path)
    dataset = Dataset.from_webdataset(path, cache=tmp_path, ignore_damage=True)
    assert dataset.keys == ["x/0", "x/1", "x/3"]
    assert "wrong checksum" in caplog.text
    assert "wrong checksum" in dataset.manifest["note"]


def test_pictures_that_their_exif_would_turn_are_counted_and_told(tmp_path, caplog):
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    members = [*pictures(3, cls=lambda i: b"0"), ("3.jpg", picture(3, exif=exif)), ("3.cls", b"1")]
    dataset = Dataset.from_webdataset(tar_of(tmp_path / "x.tar", members), cache=tmp_path)
    told = "would be turned or mirrored by the orientation in their EXIF, which is passed over"
    assert f"1 picture of {tmp_path / 'x.tar'} {told}" in caplog.text
    assert told in dataset.manifest["note"]
    assert len(dataset) == 4


def test_a_picture_of_a_camera_with_others_behind_it_passes_the_deep_check(tmp_path):
    buffer = io.BytesIO()
    first, second = (Image.open(io.BytesIO(picture(i))) for i in range(2))
    first.save(buffer, "MPO", save_all=True, append_images=[second])
    assert Image.open(io.BytesIO(buffer.getvalue())).format == "MPO"
    members = [*pictures(3, cls=lambda i: b"0"), ("3.jpg", buffer.getvalue()), ("3.cls", b"1")]
    dataset = Dataset.from_webdataset(tar_of(tmp_path / "x.tar", members), cache=tmp_path)
    assert len(dataset) == 4
    assert verify_deep(dataset.path, lambda done, total: None) == []


def test_tars_of_one_name_are_refused(tmp_path):
    files = [tmp_path / folder / "x.tar" for folder in "ab"]
    for file in files:
        file.parent.mkdir()
        tar_of(file, pictures(1))
    with pytest.raises(FastptError, match=r"a/x\.tar and .*b/x\.tar have one name"):
        Dataset.from_webdataset(files, cache=tmp_path)


def test_a_tar_that_changes_while_it_is_read_is_refused(tmp_path, monkeypatch):
    path = tar_of(tmp_path / "x.tar", pictures(2))
    take = reader._take
    monkeypatch.setattr(reader, "_take", lambda *args: (take(*args), path.touch()))
    with pytest.raises(FastptError, match=r"x\.tar changed while it was read"):
        Dataset.from_webdataset(path, cache=tmp_path)


def test_what_is_left_out_is_told(tmp_path, caplog):
    members = [*pictures(3, txt=lambda i: b"red"), ("3.jpg", b"<html>"), ("3.txt", b"red")]
    Dataset.from_webdataset(tar_of(tmp_path / "x.tar", members), cache=tmp_path)
    assert "x: 1 of 4 samples are left out, such as x/3: no JPEG" in caplog.text


@pytest.mark.parametrize("read", [Dataset.from_webdataset, Dataset.from_ffcv])
def test_folders_and_pipes_are_not_opened(tmp_path, read):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FastptError, match="is a folder"):
        read(tmp_path, cache=tmp_path)
    with pytest.raises(FastptError, match="is no regular file"):
        read(tmp_path / "pipe", cache=tmp_path)


def test_a_tar_that_is_named_twice_is_refused(tmp_path):
    file = tar_of(tmp_path / "x.tar", pictures(1, txt=lambda i: b"red"))
    with pytest.raises(FastptError, match="named twice"):
        Dataset.from_webdataset([file, file], cache=tmp_path)


def test_text_in_tars_may_begin_with_a_mark_and_is_utf8(tmp_path):
    texts = (b"\xef\xbb\xbfa cat", "a dog".encode("utf-16"))
    file = tar_of(tmp_path / "x.tar", pictures(2, txt=lambda i: texts[i]))
    dataset = Dataset.from_webdataset(file, cache=tmp_path)
    assert dataset.captions([0]) == ["a cat"]
    assert left_out(dataset) == {"x/1": "1.txt holds zero bytes: it is UTF-16, or no text"}


def test_noise_plans_lie_in_the_index_and_not_beside_the_files(tmp_path):
    tars(tmp_path)
    dataset = Dataset.from_webdataset(f"{tmp_path}/their-{{0,1}}.tar", cache=tmp_path / "cache")
    plan = add_noise(dataset, 0.25, seed=0)
    assert (dataset.targets(0.25, of="labels") != dataset.clean_labels).mean() == plan.realised_rate == 0.25
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "their-0.tar", "their-1.tar"]
    assert verify(dataset.path) == []


def test_the_index_is_made_once_for_files_as_they_are(tmp_path, monkeypatch):
    file, _ = tars(tmp_path)
    first = Dataset.from_webdataset(file, cache=tmp_path / "cache")
    with monkeypatch.context() as patch:
        patch.setattr(reader, "_read_tar", None)
        assert Dataset.from_webdataset(file, cache=tmp_path / "cache").path == first.path
    with tarfile.open(file, "a") as tar:
        tar.addfile(tarfile.TarInfo("last.cls"), io.BytesIO())
    assert Dataset.from_webdataset(file, cache=tmp_path / "cache").path != first.path


def test_braces_stand_for_what_a_shell_makes_of_them():
    assert expand_braces("a-{08..10}.tar") == ["a-08.tar", "a-09.tar", "a-10.tar"]
    assert expand_braces("{train,val}-{0..1}.tar") == ["train-0.tar", "train-1.tar", "val-0.tar", "val-1.tar"]
    assert expand_braces("plain.tar") == ["plain.tar"]
