"""Training, tuning, reports, studies: figures under the name of what produced them, and no work that is lost.

What differs is shown apart or refused. What can be known to be wrong before the work is said before the work. Nothing
finished is deleted or falsified by a later command.
"""

import csv
import json
import os
import re
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

from fastpt.records import write_sealed_yaml
from tests.cases import zero3_small_limits
from tests.cases.conftest import FASTPT, REPOSITORY, Command, Ran, command, process
from tests.cases.workplace import RECIPE, SUITE, cut_off, digests, events, files_below, sets, write_yaml
from tests.conftest import picture

pytestmark = pytest.mark.long
UNASKED = {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_SYSTEM": "/dev/null"}  # no safe.directory of this machine


def train(fastpt: Command, run: str, *overrides: str, recipe: str = "recipe.yaml") -> Ran:
    return fastpt("train", recipe, "--run-dir", run, *sets(*overrides))


def tune(fastpt: Command, run: str, *options: object) -> Ran:
    return fastpt("tune", "--run", run, "--lp", *options)


def report(fastpt: Command, *runs: str | Path, out: str = "page.html") -> Ran:
    return fastpt("report", *runs, "--files", "--out", out)


def table(name: str) -> list[dict[str, str]]:
    with Path(name).open(newline="") as file:
        return list(csv.DictReader(file))


# --- figures under a wrong name -----------------------------------------------------------------------------------


def test_heads_that_were_trained_otherwise_are_shown_apart_or_refused(here, fastpt):
    train(fastpt, "clean", "data.noise=0").must()
    train(fastpt, "noisy", "data.noise=0.25").must()
    tune(fastpt, "clean", "--epochs", 10).must()
    tune(fastpt, "noisy", "--epochs", 1, "--label-noise", 0.6).must()
    if not report(fastpt, "clean", "noisy").refused("epochs|label.noise"):
        assert not table("page_files/effects.csv")
        page = Path("page.html").read_text()
        assert re.search(r"\b60.?%", page)
        assert re.search(r"\b10\b[^<]{0,20}epochs|epochs[^<]{0,20}\b10\b", page)


def test_results_of_other_weights_are_left_out(here, fastpt):
    train(fastpt, "run", "data.noise=0.25").must()
    tune(fastpt, "run", "--epochs", 3).must()
    for path in Path("run").iterdir():
        if path.name != "tune":
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    train(fastpt, "run", "data.noise=0", "seed=1").must()
    if not report(fastpt, "run").refused(r"small\.json"):
        assert not table("page_files/accuracy.csv")
        assert re.search(r"small\.json|weights", Path("page.html").read_text())


def test_two_results_of_one_suite_are_told_apart_or_refused(finished, fastpt):
    tune(fastpt, "run", "--epochs", 3, "--num-seeds", 2, "--out", "run/tune/right.json").must()
    flipped = ("--label-noise", 0.6, "--out", "run/tune/wrong.json")
    tune(fastpt, "run", "--epochs", 3, "--num-seeds", 3, *flipped).must()
    if not report(fastpt, "run").refused(r"right\.json", r"wrong\.json"):
        rows = table("page_files/accuracy.csv")
        assert len(rows) == 2
        assert rows[0] != rows[1]


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


RNG = np.random.default_rng(0)
CENTRES = 2 * RNG.normal(size=(3, 16))
FEATURES = {  # labels, scale, shift
    "train": ([0, 1, 2] * 40, 1, 0),
    "test": ([0, 1, 2] * 20, 1, 0),
    "one-class": ([0] * 120, 1, 0),
    "five-each": ([0, 1, 2] * 5, 1, 0),
    "constant": ([0, 1, 2] * 40, 0, 1),
    "zeros": ([0, 1, 2] * 20, 0, 0),
}


def write_features(**sets_: tuple[str, str]) -> None:
    """features.yaml, a suite of sets of (train, test), which are names of FEATURES."""
    for name in {name for both in sets_.values() for name in both}:
        labels, scale, shift = FEATURES[name]
        values = (CENTRES[labels] + RNG.normal(size=(len(labels), 16))) * scale + shift
        np.save(f"{name}.npy", values.astype(np.float32))
        np.save(f"{name}-labels.npy", np.array(labels))
    files = {name: {"features": f"{name}.npy", "labels": f"{name}-labels.npy"} for name in FEATURES}
    rows = [{"name": name, "train": files[train], "test": files[test]} for name, (train, test) in sets_.items()]
    write_yaml("features.yaml", {"name": "features", "id": rows})


def tune_features(fastpt: Command, *options: object) -> Ran:
    return fastpt("tune", "--suite", "features.yaml", *options)


@pytest.mark.parametrize(
    ("bad", "options"),
    [
        (("one-class", "one-class"), ["--lp"]),
        (("constant", "constant"), ["--lp", "--ridge"]),
        (("five-each", "test"), ["--lp", "--fractions", "1,0.2", "--lrs", "0.01,0.1"]),
        (("train", "zeros"), []),
    ],
    ids=["one class", "constant", "one sample a class", "zeros"],
)
def test_a_set_that_cannot_be_costs_no_other(fastpt, bad, options):
    write_features(good=("train", "test"), odd=bad)
    ran = tune_features(fastpt, *options, "--epochs", 2, "--out", "results.json")
    assert ran.refused("odd")
    found = json.loads(Path("results.json").read_text())
    assert {row["method"] for row in found["rows"] if row["set"] == "good"} == set(found["methods"])
    assert all(one["set"] == "odd" and one["failed"] and one["reason"] for one in found["missing"])
    measured = {(row["set"], row["method"]) for row in found["rows"]}
    assert not measured & {(one["set"], one["method"]) for one in found["missing"]}
    assert found["missing"]


def results_and_tables(folder: Path) -> tuple[int, int]:
    """How many files hold results as JSON, and how many a table of them as CSV."""
    texts = [path.read_text() for path in folder.iterdir() if path.suffix != ".parquet"]  # what heads answered
    return sum(text.startswith("{") for text in texts), sum("lp,accuracy" in text for text in texts)


@pytest.mark.parametrize("ending", [".csv", ".txt"])
def test_an_ending_that_a_table_needs_is_refused_or_another_added(fastpt, ending):
    write_features(good=("train", "test"))
    if not tune_features(fastpt, "--lp", "--epochs", 1, "--out", f"out/results{ending}").refused(ending):
        assert results_and_tables(Path("out")) == (1, 1)


def test_results_with_a_point_in_their_names_have_tables_of_their_own(fastpt):
    write_features(good=("train", "test"))
    for name in ("noise-0.05", "noise-0.1"):
        assert tune_features(fastpt, "--lp", "--epochs", 1, "--out", f"out/{name}").refused(rf"{name}\.json")
        tune_features(fastpt, "--lp", "--epochs", 1, "--out", f"out/{name}.json").must()
    assert results_and_tables(Path("out")) == (2, 2)


def write_study(name: str, file: str = "study.yaml", **more: object) -> None:
    grid = {"recipe": "recipe.yaml", "rates": [0], "seeds": [0]}
    write_yaml(file, {"name": name, "pretrain": [grid], **more})


def test_a_study_writes_a_lost_export_again(here):
    write_study("mend")
    process("study", "study.yaml").must()
    (export,) = Path("studies/mend").glob("runs/*/export")
    shutil.rmtree(export)
    if not process("study", "study.yaml").refused("export"):
        assert export.is_dir()


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


def test_a_report_over_all_runs_passes_over_folders_that_are_none(here, fastpt):
    train(fastpt, "runs/one").must()
    write_features(good=("train", "test"))
    tune_features(fastpt, "--lp", "--epochs", 1).must()
    report(fastpt, *sorted(Path("runs").iterdir())).worked()


def test_a_study_prepares_by_the_shells_rules(here):
    Path("my src/class").mkdir(parents=True)
    for i in range(24):
        Path(f"my src/class/{i}.jpg").write_bytes(picture(i))
    run = "prep imagefolder --source 'my src' --name quoted --out made --workers 1"
    write_study("quotes", prepare=[{"run": run, "makes": ["made/train"]}])
    process("study", "study.yaml").worked()


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


@pytest.fixture
def slurm(here, tmp_path) -> dict[str, str]:
    """The environment of a SLURM job of one task, on this machine."""
    scripts = {
        "srun": 'echo "$SRUN_CPUS_PER_TASK" > cores; export SLURM_PROCID=0 SLURM_LOCALID=0; exec "$@"',
        "scontrol": "echo localhost",
        "fastpt": f'exec {shlex.join(FASTPT)} "$@"',
    }
    for name, line in scripts.items():
        file = tmp_path / "bin" / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"#!/bin/bash\n{line}\n")
        file.chmod(0o755)
    job = {"SLURM_JOB_ID": "77", "SLURM_JOB_NODELIST": "here", "SLURM_NTASKS": "1", "SLURM_NTASKS_PER_NODE": "1"}
    job |= {"SLURM_CPUS_PER_TASK": "3"}
    return {**job, "SLURM_ARRAY_TASK_ID": "0", "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}"}


