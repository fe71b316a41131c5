import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fastpt.errors import FastptError
from fastpt.noise import add_noise
from fastpt.noise.kinds import KINDS, Made
from tests.conftest import made_up, prepared


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("noise"), made_up(40, captions=True), shard_samples=16)


def test_a_plan_made_from_a_file_names_it_by_sha256_and_refuses_another(split, tmp_path):
    np.save(tmp_path / "m.npy", np.ones((4, 4)))
    plan = add_noise(split, 0.2, 3, kind="asymmetric", files={"matrix": tmp_path / "m.npy"})
    document = json.loads((split.path / "noise/asymmetric-0.2-seed3.json").read_text())
    assert document["source_sha256"] == plan.source_sha256
    np.save(tmp_path / "m.npy", np.ones((4, 4)) + np.eye(4)[0])
    with pytest.raises(FastptError, match="made from another file"):
        add_noise(split, 0.2, 3, kind="asymmetric", files={"matrix": tmp_path / "m.npy"})


def test_what_is_no_noise_of_the_split_is_not_written(split, monkeypatch):
    kind = KINDS.get("symmetric")
    for array in (np.full(40, 4, np.int32), np.zeros(3, np.int32), np.zeros(40), -np.ones(40, np.int32)):
        monkeypatch.setattr(kind, "make", lambda *_, array=array: Made(array))
        with pytest.raises(FastptError, match=r"no array of 40 numbers from 0 to 3 in int32, .* Nothing was written"):
            add_noise(split, 0.3, 9, of="labels", kind="symmetric")
    assert "symmetric-0.3-seed9" not in split.noise_plans()


def test_several_kinds_of_one_rate_must_be_named(split):
    add_noise(split, 0.4, 0, kind="swap")
    add_noise(split, 0.4, 0, kind="pairswap")
    with pytest.raises(
        FastptError, match=r"several .* of rate 0\.4 for captions: pairswap-0\.4-seed0, swap-0\.4-seed0"
    ):
        split.targets(0.4, of="captions")


@pytest.mark.parametrize(
    ("kind", "rate", "files", "said"),
    [
        ("asymmetric", 0.1, {}, "needs one file: matrix or hierarchy or predictions; given: none"),
        ("symmetric", 0.1, {"file": Path("x")}, "takes no file; given: file"),
        ("external", 0.1, {"file": Path(__file__)}, "leave the rate out"),
        ("gaussian", 0.1, {}, ", ".join(KINDS.table)),
        ("swap", None, {}, "needs a rate"),
    ],
)
def test_a_kind_without_what_it_needs_is_refused(split, kind, rate, files, said):
    with pytest.raises(FastptError, match=said):
        add_noise(split, rate, 0, kind=kind, files=files)


def test_noise_says_which_table_is_damaged(tmp_path):
    split = prepared(tmp_path, made_up(8))
    (split.path / "samples.parquet").write_bytes(b"PAR1 rubbish PAR1")
    with pytest.raises(FastptError, match=r"samples\.parquet cannot be read"):
        add_noise(split, 0.25, 0)


def test_a_kind_is_refused_for_targets_that_it_does_not_change(split):
    with pytest.raises(FastptError, match="swap noise changes captions, not labels"):
        add_noise(split, 0.1, 0, "labels", "swap")


def test_a_plan_of_a_name_is_not_taken_for_one_of_other_targets(split, tmp_path):
    np.save(tmp_path / "zeros.npy", np.zeros(40, int))
    add_noise(split, None, 0, "labels", "external", {"file": tmp_path / "zeros.npy"})
    with pytest.raises(FastptError, match="external-zeros changes labels, but captions"):
        add_noise(split, None, 0, "captions", "external", {"file": tmp_path / "zeros.npy"})


@pytest.mark.parametrize(("kind", "rate"), [("symmetric", 0.01), ("swap", 0.01), ("pairswap", 0.01)])
def test_a_rate_that_comes_to_no_sample_is_told(tmp_path, caplog, kind, rate):
    split = prepared(tmp_path, made_up(12, captions=True))
    assert add_noise(split, rate, 0, kind=kind).realised_rate == 0
    assert (
        f"{kind}-0.01-seed0: none of 12 samples is shown anything wrong: they are too few for a share of" in caplog.text
    )


def test_captions_that_are_all_alike_are_told(tmp_path, caplog):
    split = prepared(tmp_path, replace(made_up(12), captions=["a"] * 12))
    assert add_noise(split, 0.5, 0, kind="pairswap").realised_rate == 0
    assert "too few for a share of 0.5, or alike" in caplog.text


def test_a_file_that_says_what_is_clean_is_told(split, tmp_path, caplog):
    np.save(tmp_path / "same.npy", split.clean_labels)
    add_noise(split, None, 0, "labels", "external", {"file": tmp_path / "same.npy"})
    assert "same.npy: none of 40 samples is shown anything wrong: it says what is clean" in caplog.text


def test_a_packed_list_gives_its_name_without_both_suffixes(split, tmp_path):
    (tmp_path / "worse.csv.gz").write_bytes(gzip.compress(f"key,label\n{split.keys[0]},1\n".encode()))
    assert add_noise(split, None, 0, "labels", "external", {"file": tmp_path / "worse.csv.gz"}).name == "external-worse"
