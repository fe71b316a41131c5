"""Compiled trainings have the losses of plain ones.

Graphs are captured, with their backward pass, and run by torch: its inductor, which writes C++, takes minutes here.
"""

import pytest

from fastpt.errors import RecipeError
from fastpt.training import deepspeed_adapter
from fastpt.training.run import train
from tests.training.conftest import losses

FOUR_STEPS = ("schedule={steps: 4}", "data.val=null", "optim.lr=0.001")


@pytest.fixture(autouse=True)
def _without_inductor(monkeypatch):
    monkeypatch.setattr(deepspeed_adapter, "BACKEND", "aot_eager")


@pytest.mark.long
@pytest.mark.parametrize("zero", [0, 1, 2])
def test_a_compiled_classifier_learns_as_a_plain_one(supervised, tmp_path, zero):
    settings = (*FOUR_STEPS, f"engine.zero_stage={zero}")
    plain = losses(train(supervised(*settings), "tiny", tmp_path / "plain"))
    compiled = losses(train(supervised(*settings, "engine.compile=true"), "tiny", tmp_path / "compiled"))
    assert compiled == pytest.approx(plain, rel=1e-3)


@pytest.mark.long
@pytest.mark.parametrize("pieces", [1, 2])
def test_a_compiled_clip_learns_as_a_plain_one(clip, tmp_path, pieces):
    settings = (*FOUR_STEPS, "clip.zero_shot=null", f"engine.gradient_accumulation_steps={pieces}")
    plain = losses(train(clip(*settings), "tiny", tmp_path / "plain"))
    compiled = losses(train(clip(*settings, "engine.compile=true"), "tiny", tmp_path / "compiled"))
    assert compiled == pytest.approx(plain, rel=1e-3)


def test_zero_3_is_not_compiled(supervised):
    with pytest.raises(RecipeError, match="ZeRO 3 fetches weights in hooks"):
        supervised("engine.compile=true", "engine.zero_stage=3")