def test_a_run_folder_given_to_the_slurm_script_is_used(slurm):
    command("bash", REPOSITORY / "tools/slurm_train.sh", "recipe.yaml", "--run-dir", "mine", env=slurm).must()
    assert Path("mine/export").is_dir()
    assert not Path("runs").exists()
    assert Path("cores").read_text() == "3\n"


def test_an_out_folder_given_to_the_slurm_script_of_studies_is_used(slurm):
    write_study("slurm")
    command("bash", REPOSITORY / "tools/slurm_study.sh", "study.yaml", "--out", "mine", env=slurm).must()
    assert [*Path("mine").glob("runs/*/export")]
    assert not Path("studies").exists()


def test_features_in_bfloat16_are_read_or_it_is_said_what_to_store(fastpt):
    for part, labels in (("train", [0, 1, 2] * 40), ("test", [0, 1, 2] * 20)):
        values = torch.from_numpy(CENTRES[labels]).bfloat16()
        save_file({"features": values, "labels": torch.tensor(labels)}, f"{part}.safetensors")
    row = {"name": "set", "train": {"features": "train.safetensors"}, "test": {"features": "test.safetensors"}}
    write_yaml("features.yaml", {"name": "features", "id": [row]})
    ran = tune_features(fastpt, "--lp", "--epochs", 1, "--out", "results.json")
    if not ran.refused(r"train\.safetensors", r"\bfloat16|\bfloat32"):
        assert json.loads(Path("results.json").read_text())["rows"]


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


