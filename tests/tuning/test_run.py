"""The whole of `fastpt tune` on a finished run and small prepared splits."""

import dataclasses
import json
import shutil
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from click.testing import CliRunner

from fastpt import Dataset
from fastpt.cli import main
from fastpt.errors import FastptError
from fastpt.files import read_sealed_json
from fastpt.runs import read_run
from fastpt.tuned import FORMAT, _paths, replaced
from fastpt.tuning import jobs
from fastpt.tuning.command import tune_command
from tests.conftest import made_up, picture, prepared
from tests.tuning.conftest import NOISE, finished_run


def test_everything_by_default(workplace, capsys):
    results = tune_command(methods=["nmtune", "mlp"], num_seeds=2, epochs=2, threads=2).as_dict()
    path = workplace / "runs" / "tiny-s0" / "tune" / "small.json"
    assert read_sealed_json(path, FORMAT) == results
    assert results["suite"] == "small"
    encoder = results["encoder"]
    assert (encoder["name"], encoder["run"], encoder["recipe"]) == ("tiny-s0", "runs/tiny-s0", "tiny")
    assert encoder["noise"] == NOISE
    assert encoder["features"] == 512
    keys = [(row["domain"], row["set"], row["test"], row["method"], row["seed"]) for row in results["rows"]]
    assert keys == [
        (domain, "pets", test, method, seed)
        for domain, test in (("id", "test"), ("ood", "again"))
        for method in ("lp", "mlp", "nmtune")
        for seed in (0, 1)
    ]
    assert all(0 <= row["value"] <= 1 and row["samples"] == 24 for row in results["rows"])
    metrics = {"id": "mean_per_class", "ood": "accuracy"}
    assert all(row["value"] == row["measures"][metrics[row["domain"]]] for row in results["rows"])
    assert all(None not in row["measures"].values() for row in results["rows"])
    stages = [(one["domain"], one["stage"]) for one in results["spectra"]]
    assert sorted(stages) == sorted((s, stage) for s in ("id", "ood") for stage in ("encoder", "mlp", "nmtune"))
    for one in results["spectra"]:
        sigma = one["singular_values"]
        assert sigma[0] == 1
        assert len(sigma) == 24
        assert sigma == sorted(sigma, reverse=True)
    assert results["missing"] == [
        {
            "domain": "id",
            "set": "gone",
            "reason": "data/gone/train is not there. data/gone/test is not there. Prepare it: fastpt prep gone",
            "method": None,
            "failed": False,
        }
    ]
    table = path.with_suffix(".txt").read_text()
    assert "ID average" in table
    assert "NMTune" in table
    assert len(path.with_suffix(".csv").read_text().splitlines()) == 1 + len(results["rows"])
    assert "gone is left out" in capsys.readouterr().err


def test_splits_that_are_joined_are_trained_and_tested_on_as_one(workplace):
    prepared(Path("data/pets"), made_up(12, name="valid", is_train=False))
    both = ["data/pets/train", "data/pets/valid"]
    suite = {"name": "joined", "id": [{"name": "pets", "train": both, "test": both}]}
    Path("joined.yaml").write_text(yaml.safe_dump(suite))
    found = tune_command(suite="joined.yaml", methods=["ridge", "mlp"], epochs=2, variant="reference-code").as_dict()
    train, test = found["splits"]
    assert (train["samples"], test["samples"], test["test"]) == (52, 52, "train+valid")
    assert [one["path"] for one in train["joined"]] == both
    assert all(row["samples"] == 52 for row in found["rows"])
    assert replaced(_paths(found), [Path()]) == []
    shutil.rmtree("data/pets/valid")
    prepared(Path("data/pets"), made_up(12, classes=3, name="valid", is_train=False))
    assert replaced(_paths(found), [Path()]) == ["data/pets/valid holds other samples now than those that are recorded"]


