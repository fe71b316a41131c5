"""ImageNet-Vid-Robust's measure: how often a head is right on an anchor frame, and on all alike frames near it.

    pm_accuracies(Path("tune/paper_ood.json"), "vid", Path("imagenet-vid-robust/metadata"))
    {"lp s0": (0.62, 0.48)}

(Shankar et al., "Do image classifiers generalize across time?", ICCV 2021: pm-0 and pm-10, as 10 frames to both sides
are looked at.) It is made from the answers that `fastpt tune` keeps beside its results.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fastpt import Dataset
from fastpt.errors import FastptError
from fastpt.tuned import read_answers


def pm_accuracy(right: Mapping[str, bool], sets: Mapping[str, Sequence[str]]) -> tuple[float, float]:
    """Of the anchors the share that is right, and the share that is right with all frames of its set.

    `right` says it of each frame, by name. Raises FastptError if a frame is not in it.
    """
    if lost := sorted({frame for anchor, near in sets.items() for frame in (anchor, *near)} - right.keys()):
        raise FastptError(f"{len(lost)} frames have no answer, such as {lost[0]}: some could not be read, or decoded.")
    alone = np.mean([right[anchor] for anchor in sets])
    near = np.mean([right[anchor] and all(right[frame] for frame in near) for anchor, near in sets.items()])
    return float(alone), float(near)


def pm_accuracies(results: Path, test: str, metadata: Path) -> dict[str, tuple[float, float]]:
    """(pm-0, pm-10) of each head, shares of the anchors, by the heads' names in the table of answers.

    results: a results file of `fastpt tune` with a test of that name, whose split `fastpt prep vid-robust` made.
    metadata: the folder with labels.json and pmsets.json; any of a frame's labels counts as right. Raises FastptError.
    """
    labels, sets = (json.loads((metadata / name).read_bytes()) for name in ("labels.json", "pmsets.json"))
    (split,) = [one for one in json.loads(results.read_bytes())["splits"] if one["test"] == test] or [None]
    if split is None:
        raise FastptError(f"{results} has no test {test!r}. Name the one whose split is ImageNet-Vid-Robust.")
    table = read_answers(results)
    of_test = np.array(table["test"].to_pylist()) == test
    keys = Dataset(split["path"]).keys
    frames = [keys[sample] for sample in np.asarray(table["sample"])[of_test]]
    found = {}
    for head in table.column_names[5:]:
        answers = np.asarray(table[head])[of_test]
        right = {frame: answer in labels.get(frame, ()) for frame, answer in zip(frames, answers, strict=True)}
        found[head] = pm_accuracy(right, sets)
    return found
