import json
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest

from fastpt.errors import DamagedData, FastptError
from fastpt.files import read_sealed_json, write_sealed_json
from fastpt.recipe import load_recipe
from fastpt.runs import read_run
from fastpt.runs.folder import CHECKPOINT_FORMAT
from fastpt.training import checkpoint
from fastpt.training.export import export_run
from fastpt.training.run import train
from fastpt.training.tasks.supervised.task import Supervised
from fastpt.tuning.encoders import open_encoder
from tests.training.conftest import ENVIRONMENT, TINY_VIT, command, forget_the_end, lines, losses

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
AUGMENTED = (
    "schedule.epochs=6",
    "checkpoint.every_steps=4",
    "augment={randaugment: m7-std0.5, mixup: 0.2, cutmix: 1.0, repeated_augmentation: 2}",
    "model.drop_path=0.1",
    "engine.gradient_accumulation_steps=2",
)


def train_and_stop(recipe, run, how: signal.Signals, after: int, launcher=(sys.executable,)) -> str:
    """Train in other processes and send the first a signal once step `after` is logged; what it wrote to stderr."""
    arguments = command(recipe, run, launcher=launcher)
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, env=ENVIRONMENT, stdout=pipe, stderr=pipe, text=True) as process:
        metrics, deadline = run / "metrics.jsonl", time.monotonic() + 200
        while not (metrics.exists() and metrics.read_text().count('"train"') >= after):
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(how)
        _, said = process.communicate(timeout=100)
    return said


@pytest.mark.parametrize("task", ["supervised", "clip"])
def test_a_killed_run_goes_on_bit_for_bit(request, tmp_path, task):
    recipe = request.getfixturevalue(task)(*(AUGMENTED if task == "supervised" else AUGMENTED[:2]))
    whole = losses(train(recipe, "tiny", tmp_path / "whole"))
    killed = tmp_path / "killed"
    train_and_stop(recipe, killed, signal.SIGKILL, after=11)
    train(recipe, "tiny", killed, resume=True)
    assert losses(killed) == whole
    results = [[line["results"] for line in lines(run, "end")] for run in (tmp_path / "whole", killed)]
    assert results[0] == results[1]


@pytest.fixture
def stopped(supervised, tmp_path):
    """A run of 10 steps with checkpoints at 4, 8 and 10 that lost its end and its export."""
    recipe = supervised("checkpoint={every_steps: 4, keep: 3}")
    run = train(recipe, "tiny", tmp_path / "run")
    forget_the_end(run)
    return recipe, run


def test_an_export_that_changed_is_told_and_made_again(supervised, tmp_path, capfd):
    recipe = supervised("schedule.epochs=1", "schedule.warmup_epochs=0")
    run = train(recipe, "tiny", tmp_path / "run")
    exported = (run / "export" / "model.safetensors").read_bytes()
    (run / "export" / "model.safetensors").write_bytes(exported[:-1] + b"x")
    with pytest.raises(DamagedData, match=r"model\.safetensors does not match.*fastpt export"):
        open_encoder(f"run:{run}")
    train(recipe, "tiny", run, resume=True)
    assert "Its export was not whole (model.safetensors does not match its sha256)" in capfd.readouterr().err
    assert (run / "export" / "model.safetensors").read_bytes() == exported
    train(recipe, "tiny", run, resume=True)
    assert f"{run} is finished already.\n" in capfd.readouterr().err


