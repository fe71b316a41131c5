"""A suite: the labelled splits on which encoders are compared, in domain (ID) and out of domain (OOD).

    name: demo
    id:
      - {name: textures, train: data/demo/textures-train, test: data/demo/textures-test, metric: accuracy}
    ood:
      - {name: demo, train: data/demo/train, tests: {clipart: data/demo/clipart, sketch: data/demo/sketch}}

A split is a prepared one, or files of features that somebody else has computed:

      - {name: mnli, train: {features: mnli.npy, labels: mnli_y.npy}, test: {features: mnli_dev.npy, labels: dev_y.npy}}

Splits in a list are one, as where a set has a part to validate on, which its benchmark trains on too:

      - {name: pcam, train: [data/pcam/train, data/pcam/valid], test: data/pcam/test}

Where there is no split to test on, each picture may be tested once, by a head that has not seen it nor its fold:

      - {name: digits, train: data/digits/train, folds: 2}

Pictures of a test may be corrupted:

        tests: {noise: {split: data/pets/test, corruption: {noise: 30}}}

A test may know only some of the training classes; heads then answer among these:

        tests: {a: {split: data/imagenet_a/test, classes: subset}}

Paths are relative to the current folder, as in recipes.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator

from fastpt import Dataset
from fastpt.config import Section
from fastpt.data.classes import Classed, differing, misnamed
from fastpt.data.concat import ConcatDataset
from fastpt.data.json_records import unique_keys
from fastpt.errors import FastptError
from fastpt.tuning.corruptions import Corruption
from fastpt.tuning.feature_files import FeatureSet, read_features
from fastpt.tuning.folds import first, folds
from fastpt.tuning.methods.head_training import Variant
from fastpt.tuning.published import Published

Metric = Literal["accuracy", "mean_per_class"]
Folder = Annotated[str, Field(min_length=1)]
Data = Dataset | ConcatDataset | FeatureSet
Domain = Literal["id", "ood"]


class SplitSpec(Section):
    """Where a labelled split comes from: the path of a prepared split, or one of these."""

    split: Folder | Annotated[list[Folder], Field(min_length=1)] | None = None
    """Folder of a prepared split, or of several that are one."""
    features: str | None = Field(default=None, min_length=1)
    """File of features: .npy, .safetensors or .parquet."""
    labels: str | None = Field(default=None, min_length=1)
    """File of their labels; by default `features` holds them too."""
    classes: str | None = Field(default=None, min_length=1)
    """What a test's classes are to the training classes; by default they are the same. `subset`: some of them, by
    their ids; `index`: folders named by the number of a training class; or a JSON file that maps each class of the test
    to a training class, or to a list of those that count as right. Samples of classes that it does not map are left
    out."""

    corruption: Corruption | None = None
    """What the pictures of a test go through before the encoder sees them."""

    @model_validator(mode="before")
    @classmethod
    def _from_path(cls, value: Any) -> Any:
        return {"split": value} if isinstance(value, str | list) else value

    @property
    def splits(self) -> list[str]:
        """Folders of its prepared splits; none of features."""
        return [self.split] if isinstance(self.split, str) else self.split or []


class TrainedSet(Section):
    """A set on whose training split heads are trained."""

    name: str
    """Name of the set."""
    train: SplitSpec
    """The split that heads train on."""
    metric: Metric | dict[Variant, Metric] = "accuracy"
    """Share of right answers: of all samples, or the mean over classes of each class's. Where the paper has another
    than its authors' code, one for each: {paper: mean_per_class, reference-code: accuracy}."""
    published: Published | None = None
    """Source, licence and counts of the set as it was published, which the splits are held against."""
    max_train: int | None = Field(default=None, ge=1)
    """Heads are trained on that many samples of the training split at most, of each class its share: the first by a
    hash of their keys, so that fewer are some of more."""
    max_train_per_class: int | None = Field(default=None, ge=1)
    """The same, of each class that many at most."""
    prep: str | None = None
    """The command that makes the set, `fastpt prep ...`, told where it is missing and run by `tune --prepare`; other
    words say what to do by hand."""


