import json
import os
import signal

import pytest
import torch

from fastpt.training import launch
from fastpt.training.run import train
from fastpt.training.weights import average_batch_norm
from tests.training.conftest import TINY_VIT, VIT_CLIP, in_processes, lines, losses, save, train_all


@pytest.mark.parametrize(("task", "model"), [("supervised", TINY_VIT), ("clip", VIT_CLIP)])
def test_two_processes_train_as_one(request, tmp_path, task, model):
    """Without BatchNorm and in fp32, the same global batches give the same losses and measures to rounding."""
    recipe = request.getfixturevalue(task)(f"model={json.dumps(model)}", "data.size=16")
    one = train(recipe, "tiny", tmp_path / "one")
    save(recipe, tmp_path / "recipe.yaml")
    in_processes(2, train_all, tmp_path / "recipe.yaml", tmp_path / "two")
    assert losses(tmp_path / "two") == pytest.approx(losses(one), rel=1e-4)
    measures = [
        {k: v for k, v in lines(run, "eval")[-1].items() if isinstance(v, float)} for run in (one, tmp_path / "two")
    ]
    assert measures[1] == pytest.approx(measures[0], abs=0.1)  # one picture of 12 may fall to the other side
    assert json.loads((tmp_path / "two" / "provenance.json").read_text())["world_size"] == 2


def test_a_sigterm_that_the_launcher_hands_on_behind_ones_own_is_no_second(monkeypatch):
    ended: list[int] = []
    monkeypatch.setattr(signal, "raise_signal", ended.append)
    with launch.Preemption(launch.DistInfo(0, 1, torch.device("cpu"))) as asked:
        assert not asked.agreed()
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        assert asked.agreed()
        assert not ended
        monkeypatch.setattr(launch, "SAME", -1.0)
        os.kill(os.getpid(), signal.SIGTERM)
        assert ended == [signal.SIGTERM]
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def averaged(folder: str) -> None:
    """Of this process: BatchNorm's statistics are its rank and one more, before they are averaged."""
    dist_info = launch.start()
    norm = torch.nn.BatchNorm1d(2)
    norm.running_mean.fill_(dist_info.rank)
    norm.running_var.fill_(dist_info.rank + 1)
    average_batch_norm(torch.nn.Sequential(norm), dist_info)
    torch.save([norm.running_mean, norm.running_var], f"{folder}/{dist_info.rank}.pt")


def test_batch_norms_statistics_are_the_mean_over_processes(tmp_path):
    in_processes(2, averaged, tmp_path)
    for rank in range(2):
        mean, variance = torch.load(tmp_path / f"{rank}.pt")
        assert (mean.tolist(), variance.tolist()) == ([0.5, 0.5], [1.5, 1.5])
