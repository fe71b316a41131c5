"""What a run logs, at an experiment tracker too: Weights & Biases, MLflow.

Where a tracker sends it, and as whom, its own environment says (WANDB_MODE, WANDB_PROJECT, MLFLOW_TRACKING_URI, ...).
Each works in a thread of its own, so that no step waits for a network, and one that fails is left off with a line to
the user: metrics.jsonl is the record, and has all of it.
"""

import importlib.util
import os
import queue
import re
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol

from fastpt.errors import FastptError, RecipeError
from fastpt.files import read_sealed_json, write_sealed_json
from fastpt.identity import flat
from fastpt.printable import one_line
from fastpt.recipe import Recipe
from fastpt.runs.folder import TRACKERS

FORMAT = "2.0"
PROJECT = "fastpt"  # the project or experiment, unless the environment names another
PATIENCE = 20.0  # seconds that the end of a training waits for its trackers
MOST_PARAMS = 100  # that MLflow takes at a time


class Tracker(Protocol):
    """One run at a tracker. Any method may raise whatever its library raises."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Values by name, such as train/loss, at a step."""
        ...

    def end(self, finished: bool) -> None:
        """Close the run there; `finished` says whether training came to its end."""
        ...


class Wandb:
    """A run of Weights & Biases. Its files lie in `folder`; a run that is resumed goes on under its id."""

    def __init__(self, folder: Path, run_id: str, name: str, config: Mapping[str, Any]):
        import wandb

        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=run_id,
            resume="allow",
            name=name,
            dir=str(folder),
            config=dict(config),
            settings=wandb.Settings(console="off"),  # else it takes over what is printed
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def end(self, finished: bool) -> None:
        self._run.finish(exit_code=0 if finished else 1)


class Mlflow:
    """A run of MLflow, found again by a tag with its id when it is resumed."""

    def __init__(self, folder: Path, run_id: str, name: str, config: Mapping[str, Any]):
        from mlflow import MlflowClient
        from mlflow.entities import Metric, Param

        self._client, self._metric = MlflowClient(), Metric
        wanted = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        found = self._client.get_experiment_by_name(wanted)
        experiment = found.experiment_id if found else self._client.create_experiment(wanted)
        runs = self._client.search_runs([experiment], f"tags.`fastpt.id` = '{run_id}'")
        if runs:
            self._id = runs[0].info.run_id
            self._client.update_run(self._id, status="RUNNING")
            return
        self._id = self._client.create_run(experiment, run_name=name, tags={"fastpt.id": run_id}).info.run_id
        params = [Param(key, one_line(value, 500)) for key, value in flat(config).items()]
        for first in range(0, len(params), MOST_PARAMS):
            self._client.log_batch(self._id, params=params[first : first + MOST_PARAMS])

    def log(self, step: int, values: Mapping[str, float]) -> None:
        now = int(1000 * time.time())
        named = {re.sub(r"[^\w\-./ ]", "_", name): value for name, value in values.items()}
        self._client.log_batch(self._id, [self._metric(name, value, now, step) for name, value in named.items()])

    def end(self, finished: bool) -> None:
        self._client.set_terminated(self._id, "FINISHED" if finished else "KILLED")


KINDS: dict[str, Callable[[Path, str, str, Mapping[str, Any]], Tracker]] = {"wandb": Wandb, "mlflow": Mlflow}


def check_installed(recipe: Recipe) -> None:
    """Raise RecipeError if a tracker that the recipe names is not installed."""
    missing = [name for name in recipe.record.trackers if importlib.util.find_spec(name) is None]
    if missing:
        raise RecipeError(
            f"record.trackers names {', '.join(missing)}, which is not installed: pip install 'fastpt[trackers]', or "
            "leave it out."
        )


class Trackers:
    """The trackers of a running training. `say` tells the user what becomes of them."""

    def __init__(self, run: Path, recipe: Recipe, goes_on: bool, say: Callable[[str], None]):
        names, self._say = recipe.record.trackers, say
        if not names:
            self._threads: list[_Thread] = []
            return
        folder = run / TRACKERS
        arguments = folder, _run_id(folder, goes_on), run.resolve().name, recipe.as_dict()
        self._threads = [_Thread(name, lambda name=name: KINDS[name](*arguments), say) for name in names]

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Hand values on; nothing waits."""
        for thread in self._threads:
            thread.log(step, values)

    def close(self, finished: bool) -> None:
        """Wait a little until all has been taken."""
        deadline = time.monotonic() + PATIENCE
        for thread in self._threads:
            thread.end(finished)
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                self._say(
                    f"{thread.name} has not taken all within {PATIENCE:.0f} s. What it lacks is in metrics.jsonl."
                )


def _run_id(folder: Path, goes_on: bool) -> str:
    """The id under which trackers know a run: a new one where it begins."""
    path = folder / "id.json"
    if goes_on:
        try:
            return read_sealed_json(path, FORMAT)["id"]
        except (OSError, FastptError):  # it did not track before, or under an id that is lost
            pass
    found = secrets.token_hex(8)
    folder.mkdir(parents=True, exist_ok=True)
    write_sealed_json(path, {"format": FORMAT, "id": found})
    return found


class _Thread(threading.Thread):
    """A tracker at work. It ends with the process, whatever it waits for."""

    def __init__(self, name: str, open_tracker: Callable[[], Tracker], say: Callable[[str], None]):
        super().__init__(name=name, daemon=True)
        self._open, self._say = open_tracker, say
        self._waiting: queue.SimpleQueue[tuple[int, Mapping[str, float]] | bool] = queue.SimpleQueue()
        self.start()

    def log(self, step: int, values: Mapping[str, float]) -> None:
        if self.is_alive():
            self._waiting.put((step, values))

    def end(self, finished: bool) -> None:
        self._waiting.put(finished)

    def run(self) -> None:
        try:
            tracker = self._open()
            while not isinstance(given := self._waiting.get(), bool):
                tracker.log(*given)
            tracker.end(given)
        except Exception as error:  # of whatever kind: it is the library's, and training goes on
            self._say(
                f"{self.name} is left off ({one_line(error, 200)}). Training goes on; metrics.jsonl has what it lacks."
            )
