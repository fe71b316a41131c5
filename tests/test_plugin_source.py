"""A source that an installed package brings, from its options to the pixels that are stored."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastpt import Dataset

CLASSES = ["airplane", "automobile", "bird"]


def smooth(seed: int) -> np.ndarray:
    """Pixels that JPEG keeps nearly as they are, uint8 [32, 32, 3]."""
    coarse = np.random.default_rng(seed).integers(40, 216, (2, 2, 3), dtype=np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((32, 32), Image.Resampling.BILINEAR))


@pytest.fixture
def batches(tmp_path) -> Path:
    """Two batches of five pictures and a test batch of three; picture i is smooth(i) of class i modulo 3."""
    folder = tmp_path / "cifar"
    folder.mkdir()
    (folder / "batches.meta.txt").write_text("\n".join(CLASSES) + "\n")
    for name, rows in (("data_batch_1", range(5)), ("data_batch_2", range(5, 10)), ("test_batch", range(10, 13))):
        records = [bytes([i % 3]) + smooth(i).transpose(2, 0, 1).tobytes() for i in rows]
        (folder / f"{name}.bin").write_bytes(b"".join(records))
    return folder


def test_a_packages_source_is_prepared_with_its_labels_and_pixels(plugin_fastpt, batches, tmp_path):
    ran = plugin_fastpt("prep", "--noise", "0.2", "cifar-binary", "--source", "cifar", "--workers", "1")
    assert ran.returncode == 0, ran.stderr
    train, test = Dataset(tmp_path / "data/cifar/train"), Dataset(tmp_path / "data/cifar/test")
    assert (len(train), len(test)) == (10, 3)
    assert train.classes == CLASSES
    numbers = {f"data_batch_{1 + i // 5}/{i % 5:05d}": i for i in range(10)}
    for row, key in enumerate(train.keys):
        assert train.clean_labels[row] == numbers[key] % 3
        pixels = np.asarray(Image.open(io.BytesIO(train.jpeg(row).tobytes())), int)
        assert np.abs(pixels - smooth(numbers[key])).mean() < 3
    assert train.manifest["packages"] == [
        {"name": "cifar-binary", "distribution": "fastpt-plugin", "version": "0.1"},
    ]


def test_its_own_options_count(plugin_fastpt, batches, tmp_path):
    assert plugin_fastpt("prep", "cifar-binary", "--source", "cifar", "--batches", "1").returncode == 0
    assert len(Dataset(tmp_path / "data/cifar/train")) == 5


def test_help_lists_it_and_shows_its_options(plugin_fastpt):
    assert "cifar-binary  CIFAR-10's binary batches" in plugin_fastpt("prep", "--help").stdout
    assert "--batches" in plugin_fastpt("prep", "cifar-binary", "--help").stdout


def test_a_batch_that_is_cut_short_is_damage(plugin_fastpt, batches):
    (batches / "data_batch_2.bin").write_bytes(bytes(3072))
    ran = plugin_fastpt("prep", "cifar-binary", "--source", "cifar")
    assert ran.returncode == 3
    assert "data_batch_2.bin has 3072 bytes" in ran.stderr
