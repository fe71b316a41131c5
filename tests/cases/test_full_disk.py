"""A disk that is full, for every writer: one plain error, old state stays, nothing half-written is taken for whole.

The full disk is a limit on the size of a file, so that no rights are needed.
"""

import resource
import shutil
from functools import partial
from pathlib import Path

import pytest

from tests.cases.conftest import Ran, process
from tests.cases.workplace import digests, files_below, sets

pytestmark = pytest.mark.long

TUNE = ("tune", "--run", "run", "--lp", "--epochs", 1)
WRITERS = {  # what writes, and the most bytes a file may have
    "recipe": (("train", "recipe.yaml", "--run-dir", "new"), 100),
    "metrics": (("train", "recipe.yaml", "--run-dir", "new", *sets("log_every=1", "schedule.steps=9")), 2_000),
    "checkpoint": (("train", "recipe.yaml", "--run-dir", "new"), 60_000),
    "export": (("export", "run"), 20_000),
    "model card": (("export", "run"), 300),
    "features": (TUNE, 1_500),
    "results": (TUNE, 600),
    "report": (("report", "run", "--out", "report.html"), 10_000),
    "files of a report": (("report", "run", "--out", "report.html", "--files"), 150),
    "noise plan": (("noise", "split", "--rate", 0.5), 150),
    "preview": (("preview", "split"), 5_000),
    "tokens": (("train", "clip.yaml", "--run-dir", "new"), 700),
    "materialised FFCV": (("materialize", "split", "--noise", "clean", "--format", "ffcv", "--out", "made"), 5_000),
    "materialised tars": (("materialize", "split", "--noise", "clean", "--format", "wds", "--out", "made"), 5_000),
}


def with_room_for(bytes_a_file: int, *words: object) -> Ran:
    limits = (bytes_a_file, bytes_a_file)
    return process(*words, preexec_fn=partial(resource.setrlimit, resource.RLIMIT_FSIZE, limits))


@pytest.mark.parametrize("writer", WRITERS)
def test_a_full_disk_is_one_plain_error_and_there_being_room_again_the_work_is_done(finished, writer):
    words, bytes_a_file = WRITERS[writer]
    shutil.copytree("data/pets/train", "split", copy_function=shutil.copy)
    shutil.rmtree("split/noise")
    kept = {place: digests(place) for place in ("run", "split")}
    ran = with_room_for(bytes_a_file, *words)
    assert ran.refused("[Nn]o space|[Tt]oo large|disk"), f"it found room: {ran.output[-500:]}"
    errors = [line for line in ran.output.splitlines() if line.startswith("Error")]
    assert len(errors) == 1, ran.output
    for place, before in kept.items():
        now = digests(place)
        assert {name: now.get(name) for name in before} == before
        # A lock holds nothing, and an array without its plan is none.
        assert not [name for name in now.keys() - before.keys() if not name.endswith((".lock", ".npy"))], now.keys()
    assert not [path for path in files_below(".") if path.endswith(".tmp")]
    process(*words).worked()
    assert Path("run/export/model.safetensors").is_file()
