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
from fastpt.tuned import FORMAT, _paths, replaced
from fastpt.tuning import jobs
from fastpt.tuning.config import TuningConfig
from fastpt.tuning.jobs import Job, noisy, train
from fastpt.tuning.methods import METHODS, Fitted, TrainingData
from fastpt.tuning.run import tune_command
from fastpt.tuning.sets import Split
from tests.conftest import made_up, prepared
from tests.tuning.conftest import finished_run
from tests.tuning.test_fit import blobs

NOISE = {
    "plan": "symmetric-0.05-seed0",
    "kind": "symmetric",
    "rate": 0.05,
    "realised_rate": 0.0501,
    "array_sha256": "0",
}


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with a run, two prepared splits and a suite that the run's recipe names."""
    monkeypatch.chdir(tmp_path)
    prepared(tmp_path / "data" / "pets", made_up(40))
    prepared(tmp_path / "data" / "pets", made_up(24, name="test", is_train=False))
    suite = {
        "name": "small",
        "id": [
            {"name": "pets", "train": "data/pets/train", "test": "data/pets/test", "metric": "mean_per_class"},
            {"name": "gone", "train": "data/gone/train", "test": "data/gone/test", "prep": "fastpt prep gone"},
        ],
        "ood": [{"name": "pets", "train": "data/pets/train", "tests": {"again": "data/pets/test"}}],
    }
    (tmp_path / "small.yaml").write_text(yaml.safe_dump(suite))
    finished_run(tmp_path / "runs", "tiny-s0", suite="small.yaml", noise=NOISE)
    return tmp_path


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


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_damaged_provenance_is_told_before_the_work(workplace, capsys, content):
    (workplace / "runs" / "tiny-s0" / "provenance.json").write_text(content)
    with pytest.raises(FastptError, match=r"provenance.json is damaged"):
        tune_command(methods=["lp"], epochs=1)
    assert "1 of" not in capsys.readouterr().err


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


def test_a_suite_must_be_named_somewhere(workplace):
    with pytest.raises(FastptError, match="--encoder needs a suite"):
        tune_command(encoder="timm:resnet18")
    plain = finished_run(workplace / "runs", "plain")
    with pytest.raises(FastptError, match="names no suite"):
        tune_command(run=plain)
    with pytest.raises(FastptError, match="does not exist"):
        tune_command(run=workplace / "runs" / "nowhere")


def test_an_error_of_one_set_names_it(workplace):
    prepared(workplace / "data" / "one", made_up(10, classes=1))
    suite = {"name": "one", "id": [{"name": "one", "train": "data/one/train", "test": "data/one/train"}]}
    (workplace / "one.yaml").write_text(yaml.safe_dump(suite))
    with pytest.raises(FastptError, match="set one, lp: All 10 samples have the label 0"):
        tune_command(suite="one.yaml", methods=["lp"])
    assert not (workplace / "runs" / "tiny-s0" / "tune").exists()


@pytest.fixture
def features(workplace):
    """A suite of features `texts.yaml`: a good set, and whichever others a test writes beside it."""
    rng = np.random.default_rng(0)
    good = np.arange(60) % 3

    def write(**others):
        sets = []
        for name, (values, labels) in {
            "good": (np.eye(3)[good] + 0.1 * rng.normal(size=(60, 3)), good),
            **others,
        }.items():
            np.save(f"{name}.npy", values)
            np.save(f"{name}_y.npy", labels)
            split = {"features": f"{name}.npy", "labels": f"{name}_y.npy"}
            sets.append({"name": name, "train": split, "test": split})
        (workplace / "texts.yaml").write_text(yaml.safe_dump({"name": "texts", "id": sets}))

    return write


def test_a_set_that_fails_costs_no_other_and_is_recorded_with_its_reason(workplace, features):
    features(odd=(np.ones((20, 3)), np.zeros(20, int)))
    results = tune_command(suite="texts.yaml", methods=["lp"], epochs=1, out=workplace / "r.json")
    assert {row.set for row in results.rows} == {"good"}
    (failed,) = results.failed
    assert (failed.set, failed.method) == ("odd", "lp")
    assert failed.reason.startswith("All 20 samples have the label 0")
    assert read_sealed_json(workplace / "r.json", FORMAT) == results.as_dict()


def test_a_method_that_fails_on_a_set_costs_no_other(workplace, features):
    features(flat=(np.ones((60, 3)), np.arange(60) % 3))
    results = tune_command(suite="texts.yaml", methods=["lp", "ridge"], epochs=1, out=workplace / "r.json")
    good = {("good", method) for method in ("lp", "ridge", "best-probe")}
    assert {(row.set, row.method) for row in results.rows} == {*good, ("flat", "lp")}
    assert [(one.set, one.method) for one in results.failed] == [("flat", "ridge")]


def test_a_damaged_set_is_no_missing_one_and_costs_no_other(workplace, features):
    features(odd=(np.ones((20, 3)), np.arange(20) % 2))
    (workplace / "odd.npy").write_bytes(b"")
    results = tune_command(suite="texts.yaml", methods=["lp"], epochs=1, out=workplace / "r.json")
    assert [(one.set, one.failed) for one in results.missing] == [("odd", True)]


