"""FFCV files and WebDataset tars that others wrote, read in place: against the libraries that write them."""

import io
import json
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from fastpt import Dataset, Loader
from fastpt.data import foreign
from fastpt.data.foreign import expand_braces
from fastpt.data.verify import verify
from fastpt.errors import FastptError
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

    dataset = Dataset.from_webdataset(tars(tmp_path, change), cache=tmp_path / "cache")
    reasons = [json.loads(line)["reason"] for line in (dataset.path / "rejected.jsonl").read_text().splitlines()]
    assert reasons == ["no label", "no picture", "no JPEG", "its colours are CMYK, not RGB or grey"]
    assert len(dataset) == COUNT - 4


def test_tars_with_other_pictures_than_jpeg_are_refused(tmp_path):
    files = tars(tmp_path, lambda i, sample: sample.update(png=sample.pop("jpg")))
    with pytest.raises(FastptError, match=r"their-0.tar has 00000.png: only JPEG can be read in place.*fastpt prep"):
        Dataset.from_webdataset(files, cache=tmp_path)


def test_what_is_no_tar_is_refused(tmp_path):
    (tmp_path / "x.tar").write_bytes(b"no tar" * 1000)
    with pytest.raises(FastptError, match=r"x.tar cannot be read as a .tar"):
        Dataset.from_webdataset(tmp_path / "x.tar", cache=tmp_path)


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
        patch.setattr(foreign, "_read_tar", None)
        assert Dataset.from_webdataset(file, cache=tmp_path / "cache").path == first.path
    with tarfile.open(file, "a") as tar:
        tar.addfile(tarfile.TarInfo("last.cls"), io.BytesIO())
    assert Dataset.from_webdataset(file, cache=tmp_path / "cache").path != first.path


def test_braces_stand_for_what_a_shell_makes_of_them():
    assert expand_braces("a-{08..10}.tar") == ["a-08.tar", "a-09.tar", "a-10.tar"]
    assert expand_braces("{train,val}-{0..1}.tar") == ["train-0.tar", "train-1.tar", "val-0.tar", "val-1.tar"]
    assert expand_braces("plain.tar") == ["plain.tar"]