def test_cross_fitted_heads_test_each_picture_once(workplace):
    suite = {"name": "cross", "id": [{"name": "pets", "train": "data/pets/train", "folds": 2, "max_train": 12}]}
    Path("cross.yaml").write_text(yaml.safe_dump(suite))
    found = tune_command(suite="cross.yaml", methods=["ridge", "mlp"], num_seeds=2, epochs=2).as_dict()
    assert {(row["test"], row["samples"]) for row in found["rows"]} == {("2 folds", 40)}
    assert all(40 * row["measures"]["accuracy"] == pytest.approx(round(40 * row["value"])) for row in found["rows"])
    again = tune_command(suite="cross.yaml", methods=["ridge", "mlp"], num_seeds=2, epochs=2).as_dict()
    assert again["rows"] == found["rows"]


def test_tested_pictures_that_are_trained_on_are_counted_and_told(workplace, capsys):
    others = made_up(24, special={i: picture(i if i < 5 else 500 + i) for i in range(24)}, name="other", is_train=False)
    prepared(Path("data/pets"), others)
    twice = made_up(24, 2, special={i: picture(3 if i < 8 else i) for i in range(24)}, name="twice")
    prepared(Path("data/pets"), twice)  # eight times one picture, so it is in both folds
    split, train = {"features": "x.npy", "labels": "y.npy"}, "data/pets/train"
    np.save("x.npy", np.random.default_rng(0).normal(size=(30, 4)))
    np.save("y.npy", np.arange(30) % 3)
    sets = [
        {"name": "some", "train": train, "test": "data/pets/other"},
        {"name": "few", "train": train, "test": "data/pets/other", "max_train_per_class": 1},
        {"name": "folds", "train": "data/pets/twice", "folds": 2},
    ]
    Path("shared.yaml").write_text(yaml.safe_dump({"name": "shared", "id": sets}))
    Path("x.yaml").write_text(yaml.safe_dump({"name": "x", "id": [{"name": "all", "train": split, "test": split}]}))
    found = tune_command(suite="shared.yaml", methods=["ridge"]).as_dict()
    shared = {one["set"]: one["in_training"] for one in found["splits"] if one["test"]}
    assert (shared["some"], shared["folds"]) == (5, 8)
    assert shared["few"] < 5
    assert not any("in_training" in one for one in found["splits"] if one["test"] is None)
    told = "5 of 24 samples of some/other are among those that the heads are trained on, byte for byte"
    assert told in capsys.readouterr().err
    assert told in " ".join((workplace / "runs/tiny-s0/tune/shared.txt").read_text().split())
    assert any(told in problem for problem in read_run(workplace / "runs/tiny-s0").problems)
    assert tune_command(suite="x.yaml", methods=["ridge"]).as_dict()["splits"][1]["in_training"] == 30


def test_a_corrupted_test_has_features_of_its_own(workplace):
    tests = {
        name: {"split": "data/pets/test", **more}
        for name, more in (
            ("plain", {}),
            ("noise", {"corruption": {"noise": 60}}),
            ("blur", {"corruption": {"blur": 12}}),
        )
    }
    suite = {"name": "shifts", "ood": [{"name": "pets", "train": "data/pets/train", "tests": tests}]}
    Path("shifts.yaml").write_text(yaml.safe_dump(suite))
    found = tune_command(suite="shifts.yaml", methods=["ridge"]).as_dict()
    sve = {one["test"]: one["sve"] for one in found["spectra"] if one["stage"] == "encoder"}
    assert len(set(sve.values())) == 3
    told = {one["test"]: one["corruption"] for one in found["splits"]}
    assert told["noise"] == {"noise": 60, "blur": None, "seed": 0}
    assert told["plain"] is None


def test_the_best_probe_of_each_set_stands_beside_the_others(workplace):
    for _ in range(2):  # the second takes the place of the first, which has no more heads
        found = tune_command(methods=["ridge", "nmtune"], num_seeds=2, epochs=2).as_dict()
    best = [row for row in found["rows"] if row["method"] == "best-probe"]
    assert [(row["domain"], row["seed"]) for row in best] == [("id", 0), ("id", 1), ("ood", 0), ("ood", 1)]
    for row in best:
        same = ("domain", "test", "seed", "value", "validation")
        (probe,) = [
            one
            for one in found["rows"]
            if one["method"] == row["probe"] and all(one[name] == row[name] for name in same)
        ]
        others = [one["validation"] for one in found["rows"] if one["domain"] == row["domain"]]
        assert probe["validation"] is not None
        assert any(one is None for one in others)  # NMTune's, with one setting
    assert found["methods"]["best-probe"]["settings"] == {"of": ["lp", "ridge"], "tried": [1, 9]}
    table = Path("runs/tiny-s0/tune/small.txt").read_text()
    assert "settings tried on a validation part, each head: LP 1, Ridge 9, NMTune 1" in table
    assert "best probe, chosen on validation parts of the training data: " in table
    assert "ID average, Best probe over NMTune" in table


