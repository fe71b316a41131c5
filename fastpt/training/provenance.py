"""Where a run's weights come from: recipe, data, noise, versions, code, machine."""

import hashlib
import json
import os
import platform
import subprocess
import tomllib
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from fastpt import __version__
from fastpt.identity import flat
from fastpt.printable import one_line
from fastpt.recipe import Recipe
from fastpt.runs.records import is_free
from fastpt.training.tasks import TASKS
from fastpt.training.tasks.kind import MEMORIZATION, Task

PACKAGES = (
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
    origin = {
        "recipe": recipe_name,
        "task": recipe.task,
        "of": kind.of,
        "measures": dict(kind.measures),
        "memorization": MEMORIZATION,
        "versions": {"python": platform.python_version(), "fastpt": __version__, **_versions()},
        "git": _commit(Path(__file__).resolve().parents[2]),
        "samples_id": dataset.samples_id,
        "images_id": dataset.images_id,
        "dataset": {
            "name": dataset.name,
            "split": dataset.split,
            "samples": len(dataset),
            "class_names": dataset.class_names,
        },
        "noise": noise.provenance() if noise else None,
        "measured_on": {
            key: {"data": str(measured.path), "samples_id": measured.samples_id, "images_id": measured.images_id}
            for key, measured in task.measured_on.items()
        },
        "seed": recipe.seed,
        "command": command,
        **machine,
    }
    return {**origin, "settings_sha256": _settings_sha256(recipe, origin, noise.identity if noise else None)}


def _settings_sha256(recipe: Recipe, origin: Mapping[str, Any], noise: str | None) -> str:
    """A sum over all that the weights depend on, but code and machine: checkpoints and exports carry it."""
    settings = {key: value for key, value in flat(recipe.as_dict()).items() if not is_free(key)}
    data = [origin[key] for key in ("samples_id", "images_id", "measured_on")]
    text = json.dumps([settings, data, noise], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _versions() -> dict[str, str]:
    """Of the packages that matter, and of those that brought models."""
    from fastpt.models import INSTALLED  # torch, which those who only read need not have

    found = {**INSTALLED}
    for name in PACKAGES:
        try:
            found["open_clip" if name == "open_clip_torch" else name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _commit(root: Path) -> str | None:
    """The commit of the package's own checkout `root`, with `-dirty` behind it where its code differs.

    None if the package is installed: a repository that it only lies in, such as that of a project with its environment,
    is not asked. Where git cannot be asked, a sentence says why.
    """
    if not _is_checkout(root):
        return None
    # Git takes a repository from the environment (of a hook, say) before it looks, and none of another user's: here,
    # whose code is running already.
    git = ["git", "--no-optional-locks", "-c", f"safe.directory={root}", "-C", str(root)]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}

    def ask(*words: str) -> str:
        asked = subprocess.run([*git, *words], env=environment, capture_output=True, text=True, check=True, timeout=20)
        return asked.stdout.strip()

    try:
        return ask("rev-parse", "HEAD") + "-dirty" * bool(ask("status", "--porcelain", "--", "fastpt", "datasets_prep"))
    except (OSError, subprocess.SubprocessError) as error:
        why = getattr(error, "stderr", None) or error
        return f"unknown: git could not be asked ({one_line(why, 200)})"


def _is_checkout(root: Path) -> bool:
    """Whether a folder is the top of a repository, and of this package."""
    try:
        project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return (root / ".git").exists() and project.get("project", {}).get("name") == "fastpt"
