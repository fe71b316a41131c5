"""A suite: the labelled splits on which encoders are compared, in domain (ID) and out of domain (OOD).

    name: demo
    id:
      - {name: textures, train: data/demo/textures-train, test: data/demo/textures-test, metric: accuracy}
    ood:
      - {name: demo, train: data/demo/train, tests: {clipart: data/demo/clipart, sketch: data/demo/sketch}}

Paths are relative to the current folder, as in recipes.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from fastpt import Dataset
from fastpt.errors import FastptError
from fastpt.strict_yaml import load_strict

FOLDER = Path(__file__).parents[2] / "recipes" / "suites"
Metric = Literal["accuracy", "mean_per_class"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, use_attribute_docstrings=True)


class InDomain(_Section):
    """Train on a training split, test on the test split of the same set."""

    name: str
    train: str
    """Folder of the prepared split that heads train on."""
    test: str
    """Folder of the prepared split that they are tested on."""
    metric: Metric = "accuracy"
    """Share of right answers: of all samples, or the mean over classes of each class's."""
    prep: str | None = None
    """The command that makes the set, told where it is missing."""


class OutOfDomain(_Section):
    """Train on one domain, test on others with the same classes."""

    name: str
    train: str
    """Folder of the prepared split that heads train on."""
    tests: dict[str, str] = Field(min_length=1)
    """Name and folder of each domain they are tested on."""
    metric: Metric = "accuracy"
    """Share of right answers: of all samples, or the mean over classes of each class's."""
    prep: str | None = None
    """The command that makes the set, told where it is missing."""


class Suite(_Section):
    """Sets to measure on."""

    name: str
    id: list[InDomain] = []
    """In-domain sets."""
    ood: list[OutOfDomain] = []
    """Out-of-domain sets."""


@dataclass(frozen=True)
class Task:
    """One training split and the splits that its heads are tested on, opened and found to agree in their classes."""

    setting: Literal["id", "ood"]
    name: str
    metric: Metric
    train: Dataset
    tests: dict[str, Dataset]


def load_suite(suite: str) -> Suite:
    """Read a suite: the name of one in recipes/suites, or the path of a YAML file. Raises FastptError."""
    if suite.endswith((".yaml", ".yml")):
        path = Path(suite)
    else:
        path = FOLDER / f"{suite}.yaml"
        if not path.is_file():
            known = ", ".join(sorted(found.stem for found in FOLDER.glob("*.yaml"))) or "none"
            raise FastptError(f"there is no suite {suite!r}. Known suites: {known}; or give the path of a YAML file.")
    loaded = load_strict(Suite, path)
    names = [("id", one.name) for one in loaded.id] + [("ood", one.name) for one in loaded.ood]
    twice = sorted({name for name in names if names.count(name) > 1})
    if not names or twice:
        wrong = f"names {twice[0][1]!r} twice under {twice[0][0]}" if twice else "names no set"
        raise FastptError(f"{path} {wrong}. Give every set under id or ood a name of its own.")
    return loaded


def open_suite(suite: Suite) -> tuple[list[Task], list[dict]]:
    """The tasks whose splits are there, and {"set", "reason"} for each that is not.

    Raises FastptError if none is there, or if splits of a set do not agree in their classes.
    """
    tasks: list[Task] = []
    missing: list[dict] = []
    for one in [*suite.id, *suite.ood]:
        reasons: list[str] = []
        train = _open(one.train, one.prep, reasons)
        tests = {Path(one.test).name: one.test} if isinstance(one, InDomain) else one.tests
        opened = {name: _open(path, one.prep, reasons) for name, path in tests.items()}
        there = {name: dataset for name, dataset in opened.items() if dataset is not None}
        if reasons:
            missing.append({"set": one.name, "reason": " ".join(reasons)})
        if train is not None and there:
            for dataset in there.values():
                _check_classes(one.name, train, dataset)
            tasks.append(Task("id" if isinstance(one, InDomain) else "ood", one.name, one.metric, train, there))
    if not tasks:
        listing = "\n".join(f"  {entry['set']}: {entry['reason']}" for entry in missing)
        raise FastptError(f"no set of suite {suite.name} is there:\n{listing}")
    return tasks, missing


def _open(path: str, prep: str | None, reasons: list[str]) -> Dataset | None:
    """The split at `path`, or None and a sentence more in `reasons`."""
    if prep and not Path(path, "dataset.json").is_file():
        advice = f"Prepare it: {prep}"
        reasons[:] = [reason.removesuffix(f" {advice}") for reason in reasons]  # once, at the end
        reasons.append(f"{path} is not there. {advice}")
        return None
    try:
        return Dataset(path)
    except FastptError as error:
        reasons.append(str(error))
        return None


def _check_classes(name: str, train: Dataset, test: Dataset) -> None:
    if not train.has_labels or not test.has_labels:
        raise FastptError(f"set {name}: {(test if train.has_labels else train).path} has no labels to tune on.")
    if train.classes != test.classes:
        only = [sorted(set(a.classes) - set(b.classes))[:3] for a, b in ((train, test), (test, train))]
        raise FastptError(
            f"set {name}: {train.path} has {len(train.classes)} classes and {test.path} {len(test.classes)}, and they "
            f"do not agree (only in the first: {only[0]}, only in the second: {only[1]}). Prepare both from one source."
        )
