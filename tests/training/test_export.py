import json
import threading

import open_clip
import pytest
import timm
import torch
import yaml

from fastpt.augment.transforms import normalize
from fastpt.data.plan import plan_name
from fastpt.errors import FastptError
from fastpt.files import find_damage, locked
from fastpt.recipe import load_recipe
from fastpt.runs import read_provenance
from fastpt.runs.folder import EXPORT_FORMAT
from fastpt.training import checkpoint, launch
from fastpt.training.export import _card, export_run
from fastpt.training.run import train
from fastpt.training.tasks.clip import task as clip_task
from fastpt.training.tasks.supervised import task as supervised_task
from tests.training.conftest import TINY_CLIP, VIT_CLIP, lines


def trained_weights(run):
    newest = checkpoint.newest_first(run)[0]
    return torch.load(newest / "mp_rank_00_model_states.pt", weights_only=True)["module"]


def test_timm_loads_the_export_with_identical_logits(supervised, tmp_path):
    run = train(supervised("data.eval_size=40", "data.crop_fraction=0.9"), "tiny", tmp_path / "run")
    recipe = load_recipe(run / "recipe.yaml")
    ours = supervised_task.build_model(recipe, 4)
    ours.load_state_dict(trained_weights(run))
    theirs = timm.create_model(f"local-dir:{run / 'export'}", pretrained=True)
    images = torch.randn(3, 3, 40, 40)
    assert torch.equal(ours.eval()(images), theirs.eval()(images))
    config = timm.data.resolve_data_config(model=theirs)
    assert tuple(config["input_size"]) == (3, 40, 40)
    assert config["crop_pct"] == 0.9
    assert config["interpolation"] == "bicubic"
    assert tuple(config["mean"]) == supervised_task.MEAN
    assert theirs.pretrained_cfg["label_names"] == [f"class {i}" for i in range(4)]


def test_timm_rebuilds_a_network_of_fixed_size_as_it_was_trained(supervised, tmp_path):
    args = {"dynamic_img_size": True, "embed_dim": 32, "depth": 1, "num_heads": 2}
    model = f"model={json.dumps({'name': 'vit_tiny_patch16_224', 'args': args})}"
    run = train(supervised(model, "schedule={steps: 2}"), "tiny", tmp_path / "run")
    theirs = timm.create_model(f"local-dir:{run / 'export'}", pretrained=True)
    assert theirs.pos_embed.shape == (1, 197, 32)  # of 224 px, interpolated to the 32 of the pictures as it runs
    assert torch.equal(theirs.pos_embed, trained_weights(run)["pos_embed"])


def test_open_clip_makes_pictures_as_the_recipe_has_it_as_far_as_it_can(clip, tmp_path):
    run = train(clip("data.eval_interpolation=bilinear", "schedule={steps: 2}"), "tiny", tmp_path / "run")
    config = json.loads((run / "export" / "open_clip_config.json").read_text())
    assert config["preprocess_cfg"]["interpolation"] == "bilinear"
    card = (run / "export" / "README.md").read_text()
    assert "# Measured with centre crops of 95 %, which this preprocessing has not." in card


def test_a_card_says_of_which_step_its_figures_are(supervised, tmp_path):
    options = ("schedule={steps: 5}", "checkpoint={every_steps: 2, keep: 9}", "evaluate={every_epochs: 9, flip: true}")
    run = train(supervised(*options), "tiny", tmp_path / "run")
    card = (run / "export" / "README.md").read_text()
    assert "Evaluated on centre crops of 95 %, the mean of each picture and its mirror image, at 32 px" in card
    metrics = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    recipe, origin = load_recipe(run / "recipe.yaml"), read_provenance(run)
    assert "Evaluated after step 5, not of these weights, on centre crops" in _card(recipe, origin, metrics, 7, "")


TIMM_TOWER = {"image_size": 16, "timm_model_name": "resnet10_narrow", "timm_pool": "avg", "timm_proj": "linear"}
TIMM_CLIP = {"name": "timm-clip", "config": {**VIT_CLIP["config"], "vision_cfg": TIMM_TOWER}}


@pytest.mark.parametrize("model", [TINY_CLIP, VIT_CLIP, TIMM_CLIP], ids=lambda model: model["name"])
def test_open_clip_loads_the_export_with_identical_embeddings(clip, tmp_path, model):
    size = model["config"]["vision_cfg"]["image_size"]
    run = train(clip(f"model={json.dumps(model)}", f"data.size={size}"), "tiny", tmp_path / "run")
    recipe, weights = load_recipe(run / "recipe.yaml"), trained_weights(run)
    ours = clip_task.build_model(clip_task.model_config(recipe.model, size), nonscalar_logit_scale=True)
    ours.load_state_dict(weights)
    theirs, _, _ = open_clip.create_model_and_transforms(f"local-dir:{run / 'export'}")
    images = torch.randn(3, 3, size, size)
    tokens = open_clip.get_tokenizer(f"local-dir:{run / 'export'}")(["a", "b c"])
    assert tokens.shape == (2, 16)
    with torch.no_grad():
        assert torch.equal(ours.eval().encode_image(images), theirs.eval().encode_image(images))
        assert torch.equal(ours.encode_text(tokens), theirs.encode_text(tokens))
    assert theirs.logit_scale.shape == ()
    assert theirs.logit_scale.item() == weights["logit_scale"].item()
    card = (run / "export" / "README.md").read_text()
    assert ("import fastpt.models" in card) == (model is TIMM_CLIP)  # resnet10_narrow is ours
    assert tuple(theirs.visual.image_mean) == clip_task.MEAN