def test_features_are_held_against_those_of_another_run(workplace):
    finished_run(workplace / "runs", "other-s0", suite="small.yaml")  # of the same weights
    found = tune_command(Path("runs/tiny-s0"), methods=["lp"], epochs=1, cka_with="runs/other-s0").as_dict()
    assert [(one["domain"], one["test"], one["other"]) for one in found["similarities"]] == [
        ("id", "test", "other-s0"),
        ("ood", "again", "other-s0"),
    ]
    assert [one["cka"] for one in found["similarities"]] == pytest.approx([1, 1])


def test_a_tuned_run_is_verified_by_its_folder(workplace):
    run = workplace / "runs" / "tiny-s0"
    tune_command(methods=["lp"], epochs=1, threads=1)
    told = CliRunner().invoke(main, ["verify", str(run)])
    assert (told.exit_code, told.output) == (0, f"{run}: every file is as it was written\n")
    result = run / "tune" / "small.json"
    result.write_text(result.read_text().replace("small", "large"))
    (run / "export" / "model.safetensors").write_bytes(b"")
    told = CliRunner().invoke(main, ["verify", str(run), "--json"])
    assert told.exit_code == 3
    (first, second) = json.loads(told.output)[str(run)]
    assert "small.json does not match its self_sha256" in first
    assert "model.safetensors does not match its sha256" in second


def test_the_same_command_gives_the_same_values(workplace):
    first, again = (tune_command(methods=["nmtune"], epochs=2, threads=threads).as_dict() for threads in (1, 2))
    for one, other in zip(first["rows"], again["rows"], strict=True):
        assert one == other
    assert first["spectra"] == again["spectra"]


def test_another_encoder_and_suite(workplace):
    weights = "runs/tiny-s0/export/model.safetensors"
    results = tune_command(
        encoder=f"timm:resnet10_half:{weights}",
        suite="small.yaml",
        methods=["lp"],
        epochs=1,
        out=workplace / "o" / "x.json",
    ).as_dict()
    assert results["encoder"]["run"] is None
    assert results["encoder"]["noise"] is None
    assert {row["method"] for row in results["rows"]} == {"lp"}
    assert (workplace / "o" / "x.json").is_file()


def test_results_say_what_they_are_of(workplace):
    results = tune_command(methods=["lp", "ridge"], epochs=2, label_noise=0.1).as_dict()
    encoder, methods = results["encoder"], results["methods"]
    assert encoder["preprocessing"]["size"] == 40
    assert len(encoder["export"]["sha256"]) == 64
    assert (methods["lp"]["settings"]["epochs"], methods["lp"]["settings"]["lr"]) == (2, [0.1])
    assert methods["ridge"]["settings"]["l2"][0] == 1e-6
    assert results["made_with"]["versions"]["torch"] == version("torch")
    splits = {(one["domain"], one["set"], one["test"]): one for one in results["splits"]}
    assert set(splits) == {
        ("id", "pets", None),
        ("id", "pets", "test"),
        ("ood", "pets", None),
        ("ood", "pets", "again"),
    }
    for (_, _, test), split in splits.items():
        data = Dataset(f"data/pets/{'test' if test else 'train'}")
        assert (split["samples_id"], split["images_id"], split["samples"]) == (
            data.samples_id,
            data.images_id,
            len(data),
        )


