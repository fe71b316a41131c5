"""Our FFCV files against FFCV itself."""

import numpy as np
import pytest

from fastpt.data import beton
from tests.conftest import made_up, prepared

ffcv_types = pytest.importorskip("ffcv.types")


def test_the_layout_is_ffcvs_own():
    from ffcv.fields import IntField, RGBImageField

    assert ffcv_types.HeaderType == beton.HEADER
    assert beton.FIELD.itemsize == ffcv_types.FieldDescType.itemsize
    assert beton.ALLOCATION == ffcv_types.ALLOC_TABLE_TYPE
    assert beton.VERSION == ffcv_types.CURRENT_VERSION
    theirs = ffcv_types.get_metadata_type([RGBImageField(), IntField()])
    ours = beton.metadata_dtype("clean_label")
    assert ours.itemsize == theirs.itemsize
    assert [ours.fields[name][1] for name in ours.names] == [theirs.fields[name][1] for name in theirs.names]


def test_ffcvs_own_loader_reads_every_shard(tmp_path):
    from ffcv.fields.decoders import IntDecoder, SimpleRGBImageDecoder
    from ffcv.loader import Loader, OrderOption

    dataset = prepared(tmp_path, made_up(12), shard_samples=8)
    labels, means = [], []
    for shard in sorted((dataset.path / "images").glob("*.beton")):
        pipelines = {"image": [SimpleRGBImageDecoder()], "clean_label": [IntDecoder()]}
        loader = Loader(str(shard), batch_size=4, num_workers=1, order=OrderOption.SEQUENTIAL, pipelines=pipelines)
        for images, targets in loader:
            labels += targets.ravel().tolist()
            means += images.reshape(len(images), -1).mean(axis=1).tolist()
    assert labels == dataset.clean_labels.tolist()
    decoded = [_pillow_mean(dataset.jpeg(i)) for i in range(len(dataset))]
    assert np.allclose(means, decoded, atol=1.5)  # FFCV decodes with the fast, less exact inverse DCT


def _pillow_mean(jpeg) -> float:
    import io

    from PIL import Image

    return float(np.asarray(Image.open(io.BytesIO(jpeg.tobytes()))).mean())
