"""Which suite is meant by its name, its file or a folder of prepared splits, and what is wrong with a file."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from fastpt.config import load_strict
from fastpt.errors import FastptError, RecipeError, suggestion
from fastpt.storage.names import is_plain
from fastpt.tuning.found_sets import suite_of
from fastpt.tuning.methods.head_training import Variant
from fastpt.tuning.suites import InDomain, OutOfDomain, Suite, tests_of

FOLDER = Path(__file__).parents[2] / "recipes" / "suites"  # of a checkout; an installed wheel has none


def load_suite(suite: str) -> Suite:
    """A suite: the name of one in recipes/suites, the path of a YAML file, or a folder of prepared splits.

    Raises RecipeError if it cannot be followed, FastptError if there is none.
    """
    named = FOLDER / f"{suite}.yaml"
    if Path(suite).is_dir():
        if is_plain(suite) and named.is_file():
            raise FastptError(f"{suite} is a folder here and a suite's name. Give ./{suite} or {named}.")
        return suite_of([Path(suite)])
    path = Path(suite) if suite.endswith((".yaml", ".yml")) else named
    if path == named and not path.is_file():
        if not FOLDER.is_dir():
            raise FastptError(
                f"suite {suite!r} cannot be found by its name: {FOLDER} is not there, as fastpt was installed "
                "without its recipes. Install it from a checkout (pip install -e .), or name a YAML file."
            )
        known = sorted(found.stem for found in FOLDER.glob("*.yaml"))
        raise FastptError(
            f"there is no suite {suite!r}; {suggestion(suite, known)} Or give a YAML file or a folder of splits."
        )
    loaded = load_strict(Suite, path)
    if not is_plain(loaded.name):
        raise RecipeError(f"{path}: name {loaded.name!r} is no plain file name, which that of the results is.")
    try:
        os.fsencode(loaded.name)
    except UnicodeEncodeError:
        raise RecipeError(
            f"{path}: name {loaded.name!a} cannot be that of a file in this locale. Set LC_ALL=C.UTF-8, or rename it."
        ) from None
    names = [("id", one.name) for one in loaded.id] + [("ood", one.name) for one in loaded.ood]
    twice = sorted({name for name in names if names.count(name) > 1})
    if not names or twice:
        wrong = f"names {twice[0][1]!r} twice under {twice[0][0]}" if twice else "names no set"
        raise RecipeError(f"{path} {wrong}. Give every set under id or ood a name of its own.")
    for name, source in loaded.sources():
        if (source.split is None) == (source.features is None):
            raise RecipeError(f"{path}: set {name} has a split with neither or both of split and features. Give one.")
        if source.corruption and source.features:
            raise RecipeError(f"{path}: set {name} has features, which no corruption changes. Leave it out.")
        if twice := sorted({one for one in source.splits if source.splits.count(one) > 1}):
            raise RecipeError(f"{path}: set {name} joins {twice[0]} with itself. Name it once.")
        if (source.features is not None) != loaded.has_features:
            raise RecipeError(f"{path} mixes prepared splits and feature files. Give each kind a suite of its own.")
    for problem in (problem for one in [*loaded.id, *loaded.ood] for problem in _set_problems(one)):
        raise RecipeError(f"{path}: {problem}")
    return loaded


def _set_problems(one: InDomain | OutOfDomain) -> Iterator[str]:
    """What keys of a set do not go together."""
    folds = one.folds if isinstance(one, InDomain) else None
    if isinstance(one, InDomain) and (one.test is None) == (folds is None):
        yield f"set {one.name} has neither or both of test and folds. Give one."
    if one.max_train and one.max_train_per_class:
        yield f"set {one.name} has both max_train and max_train_per_class. Give one."
    if one.train.features and (folds or one.max_train or one.max_train_per_class):
        yield f"set {one.name} has features, whose samples have no names that folds or max_train go by. Leave it out."
    if isinstance(one.metric, dict) and len(one.metric) < len(get_args(Variant)):
        yield f"set {one.name} has a metric for {min(one.metric, default='none')} alone. Give one for each variant."
    if one.published and (stray := sorted(one.published.tests.keys() - tests_of(one).keys())):
        yield f"set {one.name} has no test {stray[0]}, of which `published` counts the pictures. Rename it there."
    if one.train.corruption:
        yield f"set {one.name} corrupts what heads are trained on. Give the corruption to tests."