def test_a_tuning_that_breaks_down_leaves_what_it_had(workplace, features, monkeypatch):
    features(second=(np.eye(3)[np.arange(30) % 3], np.arange(30) % 3))
    measured = Job.measure
    monkeypatch.setattr(
        Job, "measure", lambda job, device: 1 / 0 if job.data.downstream.name == "second" else measured(job, device)
    )
    with pytest.raises(ZeroDivisionError):
        tune_command(suite="texts.yaml", methods=["lp"], epochs=1, threads=1, out=workplace / "r.json")
    found = read_sealed_json(workplace / "r.json", FORMAT)
    assert {row["set"] for row in found["rows"]} == {"good"}
    assert [(one["set"], one["method"], one["failed"]) for one in found["missing"]] == [("second", "lp", True)]


def test_results_of_other_settings_are_not_replaced_unless_named(workplace, features):
    features()
    path = workplace / "tune" / "features" / "texts.json"
    tune_command(suite="texts.yaml", methods=["lp", "mlp"], epochs=2)
    before = path.read_bytes()
    for change, lost in (
        ({"epochs": 3}, "lp.epochs 2"),
        ({"label_noise": 0.5}, "label_noise 0 %"),
        ({"methods": ["lp"]}, "method mlp"),
        ({"fractions": [0.5]}, "fraction 1.0"),
    ):
        with pytest.raises(FastptError, match=f"{lost}.* would be lost.*texts-2.json"):
            tune_command(suite="texts.yaml", **({"methods": ["lp", "mlp"], "epochs": 2} | change))
        assert path.read_bytes() == before
    tune_command(suite="texts.yaml", methods=["lp", "mlp", "ridge"], epochs=2, num_seeds=2)
    assert path.read_bytes() != before
    tune_command(suite="texts.yaml", methods=["lp"], epochs=1, out=path)
    assert read_sealed_json(path, FORMAT)["config"]["epochs"] == 1


def test_a_second_suite_of_a_name_does_not_replace_the_first(workplace, features):
    features()
    tune_command(suite="texts.yaml", methods=["lp"], epochs=1)
    features(more=(np.eye(3)[np.arange(30) % 3], np.arange(30) % 3))  # of the good set, other numbers
    with pytest.raises(FastptError, match=r"id/good/train\.samples_id .* would be lost"):
        tune_command(suite="texts.yaml", methods=["lp"], epochs=1)


def test_results_are_not_written_over_what_is_none(workplace, features):
    features()
    for name in ("provenance.json", "other.json"):
        path = workplace / "runs" / "tiny-s0" / name
        path.write_text(before := '{"recipe": "tiny"}')
        with pytest.raises(FastptError, match="holds no tuning results"):
            tune_command(suite="texts.yaml", methods=["lp"], epochs=1, out=path)
        assert path.read_text() == before


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


@pytest.mark.parametrize(
    ("out", "why"),
    [("small.yaml/r.json", "small.yaml is no folder"), ("sealed/new/r.json", "sealed may not be written")],
)
def test_results_that_cannot_be_written_are_told_before_the_work(workplace, monkeypatch, out, why):
    (workplace / "sealed").mkdir()
    monkeypatch.setattr("os.access", lambda path, mode: Path(path).name != "sealed")  # root may do anything
    monkeypatch.setattr("fastpt.tuning.run.tune", lambda *_, **__: pytest.fail("the work has begun"))
    with pytest.raises(FastptError, match=why):
        tune_command(methods=["lp"], epochs=1, out=Path(out))


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


def trained(config, method, features, labels):
    (fitted,) = train(config, method, TrainingData(features, labels.numpy(), 4), "cpu")
    return fitted


def test_every_seed_and_fraction_is_trained_with_what_was_chosen():
    options = {"lrs": [1e-7, 0.02], "reg_weights": [0.01], "epochs": 4}
    config = TuningConfig(["nmtune"], seeds=[0, 1], fractions=[0.25, 1.0], options=options)
    features, labels = blobs(200)
    found = trained(config, "nmtune", features, labels)
    assert found.settings == [
        {"seed": seed, "fraction": fraction, "lr": 0.02, "reg_weight": 0.01}
        for fraction in (0.25, 1.0)
        for seed in (0, 1)
    ]
    assert len(found.logits(features)) == 4


def test_a_weight_to_choose_is_nmtunes_alone():
    config = TuningConfig(["mlp", "nmtune"], options={"reg_weights": [0.5, 1.0], "epochs": 1})
    assert trained(config, "mlp", *blobs(100)).settings[0]["reg_weight"] == 0


def test_ridge_records_its_regularisation():
    (setting,) = trained(TuningConfig(["ridge"]), "ridge", *blobs(100)).settings
    assert set(setting) == {"seed", "fraction", "l2"}