def test_a_suite_of_features_needs_no_encoder(workplace):
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    np.save("x.npy", np.eye(3)[labels] + 0.1 * rng.normal(size=(60, 3)))
    np.save("y.npy", labels)
    split = {"features": "x.npy", "labels": "y.npy"}
    suite = {"name": "texts", "id": [{"name": "a", "train": split, "test": split}]}
    (workplace / "texts.yaml").write_text(yaml.safe_dump(suite))
    results = tune_command(suite="texts.yaml", methods=["lp"], epochs=20).as_dict()
    assert results["rows"][0]["value"] == 1
    assert (results["encoder"]["name"], results["encoder"]["features"]) == ("features", 3)
    assert (workplace / "tune" / "features" / "texts.json").is_file()
    with pytest.raises(FastptError, match="holds features already"):
        tune_command(suite="texts.yaml", encoder="timm:resnet18")


def test_a_head_answers_among_the_classes_of_the_test(workplace):
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 3
    np.save("x.npy", np.eye(3)[labels] + 0.1 * rng.normal(size=(60, 3)))
    np.save("y.npy", labels)
    np.save("near.npy", np.array([[0.1, 0.3, 1.0], [0.3, 0.1, 1.0]]))  # nearest to class 2, then to 1 and to 0
    np.save("near_y.npy", np.array([1, 0]))
    train, test = ({"features": f"{x}.npy", "labels": f"{y}.npy"} for x, y in (("x", "y"), ("near", "near_y")))
    tests = {"all": test, "two": test | {"classes": "subset"}}
    suite = {"name": "texts", "ood": [{"name": "a", "train": train, "tests": tests}]}
    (workplace / "texts.yaml").write_text(yaml.safe_dump(suite))
    results = tune_command(suite="texts.yaml", methods=["lp"], epochs=20).as_dict()
    assert [(row["test"], row["value"]) for row in results["rows"]] == [("all", 0), ("two", 1)]


def test_samples_without_a_training_class_are_left_out(workplace, capsys):
    names = ["class 2", "unheard of", "class 0"]
    listing = dataclasses.replace(made_up(9, 3, name="test", is_train=False), classes=names, class_names=names)
    prepared(workplace / "data" / "odd", listing)
    (workplace / "map.json").write_text(json.dumps({"class 2": "class 2", "class 0": ["class 0", "class 1"]}))
    entry = {"name": "a", "train": "data/pets/train", "tests": {"t": {"split": "data/odd/test", "classes": "map.json"}}}
    (workplace / "odd.yaml").write_text(yaml.safe_dump({"name": "odd", "ood": [entry]}))
    results = tune_command(suite="odd.yaml", methods=["lp"], epochs=1).as_dict()
    assert [row["samples"] for row in results["rows"]] == [6]
    assert "3 of 9 samples have no training class and are left out" in capsys.readouterr().err


def test_a_share_of_labels_that_is_none_of_a_set_is_said(workplace, features):
    features()
    path = workplace / "r.json"
    tune_command(suite="texts.yaml", methods=["lp"], epochs=1, label_noise=0.001, out=path)
    assert (
        "0.1 % of the training labels flipped, of which there are none in good" in path.with_suffix(".txt").read_text()
    )
    assert read_sealed_json(path, FORMAT)["splits"][0]["wrong_labels"] == 0
    tune_command(suite="texts.yaml", methods=["lp"], epochs=1, label_noise=0.5, out=path)
    assert "of which" not in path.with_suffix(".txt").read_text()
    assert read_sealed_json(path, FORMAT)["splits"][0]["wrong_labels"] == 30


def test_methods_on_views_get_as_many_as_asked_for_each_drawn_anew(workplace, monkeypatch):
    seen = {}

    def train(config, method, data, device, done=0):
        seen[method] = data.features
        raise FastptError("seen")

    monkeypatch.setattr(jobs, "train", train)
    with pytest.raises(FastptError, match="seen"):
        tune_command(methods=["mlp"], variant="reference-code", views=3, epochs=1, threads=1)
    assert seen["lp"].ndim == 2
    views, centre = seen["mlp"], seen["lp"]
    assert views.shape == (3, *centre.shape)
    for one, other in ((0, 1), (0, 2), (1, 2)):
        assert not torch.equal(views[one], views[other])
