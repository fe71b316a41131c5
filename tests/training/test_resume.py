import time

import pytest

from fastpt.errors import FastptError
from fastpt.training import checkpoint
from fastpt.training.engine import train
from tests.training.conftest import ENVIRONMENT, command, lines, losses

AUGMENTED = (
    "schedule.epochs=6", "checkpoint.every_steps=4",
    "augment={randaugment: m7-std0.5, mixup: 0.2, cutmix: 1.0, repeats: 2}", "model.drop_path=0.1",
)  # fmt: skip


def train_and_kill(recipe, run, after: int) -> None:
    """Train in another process and end it by SIGKILL once step `after` is logged."""
    import subprocess

    with subprocess.Popen(command(recipe, run), env=ENVIRONMENT, stdout=subprocess.DEVNULL) as process:
        metrics, deadline = run / "metrics.jsonl", time.monotonic() + 200
        while not (metrics.exists() and metrics.read_text().count('"train"') >= after):
            assert process.poll() is None, "training ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
        process.kill()


@pytest.mark.parametrize("task", ["supervised", "clip"])
def test_a_killed_run_goes_on_bit_for_bit(request, tmp_path, task):
    recipe = request.getfixturevalue(task)(*(AUGMENTED if task == "supervised" else AUGMENTED[:2]))
    whole = losses(train(recipe, "tiny", tmp_path / "whole"))
    killed = tmp_path / "killed"
    train_and_kill(recipe, killed, after=11)
    train(recipe, "tiny", killed, resume=True)
    assert losses(killed) == whole
    results = [[line["results"] for line in lines(run, "end")] for run in (tmp_path / "whole", killed)]
    assert results[0] == results[1]


@pytest.fixture
def stopped(supervised, tmp_path):
    """A run of 10 steps with checkpoints at 4, 8 and 10 that lost its end and its export."""
    recipe = supervised("checkpoint={every_steps: 4, keep: 3}")
    run = train(recipe, "tiny", tmp_path / "run")
    kept = [line for line in (run / "metrics.jsonl").read_text().splitlines(True) if '"end"' not in line]
    (run / "metrics.jsonl").write_text("".join(kept))
    return recipe, run


@pytest.mark.parametrize("how", ["flipped", "truncated", "removed", "manifest"])
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
    else:
        (newest / "manifest.json").write_text("{}")
    train(recipe, "tiny", run, resume=True)
    said = capfd.readouterr().out
    assert f"checkpoint {newest} is damaged" in said
    assert "at step 8 of 10" in said
    assert losses(run) == before


def test_only_the_newest_checkpoints_are_kept(stopped):
    _, run = stopped
    assert [path.name for path in checkpoint.candidates(run)] == ["step-00000010", "step-00000008", "step-00000004"]
    assert (run / "checkpoints" / "latest").read_text() == "step-00000010\n"
    assert not list((run / "checkpoints").glob(".*"))


def test_with_every_checkpoint_damaged_it_says_so(stopped):
    recipe, run = stopped
    for path in (run / "checkpoints").glob("step-*/mp_rank_00_model_states.pt"):
        path.write_bytes(b"")
    with pytest.raises(FastptError, match="No whole checkpoint is left"):
        train(recipe, "tiny", run, resume=True)


def test_a_changed_recipe_is_not_resumed(supervised, stopped):
    _, run = stopped
    changed = supervised("checkpoint={every_steps: 4, keep: 3}", "optim.lr=0.02", "augment.mixup=0.1")
    with pytest.raises(FastptError, match=r"augment.mixup was 0.0, is 0.1; optim.lr was 0.01, is 0.02"):
        train(changed, "tiny", run, resume=True)


def test_what_does_not_touch_the_weights_may_change(supervised, stopped):
    _, run = stopped
    train(supervised("checkpoint={every_steps: 2, keep: 1}", "log_every=5"), "tiny", run, resume=True)


def test_resuming_what_has_not_begun_begins(supervised, tmp_path):
    run = train(supervised("schedule.epochs=1", "schedule.warmup_epochs=0"), "tiny", tmp_path / "run", resume=True)
    assert len(losses(run)) == 5


def test_resuming_what_has_no_checkpoint_says_that_it_starts_anew(supervised, tmp_path, capfd):
    train(supervised(), "tiny", tmp_path / "mistyped", resume=True)
    assert "has no checkpoint to resume from: starting at step 0" in capfd.readouterr().out
