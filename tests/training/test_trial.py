"""What is known before the work is said before the work: sizes, classes, kinds of data, names of splits."""

import logging
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from fastpt import Dataset
from fastpt.errors import DamagedData, FastptError, Problems, RecipeError
from fastpt.training.launch import DistInfo
from fastpt.training.run import train
from fastpt.training.tasks.clip.task import Clip
from fastpt.training.tasks.supervised.task import Supervised
from fastpt.training.trial import check_names, overlaps
from tests.conftest import made_up, picture, prepared

ALONE = DistInfo(0, 1, torch.device("cpu"))
VIT = "model={name: vit_tiny_patch16_224, args: {img_size: 32, depth: 1, embed_dim: 32, num_heads: 2}}"


def split(folder, labels=(0, 1, 2, 3), count=8, captions=True, first=5000, name="test") -> Dataset:
    """A split of other pictures, whose classes are those of `captioned`."""
    special = {i: picture(first + i) for i in range(count)}
    shown = {"labels": np.resize(np.array(labels), count), "name": name, "is_train": False}
    return prepared(folder, made_up(count, captions=captions, special=special, **shown))


def test_every_size_of_the_recipe_is_tried(supervised):
    sizes = ("data.sizes=[[0, 16], [1, 32]]", "data.eval_size=48")
    with pytest.raises(RecipeError) as error:
        Supervised(supervised(VIT, *sizes), ALONE)
    assert re.findall(r"^(\S+ \d+): vit_tiny\w+ cannot take such", str(error.value), re.M) == [
        "data.sizes 16",
        "data.eval_size 48",
    ]
    Supervised(supervised(VIT), ALONE)


def test_trying_changes_nothing(supervised):
    task = Supervised(supervised(), ALONE)
    assert task.model.training
    norms = [part for part in task.model.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    assert norms
    assert all(norm.num_batches_tracked == 0 and not norm._forward_pre_hooks for norm in norms)


@pytest.mark.parametrize(
    ("overrides", "processes", "is_refused"),
    [
        (("data.size=16", "engine.gradient_accumulation_steps=8"), 1, True),
        (("data.size=16", "engine.gradient_accumulation_steps=4"), 2, True),
        (("data.sizes=[[0, 16], [1, 32]]", "engine.gradient_accumulation_steps=8"), 1, True),
        (("data.size=16", "engine.gradient_accumulation_steps=4"), 1, False),  # two pictures
        (("data.size=32", "engine.gradient_accumulation_steps=8"), 1, False),  # four pixels
        (("data.size=32", "data.eval_size=16", "engine.gradient_accumulation_steps=8"), 1, False),  # not trained on
    ],
)
def test_a_batch_norm_needs_two_values(supervised, overrides, processes, is_refused):
    recipe, group = supervised(*overrides), DistInfo(0, processes, torch.device("cpu"))
    if is_refused:
        with pytest.raises(RecipeError, match=r"one pixel of one picture.*gradient_accumulation_steps"):
            Supervised(recipe, group)
    else:
        Supervised(recipe, group)


def test_all_that_cannot_be_is_told_at_once(supervised, tmp_path):
    with pytest.raises(FastptError) as error:
        train(supervised("data.train=nowhere", "data.val=neither", "engine.precision=fp16"), "tiny", tmp_path / "run")
    said = str(error.value).splitlines()
    assert [line.split()[0] for line in said] == ["engine.precision", "nowhere", "neither"]
    recipe = supervised(VIT, "data.eval_size=48", "data.noise=0.4", f"data.val={captions_only(tmp_path)}")
    with pytest.raises(FastptError, match=r"(?s)no noise plan 0\.4.*other classes \(0\).*data.eval_size 48"):
        train(recipe, "tiny", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def captions_only(folder):
    return prepared(folder / "captions", made_up(8, classes=0, captions=True, name="val", is_train=False)).path


def test_one_class_is_nothing_to_learn(supervised, tmp_path):
    alone = split(tmp_path, labels=[2], name="train")
    with pytest.raises(FastptError, match=r"has pictures of one class \(class 2\)"):
        Supervised(supervised(f"data.train={alone.path}", "data.val=null"), ALONE)


def test_classes_that_are_not_trained_are_told(supervised, tmp_path, caplog):
    few = split(tmp_path, labels=[0, 2], name="train")
    with caplog.at_level(logging.WARNING):
        Supervised(supervised(f"data.train={few.path}"), ALONE)
    assert "pictures of 2 classes of which" in caplog.text
    assert "(class 1, class 3): they count as wrong" in caplog.text


def test_clip_is_measured_on_what_has_captions_and_labels(clip, tmp_path):
    labels_only = split(tmp_path / "labels", captions=False)
    words = captions_only(tmp_path)
    with pytest.raises(FastptError) as error:
        Clip(clip(f"data.val={labels_only.path}", f"clip.zero_shot.data={words}"), ALONE)
    assert f"{labels_only.path} has no captions" in str(error.value)
    assert f"{words} has no labels" in str(error.value)
    one = split(tmp_path / "one", labels=[1])
    with pytest.raises(FastptError, match="pictures of one class: nothing to tell apart"):
        Clip(clip(f"clip.zero_shot.data={one.path}"), ALONE)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("model.config.vision_cfg.image_size=48", "image_size is 48, but data.size 32"),
        ("model.config.vision_cfg.timm_model_pretrained=true", "timm_model_pretrained of tiny-clip cannot be true"),
        ("model.config.text_cfg.heads=3", "open_clip cannot make the model"),
    ],
)
def test_a_clip_model_that_cannot_be_is_told(clip, override, said):
    with pytest.raises(RecipeError, match=said):
        Clip(clip(override), ALONE)


