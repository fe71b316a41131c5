"""A tuning that was stopped goes on, and its numbers are those of one that was not."""

import shutil

import numpy as np
import pytest

from fastpt.tuning import jobs
from fastpt.tuning.config import TuningConfig
from fastpt.tuning.kept import KeptHeads, Part, content
from fastpt.tuning.methods import METHODS
from fastpt.tuning.results import Row
from fastpt.tuning.run import tune
from fastpt.tuning.suite_files import load_suite

CONFIG = TuningConfig(["nmtune", "ridge"], seeds=[0, 1], fractions=[0.5, 1.0], options={"epochs": 2})


@pytest.fixture
def suite(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng, centres = np.random.default_rng(0), np.random.default_rng(1).normal(size=(3, 8))
    for name in ("train", "test"):
        labels = np.arange(60) % 3
        np.save(f"{name}.npy", (centres[labels] + rng.normal(size=(60, 8))).astype(np.float32))
        np.save(f"{name}_y.npy", labels)
    train, test = ({"features": f"{x}.npy", "labels": f"{x}_y.npy"} for x in ("train", "test"))
    (tmp_path / "suite.yaml").write_text(f"{{name: x, id: [{{name: a, train: {train}, test: {test}}}]}}")
    return load_suite("suite.yaml")


def tuned(suite, cache, config=CONFIG):
    found = tune(None, suite, config, threads=1, cache=cache).as_dict()
    return found["rows"], found["spectra"]


def calls(monkeypatch):
    """The methods that train, as they do."""
    found = []
    train = jobs.train
    monkeypatch.setattr(
        jobs, "train", lambda config, method, *rest: found.append(method) or train(config, method, *rest)
    )
    return found


def test_what_was_trained_is_not_trained_again_and_the_numbers_are_the_same(suite, tmp_path, monkeypatch):
    whole = tuned(suite, tmp_path / "whole")
    trained = calls(monkeypatch)
    stop = METHODS.get("ridge")
    monkeypatch.setattr(stop, "fit", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt), raising=False)
    with pytest.raises(KeyboardInterrupt):
        tuned(suite, tmp_path / "killed")
    assert trained == ["lp", "nmtune", "ridge"]  # the baseline first: a first accuracy is soon there
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    trained = calls(monkeypatch)
    assert tuned(suite, tmp_path / "killed") == whole
    assert trained == ["ridge"]
    trained.clear()
    assert tuned(suite, tmp_path / "killed") == whole
    assert not trained


@pytest.mark.parametrize(
    "change",
    [
        {"seeds": [0, 2]},
        {"fractions": [0.5]},
        {"label_noise": 0.1},
        {"options": {"epochs": 3}},
    ],
)
def test_another_tuning_trains_its_own(suite, tmp_path, monkeypatch, change):
    tuned(suite, tmp_path)
    trained = calls(monkeypatch)
    tuned(suite, tmp_path, TuningConfig(**{**vars(CONFIG), "methods": ["nmtune"], **change}))
    assert trained == ["lp", "nmtune"]


@pytest.mark.parametrize("file", ["train.npy", "train_y.npy", "test.npy", "test_y.npy"])
def test_changed_data_is_trained_on_and_tested_anew(suite, tmp_path, monkeypatch, file):
    tuned(suite, tmp_path)
    trained = calls(monkeypatch)
    np.save(file, np.roll(np.load(file), 1, axis=0))
    tuned(suite, tmp_path)
    assert sorted(trained) == ["lp", "nmtune", "ridge"]


def test_method_by_method_the_heads_that_are_missing_are_trained(suite, tmp_path, monkeypatch):
    """A method with a part for each head, stopped at the third."""
    ridge = METHODS.get("ridge")
    fit, seen = type(ridge).fit, []

    def one_by_one(data, heads, device, **_):
        for head in heads:
            if len(seen) == 2 and stops:
                raise KeyboardInterrupt
            seen.append((head.seed, head.rows is None))
            yield from fit(ridge, data, [head], device)

    config = TuningConfig(["ridge"], seeds=[0, 1], fractions=[0.5, 1.0])
    whole = tuned(suite, tmp_path / "whole", config)
    monkeypatch.setattr(ridge, "fit", one_by_one, raising=False)
    stops = True
    with pytest.raises(KeyboardInterrupt):
        tuned(suite, tmp_path / "killed", config)
    stops = False
    assert tuned(suite, tmp_path / "killed", config) == whole
    assert seen == [(0, False), (1, False), (0, True), (1, True)]


@pytest.mark.parametrize("damage", ["flipped", "empty", "folder", "another", "of another first"])
def test_damaged_kept_heads_are_none(tmp_path, capsys, damage):
    row = Row("id", "a", "test", "lp", "accuracy", 1 / 3, 3, 0, 1.0, {"lr": 0.1})
    kept, other = KeptHeads(tmp_path, {"a": 1}), KeptHeads(tmp_path, {"a": 2})
    for one in (kept, other):
        one.write(0, Part(1, [row], [], [""]))
    assert kept.read(0) == Part(1, [row], [], [""])
    assert kept.read(1) is None
    path, first = kept.folder / "00000.json", 0
    if damage == "flipped":
        path.write_text(path.read_text().replace("0.33", "0.34"))
    elif damage == "empty":
        path.write_text("")
    elif damage == "folder":
        path.unlink()
        path.mkdir()
    elif damage == "another":
        shutil.copy(other.folder / path.name, path)
    else:
        path, first = shutil.copy(path, path.with_name("00001.json")), 1
    assert kept.read(first) is None
    assert f"{path}, is damaged" in capsys.readouterr().err
    assert kept.read(first) is None
    assert capsys.readouterr().err == ""


def test_content_tells_arrays_apart():
    some = np.arange(6)
    found = {
        content(*arrays)
        for arrays in ([some], [some.reshape(2, 3)], [some.astype(np.int32)], [some, None], [None, some], [some[::-1]])
    }
    assert len(found) == 6
