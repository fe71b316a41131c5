import tomllib
from pathlib import Path

import pytest
import torch

from fastpt.training import deepspeed_adapter
from fastpt.training.pace import Since
from fastpt.training.run import rehearsal


@pytest.mark.parametrize(("zero", "clipping", "stated"), [(0, 0.0, 0.0), (0, 1.5, 0.0), (1, 0.0, 0.0), (1, 1.5, 1.5)])
def test_clipping_is_always_stated(supervised, zero, clipping, stated):
    # DeepSpeed clips at 1.0 where the configuration says nothing. Without ZeRO the engine clips by itself.
    recipe = supervised(f"engine.gradient_clipping={clipping}", f"engine.zero_stage={zero}")
    assert deepspeed_adapter.configuration(recipe, 1, "fp32")["gradient_clipping"] == stated


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
    found = [path.name for path in package.rglob("*.py") if "import deepspeed\n" in path.read_text() + "\n"]
    found += [path.name for path in package.rglob("*.py") if "from deepspeed." in path.read_text()]
    assert set(found) == {"deepspeed_adapter.py"}
