"""What comes out of the two decoders for the same bytes and boxes, against Pillow and against each other."""

import io
import re
import subprocess
import sys
import tarfile
import threading
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
import xxhash
from PIL import Image

from datasets_prep.images.policy import ImagePolicy
from datasets_prep.sources.demo.scenes import demo_splits
from fastpt import Dataset, Loader
from fastpt.errors import DamagedData, FastptError
from fastpt.loading.batch import DecodedBatch
from fastpt.loading.decoders.dali import DaliDecoder
from tests.conftest import made_up, picture, prepared

DECODERS = ("cpu", "dali")


def psnr(ours: np.ndarray, theirs: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio of each picture, dB [B]."""
    errors = [np.square(a.astype(np.float32) - b).mean() for a, b in zip(ours, theirs, strict=True)]
    return 10 * np.log10(255**2 / np.maximum(errors, 1e-9))


def images_of(dataset, decoder, size=64, **settings) -> np.ndarray:
    settings = {"seed": 0, "order": "sequential", "drop_last": False, **settings}
    with Loader(dataset, 32, size, decoder=decoder, **settings) as loader:
        return torch.cat([batch.images for batch in loader]).numpy()


def with_pillow(dataset, interpolation, size, crop_fraction, count) -> np.ndarray:
    """Central crops of the first pictures, decoded and resized by Pillow; by OpenCV for area, which Pillow lacks."""
    images = []
    for i in range(count):
        with Image.open(io.BytesIO(dataset.jpeg(i))) as image:
            side = round(min(image.size) * crop_fraction)
            left, top = (image.width - side) // 2, (image.height - side) // 2
            cut = image.convert("RGB").crop((left, top, left + side, top + side))
        if interpolation == "area":
            images.append(cv2.resize(np.array(cut), (size, size), interpolation=cv2.INTER_AREA))
        else:
            images.append(np.array(cut.resize((size, size), Image.Resampling[interpolation.upper()])))
    return np.stack(images)


@pytest.fixture(scope="session")
def photos(real_data, tmp_path_factory):
    """250 natural photos, with sides of at most 500 pixels."""
    with tarfile.open(real_data / "photos_fullsize.tar") as tar:
        members = [member for member in tar if member.name.lower().endswith((".jpg", ".jpeg"))]
        jpegs = [tar.extractfile(member).read() for member in members]
    split = made_up(len(jpegs), special=dict(enumerate(jpegs)))
    return prepared(tmp_path_factory.mktemp("photos"), split, policy=ImagePolicy(max_side=500))


@pytest.mark.parametrize("interpolation", ["area", "bilinear", "bicubic"])
def test_decoders_agree_on_natural_photos(photos, interpolation):
    ratios = psnr(*(images_of(photos, decoder, 224, interpolation=interpolation) for decoder in DECODERS))
    assert np.median(ratios) >= 38
    assert ratios.min() >= 25


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("interpolation", ["area", "bilinear", "bicubic"])
def test_decoders_agree_with_pillow_on_natural_photos(photos, decoder, interpolation):
    ours = images_of(photos, decoder, 224, interpolation=interpolation, crop="center", crop_fraction=0.95)
    ratios = psnr(ours[:100], with_pillow(photos, interpolation, 224, crop_fraction=0.95, count=100))
    assert np.median(ratios) >= 38
    assert ratios.min() >= 25


@pytest.fixture(scope="session")
def demo(tmp_path_factory):
    """40 pictures of the demo set, which is always there."""
    source = demo_splits()[0]
    split = made_up(40, special={i: source.read(i) for i in range(40)})
    return prepared(tmp_path_factory.mktemp("demo"), split)


@pytest.mark.parametrize("interpolation", ["area", "bilinear", "bicubic"])
def test_decoders_agree_with_each_other_and_with_pillow_on_the_demo_set(demo, interpolation):
    settings = {"interpolation": interpolation, "crop": "center", "crop_fraction": 0.95}
    cpu, dali = (images_of(demo, decoder, 64, **settings) for decoder in DECODERS)
    pillow = with_pillow(demo, interpolation, 64, crop_fraction=0.95, count=40)
    for ratios in (psnr(cpu, dali), psnr(cpu, pillow), psnr(dali, pillow)):
        assert np.median(ratios) >= 38
        assert ratios.min() >= 25


@pytest.mark.parametrize("interpolation", ["area", "bilinear", "bicubic"])
def test_decoders_agree_on_small_and_grey_pictures(split, interpolation):
    assert psnr(*(images_of(split, decoder, interpolation=interpolation) for decoder in DECODERS)).min() > 35


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_grey_jpeg_gives_three_equal_channels(split, decoder):
    grey = [i for i in range(len(split)) if Image.open(io.BytesIO(split.jpeg(i))).mode == "L"]
    images = images_of(split, decoder)[grey]
    assert len(grey) == 6
    assert (images == images[..., :1]).all()


@pytest.mark.parametrize("decoder", DECODERS)
def test_whole_pictures_come_out_as_pillow_decodes_them(tmp_path, decoder):
    special = {i: picture(i, size=(64, 64), quality=95, subsampling=0) for i in range(8)}
    dataset = prepared(tmp_path, made_up(8, special=special))
    ours = images_of(dataset, decoder, crop="center", crop_fraction=1.0)
    difference = np.abs(ours.astype(int) - with_pillow(dataset, "bilinear", 64, 1.0, 8))
    assert difference.max() <= 8
    assert difference.mean() < 1.5


@pytest.mark.parametrize("decoder", DECODERS)
def test_a_jpeg_with_stray_bytes_that_libjpeg_warns_of_is_shown(tmp_path, decoder):
    sane = picture(0, size=(64, 64))
    stray = sane[:-2] + b"\0\0\0\0\0" + sane[-2:]
    dataset = prepared(tmp_path, made_up(2, special={0: sane, 1: stray}))
    ours = images_of(dataset, decoder, crop="center", crop_fraction=1.0)
    assert psnr(ours[:1], ours[1:]) > 40


def cut_behind(split: Dataset, marker: bytes, more: int, only: int | None = None) -> Dataset:
    """The split with pictures, or one of them, that end so many bytes behind a marker, and sums of what is left."""
    jpegs = [jpeg.tobytes() for jpeg in split.jpegs(np.arange(len(split)))]
    ends = [jpeg.rindex(marker) + more if only in (None, row) else len(jpeg) for row, jpeg in enumerate(jpegs)]
    sizes = np.array(ends, np.uint32)
    sums = [xxhash.xxh3_64_intdigest(jpeg[:size]) for jpeg, size in zip(jpegs, sizes, strict=True)]
    cut = Dataset(split.path)
    cut.samples = replace(split.samples, size=sizes, xxh3=np.array(sums, np.uint64))
    return cut


@pytest.mark.parametrize("decoder", DECODERS)
def test_intact_bytes_that_are_no_whole_picture_are_an_error_naming_the_sample(split, decoder):
    with pytest.raises(FastptError, match=r"cannot (be )?decode.*") as told:
        images_of(cut_behind(split, b"\xff\xda", 14, only=7), decoder)
    assert re.search(r"\b7\b", str(told.value).replace(str(split.path), "")), told.value


@pytest.mark.parametrize("decoder", DECODERS)
def test_pictures_without_a_scan_are_damaged_ones(split, decoder):
    """None of them gets to DALI, which may end the process."""
    with pytest.raises(DamagedData, match="in a row are damaged"):
        images_of(cut_behind(split, b"\xff\xda", 0), decoder)


def test_ffcvs_python_package_is_not_imported(split):
    code = (
        "import sys; from fastpt import Dataset, Loader\n"
        "next(iter(Loader(Dataset(sys.argv[1]), 2, 16, seed=0)))\n"
        "assert not {'ffcv', 'numba', 'nvidia.dali'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code, split.path], check=True)


def test_dalis_thread_sets_its_device_before_it_touches_cuda(monkeypatch):
    """A new thread is on device 0, whatever its process has set: with eight ranks, all would decode on GPU 0."""
    seen = []

    def note(what):
        seen.append((threading.current_thread().name, what))

    def batches(*_):
        note("decodes")
        yield DecodedBatch(torch.zeros(1, 8, 8, 3, dtype=torch.uint8), np.array([0]), np.array([0]))

    monkeypatch.setattr(torch.cuda, "Stream", lambda device: None)
    monkeypatch.setattr(torch.cuda, "set_device", note)
    monkeypatch.setattr(DaliDecoder, "_batches", batches)
    decoder = DaliDecoder(8, "area", 1, torch.device("cuda", 5), 1)
    list(decoder.batches(None, []))
    assert seen == [("fastpt-dali_0", torch.device("cuda", 5)), ("fastpt-dali_0", "decodes")]
