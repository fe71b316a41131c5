"""What holds for every kind of noise; what holds for one is in its own file."""

import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from fastpt.noise.kinds import DEFAULTS, KINDS
from fastpt.noise.predictions import write_predictions
from fastpt.testing import assert_makes_noise
from tests.conftest import made_up, prepared
from tests.noise.test_predictions import predictions

FILES = {
    "from": "other/train",
    "matrix": "ones.npy",
    "hierarchy": "tree.txt",
    "file": "mine.csv",
    "predictions": "predicted.parquet",
}
CASES = [
    (name, of, option)
    for name in KINDS.table
    for of in sorted(KINDS.get(name).of)
    for option in KINDS.get(name).files or [None]
]


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("room"), made_up(60, captions=True))


@pytest.mark.parametrize(("name", "of", "option"), CASES)
def test_a_kind_keeps_the_contract(split, tmp_path, name, of, option):
    np.save(tmp_path / "ones.npy", np.ones((4, 4)))
    (tmp_path / "tree.txt").write_text("".join(f"all,class {i}\n" for i in range(4)))
    column, value = ("label", "2") if of == "labels" else ("caption_of", split.keys[1])
    (tmp_path / "mine.csv").write_text(f"key,{column}\n{split.keys[0]},{value}\n")
    write_predictions(tmp_path / "predicted.parquet", split, predictions(split.clean_labels), {})
    if of == "pictures":
        prepared(tmp_path / "other", replace(made_up(40), classes=[*"abcd"], class_names=[*"abcd"]))
    files = {option: tmp_path / FILES[option]} if option else {}
    assert_makes_noise(KINDS.get(name), split, of, files, nested=name != "pairswap")


def test_the_kind_that_is_meant_by_a_rate_needs_no_more_than_that():
    for of, name in DEFAULTS.items():
        kind = KINDS.get(name)
        assert kind.takes_rate
        assert not kind.files
        assert of in kind.of


def test_kinds_are_listed_without_heavy_imports():
    code = (
        "import sys, json; from fastpt.noise.kinds import KINDS; kinds = [KINDS.get(name) for name in KINDS.table];"
        "print(json.dumps(sorted(sys.modules)))"
    )
    loaded = json.loads(subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.PIPE).stdout)
    assert not {"pyarrow", "torch", "pandas", "PIL"} & set(loaded)
