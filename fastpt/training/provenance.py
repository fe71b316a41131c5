"""Where a run's weights come from: recipe, data, noise, versions, code, machine."""

import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from fastpt.recipe import Recipe
from fastpt.training.tasks import TASKS
from fastpt.training.tasks.kind import MEMORIZATION, Task

PACKAGES = (
    "fastpt",
    "torch",
    "timm",
    "open_clip_torch",
    "deepspeed",
    "ffcv",
    "numpy",
    "nvidia-dali-cuda130",
    "nvidia-dali-cuda120",
)


def provenance(recipe: Recipe, recipe_name: str, task: Task, command: str, machine: dict) -> dict:
    """Where a run's weights come from; `machine` is what `launch.machine` tells.

    What the task learns of and what it measures stands there too, for those who read runs and know no task.
    """
    kind, dataset, noise = TASKS.get(recipe.task), task.train_set, task.noise
    return {
        "recipe": recipe_name,
        "task": recipe.task,
        "of": kind.of,
        "measures": dict(kind.measures),
        "memorization": MEMORIZATION,
        "versions": {"python": platform.python_version(), **_versions()},
        "git": _git_commit(),
        "samples_id": dataset.samples_id,
        "images_id": dataset.images_id,
        "dataset": {
            "name": dataset.name,
            "split": dataset.split,
            "samples": len(dataset),
            "class_names": dataset.class_names,
        },
        "noise": noise.provenance() if noise else None,
        "seed": recipe.seed,
        "command": command,
        **machine,
    }


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found["open_clip" if name == "open_clip_torch" else name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _git_commit() -> str | None:
    """The commit of the code in use, `-dirty` behind it if files differ; None outside a repository."""
    here = Path(__file__).parent
    try:
        name = ["git", "-C", str(here), "describe", "--always", "--abbrev=40", "--dirty", "--exclude=*"]
        return subprocess.run(name, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
