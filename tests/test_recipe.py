import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fastpt.augment.config import parse_randaugment
from fastpt.config import describe_keys
from fastpt.errors import FastptError, RecipeError
from fastpt.recipe import load_recipe, recipe_schema
from fastpt.storage.address import without_secrets

FOLDER = Path(__file__).parent.parent / "recipes"
RECIPES = sorted(set(FOLDER.glob("*.yaml")) - set(FOLDER.glob("study_*.yaml")))
SUPERVISED = {
    "task": "supervised",
    "data": {"train": "data/x/train", "val": "data/x/val", "noise": 0.05},
    "model": {"name": "resnet50"},
    "optim": {"name": "lamb", "lr": 0.005},
    "schedule": {"epochs": 300, "warmup_epochs": 5, "min_lr": 1e-6},
    "batch_size": 2048,
}
CLIP = {**SUPERVISED, "task": "clip", "model": {"name": "RN50"}, "optim": {"name": "adamw", "lr": 5e-4}}


def load(tmp_path, values, *overrides):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(values))
    return load_recipe(path, overrides)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("model.nmae=x", "unknown key model.nmae; did you mean model.name?"),
        ("augmnt.mixup=1", "unknown key augmnt; did you mean augment?"),
        ("optim.lr=fast", "optim.lr is 'fast'; it should be a valid number"),
        ("data.noise=", "--set 'data.noise=' has no value: a shell variable that is not set?"),
        ("schedule.epochs=2.5", "schedule.epochs is 2.5; it should be a valid integer"),
        ("batch_size=true", "batch_size is True"),
        ("data.decoder=cpus", "data.decoder is 'cpus'; did you mean cpu?"),
        ("data.noise=5", "data.noise is 5; a rate lies from 0 to below 1"),
        ("data.noise=[5]", "data.noise is [5]; it should be float | str."),
        ("data.train=5", "data.train is 5; it should be str | list of section."),
        ("data.train=[{path: a}, {pth: b, path: b}]", "unknown key data.train.1.pth; did you mean data.train.1.path?"),
        ("data.train=[{path: a}]", "data.train is [{'path': 'a'}]; it should have at least 2 items"),
        ("data.scale=[0.5, 0.1]", "data.scale is [0.5, 0.1]; it must rise"),
        ("engine.zero_stage=1", "optim.name lamb with engine.zero_stage 1 trains wrongly"),
        ("engine.zero_stage=4", "engine.zero_stage is 4; it should be 0, 1, 2 or 3"),
        ("optim.momentum=0.9", "optim.momentum does not apply to lamb"),
        ("schedule.warmup_steps=10", "both warmup_epochs and warmup_steps"),
        ("schedule.warmup_epochs=300", "leaves nothing of schedule.epochs 300; set it lower, or train longer"),
        ("schedule.steps=10", "schedule needs exactly one of epochs, steps and samples"),
        ("data.sizes=[[0, 160], [5, 200]]", "the last of them data.size, which is 224"),
        ("data.sizes=[[1, 224]]", "it needs rising epochs from 0"),
        ("supervised.bce_threshold=0.2", "supervised.bce_threshold applies to loss bce only"),
        ("supervised.los=bce", "unknown key supervised.los; did you mean supervised.loss?"),
        ("checkpoint.keep_best=top3", "checkpoint.keep_best is 'top3'; measures of task supervised: top1, top5"),
        ("optim.nesterov=true", "optim.nesterov does not apply to lamb"),
        ("schedule.min_lr=1", "schedule.min_lr 1 is above optim.lr 0.005"),
        ("augment.randaugment=strong", "augment.randaugment is 'strong'; write m<0 to 10>"),
        (
            "augment.color_jitter=[0.4, 0.4, 0.4, 0.9]",
            "augment.color_jitter is [0.4, 0.4, 0.4, 0.9]; it holds four shares",
        ),
        ("checkpoint={every_steps: 5, every_epochs: 1}", "both every_epochs and every_steps"),
        ("clip.zero_shot.data=x", "clip does not apply to task supervised; remove it"),
        ("task=supervisd", "task is 'supervisd'; it should be 'supervised'"),
        ("engine={zero_stage: 3, compile: true}", "engine.compile with engine.zero_stage 3"),
        ("model.config={embed_dim: 4}", "model.config does not apply to task supervised"),
    ],
)
def test_a_wrong_recipe_is_one_clear_line(tmp_path, override, said):
    with pytest.raises(FastptError, match=re.escape(said)) as failure:
        load(tmp_path, SUPERVISED, override)
    assert "\n" not in str(failure.value)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.eval_size=64", "a clip tower has one size"),
        ("supervised.loss=bce", "supervised does not apply to task clip"),
        ("clip.zero_shot.dat=x", "unknown key clip.zero_shot.dat; did you mean clip.zero_shot.data?"),
        (
            "clip.zero_shot={data: x, templates: opnai}",
            r"templates is 'opnai'; it should be openai \| simple \| list of",
        ),
        ("evaluate.flip=true", "evaluate.flip does not apply to task clip"),
        ("augment.mixup=0.1", "augment.mixup does not apply to task clip"),
        ("augment.repeated_augmentation=2", "augment.repeated_augmentation does not apply to task clip"),
        ("model.drop_path=0.1", "model.drop_path does not apply to task clip"),
    ],
)
def test_what_clip_cannot_have_is_refused(tmp_path, override, said):
    with pytest.raises(FastptError, match=said):
        load(tmp_path, CLIP, override)


