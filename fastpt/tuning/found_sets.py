"""The sets of a suite as they lie in a folder of prepared splits, for `fastpt tune --suite FOLDER` and `fastpt init`.

A folder with a split called train is one set in domain, tested on test, else on val. One whose splits are domains of
one list of classes (photo, sketch ...) is as many sets out of domain: heads are trained on each, tested on the others.
"""

from pathlib import Path

from fastpt import Dataset
from fastpt.errors import FastptError
from fastpt.tuning.suites import InDomain, OutOfDomain, SplitSpec, Suite

TRAIN, TESTS = "train", ("test", "val", "valid", "validation")


def sets_in(folder: Path) -> list[InDomain | OutOfDomain]:
    """The sets of a folder. Raises FastptError if it holds no splits with labels that can be tested on."""
    if (folder / "dataset.json").exists():
        raise FastptError(f"{folder} is one split, but a set has splits to train and to test on. Give {folder.parent}.")
    found = sorted(path.parent for path in folder.glob("*/dataset.json"))
    if not found:
        raise FastptError(f"{folder} holds no prepared split. Make one with `fastpt prep`, or give a suite's file.")
    splits = {path.name: Dataset(path) for path in found}
    for split in splits.values():
        if not split.has_labels:
            raise FastptError(f"{split.path} has no labels to tune on. Give a folder whose splits have.")
    name = folder.resolve().name
    if TRAIN in splits:
        test = next((one for one in TESTS if one in splits), None)
        if test is None:
            raise FastptError(
                f"{folder} has train, but no {' or '.join(TESTS[:2])} beside it; `fastpt prep --holdout 0.2` cuts one."
            )
        return [InDomain(name=name, train=_spec(folder / TRAIN), test=_tested(splits[TRAIN], splits[test]))]
    if len(splits) < 2:
        raise FastptError(
            f"{folder} has {found[0].name} alone, and no split to test on. `fastpt prep --holdout` cuts one."
        )
    return [
        OutOfDomain(
            name=f"{name}_{train}",
            train=_spec(folder / train),
            tests={test: _tested(splits[train], splits[test]) for test in splits if test != train},
        )
        for train in splits
    ]


def suite_of(folders: list[Path], name: str | None = None) -> Suite:
    """A suite of the sets in folders, called after the first by default. Raises FastptError."""
    sets = [one for folder in folders for one in sets_in(folder)]
    return Suite(
        name=name or folders[0].resolve().name,
        id=[one for one in sets if isinstance(one, InDomain)],
        ood=[one for one in sets if isinstance(one, OutOfDomain)],
    )


def _spec(path: Path, classes: str | None = None) -> SplitSpec:
    return SplitSpec(split=str(path), classes=classes)


def _tested(train: Dataset, test: Dataset) -> SplitSpec:
    """A split to test on, which may know only some of the classes."""
    some = train.classes != test.classes and set(test.classes) <= set(train.classes)
    return _spec(test.path, "subset" if some else None)