class InDomain(TrainedSet):
    """Train on a training split, test on the test split of the same set; or by cross-fitting."""

    test: SplitSpec | None = None
    """The split that they are tested on."""
    folds: int | None = Field(default=None, ge=2, le=100)
    """In place of a test: the training split is cut into that many parts, equal in every class and by a hash of the
    keys, and each is tested by heads that were trained on the others."""


class OutOfDomain(TrainedSet):
    """Train on one domain, test on others."""

    tests: dict[str, SplitSpec] = Field(min_length=1)
    """Name and split of each domain they are tested on."""


class Suite(Section):
    """Sets to measure on."""

    name: str
    """Name of the suite, and of the file of its results."""
    id: list[InDomain] = []
    """In-domain sets."""
    ood: list[OutOfDomain] = []
    """Out-of-domain sets."""

    def sources(self) -> list[tuple[str, SplitSpec]]:
        """Every split, with the name of its set."""
        return [(one.name, source) for one in [*self.id, *self.ood] for source in (one.train, *tests_of(one).values())]

    @property
    def has_features(self) -> bool:
        """Whether the splits are feature files, so that no encoder is needed."""
        return self.sources()[0][1].features is not None


@dataclass(frozen=True)
class TestSplit:
    """A split to test on."""

    data: Data
    corruption: Corruption | None = None
    answers: np.ndarray | None = None
    """int64 [training classes]: the class of `data` that each stands for, −1 for none; None if they are the same."""


@dataclass(frozen=True)
class DownstreamSet:
    """One training split and the splits that its heads are tested on, opened and found to agree in their classes."""

    domain: Domain
    name: str
    metric: Metric
    train: Data
    tests: dict[str, TestSplit]
    trained: tuple[np.ndarray, ...] | None = None
    """Ids of the training samples that heads are trained on, int64, once for each fold; None: all, without folds."""
    fold: np.ndarray | None = None
    """int64 [N], the fold that tests a sample of the training split; None: the tests have splits of their own."""
    departures: tuple[str, ...] = ()
    """In what the splits are not as the set was published, a line each."""

    @property
    def classes(self) -> int:
        """How many classes heads are trained on."""
        return len(self.train.classes)


@dataclass(frozen=True)
class Missing:
    """A set that is not measured, or not by one method."""

    domain: Domain
    set: str
    reason: str
    """Why, and what to do."""
    method: str | None = None
    """None: any."""
    failed: bool = False
    """Whether it should have been measured: it is there, and could not be used."""

    @property
    def where(self) -> str:
        return f"{self.set}, {self.method}" if self.method else self.set


def open_suite(suite: Suite, variant: Variant = "paper") -> tuple[list[DownstreamSet], list[Missing]]:
    """The sets whose splits are there, and those of which one is not, or cannot be used. Metrics are the variant's.

    Raises FastptError if none is there, or if splits of a set do not agree in their classes: of all such sets at once.
    """
    found: list[DownstreamSet] = []
    missing: list[Missing] = []
    wrong: list[str] = []
    for one in [*suite.id, *suite.ood]:
        domain: Domain = "id" if isinstance(one, InDomain) else "ood"
        opened = _Opened()
        train = opened.split(one.train, one.prep)
        data = {name: opened.split(source, one.prep) for name, source in tests_of(one).items()}
        if opened.reasons:
            missing.append(Missing(domain, one.name, " ".join(opened.reasons), failed=opened.failed))
        tests: dict[str, TestSplit] = {}
        for name, test in data.items() if train is not None else ():
            if train is not None and test is not None:
                try:
                    source = tests_of(one)[name]
                    tests[name] = TestSplit(test, source.corruption, _answers(one.name, train, test, source.classes))
                except FastptError as error:
                    wrong.append(str(error))
        if train is not None and tests:
            if one.published and (problem := one.published.check_classes(len(train.classes))):
                missing.append(Missing(domain, one.name, problem, failed=True))
                continue
            counts = {name: len(test.data) for name, test in tests.items()}
            departures = tuple(one.published.departures(len(train), counts)) if one.published else ()
            metric = one.metric[variant] if isinstance(one.metric, dict) else one.metric
            try:
                found.append(DownstreamSet(domain, one.name, metric, train, tests, *_trained(one, train), departures))
            except FastptError as error:
                wrong.append(f"set {one.name}: {error}")
    if wrong:
        raise FastptError("\n".join(wrong))
    if not found:
        listing = "\n".join(f"  {entry.set}: {entry.reason}" for entry in missing)
        raise FastptError(f"no set of suite {suite.name} is there:\n{listing}")
    return found, missing


