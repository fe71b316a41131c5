"""Kinds of noise beyond symmetric and swap (those are in test_noise.py), and the files they come from and go to."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fastpt.data.columns import xxh3_128
from fastpt.errors import FastptError
from fastpt.noise import add_noise
from fastpt.noise.formats import read_hierarchy, read_matrix, write_csv
from fastpt.noise.ranking import asymmetric, nearest_classes, pairswap
from tests.conftest import made_up, prepared

COUNT, CLASSES = 1003, 7
KEYS = [f"train/n{i % CLASSES}/{i}.jpg" for i in range(COUNT)]
LABELS = np.arange(COUNT) % CLASSES
WEIGHTS = np.random.default_rng(0).random((CLASSES, CLASSES)) * (
    np.random.default_rng(1).random((7, 7)) < 0.6
) + np.eye(7)


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("noise"), made_up(40, captions=True), shard_samples=16)


# --- asymmetric -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.3, 0.999])
def test_asymmetric_flips_the_exact_count_of_each_class_to_classes_with_weight(rate):
    noisy = asymmetric(KEYS, LABELS, WEIGHTS, rate, seed=0)
    wrong = noisy != LABELS
    assert np.array_equal(np.bincount(LABELS[wrong], minlength=CLASSES), np.rint(rate * np.bincount(LABELS)))
    assert (WEIGHTS[LABELS[wrong], noisy[wrong]] > 0).all()
    assert noisy.dtype == np.int32


def test_asymmetric_follows_the_weights():
    keys = [str(i) for i in range(40_000)]
    weights = np.array([[9, 1, 0, 3], [1, 0, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0]])
    counts = np.bincount(asymmetric(keys, np.zeros(40_000, int), weights, 0.5, 0), minlength=4)
    assert counts[2] == 0
    assert abs(counts[3] - 15_000) < 5 * np.sqrt(20_000 * 0.25 * 0.75)


def test_asymmetric_is_nested_and_keyed_and_seeded():
    low, high = (asymmetric(KEYS, LABELS, WEIGHTS, rate, 0) for rate in (0.1, 0.4))
    wrong = low != LABELS
    assert np.array_equal(low[wrong], high[wrong])
    shuffled = np.random.default_rng(0).permutation(COUNT)
    keys = [KEYS[i] for i in shuffled]
    assert np.array_equal(high[shuffled], asymmetric(keys, LABELS[shuffled], WEIGHTS, 0.4, 0))
    assert (high != asymmetric(KEYS, LABELS, WEIGHTS, 0.4, 1)).mean() > 0.2


def test_a_class_that_is_confused_with_none_stays_clean():
    weights = WEIGHTS.copy()
    weights[3] = np.eye(CLASSES)[3]
    noisy = asymmetric(KEYS, LABELS, weights, 0.5, 0)
    assert np.array_equal(np.unique(LABELS[noisy == LABELS]), np.arange(CLASSES))
    assert (noisy[LABELS == 3] == 3).all()


@pytest.mark.parametrize(
    ("weights", "said"),
    [(np.eye(7), "no weight off its diagonal"), (-np.ones((7, 7)), "least -1"), (np.full((7, 7), np.nan), "finite")],
)
def test_a_matrix_that_makes_no_sense_is_refused(weights, said):
    with pytest.raises(FastptError, match=said):
        asymmetric(KEYS, LABELS, weights, 0.1, 0)


def test_nearest_classes_of_a_hierarchy_share_the_lowest_ancestor():
    edges = [
        ("thing", "animal"),
        ("thing", "tool"),
        ("animal", "cat"),
        ("animal", "dog"),
        ("animal", "insect"),
        ("insect", "bee"),
        ("tool", "saw"),
    ]
    weights = nearest_classes(edges, ["cat", "dog", "bee", "saw"])
    assert weights.tolist() == [[0, 1, 0, 0], [1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0]]


def test_a_class_below_another_and_two_parents_are_allowed():
    weights = nearest_classes(
        [("a", "dog"), ("dog", "puppy"), ("b", "puppy"), ("b", "kitten")], ["dog", "puppy", "kitten"]
    )
    assert weights.tolist() == [[0, 1, 0], [1, 0, 0], [0, 1, 0]]


def test_hierarchy_and_matrix_files(tmp_path):
    (tmp_path / "tree.txt").write_text("all x\nall\ty z\n\nall, w\n")
    assert read_hierarchy(tmp_path / "tree.txt", ["x", "y z", "w"]).sum() == 6
    with pytest.raises(FastptError, match=r"has no v \(1 of 2 classes\)"):
        read_hierarchy(tmp_path / "tree.txt", ["x", "v"])
    (tmp_path / "tree.txt").write_text("all x\nalone\n")
    with pytest.raises(FastptError, match="line 2"):
        read_hierarchy(tmp_path / "tree.txt", ["x"])
    np.savetxt(tmp_path / "m.csv", WEIGHTS, delimiter=",")
    np.save(tmp_path / "m.npy", WEIGHTS)
    assert np.array_equal(read_matrix(tmp_path / "m.csv", 7), read_matrix(tmp_path / "m.npy", 7))
    with pytest.raises(FastptError, match=r"shape \[7, 7\], but .* 5 classes"):
        read_matrix(tmp_path / "m.npy", 5)
    (tmp_path / "bad.csv").write_text("a,b\n")
    with pytest.raises(FastptError, match="no confusion matrix"):
        read_matrix(tmp_path / "bad.csv", 2)


# --- pairswap ---------------------------------------------------------------------------------------------------


def test_pairswap_is_a_permutation_whose_realised_rate_is_the_papers():
    keys = [str(i) for i in range(50_000)]
    for rate, realised in ((0.05, 0.095), (0.3, 0.451)):
        rows = pairswap(keys, rate, 0)
        assert np.array_equal(np.sort(rows), np.arange(50_000))
        assert abs((rows != np.arange(50_000)).mean() - realised) < 0.01


def test_pairswap_at_once_is_one_swap_after_the_other():
    keys = [str(i) for i in range(6)]  # so few that nearly every swap meets an earlier one
    for seed in range(20):
        told = pairswap(keys, 0.99, seed)
        order = np.argsort(xxh3_128(keys, seed)[0])
        raw = np.random.PCG64(seed).random_raw(12).reshape(-1, 2)
        rows = np.arange(6)
        for first, second in raw.tolist():
            i, j = first % 6, second % 5
            i, j = order[i], order[j + (j >= i)]
            rows[[i, j]] = rows[[j, i]]
        assert np.array_equal(told, rows)


def test_pairswap_is_keyed_and_seeded():
    shuffled = np.random.default_rng(0).permutation(COUNT)
    keys = [KEYS[i] for i in shuffled]
    assert [KEYS[i] for i in pairswap(KEYS, 0.3, 0)[shuffled]] == [keys[i] for i in pairswap(keys, 0.3, 0)]
    assert (pairswap(KEYS, 0.3, 0) != pairswap(KEYS, 0.3, 1)).mean() > 0.2


def test_equal_texts_do_not_count_as_realised_noise(tmp_path):
    captions = ["same"] * 30 + list("abcdefghij")
    dataset = prepared(tmp_path, replace(made_up(40, captions=True), captions=captions))
    plan = add_noise(dataset, 0.5, 0, kind="pairswap")
    moved = np.flatnonzero(plan.array != np.arange(40))
    texts = np.array(dataset.captions(range(40)))
    assert plan.realised_rate == (texts[plan.array] != texts).mean() < len(moved) / 40


# --- external ---------------------------------------------------------------------------------------------------


def write(path, column, rows):
    path.write_text(f"key,{column}\n" + "".join(f"{key},{value}\n" for key, value in rows))
    return {"file": path}


def test_external_labels_come_by_folder_name_readable_name_or_number(split, tmp_path, caplog):
    keys = split.keys
    wanted = (split.clean_labels + 1) % 4
    rows = [(keys[0], f"class {wanted[0]}"), (keys[1], wanted[1]), (keys[2], f"class {split.clean_labels[2]}")]
    plan = add_noise(split, None, 0, kind="external", files=write(tmp_path / "people.csv", "label", rows))
    assert plan.name == "external-people"
    assert plan.array[:2].tolist() == wanted[:2].tolist()
    assert np.array_equal(plan.array[2:], split.clean_labels[2:])
    assert plan.realised_rate == plan.rate == 2 / 40
    assert "37 of 40 samples; they stay clean" in caplog.text
    assert np.array_equal(split.targets("external-people"), plan.array)


@pytest.mark.parametrize(
    ("column", "rows", "said"),
    [
        ("label", [("nobody", 0)], "1 keys that the split does not have, such as 'nobody'"),
        ("label", [("{0}", "zebra")], "1 labels that are no class of the split, such as 'zebra'"),
        ("label", [("{0}", 1), ("{0}", 2)], "2 times"),
        ("wrong", [("{0}", 1)], "no CSV with the columns key and label"),
    ],
)
def test_an_external_file_for_other_samples_is_refused(split, tmp_path, column, rows, said):
    rows = [(key.format(split.keys[0]), value) for key, value in rows]
    with pytest.raises(FastptError, match=said):
        add_noise(split, None, 0, kind="external", files=write(tmp_path / "bad.csv", column, rows))
    assert "external-bad" not in split.noise_plans()


def test_external_arrays_follow_the_order_of_the_split(split, tmp_path):
    given = np.where(np.arange(40) < 5, (split.clean_labels + 1) % 4, -1)
    np.save(tmp_path / "array.npy", given)
    plan = add_noise(split, None, 0, kind="external", files={"file": tmp_path / "array.npy"})
    assert plan.array.tolist() == np.where(given < 0, split.clean_labels, given).tolist()
    np.save(tmp_path / "short.npy", given[:-1])
    with pytest.raises(FastptError, match=r"integers \[40\]"):
        add_noise(split, None, 0, kind="external", files={"file": tmp_path / "short.npy"})


@pytest.mark.parametrize("kind", ["symmetric", "swap"])
def test_a_plan_written_as_csv_comes_back_as_the_same_targets(split, tmp_path, kind):
    plan = add_noise(split, 0.3, 0, kind=kind)
    file = tmp_path / f"{kind}.csv"
    write_csv(file, plan.of, split.stored_keys.load(), plan.array, split.classes)
    back = add_noise(split, None, 0, of=plan.of, kind="external", files={"file": file})
    assert np.array_equal(back.array, plan.array)
    assert back.array.dtype == plan.array.dtype
    assert back.realised_rate == plan.realised_rate


# --- plans ------------------------------------------------------------------------------------------------------


def test_a_plan_made_from_a_file_names_it_by_sha256_and_refuses_another(split, tmp_path):
    np.save(tmp_path / "m.npy", np.ones((4, 4)))
    plan = add_noise(split, 0.2, 3, kind="asymmetric", files={"matrix": tmp_path / "m.npy"})
    document = json.loads((split.path / "noise/asymmetric-0.2-seed3.json").read_text())
    assert document["source_sha256"] == plan.source_sha256
    np.save(tmp_path / "m.npy", np.ones((4, 4)) + np.eye(4)[0])
    with pytest.raises(FastptError, match="made from another file"):
        add_noise(split, 0.2, 3, kind="asymmetric", files={"matrix": tmp_path / "m.npy"})


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
        ("asymmetric", 0.1, {}, "made from: matrix or hierarchy; given: no file"),
        ("symmetric", 0.1, {"file": Path("x")}, "made from: no file; given: file"),
        ("external", 0.1, {"file": Path(__file__)}, "leave the rate out"),
        ("gaussian", 0.1, {}, "symmetric, asymmetric, swap, pairswap, external"),
        ("swap", None, {}, "needs a rate"),
    ],
)
def test_a_kind_without_what_it_needs_is_refused(split, kind, rate, files, said):
    with pytest.raises(FastptError, match=said):
        add_noise(split, rate, 0, kind=kind, files=files)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x93NUM",
        b"\x93NUMPY\1\0v\0{'descr': '<i8', 'fortran_order': False, 'shape': (1000000000000,), }".ljust(200),
    ],
    ids=["empty", "cut off", "a header that claims 8 TB"],
)
def test_an_array_file_that_is_damaged_is_named(split, tmp_path, content):
    (tmp_path / "odd.npy").write_bytes(content)
    with pytest.raises(FastptError, match=r"odd\.npy is no array of numbers"):
        add_noise(split, None, 0, kind="external", files={"file": tmp_path / "odd.npy"})


def test_noise_says_which_table_is_damaged(tmp_path):
    split = prepared(tmp_path, made_up(8))
    (split.path / "samples.parquet").write_bytes(b"PAR1 rubbish PAR1")
    with pytest.raises(FastptError, match=r"samples\.parquet cannot be read"):
        add_noise(split, 0.25, 0)


def test_a_file_that_cannot_be_written_is_told_by_the_name_that_was_given(split, tmp_path):
    with pytest.raises(FileNotFoundError) as raised:
        write_csv(
            tmp_path / "nowhere" / "plan.csv", "labels", split.stored_keys.load(), split.clean_labels, split.classes
        )
    assert raised.value.filename == str(tmp_path / "nowhere" / "plan.csv")
