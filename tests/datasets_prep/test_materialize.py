"""What `materialize` writes, read by the libraries it is written for: each sees the noisy targets."""

import hashlib
import io
import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from datasets_prep.materialize import materialize
from fastpt.errors import FastptError
from fastpt.files import read_sealed_json
from fastpt.jpeg import entropy
from tests.conftest import made_up, picture, prepared
from tests.jpeg import libffcv


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    """13 pictures with labels and captions, stored as FFCV files, with plans at 50 %."""
    return prepared(tmp_path_factory.mktemp("split"), made_up(13, captions=True), [0.5], shard_samples=5)


@pytest.fixture(scope="module")
def tars(split, tmp_path_factory):
    folder = tmp_path_factory.mktemp("labels") / "tars"
    materialize(split, 0.5, "wds", folder, shard_samples=6)
    return folder


@pytest.fixture(scope="module")
def caption_tars(split, tmp_path_factory):
    folder = tmp_path_factory.mktemp("captions") / "tars"
    materialize(split, 0.5, "wds", folder, of="captions", shard_samples=6)
    return folder


@pytest.fixture(scope="module")
def labels(split):
    labels = split.targets(0.5).tolist()
    assert labels != split.clean_labels.tolist()
    return labels


@pytest.fixture(scope="module")
def captions(split):
    return split.captions(split.targets(0.5, of="captions"))


def _ffcv_loader(file, pipelines):
    loader = pytest.importorskip("ffcv.loader")
    order = loader.OrderOption.SEQUENTIAL
    return loader.Loader(str(file), batch_size=13, num_workers=1, order=order, pipelines=pipelines)


def test_ffcvs_loader_reads_noisy_labels_and_the_pictures(split, labels, tmp_path):
    materialize(split, 0.5, "ffcv", tmp_path / "out")
    decoders = pytest.importorskip("ffcv.fields.decoders")
    pipelines = {"image": [decoders.SimpleRGBImageDecoder()], "label": [decoders.IntDecoder()]}
    ((images, told),) = _ffcv_loader(tmp_path / "out" / "train.beton", pipelines)
    assert told.ravel().tolist() == labels
    expected = np.empty((13, 64, 80, 3), np.uint8)
    for one, source in zip(expected, sources(split), strict=True):
        assert libffcv.decode(np.frombuffer(source, np.uint8), one)
    assert np.array_equal(images, expected)


def sources(split) -> list[bytes]:
    """The pictures that `split` was made of, without entry points."""
    return [picture(int(key[9:13])) for key in split.keys]


def test_entry_points_are_kept(split, tmp_path):
    materialize(split, 0.5, "ffcv", tmp_path / "out")
    content = (tmp_path / "out" / "train.beton").read_bytes()
    assert all(content.count(split.jpeg(i).tobytes()) == 1 for i in range(13))
    assert all(len(entropy.entry_points(split.jpeg(i).tobytes())[0]) > 1 for i in range(13))


def test_ffcvs_json_field_gives_noisy_captions_back(split, captions, tmp_path):
    materialize(split, 0.5, "ffcv", tmp_path / "out", of="captions")
    fields = pytest.importorskip("ffcv.fields")
    decoders = pytest.importorskip("ffcv.fields.decoders")
    from ffcv.fields.bytes import BytesDecoder

    pipelines = {"image": [decoders.SimpleRGBImageDecoder()], "caption": [BytesDecoder()]}
    ((_, told),) = _ffcv_loader(tmp_path / "out" / "train.beton", pipelines)
    assert [one["caption"] for one in fields.JSONField.unpack(told)] == captions


def test_webdataset_reads_noisy_labels_and_the_bytes_as_stored(split, tars, labels):
    webdataset = pytest.importorskip("webdataset")
    urls = [str(file) for file in sorted(tars.glob("*.tar"))]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False))
    assert [int(sample["cls"]) for sample in samples] == labels
    assert [sample["jpg"] for sample in samples] == [split.jpeg(i).tobytes() for i in range(13)]
    decoded = webdataset.WebDataset(urls, shardshuffle=False).decode("rgb8").to_tuple("jpg")
    for (pixels,), source in zip(decoded, sources(split), strict=True):
        assert np.array_equal(pixels, Image.open(io.BytesIO(source)))


