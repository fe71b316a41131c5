"""What `materialize` writes, read by the libraries it is written for: each sees the noisy targets."""

import hashlib
import io
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from datasets_prep.materialize import FORMAT, materialize
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


def test_webdataset_reads_all_that_is_known_of_a_sample(split, tars, caption_tars, labels, captions):
    webdataset = pytest.importorskip("webdataset")
    for folder, of, shown in ((tars, "label", labels), (caption_tars, "caption", captions)):
        urls = [str(file) for file in sorted(folder.glob("*.tar"))]
        samples = list(webdataset.WebDataset(urls, shardshuffle=False).decode("pil"))
        assert len({sample["__key__"] for sample in samples}) == 13
        known = [sample["json"] for sample in samples]
        assert known == [expected(split, row, of, shown) for row in range(13)]


def expected(split, row: int, of: str, shown: list) -> dict:
    """What is known of a sample whose `of` is that of `shown`."""
    clean = {"clean_label": int(split.clean_labels[row]), "clean_caption": split.captions([row])[0]}
    return {"key": split.keys[row], of: shown[row], "is_noisy": shown[row] != clean[f"clean_{of}"], **clean}


@pytest.mark.parametrize("of", ["labels", "captions"])
def test_datasets_reads_pictures_noisy_and_clean_targets(split, labels, captions, tmp_path, of):
    datasets = pytest.importorskip("datasets")
    materialize(split, 0.5, "parquet", tmp_path / "out", of, shard_samples=6)
    assert len(list((tmp_path / "out" / "data").glob("train-0000?-of-00003.parquet"))) == 3
    found = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    name, shown = (("label", labels), ("caption", captions))[of == "captions"]
    rows = list(found)
    for row, (sample, source) in enumerate(zip(rows, sources(split), strict=True)):
        assert np.array_equal(sample.pop("image"), Image.open(io.BytesIO(source)))
        assert sample == expected(split, row, name, shown)
    assert found.features["clean_label"].names == split.class_names
    if of == "labels":
        assert found.features["label"].int2str(labels[0]) == split.class_names[labels[0]]


def test_datasets_opens_a_split_of_any_name(tmp_path):
    datasets = pytest.importorskip("datasets")
    materialize(prepared(tmp_path / "split", made_up(4, name="my test-a")), None, "parquet", tmp_path / "out")
    found = datasets.load_dataset(str(tmp_path / "out"), cache_dir=str(tmp_path / "cache"))
    assert {name: len(rows) for name, rows in found.items()} == {"my_test_a": 4}


def test_classes_of_one_name_are_told_apart_for_datasets(tmp_path):
    datasets = pytest.importorskip("datasets")
    listing = replace(made_up(6, 3), classes=["n1", "n2", "n3"], class_names=["crane", "crane", "cat"])
    two_cranes = prepared(tmp_path / "split", listing)
    materialize(two_cranes, None, "parquet", tmp_path / "out")
    found = datasets.load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert found.features["label"].names == ["n1", "n2", "n3"]
    with pytest.raises(FastptError, match="has 2 classes called 'crane'"):
        materialize(two_cranes, None, "wds", tmp_path / "other", only=["crane"])


@pytest.mark.parametrize("store", ["ffcv", "wds", "parquet"])
def test_some_samples_of_some_classes(split, labels, tmp_path, store):
    some = {"limit": 4, "only": ["class 1", "class 3"]}
    materialize(split, 0.5, store, tmp_path / "out", **some)
    materialize(split, 0.5, "parquet", tmp_path / "known", **some)
    chosen = rows_of(split, tmp_path / "known")
    assert {int(split.clean_labels[row]) for row in chosen} <= {1, 3}
    found = read_sealed_json(tmp_path / "out" / "provenance.json", FORMAT)
    assert (found["samples"], found["limit"], found["only_classes"]) == (4, 4, ["class 1", "class 3"])
    assert read_labels(tmp_path / "out", store) == [labels[row] for row in chosen]


def rows_of(split, folder) -> list[int]:
    """Which samples of `split` are in parquet files, in their order."""
    return [list(split.keys).index(key.as_py()) for key in pq.read_table(folder / "data")["key"]]


def test_a_limit_draws_samples_from_all_of_a_split_that_is_sorted_by_class(tmp_path):
    split = prepared(tmp_path / "split", made_up(40, labels=np.arange(40) // 10), order="source")
    for limit in (5, 10):
        materialize(split, None, "parquet", tmp_path / f"{limit}", limit=limit)
    few, more = (rows_of(split, tmp_path / name) for name in ("5", "10"))
    assert (len(few), len(more)) == (5, 10)
    assert set(few) < set(more)
    assert more == sorted(more)
    assert set(split.clean_labels[more].tolist()) == {0, 1, 2, 3}


def read_labels(folder, store: str) -> list[int]:
    """The labels in files of a format, by its own reader."""
    if store == "ffcv":
        decoders = pytest.importorskip("ffcv.fields.decoders")
        loader = pytest.importorskip("ffcv.loader")
        pipelines = {"image": None, "label": [decoders.IntDecoder()]}
        order = loader.OrderOption.SEQUENTIAL
        read = loader.Loader(str(folder / "train.beton"), 1, num_workers=1, order=order, pipelines=pipelines)
        return [int(label.item()) for (label,) in read]
    if store == "wds":
        webdataset = pytest.importorskip("webdataset")
        urls = [str(file) for file in sorted(folder.glob("*.tar"))]
        return [int(sample["cls"]) for sample in webdataset.WebDataset(urls, shardshuffle=False)]
    datasets = pytest.importorskip("datasets")
    return datasets.load_dataset(str(folder), split="train", cache_dir=str(folder.parent / "cache"))["label"][:]


def test_a_class_that_is_not_there_is_named(split, tmp_path):
    with pytest.raises(FastptError, match=r"has no class 'clas 1'; did you mean class 1\?"):
        materialize(split, None, "wds", tmp_path / "out", only=["clas 1"])
    assert not (tmp_path / "out").exists()


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
    provenance = read_sealed_json(tars / "provenance.json", FORMAT)
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


def test_the_current_folder_is_an_existing_target(split, tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    with pytest.raises(FastptError, match=r"^\. exists\. Delete it, or choose another --out"):
        materialize(split, None, "wds", Path())


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


@pytest.mark.parametrize("store", ["ffcv", "wds", "parquet"])
def test_a_damaged_picture_is_named_and_nothing_is_left(tmp_path, store):
    dataset = prepared(tmp_path / "split", made_up(6))
    shard = dataset.shard_path(0)
    content = bytearray(shard.read_bytes())
    content[int(dataset.samples.offset[4]) + 300] ^= 1
    shard.write_bytes(content)
    with pytest.raises(FastptError, match=r"sample 4 of .* is damaged"):
        materialize(dataset, None, store, tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["split"]


def test_a_picture_that_no_page_of_an_ffcv_file_holds_is_named(tmp_path):
    large = picture(1, icc_profile=bytes(8 << 20))
    dataset = prepared(tmp_path / "split", made_up(3, special={1: large}), format="wds")
    with pytest.raises(FastptError, match=r"0001\.jpg: 8,\d{3},\d{3} bytes do not fit .* Use --format wds or parquet"):
        materialize(dataset, None, "ffcv", tmp_path / "out")
