import io
import pickle

import numpy as np
import pytest
from PIL import Image

from datasets_prep.sources.demo.scenes import COLOURS, GROUNDS, demo_splits

NAMES = ["train", "val", "clipart", "sketch", "leaves-train", "leaves-test", "textures-train", "textures-test"]


@pytest.fixture(scope="module")
def splits():
    return {split.name: split for split in demo_splits(seed=0)}


def pixels(jpeg: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(jpeg)).resize((64, 64)), float)


def test_the_splits_and_the_one_that_trains(splits):
    assert list(splits) == NAMES
    assert [name for name, split in splits.items() if split.is_train] == ["train"]
    assert len(splits["train"]) >= 4000
    assert len(splits["val"]) >= 600


def test_val_and_the_other_domains_share_the_classes_of_train_and_the_downstream_sets_do_not(splits):
    for name in ("val", "clipart", "sketch"):
        assert splits[name].classes == splits["train"].classes
    for name in ("leaves", "textures"):
        assert splits[f"{name}-train"].classes == splits[f"{name}-test"].classes
        assert not set(splits[f"{name}-train"].classes) & set(splits["train"].classes)


@pytest.mark.parametrize("name", NAMES)
def test_labels_are_balanced_and_the_columns_agree(splits, name):
    split = splits[name]
    counts = np.bincount(split.labels)
    assert len(counts) == len(split.classes) == len(split.class_names)
    assert counts.min() == counts.max() == len(split) / len(split.classes)
    assert len(set(split.keys)) == len(split.labels) == len(split.captions) == len(split)
    assert all(key.startswith(f"{name}/") and key.endswith(".jpg") for key in split.keys)


@pytest.mark.parametrize("name", NAMES)
def test_captions_name_the_class_of_their_label(splits, name):
    split = splits[name]
    for caption, label in zip(split.captions, split.labels, strict=True):
        assert split.class_names[label] in caption
    assert len(set(split.captions)) > len(split) / 3  # swap noise needs partners with other texts


def test_captions_tell_colour_and_setting_as_often_for_every_class(splits):
    train = splits["train"]
    captions, labels = np.array(train.captions), train.labels
    for words in ([colour + " " for colour in COLOURS], GROUNDS):
        told = np.array([any(word in caption for word in words) for caption in captions])
        shares = [told[labels == label].mean() for label in range(len(train.classes))]
        assert min(shares) > 0.75


@pytest.mark.parametrize("name", NAMES)
def test_every_class_renders_as_rgb_jpeg_of_at_least_64_pixels(splits, name):
    split = splits[name]
    for i in range(2 * len(split.classes)):
        jpeg = split.read(i)
        assert jpeg[:2] == b"\xff\xd8"
        picture = Image.open(io.BytesIO(jpeg))
        assert picture.format == "JPEG"
        assert picture.mode == "RGB"
        assert min(picture.size) >= 64
        assert max(picture.size) <= 96
        assert pixels(jpeg).std() > 5, f"{split.keys[i]} is blank"


def test_sizes_vary_and_are_not_all_square(splits):
    sizes = {Image.open(io.BytesIO(splits["train"].read(i))).size for i in range(20)}
    assert len(sizes) > 10


@pytest.mark.parametrize("name", NAMES)
def test_reading_depends_on_seed_and_row_only(splits, name):
    split = splits[name]
    forward = [split.read(i) for i in range(6)]
    again = {s.name: s for s in demo_splits(seed=0)}[name]
    assert [again.read(i) for i in reversed(range(6))] == forward[::-1]
    assert len(set(forward)) == 6


def test_another_seed_is_another_world_of_the_same_classes(splits):
    for other in demo_splits(seed=1):
        here = splits[other.name]
        assert other.classes == here.classes
        assert other.keys == here.keys
        assert other.captions != here.captions
        assert other.read(0) != here.read(0)


def test_train_and_val_share_no_picture(splits):
    assert not {splits["train"].read(i) for i in range(24)} & {splits["val"].read(i) for i in range(24)}


def test_a_pickled_split_reads_the_same(splits):
    for split in splits.values():
        assert pickle.loads(pickle.dumps(split)).read(3) == split.read(3)


def test_the_colour_a_caption_tells_is_in_the_picture(splits):
    """Clip art is flat, so the colour that is told fills more of the pixels than the colours that are not."""
    split, told, untold = splits["clipart"], [], []
    for i in range(60):
        seen = pixels(split.read(i))
        thing = split.class_names[split.labels[i]]
        for colour, ink in COLOURS.items():
            share = (np.abs(seen - ink).max(-1) < 30).mean()
            (told if f"{colour} {thing}" in split.captions[i] else untold).append(share)
    assert np.mean(told) > 2 * np.mean(untold)