def test_dalis_reader_reads_noisy_labels_by_the_index(split, tars, labels):
    fn = pytest.importorskip("nvidia.dali.fn")
    from nvidia.dali import pipeline_def

    files = sorted(tars.glob("*.tar"))

    @pipeline_def(batch_size=13, num_threads=1, device_id=None)
    def pipeline():
        indexes = [str(file.with_suffix(".idx")) for file in files]
        return tuple(fn.readers.webdataset(paths=list(map(str, files)), index_paths=indexes, ext=["jpg", "cls"]))

    pipe = pipeline()
    pipe.build()
    jpegs, classes = pipe.run()
    assert [int(np.asarray(classes.at(i)).tobytes()) for i in range(13)] == labels
    assert [np.asarray(jpegs.at(i)).tobytes() for i in range(13)] == [split.jpeg(i).tobytes() for i in range(13)]


def test_timms_reader_reads_noisy_labels_by_its_info(tars, labels):
    pytest.importorskip("webdataset")
    from timm.data.readers.reader_wds import ReaderWds

    reader = ReaderWds(str(tars), name=None, split="train", is_training=False, batch_size=1)
    assert len(reader) == 13
    assert [target for _, target in reader] == labels


def test_open_clips_data_reads_noisy_captions_by_its_sizes(caption_tars, captions):
    pytest.importorskip("webdataset")
    data = pytest.importorskip("open_clip_train.data")

    pattern = str(caption_tars / "train-{000000..000002}.tar")
    assert data.get_dataset_size(pattern) == (13, 3)
    (caption_tars / "sizes.json").rename(caption_tars / "aside")
    assert data.get_dataset_size(pattern)[0] == 13  # from __len__
    (caption_tars / "aside").rename(caption_tars / "sizes.json")
    args = SimpleNamespace(
        train_data=pattern,
        val_data=pattern,
        train_num_samples=None,
        val_num_samples=None,
        train_data_upsampling_factors=None,
        dataset_resampled=False,
        seed=0,
        batch_size=13,
        workers=1,
        world_size=1,
        distributed=False,
    )
    loader = data.get_wds_dataset(args, lambda image: image.size, False, tokenizer=lambda text: [text])
    told = [text for batch in loader.dataloader for text in batch[1]]
    assert sorted(told) == sorted(captions)


def test_the_provenance_names_samples_noise_and_files(split, tars):
    provenance = read_sealed_json(tars / "provenance.json", "2.0")
    plan = split.noise_plan(0.5)
    assert provenance["samples_id"] == split.samples_id
    assert provenance["noise"] == plan.provenance()
    assert {file["name"] for file in provenance["files"]} == {path.name for path in tars.iterdir()} - {
        "provenance.json"
    }
    for file in provenance["files"]:
        assert file["sha256"] == hashlib.sha256((tars / file["name"]).read_bytes()).hexdigest()


def test_clean_is_written_when_asked_for_and_says_so(split, tmp_path):
    materialize(split, None, "wds", tmp_path / "out")
    assert json.loads((tmp_path / "out" / "provenance.json").read_text())["noise"] is None


def test_an_existing_target_is_refused_and_what_a_killed_job_left_is_redone(split, tmp_path, tars):
    left = tmp_path / ".out.tmp"
    left.mkdir()
    (left / "half.tar").write_text("")
    materialize(split, 0.5, "wds", tmp_path / "out", shard_samples=6)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == {
        path.name: path.read_bytes() for path in tars.iterdir()
    }
    with pytest.raises(FastptError, match="out exists"):
        materialize(split, 0.5, "wds", tmp_path / "out")


def test_nothing_is_written_into_the_split(split):
    with pytest.raises(FastptError, match="lies inside the prepared split"):
        materialize(split, None, "wds", split.path / "out")


@pytest.mark.parametrize("store", ["ffcv", "wds"])
def test_a_damaged_picture_is_named_and_nothing_is_left(tmp_path, store):
    dataset = prepared(tmp_path / "split", made_up(6))
    shard = dataset.shard_path(0)
    content = bytearray(shard.read_bytes())
    content[int(dataset.samples.offset[4]) + 300] ^= 1
    shard.write_bytes(content)
    with pytest.raises(FastptError, match=r"sample 4 of .* is damaged"):
        materialize(dataset, None, store, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["split"]
