"""Splits whose files are not those that were written, with and without a new seal: told when they are used."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from fastpt import DamagedData, Dataset, Loader
from fastpt.data.columns import column_sum
from fastpt.files import file_sha256, write_sealed_json


@pytest.fixture
def split(captioned, tmp_path) -> Path:
    """A copy of a split with labels and captions."""
    return shutil.copytree(captioned.path, tmp_path / "split")


def change_column(split: Path, name: str, change: Callable[[list], list], sealed: bool = False) -> None:
    table = pq.read_table(split / "samples.parquet")
    index = table.column_names.index(name)
    table = table.set_column(index, name, pa.array(change(table[name].to_pylist()), table[name].type))
    pq.write_table(table, split / "samples.parquet")
    if sealed:
        forge(split, lambda manifest: manifest["columns"].update({name: column_sum(table[name])}))


def forge(split: Path, change: Callable[[dict], object]) -> None:
    """Change dataset.json and seal it anew, as one who wants to be believed."""
    manifest = json.loads((split / "dataset.json").read_text())
    del manifest["self_sha256"]
    change(manifest)
    write_sealed_json(split / "dataset.json", manifest)


READS = {
    "key": lambda dataset: dataset.keys,
    "clean_label": lambda dataset: dataset.clean_labels,
    "caption": lambda dataset: dataset.captions([0]),
    **dict.fromkeys(("offset", "size", "width", "height", "xxh3"), lambda dataset: dataset.samples),
}


@pytest.mark.parametrize("name", READS)
def test_a_column_that_changed_is_refused_by_name_when_it_is_read(split, name):
    change_column(split, name, lambda column: [*column[:-1], column[-1] + ("x" if isinstance(column[-1], str) else 1)])
    with pytest.raises(DamagedData, match=rf"samples\.parquet is damaged: its column {name} is not"):
        READS[name](Dataset(split))


def test_texts_that_are_read_as_a_stream_are_held_against_their_sum(split):
    change_column(split, "caption", lambda column: [*column[:-1], "another"])
    with pytest.raises(DamagedData, match="its column caption is not"):
        Dataset(split).caption_hashes  # noqa: B018 - it is computed when read


def test_rows_that_are_missing_are_counted(split):
    pq.write_table(pq.read_table(split / "samples.parquet").slice(1), split / "samples.parquet")
    with pytest.raises(DamagedData, match=r"samples\.parquet has 39 rows instead of 40"):
        Dataset(split).samples  # noqa: B018 - it is read when asked for


@pytest.mark.parametrize(
    ("name", "value"), [("width", 0), ("height", 0), ("size", 0), ("shard", 9), ("offset", 10**12), ("size", 2**32 - 1)]
)
def test_a_picture_where_none_can_be_is_refused_by_row_whatever_the_seal(split, name, value):
    change_column(split, name, lambda column: [*column[:5], value, *column[6:]], sealed=True)
    with pytest.raises(DamagedData, match="sample 5 is said to be"):
        Dataset(split).samples  # noqa: B018 - it is read when asked for


def test_labels_without_a_class_are_refused_whatever_the_seal(split):
    change_column(split, "clean_label", lambda column: [77, *column[1:]], sealed=True)
    with pytest.raises(DamagedData, match="labels go from 0 to 77"):
        Dataset(split).clean_labels  # noqa: B018 - it is read when asked for


@pytest.mark.parametrize("decoder", ["cpu", "dali"])
@pytest.mark.parametrize("change", [lambda side: side + 1, lambda side: side // 2, lambda side: side * 4])
def test_a_picture_of_another_size_than_stated_is_a_damaged_one(split, decoder, change):
    for side in ("width", "height"):
        change_column(split, side, lambda column: [*column[:5], change(column[5]), *column[6:]], sealed=True)
    with Loader(Dataset(split), 40, 16, seed=0, decoder=decoder, drop_last=False) as loader:
        (batch,) = loader
        assert 5 not in np.asarray(batch.sample_ids)
        assert loader.bad_samples.keys() == {5}


MANIFESTS = {
    "a negative count": lambda manifest: manifest["counts"].update(samples=-5),
    "too many samples": lambda manifest: manifest["counts"].update(samples=4000),
    "a count that is no number": lambda manifest: manifest["counts"].update(samples="40"),
    "a path for a shard": lambda manifest: manifest["shards"][0].update(name="../other.beton"),
    "a path for the table": lambda manifest: manifest["files"][0].update(name="/etc/passwd"),
    "a negative length": lambda manifest: manifest["shards"][0].update(bytes=-1),
    "no name": lambda manifest: manifest.pop("name"),
    "no sums": lambda manifest: manifest.pop("columns"),
    "no shards": lambda manifest: manifest.update(shards=[]),
    "a list for counts": lambda manifest: manifest.update(counts=[]),
    "a number for a class": lambda manifest: manifest["classes"].__setitem__(0, 7),
    "a class too many": lambda manifest: manifest["classes"].append("more"),
    "shards in disorder": lambda manifest: manifest["shards"][0].update(first_id=41),
}


@pytest.mark.parametrize("forgery", MANIFESTS)
def test_nonsense_under_a_good_seal_is_refused_when_the_split_is_opened(split, forgery):
    forge(split, MANIFESTS[forgery])
    with pytest.raises(DamagedData, match=r"dataset\.json is sealed, but "):
        Dataset(split)


def test_a_noise_plan_under_another_name_is_refused(split):
    for suffix in ("json", "npy"):
        (split / f"noise/symmetric-0.2-seed0.{suffix}").rename(split / f"noise/symmetric-0.2-seed7.{suffix}")
    with pytest.raises(DamagedData, match=r"seed7\.json says that it is symmetric-0\.2-seed0"):
        Dataset(split).noise_plan("symmetric-0.2-seed7")


@pytest.mark.parametrize(
    "array", [np.zeros(39, np.int32), np.full(40, 99, np.int32), np.full(40, -1, np.int32), np.zeros(40)]
)
def test_an_array_of_noise_that_does_not_fit_its_split_is_refused_whatever_the_seal(split, array):
    path = split / "noise/symmetric-0.2-seed0"
    np.save(f"{path}.npy", array)
    plan = json.loads(Path(f"{path}.json").read_text())
    del plan["self_sha256"]
    write_sealed_json(f"{path}.json", plan | {"array_sha256": file_sha256(f"{path}.npy")})
    with pytest.raises(DamagedData, match="is no array of 40 numbers from 0 to"):
        Dataset(split).targets(0.2, of="labels")