def tests_of(one: InDomain | OutOfDomain) -> dict[str, SplitSpec]:
    """The splits that the heads of a set are tested on, by name."""
    if isinstance(one, OutOfDomain):
        return one.tests
    if one.test is None:
        return {f"{one.folds} folds": one.train}
    return {"+".join(Path(split).name for split in one.test.splits) or "test": one.test}


def _trained(one: InDomain | OutOfDomain, train: Data) -> tuple[tuple[np.ndarray, ...] | None, np.ndarray | None]:
    """`DownstreamSet.trained` and `.fold`. Raises FastptError if a class is in fewer samples than folds."""
    number, most, each = (one.folds if isinstance(one, InDomain) else None), one.max_train, one.max_train_per_class
    if isinstance(train, FeatureSet) or not (number or most or each):
        return None, None
    keys, labels = train.keys, train.targets(None, "labels")
    fold = folds(keys, labels, train.classes, number) if number else None
    parts = [np.arange(len(labels))] if fold is None else [np.flatnonzero(fold != i) for i in range(number or 0)]
    return tuple(
        rows[first([keys[row] for row in rows], labels[rows], train.classes, most, each)] for rows in parts
    ), fold


class _Opened:
    """The splits of a set as far as they could be opened: why others could not, and whether one is there but broken."""

    def __init__(self):
        self.reasons: list[str] = []
        self.failed = False

    def split(self, source: SplitSpec, prep: str | None) -> Data | None:
        """The split, or None and a sentence more."""
        paths = [Path(one) for one in (*source.splits, source.features, source.labels) if one]
        gone = [path for path in paths if not (path / "dataset.json" if source.split else path).exists()]
        if gone and (prep or source.features):
            advice = f"Prepare it: {prep}" if prep else "Put it there, or mend its path in the suite."
            self.reasons[:] = [reason.removesuffix(f" {advice}") for reason in self.reasons]  # once, at the end
            self.reasons.append(f"{gone[0]} is not there. {advice}")
            return None
        try:
            if source.features:
                return read_features(*paths)
            return Dataset(paths[0]) if len(paths) == 1 else ConcatDataset(paths, [1] * len(paths))
        except FastptError as error:
            self.reasons.append(str(error))
            self.failed |= not gone
            return None