@pytest.mark.parametrize("how", ["flipped", "truncated", "removed", "folder", "manifest", "manifest folder"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(stopped, capfd, how):
    recipe, run = stopped
    before = losses(run)
    newest = run / "checkpoints" / "step-00000010"
    weights = newest / "mp_rank_00_model_states.pt"
    content = bytearray(weights.read_bytes())
    content[len(content) // 2] ^= 1
    if how == "flipped":
        weights.write_bytes(content)
    elif how == "truncated":
        weights.write_bytes(content[:-100])
    elif how == "removed":
        weights.unlink()
    elif "folder" in how:
        file = weights if how == "folder" else newest / "manifest.json"
        file.unlink()
        file.mkdir()
    else:
        (newest / "manifest.json").write_text("{}")
    train(recipe, "tiny", run, resume=True)
    said = capfd.readouterr().err
    assert f"checkpoint {newest} is damaged" in said
    assert "at step 8 of 10" in said
    assert losses(run) == before


def test_lines_of_metrics_that_are_lost_are_told(stopped, capfd):
    recipe, run = stopped
    kept = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(kept[:-3]))
    train(recipe, "tiny", run, resume=True)
    assert f"{run / 'metrics.jsonl'} has lost 3 of its {len(kept)} lines up to step 10." in capfd.readouterr().err


def test_only_the_newest_checkpoints_are_kept(stopped):
    _, run = stopped
    assert [path.name for path in checkpoint.newest_first(run)] == ["step-00000010", "step-00000008", "step-00000004"]
    assert sorted((run / "checkpoints").iterdir()) == sorted(checkpoint.newest_first(run))


def test_with_every_checkpoint_damaged_it_says_so(stopped):
    recipe, run = stopped
    for path in (run / "checkpoints").glob("step-*/mp_rank_00_model_states.pt"):
        path.write_bytes(b"")
    with pytest.raises(FastptError, match="No whole checkpoint is left"):
        train(recipe, "tiny", run, resume=True)


def test_the_export_of_a_finished_run_is_written_again_if_it_is_gone(supervised, tmp_path):
    recipe = supervised("schedule={steps: 2, warmup_steps: 0}")
    run = train(recipe, "tiny", tmp_path / "run")
    weights = (run / "export" / "model.safetensors").read_bytes()
    shutil.rmtree(run / "export")
    train(recipe, "tiny", run, resume=True)
    assert (run / "export" / "model.safetensors").read_bytes() == weights


def test_a_full_disk_at_a_checkpoint_is_one_error_that_names_the_last_good_one(stopped):
    recipe, run = stopped
    shutil.rmtree(run / "checkpoints" / "step-00000010")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with pytest.raises(FastptError, match=r"step-00000010 could not be written .* last good .*step-00000008"):
            train(recipe, "tiny", run, resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in checkpoint.newest_first(run)] == ["step-00000008", "step-00000004"]


def test_a_checkpoint_of_another_format_is_not_damaged(stopped):
    recipe, run = stopped
    path = run / "checkpoints" / "step-00000010" / "manifest.json"
    write_sealed_json(path, {**read_sealed_json(path, CHECKPOINT_FORMAT), "format": "2.99"})
    with pytest.raises(FastptError, match=r"has format version '2\.99'; this fastpt reads") as failure:
        train(recipe, "tiny", run, resume=True)
    assert not isinstance(failure.value, DamagedData)


def test_a_changed_recipe_is_not_resumed(supervised, stopped):
    _, run = stopped
    changed = supervised("checkpoint={every_steps: 4, keep: 3}", "optim.lr=0.02", "augment.mixup=0.1")
    with pytest.raises(FastptError, match=r"augment.mixup was 0.0, is 0.1; optim.lr was 0.01, is 0.02"):
        train(changed, "tiny", run, resume=True)


def test_what_does_not_touch_the_weights_may_change(supervised, stopped):
    _, run = stopped
    train(supervised("checkpoint={every_steps: 2, keep: 1}", "log_every=5"), "tiny", run, resume=True)


def test_a_run_goes_on_in_another_number_of_pieces(supervised, tmp_path):
    options = [f"model={json.dumps(TINY_VIT)}", "data.size=16", "checkpoint={every_steps: 4, keep: 3}"]
    options += ["augment={repeated_augmentation: 2}", "schedule.epochs=2"]
    whole = train(supervised(*options), "tiny", tmp_path / "whole")
    run = train(supervised(*options, "engine.gradient_accumulation_steps=4"), "tiny", tmp_path / "run")
    for newest in checkpoint.newest_first(run)[:2]:
        shutil.rmtree(newest)
    forget_the_end(run)
    train(supervised(*options, "engine.gradient_accumulation_steps=2"), "tiny", run, resume=True, allow_changes=True)
    assert losses(run) == pytest.approx(losses(whole), rel=1e-4)


def test_resuming_what_has_not_begun_begins(supervised, tmp_path):
    run = train(supervised("schedule.epochs=1", "schedule.warmup_epochs=0"), "tiny", tmp_path / "run", resume=True)
    assert len(losses(run)) == 5


def test_resuming_what_has_no_checkpoint_says_that_it_starts_anew(supervised, tmp_path, capfd):
    train(supervised(), "tiny", tmp_path / "mistyped", resume=True)
    assert "has no checkpoint to resume from: starting at step 0" in capfd.readouterr().err


def test_another_recipe_is_resumed_if_told_and_the_record_says_so(supervised, stopped):
    _, run = stopped
    changed = supervised("checkpoint={every_steps: 4, keep: 3}", "optim.lr=0.02", "schedule.epochs=3", "data.noise=0.2")
    train(changed, "tiny", run, resume=True, allow_changes=True)
    origin = json.loads((run / "provenance.json").read_text())
    (start,) = origin["resumed"]
    assert "optim.lr was 0.01, is 0.02" in start["changes"]
    assert any(change.startswith("the noise plan was none, is symmetric-0.2") for change in start["changes"])
    assert load_recipe(run / "recipe.yaml").optim.lr == 0.02
    card = (run / "export" / "README.md").read_text()
    assert f"Changed from step {start['step']} on: optim.lr was 0.01, is 0.02" in card


def test_another_model_is_refused_even_if_told(supervised, stopped):
    _, run = stopped
    other = supervised("checkpoint={every_steps: 4, keep: 3}", "model.args={channels: [8, 8, 8, 16]}")
    before = [(run / name).read_bytes() for name in ("recipe.yaml", "provenance.json")]
    with pytest.raises(FastptError, match="is of another model"):
        train(other, "tiny", run, resume=True, allow_changes=True)
    assert [(run / name).read_bytes() for name in ("recipe.yaml", "provenance.json")] == before


def test_a_checkpoint_or_export_of_another_run_is_refused(supervised, tmp_path):
    """Two machines' runs of one name, copied together, say."""
    recipe = supervised("checkpoint={every_steps: 4, keep: 3}")
    clean = train(recipe, "tiny", tmp_path / "clean")
    noisy = train(supervised("checkpoint={every_steps: 4, keep: 3}", "data.noise=0.2"), "tiny", tmp_path / "noisy")
    forget_the_end(clean)
    shutil.rmtree(clean / "export")
    newest = clean / "checkpoints" / "step-00000010"
    shutil.rmtree(newest)
    shutil.copytree(noisy / "checkpoints" / newest.name, newest)
    before = {path: path.read_bytes() for path in clean.rglob("*") if path.is_file()}
    with pytest.raises(FastptError, match=r"step-00000010 was trained under other settings .* it is of another run"):
        train(recipe, "tiny", clean, resume=True)
    with pytest.raises(FastptError, match="it is of another run"):
        export_run(clean)
    assert {path: path.read_bytes() for path in clean.rglob("*") if path.is_file()} == before
    shutil.copytree(noisy / "export", clean / "export")
    with pytest.raises(FastptError, match=r"export is of another run"):
        open_encoder(f"run:{clean}")
    assert any("export/ is of another run" in problem for problem in read_run(clean).problems)


def test_a_constant_rate_that_goes_on_is_the_longer_run(supervised, tmp_path):
    constant = ("schedule.min_lr=0.01", "schedule.warmup_epochs=0", "checkpoint.keep=9")
    whole = train(supervised(*constant, "schedule.epochs=3"), "tiny", tmp_path / "whole")
    run = train(supervised(*constant, "schedule.epochs=2"), "tiny", tmp_path / "run")
    longer = supervised(*constant, "schedule.epochs=3")
    with pytest.raises(FastptError, match=r"schedule\.epochs was 2, is 3.*--allow-changes"):
        train(longer, "tiny", run, resume=True)
    train(longer, "tiny", run, resume=True, allow_changes=True)
    assert losses(run) == losses(whole)
    exported = [(folder / "export" / "model.safetensors").read_bytes() for folder in (run, whole)]
    assert exported[0] == exported[1]
    assert [line["step"] for line in lines(run, "end")] == [15]
    (start,) = json.loads((run / "provenance.json").read_text())["resumed"]
    assert (start["step"], start["changes"]) == (10, ["schedule.epochs was 2, is 3"])


@pytest.mark.parametrize("launcher", [(sys.executable,), TORCHRUN], ids=["alone", "torchrun"])
def test_sigterm_saves_and_ends_and_the_run_goes_on_bit_for_bit(supervised, tmp_path, launcher):
    recipe = supervised("schedule.epochs=40", "checkpoint.every_epochs=40", "evaluate.every_epochs=40", "ema=0.9")
    run = tmp_path / "run"
    said = train_and_stop(recipe, run, signal.SIGTERM, after=11, launcher=launcher)
    reached = len(losses(run))
    assert f"stopped by SIGTERM after step {reached} of 200, and saved. Go on with --resume" in said
    assert [path.name for path in checkpoint.newest_first(run)] == [checkpoint.folder_name(reached)]
    if launcher == TORCHRUN:
        return
    train(recipe, "tiny", run, resume=True)
    whole = train(recipe, "tiny", tmp_path / "whole")
    assert losses(run) == losses(whole)
    exported = [(folder / "export" / "model.safetensors").read_bytes() for folder in (run, whole)]
    assert exported[0] == exported[1]


def test_the_best_checkpoint_is_kept_and_exported(supervised, tmp_path, monkeypatch):
    values = iter([0.5, 0.75, 0.5, 0.25])
    monkeypatch.setattr(Supervised, "evaluate", lambda *_, last: {"val": {"top1": next(values), "top5": 1.0}})
    recipe = supervised("checkpoint={keep: 1, every_epochs: 4, keep_best: top1}", "schedule.epochs=4")
    run = train(recipe, "tiny", tmp_path / "run")
    assert [path.name for path in checkpoint.newest_first(run)] == ["step-00000020", "step-00000010"]
    assert checkpoint.best(run).name == "step-00000010"
    assert lines(run, "end")[0]["best"] == {"step": 10, "top1": 0.75}
    export_run(run, best=True)
    card = (run / "export" / "README.md").read_text()
    assert "after step 10" in card
    assert "export/ has the weights of step 10, not of the end, step 20" in read_run(run).problems
    assert "75.00%" in card


@pytest.mark.parametrize("then", ["top5", "null"])
def test_the_best_of_another_measure_is_none(supervised, tmp_path, monkeypatch, then):
    monkeypatch.setattr(Supervised, "evaluate", lambda *_, last: {"val": {"top1": 0.5, "top5": 0.25}})
    recipe = supervised("checkpoint={keep: 3, every_epochs: 1, keep_best: top1}", "schedule.epochs=2")
    run = train(recipe, "tiny", tmp_path / "run")
    forget_the_end(run)
    shutil.rmtree(checkpoint.newest_first(run)[0])
    train(supervised(f"checkpoint={{keep: 3, keep_best: {then}}}", "schedule.epochs=2"), "tiny", run, resume=True)
    assert lines(run, "end")[0]["best"] == (None if then == "null" else {"step": 10, "top5": 0.25})


def test_without_a_best_checkpoint_there_is_none_to_export(stopped):
    _, run = stopped
    with pytest.raises(FastptError, match=r"no best checkpoint.*checkpoint\.keep_best"):
        export_run(run, best=True)


def test_divergence_names_the_last_good_checkpoint_and_saves_nothing_after(supervised, tmp_path):
    run = train(supervised("schedule.epochs=1", "schedule.warmup_epochs=0"), "tiny", tmp_path / "run")
    forget_the_end(run)
    seldom = ("log_every=100", "evaluate.every_epochs=9")
    wild = supervised("schedule.epochs=3", "schedule.warmup_epochs=0", "optim.lr=1e30", *seldom)
    with pytest.raises(FastptError, match=r"(?s)not finite after step 10.*last good checkpoint is .*step-00000005"):
        train(wild, "tiny", run, resume=True, allow_changes=True)
    assert [path.name for path in checkpoint.newest_first(run)] == ["step-00000005"]