def test_several_mistakes_are_told_together(tmp_path):
    with pytest.raises(FastptError) as failure:
        load(tmp_path, SUPERVISED, "model.nmae=x", "optim.lr=fast", "schedule.steps=3", "supervised.loss=mse")
    assert len(str(failure.value).splitlines()) == 4


def test_a_missing_recipe_names_those_that_are_there(tmp_path):
    load(tmp_path, SUPERVISED)
    with pytest.raises(FastptError, match=r"no file .*absent.yaml.*recipe.yaml"):
        load_recipe(tmp_path / "absent.yaml")


def test_overrides_are_yaml(tmp_path):
    recipe = load(tmp_path, SUPERVISED, "optim.lr=5e-4", "data.noise=symmetric-0.3-seed1", "tune.suite=mini")
    assert (recipe.optim.lr, recipe.data.noise, recipe.tune.suite) == (5e-4, "symmetric-0.3-seed1", "mini")


def test_a_split_at_an_address_is_not_looked_for_here(tmp_path):
    (tmp_path / "val").mkdir()
    recipe = load(
        tmp_path, SUPERVISED, "data.train=s3://bucket/train", f"data.val={tmp_path}/val", "data.prep=fastpt x"
    )
    recipe.data.check_there()
    with pytest.raises(FastptError, match=r"nowhere is not there\. Prepare it: fastpt x"):
        load(tmp_path, SUPERVISED, "data.train=s3://b/x", "data.val=nowhere", "data.prep=fastpt x").data.check_there()


def test_what_is_secret_of_an_address_is_in_no_record(tmp_path):
    train = "https://me:hidden@host/train"
    several = f"[{{path: {train}}}, {{path: data/x}}]"
    assert load(tmp_path, SUPERVISED, f"data.train={train}").data.train == "https://host/train"
    for override in (f"data.train={train}", f"data.val={train}", f"data.train={several}"):
        assert "hidden" not in str(load(tmp_path, SUPERVISED, override).as_dict())
    assert "hidden" not in str(load(tmp_path, CLIP, f"clip.zero_shot={{data: {train}}}").as_dict())
    command = f"fastpt train x.yaml --set data.train={train} --set 'data.val=https://host/x.tar?sig=hidden'"
    assert without_secrets(command) == (
        "fastpt train x.yaml --set data.train=https://host/train --set 'data.val=https://host/x.tar'"
    )


def test_the_record_of_a_recipe_reads_back_to_the_same_settings(tmp_path):
    for values in (SUPERVISED, CLIP):
        recipe = load(tmp_path, values)
        (tmp_path / "again.yaml").write_text(yaml.safe_dump(recipe.as_dict()))
        assert load_recipe(tmp_path / "again.yaml").as_dict() == recipe.as_dict()


def test_defaults_that_depend_on_others_are_filled_in(tmp_path):
    recipe = load(tmp_path, SUPERVISED)
    assert (recipe.augment.repeated_augmentation, recipe.optim.eps) == (1, 1e-6)
    defaults = {"loss": "cross_entropy", "memorization_samples": 1000}
    assert recipe.as_dict()["supervised"] == defaults
    assert recipe.optim.momentum is None
    assert recipe.checkpoint.every_epochs == 1


def test_the_batch_divides_over_processes_and_pieces(tmp_path):
    recipe = load(tmp_path, SUPERVISED, "batch_size=96", "engine.gradient_accumulation_steps=2")
    assert recipe.micro_batch(world_size=4) == 12
    with pytest.raises(
        FastptError, match=r"batch_size 96 does not divide over 5 processes x engine.gradient_accumulation_steps 2 = 10"
    ):
        recipe.micro_batch(world_size=5)


