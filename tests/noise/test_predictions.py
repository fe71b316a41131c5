import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from fastpt import Dataset
from fastpt.errors import DamagedData, FastptError
from fastpt.files import sealed
from fastpt.noise import add_noise
from fastpt.noise.annotations import read_labels
from fastpt.noise.predictions import Predictions, read_predictions, write_predictions
from tests.conftest import made_up, prepared
from tests.noise.conftest import flips

COUNT, CLASSES = 40, 4


@pytest.fixture(scope="module")
def split(tmp_path_factory) -> Dataset:
    return prepared(tmp_path_factory.mktemp("predicted"), made_up(COUNT))


def predictions(given: np.ndarray) -> Predictions:
    """Made up: the label of every fifth sample is doubted."""
    rng = np.random.default_rng(0)
    probabilities = rng.dirichlet(np.ones(CLASSES), len(given)).astype(np.float32)
    order = np.argsort(-probabilities, 1)
    suggested = np.where(np.arange(len(given)) % 5 == 0, (given + 1) % CLASSES, given)
    margin = rng.uniform(-1, 1, len(given)).astype(np.float32)
    return Predictions(given, suggested, margin, order, np.take_along_axis(probabilities, order, 1))


def assert_same(found: Predictions, expected: Predictions, rows=slice(None)) -> None:
    for name in ("given", "suggested", "margin", "classes", "probabilities"):
        assert np.array_equal(getattr(found, name), getattr(expected, name)[rows]), name


def test_predictions_come_back_by_key_in_any_order(split, tmp_path):
    expected = predictions(split.clean_labels)
    write_predictions(tmp_path / "s.parquet", split, expected, {})
    assert_same(read_predictions(tmp_path / "s.parquet", split), expected)
    other = prepared(tmp_path, made_up(COUNT), seed=9)
    rows = [split.keys.index(key) for key in other.keys]
    assert_same(read_predictions(tmp_path / "s.parquet", other), expected, rows)


def test_their_file_is_a_list_of_corrected_labels(split, tmp_path):
    found = predictions(split.clean_labels)
    write_predictions(tmp_path / "suspects.parquet", split, found, {})
    plan = add_noise(split, None, 0, "labels", "external", {"file": tmp_path / "suspects.parquet"})
    assert np.array_equal(plan.array, found.suggested)


def test_any_byte_that_changed_is_noticed_or_changes_no_corrected_label(split, tmp_path):
    path, found = tmp_path / "s.parquet", predictions(split.clean_labels)
    write_predictions(path, split, found, {})
    noticed = 0
    for _ in flips(path):
        try:
            assert np.array_equal(read_labels(path, split).array, found.suggested)
        except FastptError:
            noticed += 1
    assert noticed > 5  # it reads two of the columns, and no metadata


def test_the_rank_says_the_order_in_which_labels_are_doubted(split, tmp_path):
    found = predictions(split.clean_labels)
    write_predictions(tmp_path / "s.parquet", split, found, {})
    table = pq.read_table(tmp_path / "s.parquet").to_pydict()
    by_rank = [key for _, key in sorted(zip(table["rank"], table["key"], strict=True))]
    assert by_rank == [split.keys[row] for row in found.order()]


def test_predictions_for_other_labels_are_refused(split, tmp_path):
    write_predictions(tmp_path / "s.parquet", split, predictions((split.clean_labels + 1) % CLASSES), {})
    with pytest.raises(FastptError, match="labels that were in question of 40 samples differ"):
        read_predictions(tmp_path / "s.parquet", split)


def test_another_file_is_refused(split, tmp_path):
    pq.write_table(split.table(["key"]), tmp_path / "s.parquet")
    with pytest.raises(FastptError, match="is no file of predictions, which `fastpt suspects"):
        read_predictions(tmp_path / "s.parquet", split)


@pytest.mark.parametrize("change", ["a column", "the seal", "probabilities", "columns"])
def test_what_was_not_written_so_is_damage(split, tmp_path, change):
    path, found = tmp_path / "s.parquet", predictions(split.clean_labels)
    if change == "probabilities":
        found.probabilities[3] = np.nan
    write_predictions(path, split, found, {})
    table, (mark, text) = pq.read_table(path), next(iter(pq.read_metadata(path).metadata.items()))
    stated = json.loads(text)
    if change == "a column":
        table = table.set_column(2, "label", [["class 0"] * COUNT])
    elif change == "the seal":
        stated["made_with"] = {"encoder": "another"}
    elif change == "columns":
        del stated["columns"]["margin"], stated["self_sha256"]
        stated = sealed(stated)
    pq.write_table(table.replace_schema_metadata({mark: json.dumps(stated)}), path)
    with pytest.raises(DamagedData, match=r"s\.parquet is damaged"):
        read_predictions(path, split)


def test_the_confusion_of_classes_sums_the_probabilities_by_label():
    found = Predictions(
        np.array([0, 0, 2]),
        np.array([0, 0, 2]),
        np.zeros(3, np.float32),
        np.array([[0, 1], [1, 0], [2, 0]]),
        np.array([[0.75, 0.25], [0.5, 0.5], [1.0, 0.0]], np.float32),
    )
    assert found.confusion(3).tolist() == [[1.25, 0.75, 0], [0, 0, 0], [0, 0, 1]]


def test_names_of_columns_that_are_no_text_are_damage(split, tmp_path):
    path = tmp_path / "s.parquet"
    write_predictions(path, split, predictions(split.clean_labels), {})
    content = path.read_bytes()
    footer = len(content) - 8 - int.from_bytes(content[-8:-4], "little")
    place = content.index(b"margin", footer) + 1  # in the schema
    path.write_bytes(content[:place] + b"\xf2" + content[place + 1 :])
    with pytest.raises(DamagedData, match="cannot be read"):
        read_predictions(path, split)
