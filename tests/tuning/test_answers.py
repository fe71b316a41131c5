from pathlib import Path

import numpy as np
import pytest
import yaml

from fastpt import Dataset
from fastpt.errors import DamagedData, FastptError
from fastpt.runs import verify
from fastpt.tuned import read_answers
from fastpt.tuning.answers import pack, unpack
from fastpt.tuning.command import tune_command
from tests.conftest import made_up, prepared
from tests.tuning.conftest import finished_run


@pytest.fixture
def tuned(tmp_path, monkeypatch):
    """Results of three tests: by a split, by folds, and of one that knows two of the four classes."""
    monkeypatch.chdir(tmp_path)
    prepared(Path("data/pets"), made_up(40))
    prepared(Path("data/pets"), made_up(24, name="test", is_train=False))
    few = made_up(12, 2, name="few", is_train=False)
    few.classes[:] = few.class_names[:] = ["class 1", "class 3"]
    prepared(Path("data/pets"), few)
    finished_run(Path("runs"), "tiny-s0")
    tests = {"test": "data/pets/test", "few": {"split": "data/pets/few", "classes": "subset"}}
    suite = {
        "name": "small",
        "id": [{"name": "crossed", "train": "data/pets/train", "folds": 2}],
        "ood": [{"name": "pets", "train": "data/pets/train", "tests": tests}],
    }
    Path("small.yaml").write_text(yaml.safe_dump(suite))
    found = tune_command(suite="small.yaml", methods=["ridge"], num_seeds=2, fractions=[0.5, 1.0])
    return found, Path("runs/tiny-s0/tune/small.json")


def test_every_value_can_be_computed_from_the_answers(tuned):
    found, path = tuned
    table = read_answers(path).to_pandas()
    for row in found.rows:
        if row.method == "best-probe":
            continue
        mine = table[(table.domain == row.domain) & (table.set == row.set) & (table.test == row.test)]
        share = "" if row.fraction == 1 else f" {100 * row.fraction:g} %"
        assert (mine[f"{row.method} s{row.seed}{share}"] == mine.label).mean() == pytest.approx(row.value)
        assert len(mine) == row.samples


def test_pictures_and_labels_are_those_of_the_splits(tuned):
    table = read_answers(tuned[1]).to_pandas()
    for test, split in (("2 folds", "train"), ("test", "test"), ("few", "few")):
        mine, data = table[table.test == test], Dataset(f"data/pets/{split}")
        assert mine["sample"].tolist() == list(range(len(data)))
        assert mine.label.tolist() == data.clean_labels.tolist()


def test_answers_of_other_results_are_refused(tuned):
    path = tuned[1].with_suffix(".parquet")
    content = bytearray(path.read_bytes())
    content[100] ^= 1
    path.write_bytes(content)
    assert [line for line in verify(Path("runs/tiny-s0")) if "small.parquet is not what" in line]
    with pytest.raises(DamagedData, match=r"is not what .*small.json was written with"):
        read_answers(tuned[1])
    path.unlink()
    with pytest.raises(FastptError, match="cannot be read beside its results"):
        read_answers(tuned[1])


def test_packed_answers_are_unpacked_whole_or_not_at_all():
    answers = np.random.default_rng(0).integers(0, 1000, 500)
    assert unpack(pack(answers)).tolist() == answers.tolist()
    with pytest.raises(ValueError):
        unpack(pack(answers)[:-8])
