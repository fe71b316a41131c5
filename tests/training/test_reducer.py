"""Gradients averaged by two processes (gloo) within the backward pass."""

import json
import time
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn

from fastpt.recipe import load_recipe
from fastpt.training import launch
from fastpt.training.deepspeed_adapter import Engine
from fastpt.training.reducer import GradientReducer
from fastpt.training.run import train
from tests.training.conftest import TINY_VIT, in_processes, save

SMALL = {"first_bucket": 64, "bucket": 256}  # bytes, so that small models have several


def of_both(folder: Path) -> list:
    """What the two processes left."""
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


def layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(*(nn.Linear(8, 8) for _ in range(4)))


def inputs(rank: int, step: int) -> torch.Tensor:
    return torch.randn(5, 8, generator=torch.Generator().manual_seed(10 * step + rank))


def gradients(model: nn.Module) -> list[torch.Tensor]:
    return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]


def in_steps(folder: str) -> None:
    """Of this process: three steps of two pieces, and the gradients after each."""
    rank, model, found = launch.start().rank, layers(), []
    reducer = GradientReducer(model.parameters(), **SMALL)
    for step in range(3):
        model(inputs(rank, step)).square().mean().backward()
        reducer.begin()
        model(inputs(rank, step + 10)).square().mean().backward()
        reducer.finish()
        found.append(gradients(model))
        model.zero_grad()
    torch.save(found, Path(folder) / f"{rank}.pt")


def test_gradients_are_the_mean_over_processes(tmp_path):
    in_processes(2, in_steps, tmp_path)
    ours, theirs = of_both(tmp_path)
    for step in range(3):
        model = layers()
        for rank in range(2):
            for piece in (step, step + 10):
                (model(inputs(rank, piece)).square().mean() / 2).backward()
        torch.testing.assert_close(ours[step], gradients(model), rtol=1e-6, atol=1e-8)
        assert all(map(torch.equal, ours[step], theirs[step]))


def waiting_for_the_first(folder: str) -> None:
    """Of this process: before the backward pass comes to the first layer, the gradient of the last has arrived."""
    rank, model, arrived = launch.start().rank, layers(), []
    reducer = GradientReducer(model.parameters(), **SMALL)

    def wait(_: nn.Parameter) -> None:
        deadline = time.monotonic() + 30
        while reducer._sent and not reducer._sent[0][1].is_completed() and time.monotonic() < deadline:
            time.sleep(0.001)
        arrived.append(bool(reducer._sent) and reducer._sent[0][1].is_completed())

    model[0].weight.register_post_accumulate_grad_hook(wait)
    for step in range(2):  # the first tells the order
        reducer.begin()
        model(inputs(rank, step)).square().mean().backward()
        reducer.finish()
        model.zero_grad()
    torch.save(arrived, Path(folder) / f"{rank}.pt")


def test_gradients_travel_while_the_backward_pass_runs(tmp_path):
    in_processes(2, waiting_for_the_first, tmp_path)
    assert of_both(tmp_path) == [[False, True]] * 2


def in_another_order(folder: str) -> None:
    """Of this process: parts of a sum, computed in another order than by the other process, which lacks one of them."""
    rank, found = launch.start().rank, []
    parts = nn.ModuleList(nn.Linear(8, 8, bias=False) for _ in range(4))
    for part in parts:
        nn.init.ones_(part.weight)
    reducer = GradientReducer(parts.parameters(), **SMALL)
    for _ in range(2):
        reducer.begin()
        order = [0, 1, 2, 3] if rank == 0 else [2, 1, 0]
        torch.stack([parts[number](torch.ones(1, 8)).sum() for number in order]).sum().backward()
        reducer.finish()
        found.append([part.weight.grad[0, 0].item() for part in parts])
        parts.zero_grad()
    torch.save(found, Path(folder) / f"{rank}.pt")


def test_another_order_or_a_gradient_that_lacks_does_not_confuse(tmp_path):
    in_processes(2, in_another_order, tmp_path)
    assert of_both(tmp_path) == [[[1.0, 1.0, 1.0, 0.5]] * 2] * 2


def in_channels_last(folder: str) -> None:
    rank = launch.start().rank
    model = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    reducer = GradientReducer(model.parameters())
    reducer.begin()
    model(torch.ones(2, 3, 8, 8)).mean().backward()
    before = gradients(model)
    reducer.finish()
    assert model.weight.grad is not None
    same = all(map(torch.equal, before, gradients(model)))
    torch.save([same, model.weight.grad.stride() == model.weight.stride()], Path(folder) / f"{rank}.pt")


def test_gradients_keep_the_layout_of_their_weights(tmp_path):
    in_processes(2, in_channels_last, tmp_path)
    assert of_both(tmp_path) == [[True, True]] * 2


def sent_in_pieces(recipe: str, folder: str) -> None:
    """Of this process: train, and count what has been sent when each backward pass ends."""
    sends, counts, send, backward = [], [], GradientReducer._send, Engine.backward

    def counted(self, bucket):
        sends.append(bucket)
        send(self, bucket)

    def counting(self, loss):
        backward(self, loss)
        counts.append(len(sends))

    GradientReducer._send, Engine.backward = counted, counting
    train(load_recipe(recipe), "tiny", Path(folder) / "run")
    torch.save(counts, Path(folder) / f"{dist.get_rank()}.pt")


def test_of_a_step_in_pieces_only_the_last_is_sent(supervised, tmp_path):
    pieces = ("schedule={steps: 2}", "engine.gradient_accumulation_steps=2", "data.val=null")
    recipe = supervised(f"model={json.dumps(TINY_VIT)}", "data.size=16", *pieces)
    save(recipe, tmp_path / "recipe.yaml")
    in_processes(2, sent_in_pieces, tmp_path / "recipe.yaml", tmp_path)
    assert of_both(tmp_path) == [[0, 1, 1, 2]] * 2  # of one bucket


def computed_twice(folder: str) -> None:
    rank, weight = launch.start().rank, nn.Parameter(torch.ones(3))
    reducer = GradientReducer([weight])
    reducer.begin()
    weight.sum().backward()
    try:
        weight.sum().backward()
    except Exception as error:  # as autograd passes it on
        torch.save(str(error), Path(folder) / f"{rank}.pt")


def test_a_gradient_that_comes_twice_is_refused(tmp_path):
    in_processes(2, computed_twice, tmp_path)
    assert all("came twice in one backward pass" in text for text in of_both(tmp_path))