def test_open_clip_loads_what_was_trained_by_the_sigmoid_loss(clip, tmp_path):
    run = train(clip("clip.loss=sigmoid", "schedule={steps: 2}"), "tiny", tmp_path / "run")
    weights = trained_weights(run)
    theirs = open_clip.create_model(f"local-dir:{run / 'export'}")
    assert theirs.logit_bias.item() == weights["logit_bias"].item() != -10.0
    assert theirs.logit_scale.item() == weights["logit_scale"].item()


def test_the_card_of_a_resnet_of_ours_says_what_to_import(supervised, tmp_path):
    args = "{layers: [1, 1, 1, 1], channels: [16, 16, 16, 16]}"
    recipe = supervised(f"model={{name: resnet50_blurpool, args: {args}}}", "schedule={steps: 1}")
    run = train(recipe, "tiny", tmp_path / "run")
    usage = (run / "export" / "README.md").read_text().split("```python\n")[1].split("```")[0]
    assert "import fastpt.models" in usage
    theirs: dict = {}
    exec(usage.replace("PATH", str(run / "export")), theirs)
    ours = supervised_task.build_model(recipe, 4)
    ours.load_state_dict(trained_weights(run))
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(ours.eval()(images), theirs["model"].eval()(images))


def test_the_card_states_the_noise(clip, tmp_path):
    run = train(clip("data.noise=0.2"), "tiny", tmp_path / "run")
    card = (run / "export" / "README.md").read_text()
    noise = json.loads((run / "provenance.json").read_text())["noise"]
    assert plan_name("swap", 0.2, 0) in card
    assert "20 % asked for, 20 % realised" in card
    assert noise["array_sha256"] in card
    assert "zero_shot_top1" in card
    assert yaml.safe_load(card.split("```yaml")[1].split("```")[0]) == yaml.safe_load((run / "recipe.yaml").read_text())


def test_exporting_again_gives_the_same_files(supervised, tmp_path):
    run = train(supervised("schedule.epochs=1", "schedule.warmup_epochs=0"), "tiny", tmp_path / "run")
    before = {path.name: path.read_bytes() for path in (run / "export").iterdir()}
    export_run(run)
    assert {path.name: path.read_bytes() for path in (run / "export").iterdir()} == before


def test_of_two_exports_one_waits(supervised, tmp_path):
    run = train(supervised("schedule.epochs=1", "schedule.warmup_epochs=0"), "tiny", tmp_path / "run")
    second = threading.Thread(target=export_run, args=[run])
    with locked(run / ".export.lock"):
        second.start()
        second.join(0.5)
        assert second.is_alive()
    second.join(60)
    assert find_damage(run / "export", EXPORT_FORMAT) is None


def test_what_is_no_run_is_told(tmp_path):
    with pytest.raises(FastptError, match="is no run"):
        export_run(tmp_path)


def test_a_damaged_newest_checkpoint_is_not_exported_in_place_of_a_good_export(supervised, tmp_path):
    run = train(supervised("checkpoint={every_steps: 4, keep: 2}"), "tiny", tmp_path / "run")
    before = (run / "export" / "model.safetensors").read_bytes()
    newest = checkpoint.newest_first(run)[0] / "mp_rank_00_model_states.pt"
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    with pytest.raises(FastptError, match="stays as it is"):
        export_run(run)
    assert (run / "export" / "model.safetensors").read_bytes() == before


def test_a_damaged_provenance_is_one_clear_error(tmp_path):
    (tmp_path / "provenance.json").write_bytes(b"\xff\x00{")
    with pytest.raises(FastptError, match=r"provenance\.json is damaged"):
        export_run(tmp_path)


@pytest.mark.parametrize("ema", ["null", "0.5"])
def test_a_bf16_run_is_evaluated_as_its_export_computes(supervised, tmp_path, monkeypatch, ema):
    """In fp32 unless asked otherwise: a figure is that of the export in any library."""
    monkeypatch.setattr(launch, "available", lambda precision, _: precision)  # bf16 on any processor
    seen = {"fp32": [], "bf16": []}
    logits = supervised_task.Supervised._logits
    for precision, batches in seen.items():

        def watched(self, forward, batch, batches=batches):
            batches.append((batch.images, logits(self, forward, batch)))
            return batches[-1][1]

        monkeypatch.setattr(supervised_task.Supervised, "_logits", watched)
        settings = ("engine.precision=bf16", f"evaluate.precision={precision}", "schedule={steps: 3}", f"ema={ema}")
        run = train(supervised(*settings), "tiny", tmp_path / precision)
        assert lines(run, "eval")[-1]["precision"] == precision
        assert f" | {precision} | " in (run / "export" / "README.md").read_text()
    exported = timm.create_model(f"local-dir:{run / 'export'}", pretrained=True).eval()
    for precision, (images, found) in ((name, batches[-1]) for name, batches in seen.items()):
        with torch.no_grad():
            expected = exported(normalize(images, supervised_task.MEAN, supervised_task.STD))
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-5) == (precision == "fp32")
