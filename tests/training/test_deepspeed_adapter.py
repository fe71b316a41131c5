import ast
import tomllib
from pathlib import Path

import pytest
import torch

from fastpt.errors import RecipeError
from fastpt.training import deepspeed_adapter
from fastpt.training.deepspeed_adapter import Engine
from fastpt.training.pace import Since
from fastpt.training.run import rehearsal


@pytest.mark.parametrize(("zero", "clipping", "stated"), [(0, 0.0, 0.0), (0, 1.5, 0.0), (1, 0.0, 0.0), (1, 1.5, 1.5)])
def test_clipping_is_always_stated(supervised, zero, clipping, stated):
    # DeepSpeed clips at 1.0 where the configuration says nothing. Without ZeRO the engine clips by itself.
    recipe = supervised(f"engine.gradient_clipping={clipping}", f"engine.zero_stage={zero}")
    assert deepspeed_adapter.configuration(recipe, 1, "fp32")["gradient_clipping"] == stated


@pytest.mark.parametrize("zero", [0, 1, 3])
def test_what_goes_on_has_the_settings_of_its_recipe_not_of_the_checkpoint(supervised, tmp_path, zero):
    def recipe(value):
        optim = f"optim={{name: adamw, lr: 0.01, weight_decay: {value}, betas: [0.9, {value}]}}"
        return supervised(optim, f"engine.zero_stage={zero}", f"engine.gradient_clipping={value}")

    with rehearsal(recipe(0.5)) as training:
        training.engine.save(tmp_path / "saved")
    with rehearsal(recipe(0.2)) as training:
        training.engine.load(tmp_path / "saved")
        groups = training.engine._engine.optimizer.param_groups
        assert [(group["weight_decay"], group["betas"]) for group in groups] == [(0.0, (0.9, 0.2)), (0.2, (0.9, 0.2))]
        assert not zero or training.engine._engine.optimizer.clip_grad == 0.2


def test_fp16_goes_on_with_the_scale_of_the_loss_that_it_had(supervised, tmp_path):
    recipe = supervised()
    with rehearsal(recipe):  # for its group of processes
        first, second = (
            Engine(model, torch.optim.SGD(model.parameters(), lr=0.1), recipe, 1, "fp16")
            for model in (torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
        )
        first._engine.torch_autocast_z0_gradscaler.load_state_dict(
            {**second._engine.torch_autocast_z0_gradscaler.state_dict(), "scale": 64.0, "_growth_tracker": 7}
        )
        first.save(tmp_path / "saved")
        second.load(tmp_path / "saved")
    found = second._engine.torch_autocast_z0_gradscaler.state_dict()
    assert (found["scale"], found["_growth_tracker"]) == (64.0, 7)


def test_fp16_clips_the_gradient_and_not_its_scaled_one(supervised):
    recipe = supervised("engine.gradient_clipping=0.01")
    with rehearsal(recipe):  # for its group of processes
        model = torch.nn.Linear(2, 2, bias=False)
        engine = Engine(model, torch.optim.SGD(model.parameters(), lr=0.1), recipe, 1, "fp16")
        scaler = engine._engine.torch_autocast_z0_gradscaler
        scaler.load_state_dict({**scaler.state_dict(), "scale": 64.0})
        before = model.weight.detach().clone()
        engine.backward(engine(torch.ones(1, 2)).float().sum())
        norm = engine.step(wants_norm=True)
        moved = (model.weight.detach() - before).norm().item()
    assert norm == pytest.approx(2.0, rel=1e-2)  # four slopes of 1
    assert moved == pytest.approx(0.1 * 0.01, rel=1e-2)


def test_fp16_under_zero_is_refused(supervised):
    with pytest.raises(RecipeError, match=r"engine\.precision fp16 with engine\.zero_stage 1 cannot be.*Use bf16"):
        supervised("engine.precision=fp16", "engine.zero_stage=1")


@pytest.mark.parametrize("pieces", [1, 2])
def test_without_zero_the_gradient_of_the_whole_step_is_clipped(supervised, monkeypatch, pieces):
    """The last piece's step moves SGD's weights by the rate times the largest norm; what is told is the norm before."""
    recipe = supervised(
        "optim={name: sgd, lr: 1.0, momentum: 0, nesterov: false}",
        "engine.gradient_clipping=0.01",
        f"engine.gradient_accumulation_steps={pieces}",
    )
    with rehearsal(recipe) as training:
        before = [parameter.detach().clone() for parameter in training.engine.module.parameters()]
        batches = iter(list(training.loader))
        _, norm = training._step(4, batches, Since(), logged=True)
        after = training.engine.module.parameters()
        moved = torch.stack([(new - old).norm() for new, old in zip(after, before, strict=True)]).norm()
        assert norm > 0.02
        assert torch.isclose(moved, torch.tensor(0.01 * training.engine.learning_rate), rtol=1e-3)


def test_the_batch_is_cut_for_processes_and_pieces(supervised):
    config = deepspeed_adapter.configuration(supervised("engine.gradient_accumulation_steps=2"), 2, "bf16")
    assert config["train_batch_size"] == 8
    assert config["train_micro_batch_size_per_gpu"] == 2
    assert config["torch_autocast"] == {"enabled": True, "dtype": "bfloat16"}


@pytest.mark.parametrize(("version", "warned"), [("0.19.8", False), ("0.19.12", False), ("0.20.0", True)])
def test_a_version_that_was_not_tested_is_told(monkeypatch, caplog, version, warned):
    monkeypatch.setattr(deepspeed_adapter, "version", lambda _: version)
    deepspeed_adapter._check_version()
    assert (f"DeepSpeed {version} is in use" in caplog.text) == warned


def test_the_package_pins_the_tested_version():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    major, minor = map(int, deepspeed_adapter.TESTED.split("."))
    assert f"deepspeed>={major}.{minor},<{major}.{minor + 1}" in project["optional-dependencies"]["train"]


def test_only_the_adapter_imports_deepspeed():
    package = Path(deepspeed_adapter.__file__).parents[1]
    found = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        for one in ast.walk(ast.parse(path.read_text()))
        for name in (
            [one.module or ""]
            if isinstance(one, ast.ImportFrom)
            else [alias.name for alias in one.names]
            if isinstance(one, ast.Import)
            else []
        )
        if name.partition(".")[0] == "deepspeed"
    }
    assert found == {"training/deepspeed_adapter.py"}