def _answers(name: str, train: Data, test: Data, classes: str | None) -> np.ndarray | None:
    """`TestSplit.answers`, after a check that the classes agree as `classes` says."""
    for data in (train, test):
        if not data.has_labels:
            raise FastptError(f"set {name}: {data.path} has no labels to tune on.")
        if isinstance(data, ConcatDataset) and not data.classes:
            raise FastptError(
                f"set {name}: {data.path} are joined, but differ in their classes "
                f"({', '.join(str(len(part.classes)) for part in data.parts)}). Prepare them from one source."
            )
    if isinstance(train, FeatureSet) or isinstance(test, FeatureSet):
        assert isinstance(train, FeatureSet)  # a suite does not mix them
        assert isinstance(test, FeatureSet)
        return _feature_answers(name, train, test, classes)
    if classes is None:
        if train.classes != test.classes:
            how = differing(train.classes, test.classes, "in the first", "in the second")
            raise FastptError(
                f"set {name}: {train.path} has {len(train.classes)} classes and {test.path} {len(test.classes)}, and "
                f"they do not agree ({how}). Prepare both from one source, or say `classes: subset`, which goes by "
                "their ids, where the test has some of them."
            )
        _check_names(name, train, test, np.arange(len(train.classes)))
        return None
    wanted: Mapping[str, str | list[str]]
    number = {known: i for i, known in enumerate(train.classes)}
    if classes == "subset":
        wanted = {known: known for known in test.classes}
    elif classes == "index":
        wanted = {
            known: train.classes[int(known)] if known.isdecimal() and int(known) < len(train.classes) else known
            for known in test.classes
        }
    else:
        wanted = _mapping(Path(classes), test)
    answers = np.full(len(train.classes), -1, np.int64)
    for label, known in enumerate(test.classes):
        stands_for = wanted.get(known, [])
        for other in [stands_for] if isinstance(stands_for, str) else stands_for:
            if other not in number or answers[number[other]] >= 0:
                state = "no training class" if other not in number else "a training class that is mapped already"
                raise FastptError(
                    f"set {name}: class {known!r} of {test.path} is {other!r} by `classes: {classes}`, {state} of "
                    f"{train.path}. Mend the mapping."
                )
            answers[number[other]] = label
    if classes == "subset":
        _check_names(name, train, test, answers)
    return answers


def _check_names(name: str, train: Classed, test: Classed, answers: np.ndarray) -> None:
    """Raise FastptError if classes that pass for the same by their ids are others by their readable names."""
    if problem := misnamed(train, test, answers.tolist()):
        raise FastptError(
            f"set {name}: {problem}. Prepare both from one source, or give a JSON file that maps the classes: "
            "`classes: FILE`."
        )


def _feature_answers(name: str, train: FeatureSet, test: FeatureSet, classes: str | None) -> np.ndarray | None:
    """Labels of feature files are numbers of one list of classes."""
    if test.values.shape[1] != train.values.shape[1]:
        raise FastptError(
            f"set {name}: {train.path} has {train.values.shape[1]} dimensions and {test.path} {test.values.shape[1]}. "
            "Give features of one encoder."
        )
    if len(train.classes) > len(train.values):
        raise FastptError(
            f"set {name}: the labels of {train.path} go up to {len(train.classes) - 1}, but it has {len(train.values)} "
            "samples. Number the classes from 0, without gaps, and give at least one sample a class."
        )
    if len(test.classes) > len(train.classes):
        raise FastptError(
            f"set {name}: {test.path} has the label {len(test.classes) - 1}, but the labels of {train.path} end at "
            f"{len(train.classes) - 1}. Train on every class that is tested."
        )
    if classes is None:
        return None
    if classes != "subset":
        raise FastptError(f"set {name}: `classes: {classes}` needs class names, which feature files lack. Use subset.")
    return np.where(np.isin(np.arange(len(train.classes)), test.labels), np.arange(len(train.classes)), -1)


def _mapping(path: Path, test: Dataset | ConcatDataset) -> dict[str, str | list[str]]:
    """A JSON file {class of the test: training class, or list of them}."""
    if not path.is_file():  # a pipe would be waited for
        raise FastptError(f"the mapping of classes {path} is no file. Give subset, index or JSON.")
    try:
        mapping = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=unique_keys)
    except (OSError, ValueError) as error:
        raise FastptError(
            f"the mapping of classes {path} cannot be read ({error}). Give subset, index or JSON."
        ) from None
    values = mapping.values() if isinstance(mapping, dict) else [None]
    if not all(isinstance(name, str) for value in values for name in (value if isinstance(value, list) else [value])):
        raise FastptError(f"{path} should map each class of {test.path} to a training class or a list of them.")
    if not set(mapping) & set(test.classes):
        raise FastptError(f"{path} maps {sorted(mapping)[:3]}, but {test.path} has the classes {test.classes[:3]}.")
    return mapping