def test_noise_flips_an_exact_share_of_each_class():
    labels = np.repeat([0, 1, 2], [100, 50, 10])
    flipped = noisy(labels, 3, 0.2) != labels
    assert np.bincount(labels[flipped]).tolist() == [20, 10, 2]
    assert np.array_equal(noisy(labels, 3, 0.0), labels)


def test_heads_are_trained_on_the_noisy_labels():
    features, labels = blobs(300, spread=0.1)
    clean, predicted = (
        trained(TuningConfig(["ridge"], label_noise=rate), "ridge", features, labels).logits(features)[0].argmax(1)
        for rate in (0.0, 0.4)
    )
    assert (clean == labels).float().mean() == 1
    assert not np.array_equal(predicted.numpy(), noisy(labels.numpy(), 4, 0.4))


def test_the_precision_of_the_heads_reaches_their_training():
    features, labels = blobs(100)
    configs = [TuningConfig(["lp"], options={"epochs": 1, "head_precision": one}) for one in ("fp32", "bf16")]
    exact, rounded = (trained(config, "lp", features, labels).logits(features) for config in configs)
    assert not np.array_equal(exact, rounded)


def test_a_method_that_leaves_heads_out_is_told(monkeypatch):
    class Forgetful:
        options = ()

        def check(self):
            pass

        def fit(self, data, heads, device):
            yield Fitted([{}], lambda x: x)

    monkeypatch.setattr(METHODS, "get", lambda name: Forgetful())
    with pytest.raises(FastptError, match="lp trained 1 of 2 heads"):
        list(train(TuningConfig(["lp"], seeds=[0, 1]), "lp", TrainingData(*blobs(10), 4), "cpu"))


class Odd:
    """A method of one head that answers and records what a test gives it."""

    options = ()

    def __init__(self, scores=None, **settings):
        self.scores, self.settings = scores, settings

    def check(self):
        pass

    def trains_on(self):
        return "features"

    def fit(self, data, heads, device):
        yield Fitted([self.settings], lambda x: self.scores)


@pytest.mark.parametrize("settings", [{"value": 0.5}, {"seed": 3}, {"head": object()}])
def test_a_setting_that_would_stand_for_a_column_or_is_no_value_is_told(monkeypatch, settings):
    monkeypatch.setattr(METHODS, "get", lambda name: Odd(**settings))
    with pytest.raises(FastptError, match=f"lp records '{next(iter(settings))}' as a setting"):
        list(train(TuningConfig(["lp"]), "lp", TrainingData(*blobs(10), 4), "cpu"))


@pytest.mark.parametrize(
    ("scores", "said"),
    [
        (torch.full((1, 6, 4), torch.nan), r"shape \[1, 6, 4\], 24 of them NaN"),
        (torch.zeros(1, 7, 4), r"shape \[1, 7, 4\], 0 of them NaN"),
    ],
)
def test_scores_that_name_no_answer_are_told(scores, said):
    split = Split(torch.zeros(6, 2), np.zeros(6, np.int64))
    with pytest.raises(FastptError, match=f"{said}, not numbers of shape .1, 6, 4."):
        list(split.answered(Fitted([{}], lambda x: scores), 4, torch.device("cpu")))


@pytest.mark.parametrize("together", [1, 2**27])
def test_training_classes_that_stand_for_one_of_the_test_add_their_probabilities(monkeypatch, together):
    monkeypatch.setattr("fastpt.tuning.sets.MOST_SCORES", together)
    scores = torch.tensor([[[0.5, 0.2, 0.2, 0.1]], [[0.1, 0.3, 0.2, 0.4]]]).log()  # of two heads, one sample
    split = Split(torch.zeros(1, 2), np.array([2]), np.array([5, 2, 2, -1]))  # no class for the last
    heads = [{}, {}]
    first, second = split.answered(Fitted(heads, lambda x: scores, has_probabilities=True), 4, torch.device("cpu"))
    assert (first.labels.item(), first.predicted.item(), second.predicted.item()) == (0, 1, 0)  # classes 2 and 5
    np.testing.assert_allclose(first.scores, [[4 / 9, 5 / 9]], rtol=1e-6)
    np.testing.assert_allclose(second.scores, [[5 / 6, 1 / 6]], rtol=1e-6)
    first, _ = split.answered(Fitted(heads, lambda x: scores), 4, torch.device("cpu"))
    np.testing.assert_allclose(first.scores, np.log([[0.2, 0.5]]), rtol=1e-6)


@pytest.mark.parametrize("name", ["found.csv", "found.txt", "found"])
def test_tables_do_not_take_the_place_of_the_results(workplace, name):
    with pytest.raises(FastptError, match=r"names no \.json"):
        tune_command(out=workplace / name)


def test_a_method_is_not_called_as_the_stage_before_all_methods(workplace, monkeypatch):
    get = METHODS.get
    monkeypatch.setattr(METHODS, "get", lambda name: Odd() if name == "encoder" else get(name))
    with pytest.raises(FastptError, match="'encoder' would pass for"):
        tune_command(methods=["encoder"])


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