def test_mixup_needs_pairs(tmp_path):
    recipe = load(tmp_path, SUPERVISED, "batch_size=6", "augment.mixup=0.1")
    with pytest.raises(FastptError, match="multiple of 4"):
        recipe.micro_batch(world_size=2)


def test_randaugment_is_parsed():
    assert parse_randaugment("m7-std0.5") == (7.0, 0.5)
    assert parse_randaugment("m9") == (9.0, 0.0)


def test_every_key_is_documented_those_of_every_task_too():
    keys = describe_keys(recipe_schema())
    assert {"supervised.loss", "clip.zero_shot.templates"} <= {key.name for key in keys}
    assert [key.name for key in keys if not key.meaning] == []


ZERO_SHOT = "clip.zero_shot={data: data/x/test}"


@pytest.mark.parametrize(("values", "measures"), [(SUPERVISED, "top1, top5"), (CLIP, "zero_shot_top1, zero_shot_top5")])
def test_the_best_checkpoint_is_chosen_by_a_measure_of_the_task(tmp_path, values, measures):
    with pytest.raises(RecipeError, match=f"measures of task .*: {measures}"):
        load(tmp_path, values, "checkpoint.keep_best=top3")


@pytest.mark.parametrize(
    ("values", "measure", "measured_by"),
    [
        (SUPERVISED, "top1", "data.val=data/x/val"),
        (CLIP, "zero_shot_top1", ZERO_SHOT),
        (CLIP, "image_to_text_recall5", "data.val=data/x/val"),
    ],
)
def test_the_best_checkpoint_is_chosen_by_what_is_measured(tmp_path, values, measure, measured_by):
    best, other = f"checkpoint.keep_best={measure}", ZERO_SHOT if values == CLIP else "log_every=5"
    assert load(tmp_path, values, best, "data.val=null", measured_by).checkpoint.keep_best == measure
    only_other = ["data.val=null", other] if measured_by != ZERO_SHOT else ["data.val=data/x/val"]
    with pytest.raises(RecipeError, match=f"checkpoint.keep_best {measure} needs a split to measure it on; give "):
        load(tmp_path, values, best, *only_other)


@pytest.mark.parametrize(
    "template", ["a photo", "{name}", "{0}", "{} of {}", "{!r}", "{:>9}", "a {} of {", "}", "{{}}", ""]
)
def test_a_template_has_one_place_for_the_class_name(tmp_path, template):
    recipe = {**CLIP, "clip": {"zero_shot": {"data": "data/x/test", "templates": ["a {}.", template]}}}
    with pytest.raises(RecipeError, match=re.escape(f"clip.zero_shot.templates has {template!r}; a text has one {{}}")):
        load(tmp_path, recipe)
    recipe["clip"]["zero_shot"]["templates"] = ["a {}.", "{}", "a {{tag}} of {}"]
    load(tmp_path, recipe)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["model.args={pretrained: true}"], "model.args.pretrained cannot be given: a run begins with random weights"),
        (["model.args={checkpoint_path: w.pth}"], "model.args.checkpoint_path cannot be given"),
        (["model.args={num_classes: 3}"], "model.args.num_classes cannot be given: it is the number of classes"),
        (["model.args={drop_path_rate: 0.1}"], "model.args.drop_path_rate cannot be given: it is model.drop_path"),
        (["augment.color_jitter_probability=0.5"], "augment.color_jitter_probability has nothing to jitter"),
    ],
)
def test_what_contradicts_or_has_no_use_is_told(tmp_path, overrides, said):
    with pytest.raises(RecipeError, match=said):
        load(tmp_path, SUPERVISED, *overrides)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_shipped_recipes_load_and_open_with_what_they_reach(path):
    load_recipe(path)
    opening = path.read_text().split("\ntask:")[0]
    assert all(line.startswith("#") for line in opening.splitlines())
    assert f"fastpt train recipes/{path.name}" in opening


def test_the_mosaic_recipe_grows_its_crops_as_published():
    """From half the size, after 40 % of the training, to all of it at 80 %, in steps of 4 pixels."""
    recipe = load_recipe(FOLDER / "resnet50_in1k_mosaic.yaml")
    full, epochs = recipe.data.size, recipe.schedule.epochs
    for epoch in range(epochs):
        grown = min(max(((epoch + 0.5) / epochs - 0.4) / 0.4, 0), 1)
        assert recipe.data.size_in(epoch) == round(full * (0.5 + 0.5 * grown) / 4) * 4


def test_reading_a_recipe_imports_no_torch():
    code = "import sys, fastpt.recipe; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