def test_class_names_that_are_no_words_are_told_before_zero_shot(clip, tmp_path, caplog):
    def named(*names: str) -> list[str]:
        listing = replace(made_up(8, len(names), name=names[0]), classes=[*names], class_names=[*names])
        caplog.clear()
        Clip(clip(f"clip.zero_shot.data={prepared(tmp_path, listing).path}"), ALONE)
        return caplog.messages

    assert named("goldfish", "great white shark") == []
    (told,) = named("n01443537", "apple_pie", "7", "a cat")
    assert told.startswith("3 of the 4 class names of ")
    assert "are no words, such as 'n01443537': zero-shot puts them into its templates as they are" in told


def test_different_splits_of_one_name_are_refused(supervised, clip, held_out, tmp_path):
    other = split(tmp_path / "other", name="val")
    with pytest.raises(RecipeError, match=r"clip\.zero_shot\.data .*data\.val .*both are called 'val'"):
        train(clip(f"clip.zero_shot.data={other.path}"), "tiny", tmp_path / "run")
    train_like = split(tmp_path / "train-like", name="train")
    with pytest.raises(RecipeError, match=r"data\.val .*data\.train .*both are called 'train'"):
        train(supervised(f"data.val={train_like.path}"), "tiny", tmp_path / "run")
    copied = split(tmp_path / "copy", name="val")
    assert copied.images_id == other.images_id
    task = Clip(clip(f"data.val={other.path}", f"clip.zero_shot.data={copied.path}"), ALONE)
    check_names(task.train_set, task.measured_on)


def test_pictures_that_are_measured_on_and_trained_on_are_told(supervised, clip, captioned, held_out):
    task = Supervised(supervised(f"data.val={captioned.path}"), ALONE)
    (line,) = overlaps(task.train_set, task.measured_on)
    assert line.startswith(f"40 of 40 pictures of data.val {captioned.path} are among those that are trained on")
    task = Clip(clip(f"data.val={held_out.path}"), ALONE)
    assert list(overlaps(task.train_set, task.measured_on)) == []


def test_problems_keep_the_class_that_they_share():
    for classes, raised in (((DamagedData,), DamagedData), ((RecipeError,) * 2, RecipeError)):
        problems = Problems()
        for number, kind in enumerate(classes):
            with problems.noted():
                raise kind(str(number))
        with pytest.raises(raised, match="^0" + "\n1" * (len(classes) - 1) + "$"):
            problems.tell()
    with problems.noted():
        raise DamagedData("2")
    with pytest.raises(FastptError) as error:
        problems.tell()
    assert type(error.value) is FastptError
    Problems().tell()
