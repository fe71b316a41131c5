"""The loops of docs/howto/loops.md train, and go on after a stop as if there had been none."""

import re
import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest
from lightning.pytorch.callbacks import ModelCheckpoint

from fastpt import Loader
from fastpt.torch import FastptDataset
from tests.examples.loops import lightning_trainer, plain_pytorch, timm_parts, transformers_trainer
from tests.test_torch import head, run

SMALL = {"batch_size": 8, "size": 32, "noise": 0.25, "name": "test_resnet"}
STEPS = 5  # an epoch of 40 pictures


def plain(split, checkpoint: Path, every: int = 1) -> Iterator[float]:
    return plain_pytorch.train(str(split.path), checkpoint, epochs=2, every=every, **SMALL)


def test_plain_pytorch_goes_on_after_any_step(labelled, tmp_path):
    whole = list(plain(labelled, tmp_path / "whole.pt"))
    assert len(whole) == 2 * STEPS
    for stop in (2, STEPS, 7):
        checkpoint = tmp_path / f"{stop}.pt"
        stopped = plain(labelled, checkpoint)
        assert [*islice(stopped, stop)] == whole[:stop]
        stopped.close()
        assert [*plain(labelled, checkpoint)] == whole[stop:]


def test_plain_pytorch_goes_on_from_its_last_checkpoint(labelled, tmp_path):
    whole = list(plain(labelled, tmp_path / "whole.pt"))
    for stop, kept in ((3, 2), (STEPS, STEPS)):
        stopped = plain(labelled, tmp_path / f"{stop}.pt", every=2)
        assert [*islice(stopped, stop)] == whole[:stop]
        stopped.close()
        assert [*plain(labelled, tmp_path / f"{stop}.pt")] == whole[kept:]


def test_timms_parts_train(labelled):
    (first, _), *_, (last, accuracy) = timm_parts.train(str(labelled.path), str(labelled.path), epochs=12, **SMALL)
    assert last < first
    assert 0 <= accuracy <= 1


def seen(monkeypatch) -> list[list[int]]:
    """The sample ids of each batch that a FastptDataset gives from now on, but for those of sequential order."""
    found, batches = [], FastptDataset._batches

    def noting(self):
        for batch in batches(self):
            if self._settings.get("order") is None:
                found.append(batch.sample_ids.tolist())
            yield batch

    monkeypatch.setattr(FastptDataset, "_batches", noting)
    return found


def lightning(split, folder, ids: list, **settings) -> list[list[int]]:
    """The sample ids of the batches trained on, and the first weights at the end."""
    ids.clear()
    split = str(split.path)
    quiet = {"accelerator": "cpu", "logger": False, "enable_progress_bar": False, "enable_model_summary": False}
    trainer = lightning_trainer.train(split, split, str(folder), **SMALL, max_epochs=3, **quiet, **settings)
    return [*ids, next(trainer.lightning_module.parameters()).tolist()]


def test_lightning_goes_on_after_any_step(labelled, tmp_path, monkeypatch):
    ids = seen(monkeypatch)
    every = ModelCheckpoint(tmp_path / "steps", "{step}", every_n_train_steps=1, save_top_k=-1)
    each = ModelCheckpoint(tmp_path / "epochs", "{epoch}", save_top_k=-1)
    whole = lightning(labelled, tmp_path, ids, callbacks=[every, each])
    assert len(whole) == 3 * STEPS + 1
    for name, steps in (("steps/step=3", 3), ("steps/step=5", 5), ("steps/step=7", 7), ("epochs/epoch=1", 10)):
        resumed = lightning(labelled, tmp_path, ids, checkpoint=str(tmp_path / f"{name}.ckpt"))
        assert resumed == whole[steps:], name


CONFIG = {"embedding_size": 8, "hidden_sizes": [8, 8], "depths": [1, 1], "layer_type": "basic"}


def trainer(split, folder, **settings) -> list[float]:
    """The losses of its steps."""
    done = transformers_trainer.train(
        str(split.path),
        str(folder),
        32,
        0.25,
        CONFIG,
        num_train_epochs=2,
        per_device_train_batch_size=8,
        use_cpu=True,
        logging_steps=1,
        disable_tqdm=True,
        save_steps=1,
        **settings,
    )
    return [event["loss"] for event in done.state.log_history if "loss" in event]


@pytest.mark.parametrize("stop", [3, STEPS, 7])
def test_transformers_trainer_goes_on_after_any_step(labelled, tmp_path, stop):
    whole = trainer(labelled, tmp_path)
    assert len(whole) == 2 * STEPS
    for checkpoint in tmp_path.glob("checkpoint-*"):
        if int(checkpoint.name.partition("-")[2]) > stop:
            shutil.rmtree(checkpoint)
    assert trainer(labelled, tmp_path, resume=True) == whole


@pytest.mark.long
@pytest.mark.parametrize("loop", ["lightning", "transformers"])
def test_two_processes_share_the_batches(labelled, tmp_path, loop):
    code = {
        "lightning": f"""
from tests.examples.loops import lightning_trainer
settings = {dict(accelerator="cpu", devices=2, strategy="ddp", logger=False, max_epochs=2)}
lightning_trainer.train(SPLIT, SPLIT, FOLDER, 4, 32, 0.25, "test_resnet", **settings)
""",
        "transformers": f"""
from tests.examples.loops import transformers_trainer
settings = {dict(num_train_epochs=2, per_device_train_batch_size=4, use_cpu=True)}
transformers_trainer.train(SPLIT, FOLDER, 32, 0.25, {CONFIG}, **settings)
""",
    }[loop]
    noting = """
found, batches = [], FastptDataset._batches
def noted(self):
    for batch in batches(self):
        if self._settings.get("order") is None:
            found.append(batch.sample_ids.tolist())
        yield batch
FastptDataset._batches = noted
"""
    first, second = run(f"{head(labelled, tmp_path)}{noting}{code}write(found)", 2, tmp_path)
    loader = Loader(labelled, 8, 32, seed=0, threads=1)
    expected = [sorted(batch.sample_ids.tolist()) for _ in range(2) for batch in loader]
    assert [sorted(a + b) for a, b in zip(first, second, strict=True)] == expected


@pytest.mark.parametrize("loop", [plain_pytorch, timm_parts, lightning_trainer, transformers_trainer])
def test_the_page_shows_the_files(loop):
    page = (Path(__file__).parents[2] / "docs" / "howto" / "loops.md").read_text(encoding="utf-8")
    assert Path(loop.__file__).read_text(encoding="utf-8") in re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S)
