"""What several processes measure together, and what is made for it once."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fastpt.data.dataset import Dataset
from fastpt.errors import FastptError
from fastpt.loading.loader import Loader
from fastpt.recipe import load_recipe
from fastpt.training import evaluation, launch, run, tokens
from fastpt.training.evaluation import evaluation_loader, gather_rows, share_of
from fastpt.training.launch import DistInfo
from fastpt.training.run import train
from fastpt.training.tasks import TASKS
from fastpt.training.tasks.clip.task import Clip
from tests.conftest import made_up, prepared
from tests.training.conftest import TINY_RESNET, in_processes, lines, save, tiny_recipe

ALONE = DistInfo(0, 1, torch.device("cpu"))


def brightness(images: torch.Tensor) -> torch.Tensor:
    """Logits of a classifier of four classes that knows nothing but how bright a picture is."""
    return -(images.mean((1, 2, 3))[:, None] * 4 - torch.arange(4)).abs()


def measured(recipe: str, found: str) -> None:
    """Of this process: evaluate the task of a recipe, and let the first say what it measured."""
    dist_info = launch.start()
    loaded = load_recipe(recipe)
    task = TASKS.get(loaded.task).build(loaded, dist_info)
    results = task.evaluate(brightness, last=True)
    if dist_info.is_rank_zero:
        Path(found).write_text(json.dumps(results))


@pytest.mark.parametrize("batch_size", [5, 13])  # the last batch: 4, 3, 3 pictures of the three processes; 1, 0, 0
def test_uneven_shares_measure_what_one_process_does(supervised, tmp_path, batch_size):
    recipe = supervised("data.noise=0.2", f"evaluate.batch_size={batch_size}")
    save(recipe, tmp_path / "recipe.yaml")
    measured(str(tmp_path / "recipe.yaml"), str(tmp_path / "one.json"))
    in_processes(3, measured, tmp_path / "recipe.yaml", tmp_path / "three.json")
    found = json.loads((tmp_path / "three.json").read_text())
    assert found == json.loads((tmp_path / "one.json").read_text())
    assert {"mislabeled_memorized", "clean_fit"} <= found["train"].keys()


def test_top1_and_top5_are_the_shares_of_the_right_classes_of_val(tmp_path):
    made = {name: made_up(24, classes=8, name=name, is_train=name == "train") for name in ("train", "val")}
    train_set, val = (prepared(tmp_path / "data", one, [0.5] * (name == "train")) for name, one in made.items())
    overrides = ("data.noise=0.5", "evaluate.batch_size=5", "supervised.memorization_samples=0")
    task = TASKS.get("supervised").build(
        tiny_recipe(tmp_path, train_set, val, "supervised", TINY_RESNET, overrides), ALONE
    )
    logits = np.random.default_rng(0).normal(size=(24, 8)).astype(np.float32)
    rows = iter(logits)  # of the samples in their order, whatever the pictures are
    found = task.evaluate(lambda images: torch.tensor(np.stack([next(rows) for _ in images])), last=True)["val"]
    ranked = np.argsort(-logits, 1)
    right = ranked == val.clean_labels[:, None]
    assert found["top1"] == pytest.approx(right[:, 0].mean())
    assert found["top5"] == pytest.approx(right[:, :5].any(1).mean())
    assert found["top1"] < found["top5"] < 1


def test_what_a_recipe_says_of_pictures_reaches_the_loaders(supervised, monkeypatch):
    data = {
        "scale": [0.5, 0.9],
        "interpolation": "bilinear",
        "flip": False,
        "order": "quasi_random",
        "threads": 3,
        "crop_fraction": 0.8,
        "eval_interpolation": "area",
        "eval_size": 48,
    }
    recipe = supervised(*(f"data.{key}={json.dumps(value)}" for key, value in data.items()), "seed=7")
    for module in (run, evaluation):
        monkeypatch.setattr(module, "Loader", lambda dataset, *arguments, **options: (arguments, options))
    (batch, size), training = run._loader(recipe, SimpleNamespace(trained_on=range(40)), ALONE)
    assert (batch, size, training["crop"]) == (8, 32, "random")
    told = {key: training[key] for key in ("scale", "interpolation", "flip", "order", "threads", "seed")}
    assert told == {**{key: data[key] for key in told if key != "seed"}, "scale": (0.5, 0.9), "seed": 7}
    (_, size), measuring = evaluation_loader(None, recipe, ALONE)
    assert (size, measuring["crop"], measuring["crop_fraction"]) == (48, "center", 0.8)
    assert (measuring["interpolation"], measuring["flip"]) == ("area", False)


@pytest.mark.parametrize("task", ["supervised", "clip"])
def test_a_split_that_is_measured_again_keeps_its_loader(request, tmp_path, monkeypatch, task):
    made = []

    class Counted(Loader):
        def __init__(self, dataset, *arguments, **options):
            made.append(dataset.path)
            super().__init__(dataset, *arguments, **options)

    monkeypatch.setattr(evaluation, "Loader", Counted)
    trained = train(request.getfixturevalue(task)(), "tiny", tmp_path / "run")
    assert len({line["step"] for line in lines(trained, "eval")}) == 2
    assert len(made) == len(set(made))


@pytest.mark.parametrize(("rows", "processes"), [(10, 3), (2, 3), (0, 2), (7, 1)])
def test_shares_are_as_many_batches_and_together_all_rows(rows, processes):
    values = np.arange(rows * 2).reshape(rows, 2)
    shares = [share_of(values, DistInfo(rank, processes, torch.device("cpu")), 2) for rank in range(processes)]
    assert len({len(share) for share in shares}) == 1
    assert np.array_equal(np.concatenate([batch for share in shares for batch in share] or [values]), values)


def test_texts_of_a_share_are_those_of_all(clip, monkeypatch):
    task = Clip(clip(), ALONE)
    ran = []

    def forward(text):
        ran.append(len(text))
        return {"text_features": text.float()}

    texts = tokens.tokenize([f"text {i}" for i in range(5)], 16)
    monkeypatch.setattr("fastpt.training.tasks.clip.task.gather_rows", lambda rows, _: rows)
    parts = []
    for rank in range(2):
        task.dist_info = DistInfo(rank, 2, torch.device("cpu"))
        parts.append(task._text_features(forward, texts))
    assert ran == [3, 2]
    assert torch.equal(torch.cat(parts), torch.from_numpy(texts.astype(np.float32)))


def test_tokens_are_sent_to_a_gpu_in_two_bytes_and_from_pinned_memory(clip, monkeypatch):
    task, done = Clip(clip(), ALONE), []
    task.dist_info = DistInfo(0, 1, torch.device("cuda"))

    def pinned(one):
        done.append(("pinned", one.dtype))
        return one

    def sent(one, device, non_blocking):
        done.append(("sent", one.dtype, device.type, non_blocking))
        return one

    monkeypatch.setattr(torch.Tensor, "pin_memory", pinned)
    monkeypatch.setattr(torch.Tensor, "to", sent)
    text = tokens.tokenize(["a text"], 16)
    found = task._on_device(text)
    assert done == [("pinned", torch.uint16), ("sent", torch.uint16, "cuda", True)]
    assert found.dtype == torch.int64
    assert found.tolist() == text.tolist()


def opened(split: str, folder: str) -> None:
    """Of this process: open the tokens of a split, and leave a file for each look at what is kept."""
    dist_info = launch.start()
    whole = tokens._is_whole

    def counted(*arguments):
        (Path(folder) / f"looked-{dist_info.rank}").touch()
        return whole(*arguments)

    tokens._is_whole = counted
    kept = tokens.Tokens([Dataset(split)], 16, Path(folder), once=lambda work: launch.once_a_node(dist_info, work))
    assert kept[np.array([0])].shape == (1, 16)
    assert len(gather_rows(torch.zeros(1), dist_info)) == 2


def test_tokens_are_looked_through_once_a_node(captioned, tmp_path):
    in_processes(2, opened, captioned.path, tmp_path)
    assert [path.name for path in tmp_path.glob("looked-*")] == ["looked-0"]


def refused(folder: str) -> None:
    dist_info = launch.start()

    def fail():
        raise FastptError("no")

    try:
        launch.once_a_node(dist_info, fail)
    except FastptError as error:
        (Path(folder) / f"{dist_info.rank}-{error}").touch()


def test_all_get_the_error_of_what_is_done_once_a_node(tmp_path):
    in_processes(2, refused, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0-no", "1-no"]
