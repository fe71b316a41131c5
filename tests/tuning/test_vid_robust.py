"""ImageNet-Vid-Robust in a small stand-in of the published layout: three anchors, two classes, one frame with both."""

import json
import re

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from fastpt import Dataset
from fastpt.cli import main
from fastpt.errors import FastptError
from fastpt.tuned import read_answers
from fastpt.tuning.command import tune_command
from fastpt.tuning.vid_robust import pm_accuracies, pm_accuracy
from tests.conftest import Pictures, made_up, prepared
from tests.tuning.conftest import finished_run

SETS = {
    "val/a/000010.JPEG": ["val/a/000009.JPEG", "val/a/000011.JPEG"],
    "val/b/000010.JPEG": ["val/b/000011.JPEG"],
    "val/c/000010.JPEG": [],
}
LABELS = {
    **{f"val/a/{number}.JPEG": [0] for number in ("000009", "000010", "000011")},
    "val/b/000010.JPEG": [1],
    "val/b/000011.JPEG": [1, 0],
    "val/c/000010.JPEG": [1],
}
FILES = {
    "metadata/labels.json": LABELS,
    "metadata/pmsets.json": SETS,
    "misc/imagenet_vid_class_index.json": {"0": ["n0", "cat"], "1": ["n1", "dog"]},
    "misc/rev_wnid_map.json": {"n0": ["class 0", "class 2"], "n1": ["class 1"]},
}


@pytest.fixture
def published(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "imagenet-vid-robust"
    for name, value in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(value))
    for i, frame in enumerate(LABELS):
        (folder / frame).parent.mkdir(parents=True, exist_ok=True)
        (folder / frame).write_bytes(Pictures(None)(i))
    return folder


def prep(folder):
    command = ["prep", "vid-robust", "--source", str(folder), "--name", "vid"]
    return CliRunner().invoke(main, command)


def test_the_published_layout_is_read(published):
    assert prep(published).exit_code == 0
    split = Dataset("data/vid/val")
    assert (split.classes, split.class_names) == (["n0", "n1"], ["cat", "dog"])
    labels = split.targets(None, of="labels")
    assert {split.keys[i]: labels[i] for i in range(6)} == {frame: right[0] for frame, right in LABELS.items()}


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("metadata/labels.json", LABELS | {"val/c/000011.JPEG": [1]}, "lacks val/c/000011.JPEG, which metadata/labels"),
        ("metadata/pmsets.json", {"val/d/0.JPEG": []}, "has no label of val/d/0.JPEG, which metadata/pmsets.json"),
        ("metadata/labels.json", LABELS | {"val/c/000010.JPEG": [2]}, r"has \[2\] for val/c/000010.JPEG"),
        ("misc/imagenet_vid_class_index.json", {"1": ["n1", "dog"]}, "has no class 0"),
        ("metadata/pmsets.json", [], "holds no mapping"),
        ("metadata/pmsets.json", None, "cannot be read"),
    ],
)
def test_what_is_not_as_published_is_told(published, name, value, said):
    (published / name).write_text("{" if value is None else json.dumps(value))
    result = prep(published)
    assert result.exit_code
    assert re.search(said, result.output), result.output


def test_an_anchor_counts_if_all_frames_near_it_are_right():
    right = dict.fromkeys(LABELS, True)
    assert pm_accuracy(right, SETS) == (1, 1)
    assert pm_accuracy(right | {"val/a/000011.JPEG": False}, SETS) == pytest.approx((1, 2 / 3))
    assert pm_accuracy(right | {"val/b/000010.JPEG": False}, SETS) == pytest.approx((2 / 3, 2 / 3))
    with pytest.raises(FastptError, match=r"1 frames have no answer, such as val/c/000010\.JPEG"):
        pm_accuracy({frame: True for frame in LABELS if "/c/" not in frame}, SETS)


def test_the_measure_is_made_from_the_answers_of_each_head(published, tmp_path):
    prep(published)
    prepared(tmp_path / "data" / "in1k", made_up(40, classes=3))
    finished_run(tmp_path / "runs", "tiny-s0")
    vid = {"split": "data/vid/val", "classes": "imagenet-vid-robust/misc/rev_wnid_map.json"}
    suite = {"name": "s", "ood": [{"name": "imagenet", "train": "data/in1k/train", "tests": {"vid": vid}}]}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(suite))
    tune_command(suite="s.yaml", methods=["lp"], num_seeds=2, epochs=2, threads=1, out=tmp_path / "r.json")
    table = read_answers(tmp_path / "r.json")
    found = pm_accuracies(tmp_path / "r.json", "vid", published / "metadata")
    assert list(found) == ["lp s0", "lp s1"]
    keys = Dataset("data/vid/val").keys
    for head, (alone, near) in found.items():
        rows = zip(table["sample"].to_pylist(), table[head].to_pylist(), strict=True)
        right = {keys[i]: answer in LABELS[keys[i]] for i, answer in rows}
        assert alone == np.mean([right[anchor] for anchor in SETS])
        assert near == np.mean([all(right[one] for one in (anchor, *frames)) for anchor, frames in SETS.items()])
    with pytest.raises(FastptError, match="has no test 'pets'"):
        pm_accuracies(tmp_path / "r.json", "pets", published / "metadata")
