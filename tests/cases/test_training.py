"""Training: runs under the name of what produced them, and no work that is lost.

What can be known to be wrong before the work is said before the work. Nothing finished is deleted or falsified by a
later command.
"""

import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from fastpt.records import write_sealed_yaml
from tests.cases import zero3_small_limits
from tests.cases.conftest import FASTPT, REPOSITORY, command, process, train
from tests.cases.workplace import RECIPE, cut_off, digests, events, sets, write_yaml

pytestmark = pytest.mark.long
UNASKED = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}  # no safe.directory of this machine


# --- figures under a wrong name -----------------------------------------------------------------------------------


def package(folder: Path, *more: str) -> str:
    """Copy our packages into a folder of a new repository; its commit."""
    for name in ("fastpt", "datasets_prep"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in more:
        shutil.copy(REPOSITORY / name, folder)
    git = ("git", "-C", folder.parts[0], "-c", "user.name=me", "-c", "user.email=me@example.org")
    for words in (("init", "-q"), ("add", "."), ("commit", "-q", "-m", "ours")):
        command(*git, *words).must()
    return command(*git, "rev-parse", "HEAD").must().output.strip()


def test_the_commit_of_another_repository_is_not_recorded(here):
    Path("lab").mkdir()
    Path("lab/.gitignore").write_text("env")
    commit = package(Path("lab/env"))
    ours = {"PYTHONPATH": str(Path("lab/env").absolute())}
    process("train", "recipe.yaml", "--run-dir", "run", env=ours).must()
    assert commit not in (json.loads(Path("run/provenance.json").read_text())["git"] or "")


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to another user")
def test_a_checkout_of_another_owner_is_asked_or_the_record_says_that_it_was_not(here):
    commit = package(Path("theirs"), "pyproject.toml")
    command("chown", "-R", "12345", "theirs").must()
    theirs = {"PYTHONPATH": str(Path("theirs").absolute()), **UNASKED}
    process("train", "recipe.yaml", "--run-dir", "run", env=theirs).must()
    recorded = json.loads(Path("run/provenance.json").read_text())["git"]
    assert recorded
    assert commit in recorded or re.search("ask|owner|safe", recorded)
    assert "outside a repository" not in Path("run/export/README.md").read_text()


def test_a_template_without_a_place_is_refused(here, fastpt):
    ran = train(fastpt, "run", 'clip.zero_shot.templates=["a photo of a thing"]', recipe="clip.yaml")
    assert ran.refused("a photo of a thing")


def test_a_network_of_nan_is_not_measured(here, fastpt):
    diverging = ("optim.name=sgd", "optim.lr=1e12", "log_every=1000")
    assert train(fastpt, "run", *diverging, "checkpoint={every_epochs: 1}").refused("loss|optim.lr")
    assert not events("run", "eval")


# --- work that is lost --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("resume", [True, False])
def test_a_finished_run_without_checkpoints_is_not_trained_again(finished, fastpt, resume):
    shutil.rmtree(finished / "checkpoints")
    before = digests("run")
    ran = fastpt("train", "recipe.yaml", "--run-dir", "run", *(["--resume"] if resume else sets("optim.lr=1e-4")))
    assert ran.refused(r"\brun\b") != resume
    assert digests("run") == before


def test_weights_have_the_mode_that_the_umask_gives(here, fastpt):
    before = os.umask(0o022)
    try:
        train(fastpt, "run").must()
    finally:
        os.umask(before)
    assert not [path for path in Path("run").rglob("*") if path.is_file() and path.stat().st_mode & 0o044 != 0o044]


VIT = ("model.name=vit_tiny_patch16_224", "model.args={depth: 1, embed_dim: 32, num_heads: 2}")


@pytest.mark.parametrize(
    ("recipe", "overrides", "name"),
    [
        ("clip.yaml", ["data.val=data/plain/val"], "data/plain/val"),
        ("clip.yaml", ["clip.zero_shot.data=data/words/val"], "data/words/val"),
        ("clip.yaml", ['clip.zero_shot.templates=["a photo of a {name}"]'], re.escape("a photo of a {name}")),
        ("clip.yaml", ['clip.zero_shot.templates=["a {} of {"]'], re.escape("a {} of {")),
        ("clip.yaml", ["clip.zero_shot.templates=[]"], r"clip\.zero_shot\.templates"),
        ("recipe.yaml", [*VIT, "model.args.img_size=32", "data.eval_size=48"], r"data\.eval_size"),
        ("recipe.yaml", [*VIT], r"data\.size|img_size"),
    ],
    ids=["val without captions", "zero-shot without labels", "named", "unclosed", "no template", "eval_size", "size"],
)
def test_what_cannot_be_evaluated_is_refused_at_the_start(here, fastpt, recipe, overrides, name):
    assert train(fastpt, "run", "evaluate.every_epochs=1", *overrides, recipe=recipe).refused(name)
    assert not events("run", "train")


def test_a_new_best_begins_for_another_measure(here, fastpt):
    steps = ("schedule.steps=12", "evaluate.every_epochs=1", "checkpoint.keep=99")
    train(fastpt, "run", *steps, "checkpoint.keep_best=top1").must()
    cut_off(Path("run"), step=6)
    resumed = ("train", "recipe.yaml", "--run-dir", "run", "--resume")
    fastpt(*resumed, *sets(*steps, "checkpoint.keep_best=top5")).worked()


@pytest.mark.parametrize("samples", [2, 0])
def test_zero_3_with_small_limits_trains(here, samples):
    overrides = ("model.args={}", "data.noise=0.25", "engine.zero_stage=3", "schedule.steps=3", "evaluate.batch_size=2")
    script = zero3_small_limits.__file__
    launcher = ("timeout", 60, sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", 2, script)
    overrides = sets(*overrides, f"supervised.memorization_samples={samples}")
    command(*launcher, "train", "recipe.yaml", "--run-dir", "run", *overrides).worked()


def test_a_full_disk_at_a_checkpoint_is_said_in_a_sentence(here):
    line = 'mkdir small && mount -t tmpfs -o size=400k tmpfs small && exec "$@"'
    mounted = ("unshare", "--user", "--map-root-user", "--mount", "bash", "-c", line, "bash")
    if command(*mounted, "true").code:
        pytest.skip("a disk cannot be mounted here")
    Path("small").rmdir()
    overrides = sets("checkpoint.keep=99", "checkpoint.every_steps=1")
    ran = command(*mounted, *FASTPT, "train", "recipe.yaml", "--run-dir", "small/run", *overrides)
    assert ran.refused("small/run/checkpoints", "[Nn]o space|room|full")


# --- obscure errors, small nuisances ------------------------------------------------------------------------------


def test_the_recorded_command_can_be_given_again(here, fastpt):
    write_yaml("my recipe.yaml", RECIPE)
    train(fastpt, "run", recipe="my recipe.yaml").must()
    recorded = json.loads(Path("run/provenance.json").read_text())["command"]
    assert shlex.split(recorded) == ["fastpt", "train", "my recipe.yaml", "--run-dir", "run"]


def test_a_hash_sign_in_an_override_belongs_to_it(here, fastpt):
    assert train(fastpt, "run", "data.val=data/my #1/val").refused("data/my #1/val")


def test_a_rank_without_an_address_names_the_missing_variable(here):
    ran = process("train", "recipe.yaml", "--run-dir", "run", env={"RANK": "0", "WORLD_SIZE": "1"})
    assert ran.refused("MASTER_ADDR|MASTER_PORT")


def test_captions_are_trained_on_by_a_user_without_a_home_or_it_is_said_what_to_set(here):
    code = (
        "import pwd, sys\n"
        "def unknown(uid): raise KeyError(uid)\n"
        "pwd.getpwuid = unknown\n"  # as for a user who is not in the list of users
        "from fastpt.cli import main\n"
        "main(sys.argv[1:])"
    )
    nobody = ("env", "-u", "HOME", "-u", "XDG_CACHE_HOME", sys.executable, "-c", code)
    if not (ran := command(*nobody, "train", "clip.yaml", "--run-dir", "run")).refused("XDG_CACHE_HOME"):
        ran.worked()


def test_a_seed_that_is_too_large_is_refused_with_the_range(here, fastpt):
    assert train(fastpt, "run", f"seed={2**64}").refused("seed", str(2**63 - 1))


def test_one_picture_of_one_pixel_and_batch_norm_is_refused_at_the_start(here, fastpt):
    ran = train(fastpt, "run", "data.size=16", "engine.gradient_accumulation_steps=8")
    assert ran.refused("gradient_accumulation_steps|batch_size")
    assert not events("run", "train")


def test_a_key_that_an_older_record_lacks_has_its_default(finished, fastpt):
    recorded = yaml.safe_load((finished / "recipe.yaml").read_text())
    del recorded["engine"]["compile"]
    write_sealed_yaml(finished / "recipe.yaml", recorded)
    fastpt("train", "recipe.yaml", "--run-dir", "run", "--resume").worked()


def test_a_killed_run_whose_record_lacks_a_key_goes_on_with_its_default_alone(killed, fastpt):
    recorded = yaml.safe_load((killed / "recipe.yaml").read_text())
    del recorded["engine"]["compile"]
    write_sealed_yaml(killed / "recipe.yaml", recorded)
    resumed = ("train", "recipe.yaml", "--run-dir", "run", "--resume", *sets("schedule.steps=30"))
    assert fastpt(*resumed, "--set", "engine.compile=true").refused(r"engine\.compile was False, is True")
    fastpt(*resumed).worked()
    assert len(events("run", "train")) == 30


@pytest.mark.parametrize(
    ("recipe", "override", "name"),
    [
        ("recipe.yaml", "model={name: resnet18.nosuchtag}", "nosuchtag"),
        ("recipe.yaml", "optim.lr=.inf", r"optim\.lr"),
        ("recipe.yaml", "schedule.warmup_epochs=.inf", r"schedule\.warmup_epochs"),
    ],
)
def test_values_that_cannot_be_are_refused_at_the_start(here, fastpt, recipe, override, name):
    assert train(fastpt, "run", override, recipe=recipe).refused(name)
    assert not events("run", "train")


def test_a_key_that_the_task_has_no_use_for_is_refused(here, fastpt):
    assert train(fastpt, "run", "evaluate.flip=true", recipe="clip.yaml").refused(r"evaluate\.flip")


@pytest.mark.parametrize("content", ["", ": ["])
def test_a_broken_record_of_a_finished_recipe_is_named(finished, fastpt, content):
    (finished / "recipe.yaml").write_text(content)
    assert fastpt("train", "recipe.yaml", "--run-dir", "run", "--resume").refused(r"run/recipe\.yaml")
