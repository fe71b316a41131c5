import json

import pytest

from fastpt.errors import FastptError
from fastpt.training.engine import train
from tests.training.conftest import lines, losses


def test_a_supervised_run_leaves_its_record(supervised, tmp_path, captioned, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    run = train(supervised("data.noise=0"), "tiny", command="fastpt train tiny.yaml")
    assert run.parts == ("runs", "tiny-clean-s0")
    steps = lines(run, "train")
    assert [line["step"] for line in steps] == list(range(1, 11))
    expected = {
        "event",
        "step",
        "samples",
        "epoch",
        "loss",
        "lr",
        "images_per_second",
        "data_wait",
        "grad_norm",
        "memory_gib",
        "seconds",
    }
    assert set(steps[0]) == expected
    assert steps[-1]["samples"] == 80
    assert 0 <= steps[-1]["data_wait"] <= 1
    assert [(line["epoch"], line["split"]) for line in lines(run, "eval")] == [(1, "val"), (2, "val")]
    end = lines(run, "end")[0]
    assert end["results"]["val"].keys() == {"top1", "top5"}
    origin = json.loads((run / "provenance.json").read_text())
    assert origin["samples_id"] == captioned.samples_id
    assert origin["noise"] is None
    assert origin["command"] == "fastpt train tiny.yaml"
    assert (run / "export" / "model.safetensors").exists()
    assert list((run / "tensorboard").iterdir())
    assert "DeepSpeed" not in capfd.readouterr().out


def test_a_clip_run_is_measured_by_zero_shot_and_retrieval(clip, tmp_path):
    run = train(clip("data.noise=0.2"), "tiny", tmp_path / "run")
    measures = lines(run, "eval")[-1]
    names = {"zero_shot_top1", "zero_shot_top5", "image_to_text_recall1", "text_to_image_recall1"}
    assert names <= set(measures)
    origin = json.loads((run / "provenance.json").read_text())
    assert origin["noise"]["plan"] == "swap-0.2-seed0"
    assert origin["noise"]["realised_rate"] == pytest.approx(0.2)


def test_every_option_of_supervised_recipes_runs(supervised, tmp_path):
    recipe = supervised(
        "augment={randaugment: m7-std0.5, mixup: 0.1, cutmix: 1.0, repeats: 3, smoothing: 0.1}", "loss=bce",
        "optim.name=lamb", "model.drop_path=0.05", "engine.accumulate=2", "engine.gradient_clipping=1.0",
        "engine.precision=bf16", "schedule.epochs=1", "schedule.warmup_epochs=0",
    )  # fmt: skip
    assert len(losses(train(recipe, "tiny", tmp_path / "run"))) == 5


@pytest.mark.parametrize("zero", [1, 2])
def test_zero_stages_train_to_the_same_losses(supervised, tmp_path, zero):
    plain = losses(train(supervised("schedule.epochs=1", "schedule.warmup_epochs=0"), "tiny", tmp_path / "plain"))
    cut = losses(
        train(
            supervised("schedule.epochs=1", "schedule.warmup_epochs=0", f"engine.zero={zero}"), "tiny", tmp_path / "cut"
        )
    )
    assert cut == pytest.approx(plain, rel=1e-4)


def test_accumulation_is_the_whole_batch(supervised, tmp_path):
    # A BatchNorm model would differ: its statistics are those of the piece.
    from tests.training.conftest import TINY_VIT

    vit = [f"model={json.dumps(TINY_VIT)}", "data.size=16", "schedule.epochs=1", "schedule.warmup_epochs=0"]
    whole = losses(train(supervised(*vit), "tiny", tmp_path / "whole"))
    pieces = losses(train(supervised(*vit, "engine.accumulate=4"), "tiny", tmp_path / "pieces"))
    assert pieces == pytest.approx(whole, rel=1e-4)


def test_a_run_that_is_there_is_not_overwritten(supervised, tmp_path):
    recipe = supervised("schedule.epochs=1", "schedule.warmup_epochs=0")
    run = train(recipe, "tiny", tmp_path / "run")
    before = (run / "metrics.jsonl").read_bytes()
    with pytest.raises(FastptError, match="--resume, or name another --run-dir"):
        train(recipe, "tiny", run)
    assert train(recipe, "tiny", run, resume=True) == run  # finished: nothing to do
    assert (run / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "data.train=data/imagenet/train",
            "data/imagenet/train does not exist. Prepare it first, for example: fastpt prep",
        ),
        ("data.noise=0.4", "no noise plan 0.4"),
        ("model.name=resnet5O", "timm does not know. Near it: resnet50"),
        ("model.args={chanels: 3}", "timm cannot make resnet10_half"),
        ("batch_size=64", "64"),
        ("optim.lr=1e30", "the loss is nan"),
    ],
)
def test_what_cannot_be_trained_is_told(supervised, tmp_path, override, said):
    with pytest.raises(FastptError, match=said):
        train(supervised(override), "tiny", tmp_path / "run")


def test_an_unknown_clip_model_is_told(clip, tmp_path):
    with pytest.raises(FastptError, match=r"open_clip does not know. Near it: .*RN50"):
        train(clip("model={name: RN5O}"), "tiny", tmp_path / "run")
