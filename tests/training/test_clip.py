"""The CLIP task: what it trains on, and what it measures."""

import json
import shutil

import numpy as np
import pytest
import torch

from fastpt.errors import FastptError
from fastpt.training import checkpoint
from fastpt.training.launch import DistInfo
from fastpt.training.run import train
from fastpt.training.tasks.clip.task import Clip, recalls
from tests.conftest import made_up, picture, prepared
from tests.training.conftest import VIT_CLIP, lines, losses

ALONE = DistInfo(0, 1, torch.device("cpu"))


def test_recall_counts_captions_of_equal_text_as_right():
    queries, found = torch.eye(12)[:, :12], torch.eye(12)
    assert recalls("way", queries, found, [torch.arange(12)]) == {f"way_recall{k}": 1.0 for k in (1, 5, 10)}
    shifted = found.roll(1, 0)  # the nearest row is the next one
    assert recalls("way", queries, shifted, [torch.arange(12)])["way_recall1"] == 0.0
    assert recalls("way", queries, shifted, [torch.arange(12) // 2])["way_recall1"] == 0.5
    assert recalls("way", queries[:3], found[:3], [torch.arange(3)])["way_recall10"] == 1.0


def test_recall_counts_captions_of_the_same_picture_as_right(clip, tmp_path, monkeypatch):
    """Two captions a picture: the nearest to each picture is its other one."""
    same = {row: picture(700 + row // 2) for row in range(12)}
    val = prepared(tmp_path / "several", made_up(12, captions=True, special=same))
    task = Clip(clip(f"data.val={val.path}"), ALONE)
    twice = {xxh3: [row for row in range(12) if val.samples.xxh3[row] == xxh3] for xxh3 in val.samples.xxh3.tolist()}
    other = torch.tensor([sum(twice[val.samples.xxh3[row]]) - row for row in range(12)])
    monkeypatch.setattr(task, "_text_features", lambda *_: torch.eye(12))
    found = task._retrieval(None, val, torch.arange(12), torch.eye(12)[other])
    assert (found["image_to_text_recall1"], found["text_to_image_recall1"]) == (1.0, 1.0)


def test_recall_at_k_looks_at_the_k_nearest():
    """Row i's right answer is at place i of its ranking."""
    scores = torch.zeros(12, 12)
    for row in range(12):
        others = [column for column in range(12) if column != row]
        ranking = [*others[:row], row, *others[row:]]
        scores[row, ranking] = torch.arange(12, 0, -1.0)
    found = recalls("way", scores, torch.eye(12), [torch.arange(12)])
    assert found == {"way_recall1": 1 / 12, "way_recall5": 5 / 12, "way_recall10": 10 / 12}


@pytest.mark.parametrize(("learned", "as_shown", "as_own"), [("shown", 1.0, 0.0), ("own", 0.0, 1.0)])
def test_noised_training_pairs_tell_what_was_memorised(clip, monkeypatch, learned, as_shown, as_own):
    """A model that gives each picture the embedding of one of its captions."""
    task = Clip(clip("data.noise=0.2"), ALONE)
    rows = {"shown": task.train_set.targets(0.2, of="captions"), "own": np.arange(40)}
    one_hot = {tuple(task._tokens[np.array([row])][0]): torch.eye(40)[row] for row in range(40)}

    def texts(_, tokens):
        return torch.stack([one_hot[tuple(row)] for row in tokens])

    def images(_, dataset):
        return torch.arange(len(dataset)), torch.eye(40)[rows[learned][dataset.rows]]

    monkeypatch.setattr(task, "_text_features", texts)
    monkeypatch.setattr(task, "_image_features", images)
    assert task._training_pairs(None) == {
        "clean_fit": 1.0,
        "mislabeled_memorized": as_shown,
        "mislabeled_corrected": as_own,
    }


@pytest.fixture(scope="module")
def second(tmp_path_factory):
    """8 further pictures with captions, with a plan at 20 %."""
    listing = made_up(8, classes=0, captions=True)
    listing.keys[:] = [f"second/{i}" for i in range(8)]
    return prepared(tmp_path_factory.mktemp("second"), listing, [0.2])


def test_several_splits_train_as_one_and_resume_exactly(clip, captioned, second, tmp_path):
    both = f"data.train=[{{path: {captioned.path}}}, {{path: {second.path}, weight: 2}}]"
    recipe = clip(both, "data.noise=0.2", "checkpoint={every_steps: 5, keep: 9}")
    run = train(recipe, "tiny", tmp_path / "run")
    whole = losses(run)
    assert len(whole) == 2 * (40 + 2 * 8) // 8
    assert {"clean_fit", "mislabeled_memorized"} <= set(lines(run, "eval")[0])
    origin = json.loads((run / "provenance.json").read_text())
    assert origin["dataset"]["samples"] == 56
    assert origin["noise"]["plan"] == "swap-0.2-seed0"
    for later in checkpoint.newest_first(run)[:-1]:
        shutil.rmtree(later)
    events = [line for line in (run / "metrics.jsonl").open() if json.loads(line)["event"] != "end"]
    (run / "metrics.jsonl").write_text("".join(events))
    assert losses(train(recipe, "tiny", run, resume=True)) == whole


def test_other_weights_are_another_training(clip, captioned, second, tmp_path):
    def recipe(weight):
        both = f"data.train=[{{path: {captioned.path}}}, {{path: {second.path}, weight: {weight}}}]"
        return clip(both, "schedule={steps: 1, warmup_steps: 0}")

    run = train(recipe(1), "tiny", tmp_path / "run")
    with pytest.raises(FastptError, match=r"is finished, and differs: data\.train\.1\.weight was 1, is 2"):
        train(recipe(2), "tiny", run, resume=True)


def test_checkpointed_activations_train_the_same(clip, tmp_path):
    vit = (f"model={json.dumps(VIT_CLIP)}", "data.size=16", "schedule={steps: 3, warmup_steps: 0}")
    kept = losses(train(clip(*vit), "tiny", tmp_path / "kept"))
    again = losses(train(clip(*vit, "engine.activation_checkpointing=true"), "tiny", tmp_path / "again"))
    assert again == pytest.approx(kept, rel=1e-5)


def test_a_tower_that_cannot_checkpoint_activations_is_told(clip, tmp_path):
    with pytest.raises(FastptError, match="the picture tower of tiny-clip cannot do it"):
        Clip(clip("engine.activation_checkpointing=true"), ALONE)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("model.config.text_cfg.vocab_size=1000", "byte-pair encoding has 49408 words"),
        ("model={name: ViT-B-16-SigLIP}", "needs a text tower or tokenizer from the network"),
        ("model={name: ViT-B-61}", "did you mean ViT-B-16"),
    ],
)
def test_a_model_that_cannot_be_had_is_told(clip, override, said):
    with pytest.raises(FastptError, match=said):
        Clip(clip(override), ALONE)