def test_a_report_leaves_no_figures_of_before_and_others_files_alone(here, fastpt):
    for run in ("one", "two"):
        train(fastpt, run, f"data.noise={0.25 * (run == 'two')}").must()
        tune(fastpt, run, "--epochs", 1).must()
    report(fastpt, "one", "two", out="left.html").must()
    Path("left_files/mine.txt").write_text("of others")
    report(fastpt, "one", out="left.html").must()
    report(fastpt, "one", out="right.html").must()
    assert files_below("left_files") == files_below("right_files") | {"mine.txt"}


def test_a_report_on_the_current_folder_has_its_name(finished, fastpt, monkeypatch):
    monkeypatch.chdir("run")
    report(fastpt, ".", out="../page.html").must()
    assert [row["Run"] for row in table("../page_files/runs.csv")] == ["run"]


def test_one_picture_of_one_pixel_and_batch_norm_is_refused_at_the_start(here, fastpt):
    ran = train(fastpt, "run", "data.size=16", "engine.gradient_accumulation_steps=8")
    assert ran.refused("gradient_accumulation_steps|batch_size")
    assert not events("run", "train")


def test_small_shares_are_not_rounded_to_nothing(fastpt):
    write_features(good=("train", "test"))
    shares = ("--fractions", "0.001,1", "--label-noise", 0.001)
    ran = tune_features(fastpt, "--lp", "--epochs", 1, *shares, "--out", "results.json")
    ran.worked(r"\b0\.1\s?%")
    assert not re.search(r"(?<![\d.])0\s?%", ran.output)


def test_a_run_folder_that_is_not_utf_8_works_or_is_refused_at_the_start(here, fastpt):
    run = os.fsdecode(b"lat\xe9n")
    if not train(fastpt, run).refused("lat"):
        tune(fastpt, run, "--epochs", 1).worked()
        report(fastpt, run).worked()


def test_a_suite_of_another_name_works_in_a_plain_locale_or_is_refused_at_the_start(finished):
    Path("micro.yaml").write_text(yaml.safe_dump({**SUITE, "name": "µ"}, allow_unicode=True), encoding="utf-8")
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    ran = process("tune", "--run", "run", "--suite", "micro.yaml", "--lp", "--epochs", 1, env=plain)
    assert ran.refused(r"micro\.yaml") or Path("run/tune/µ.json").is_file()


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


@pytest.mark.parametrize("name", ["", ".."])
def test_a_name_that_is_no_folder_of_a_study_is_refused(here, fastpt, name):
    write_study(name)
    assert fastpt("study", "study.yaml", "--dry-run").refused("name")


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


def test_a_dry_run_of_1500_steps_takes_a_second_or_two(here):
    rates = [0, *(round(0.01 * i, 2) for i in range(1, 25))]
    grid = {"recipe": "recipe.yaml", "rates": rates, "seeds": list(range(20)), "suites": ["demo", "small.yaml"]}
    write_yaml("big.yaml", {"name": "big", "pretrain": [grid], "tune": {"methods": ["lp"], "num_seeds": 1}})
    steps = Path("studies/big/steps")
    steps.mkdir(parents=True)
    for i in range(1500):
        record = {"key": "0", "kind": "train", "group": "recipe", "seconds": 1, "bytes": 1}
        (steps / f"{i}.json").write_text(json.dumps(record))
    process("study", "big.yaml", "--dry-run", limit=10).worked()
