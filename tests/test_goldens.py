"""What must not move when code does; see goldens.py."""

import json
from pathlib import Path

import pytest

from tests import goldens

WRITTEN = json.loads(goldens.FILE.read_text())
SAME_MACHINE = WRITTEN["written with"] == goldens.written_with()
MACHINE = pytest.mark.skipif(
    not SAME_MACHINE, reason="goldens.json was written with other libraries, or on another CPU"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("goldens")


@pytest.mark.parametrize(
    "name", [pytest.param("split files", marks=MACHINE), "noise arrays", "orders", "crops", "keys"]
)
def test_what_is_written_is_as_it_was(folder, name):
    assert as_json(goldens.GOLDENS[name](folder)) == WRITTEN[name]


@pytest.mark.parametrize("name", ["decoded", "transformed"])
def test_pixels_are_as_they_were(folder, name):
    found = goldens.GOLDENS[name](folder)
    assert found.keys() == WRITTEN[name].keys()
    for what, expected in WRITTEN[name].items():
        for one, other in zip(found[what]["blocks"], expected["blocks"], strict=True):
            assert one == pytest.approx(other, abs=0.5), what
        if SAME_MACHINE:
            assert found[what]["sha256"] == expected["sha256"], what


@pytest.mark.parametrize(
    ("name", "tolerance"), [("training losses", 1e-3), ("regularizers", 1e-6), ("head losses", 1e-4)]
)
def test_losses_are_as_they_were(folder, name, tolerance):
    found = goldens.GOLDENS[name](folder)
    assert found.keys() == WRITTEN[name].keys()
    for what, expected in WRITTEN[name].items():
        assert found[what] == pytest.approx(expected, rel=tolerance), what


def as_json(value: object) -> object:
    return json.loads(json.dumps(value))
