"""A downstream set as heads see it: features and labels of its training split and of its tests."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
import xxhash

from fastpt import Dataset
from fastpt.data.concat import ConcatDataset
from fastpt.data.overlap import also_in
from fastpt.errors import FastptError
from fastpt.tuning.answers import Truth
from fastpt.tuning.encoders.encoder import Encoder
from fastpt.tuning.feature_cache import Features
from fastpt.tuning.feature_files import FeatureSet
from fastpt.tuning.features import training_view
from fastpt.tuning.kept import content
from fastpt.tuning.methods import Fitted
from fastpt.tuning.metrics import Answers
from fastpt.tuning.suites import Data, DownstreamSet, TestSplit

MOST_SCORES = 2**27
"""Scores of heads of a test in memory at once, unless those of one head are more."""
Reader = Callable[..., Features]
"""`features_of` under one encoder."""


@dataclass(frozen=True, eq=False)
class Split:
    """Features and labels of a split."""

    features: torch.Tensor
    """float32 [N, D]."""
    labels: np.ndarray
    """int64 [N]."""
    answers: np.ndarray | None = None
    """As in `suites.TestSplit`."""
    sample_ids: np.ndarray | None = None
    """int64 [N]; None: the samples are those of a feature file."""

    @cached_property
    def content(self) -> str:
        return content(self.features, self.labels, self.answers, self.sample_ids)

    def rows(self, rows: np.ndarray | None) -> "Split":
        """Those samples alone; None: all."""
        if rows is None:
            return self
        ids = None if self.sample_ids is None else self.sample_ids[rows]
        return Split(self.features[torch.from_numpy(rows)], self.labels[rows], self.answers, ids)

    def answered(self, fitted: Fitted, classes: int, device: torch.device) -> Iterator[Answers]:
        """What each head answers, of the classes that the split knows, numbered by their order there.

        Where several training classes stand for one of the test, its probability is their sum, its score their largest;
        the answer is that of the training class with the largest score. Raises FastptError.
        """
        answers = np.arange(classes) if self.answers is None else self.answers
        known = np.flatnonzero(answers >= 0)
        names, stands_for = np.unique(answers[known], return_inverse=True)
        labels = np.searchsorted(names, self.labels)
        heads, together = len(fitted.settings), max(1, MOST_SCORES // (len(self.labels) * len(known)))
        for first in range(0, heads, together):
            parts = self.features.to(device).split(1024)  # the scores of many heads take memory
            some = [_scores(fitted, part, classes)[first : first + together][..., known].cpu() for part in parts]
            for scores in torch.cat(some, 1):
                predicted = stands_for[scores.argmax(-1).numpy()]
                values = scores.double()
                if len(names) < len(known):
                    joined = torch.logsumexp if fitted.has_probabilities else torch.amax
                    values = torch.stack([joined(values[:, stands_for == i], 1) for i in range(len(names))], 1)
                values = log_odds(values) if fitted.has_probabilities else values
                yield Answers(predicted, labels, values.numpy(), fitted.has_probabilities, names)


def log_odds(logits: torch.Tensor) -> torch.Tensor:
    """Of each class's probability p, the softmax of logits float64 [N, K]: log p / (1 − p) = l_k − log Σ_{j≠k} exp l_j.

    Of the largest logit, whose 1 − p may round to 0, by the others; of the rest p is 1/2 at most.
    """
    top = logits.argmax(-1, keepdim=True)
    of_top = logits.gather(-1, top) - logits.scatter(-1, top, -torch.inf).logsumexp(-1, keepdim=True)
    log_p = logits.log_softmax(-1)
    return (log_p - torch.log1p(-log_p.exp())).scatter(-1, top, of_top)


def _scores(fitted: Fitted, features: torch.Tensor, classes: int) -> torch.Tensor:
    """float [H, N, K]. Raises FastptError if a method gives scores of another shape, or of which none is largest."""
    scores, shape = fitted.logits(features), (len(fitted.settings), len(features), classes)
    if tuple(scores.shape) != shape or scores.isnan().any():
        found = f"of shape {list(scores.shape)}, {int(scores.isnan().sum())} of them NaN"
        raise FastptError(f"its scores are {found}, not numbers of shape {list(shape)}, which is a fault of its own.")
    return scores


@dataclass(frozen=True, eq=False)
class Fold:
    """What heads of a set are trained and tested on; there are several of a cross-fitted set."""

    trained: np.ndarray | None
    """Rows of the training split, int64; None: all."""
    tested: np.ndarray | None
    """Rows of the test, int64; None: all of every test."""


@dataclass(frozen=True, eq=False)
class FeaturedSet:
    """A downstream set with the features of its splits."""

    downstream: DownstreamSet
    train: Split
    tests: dict[str, Split]
    views: torch.Tensor | None
    """float32 [V, N, D], of augmented training pictures, where a method trains on some."""

    @cached_property
    def folds(self) -> list[Fold]:
        """One, unless the set is cross-fitted."""
        ids, one = self.train.sample_ids, self.downstream
        if one.trained is None or ids is None:
            return [Fold(None, None)]
        rows = [np.flatnonzero(np.isin(ids, trained)) for trained in one.trained]
        if one.fold is None:
            return [Fold(rows[0], None)]
        return [Fold(mine, np.flatnonzero(one.fold[ids] == number)) for number, mine in enumerate(rows)]

    def truths(self) -> list[Truth]:
        """The pictures of the tests."""
        one = self.downstream
        return [
            Truth(
                (one.domain, one.name, name),
                np.arange(len(split.labels)) if split.sample_ids is None else split.sample_ids,
                split.labels,
            )
            for name, split in self.tests.items()
        ]

    def trained_labels(self) -> list[np.ndarray]:
        """Of each fold, the labels of what heads are trained on."""
        return [self.train.labels if one.trained is None else self.train.labels[one.trained] for one in self.folds]

    @cached_property
    def in_training(self) -> dict[str, int]:
        """Of each test, how many samples are among those that the heads that are tested on them are trained on: the
        same picture byte for byte, or the same features."""
        trained, found = _hashes(self.downstream.train, self.train), {}
        for name, split in self.tests.items():
            tested = _hashes(self.downstream.tests[name].data, split)
            pairs = [(tested[_rows(fold.tested)], trained[_rows(fold.trained)]) for fold in self.folds]
            found[name] = sum(int(also_in(*pair).sum()) for pair in pairs)
        return found

    @property
    def samples(self) -> dict[str | None, int]:
        """Of each split (None: the training split) the samples that were used: those that could be read."""
        return {None: len(self.train.labels)} | {name: len(split.labels) for name, split in self.tests.items()}


def _rows(rows: np.ndarray | None) -> np.ndarray | slice:
    return slice(None) if rows is None else rows


def _hashes(data: Data, split: Split) -> np.ndarray:
    """What samples of a split are the same by: of pictures, their stored bytes; of features, these. uint64 [N]."""
    if isinstance(data, FeatureSet):
        return np.fromiter(map(xxhash.xxh3_64_intdigest, split.features.numpy()), np.uint64, len(split.labels))
    return data.samples.xxh3[split.sample_ids]


def read_set(encoder: Encoder | None, downstream: DownstreamSet, read: Reader | None, views: int) -> FeaturedSet:
    """Features and labels of a downstream set, and so many views of its training pictures.

    Raises FastptError.
    """
    train = read_split(TestSplit(downstream.train), read)
    tests = {name: read_split(test, read) for name, test in downstream.tests.items()}
    if not views:
        return FeaturedSet(downstream, train, tests, None)
    if encoder is None or read is None or isinstance(downstream.train, FeatureSet):
        raise FastptError(f"it has one view of each sample, and the method wants {views}. Choose another.")
    augmented = [
        _features(downstream.train, read, view=training_view(encoder, number)).values for number in range(views)
    ]
    return FeaturedSet(downstream, train, tests, torch.from_numpy(np.stack(augmented)))


def read_split(split: TestSplit, read: Reader | None) -> Split:
    """Features and labels of a split, from the cache, the encoder or the suite's own files."""
    data, answers = split.data, split.answers
    if isinstance(data, FeatureSet):
        features, labels, ids = data.values, data.labels, None
    else:
        assert read is not None  # an encoder comes with a suite of prepared splits
        found = _features(data, read, corruption=split.corruption)
        features, labels, ids = found.values, data.targets(None, of="labels")[found.sample_ids], found.sample_ids
    if answers is not None:
        known = np.isin(labels, answers)
        if not known.all():
            say(f"{data.path}: {np.sum(~known)} of {len(known)} samples have no training class and are left out")
        features, labels, ids = features[known], labels[known], None if ids is None else ids[known]
    return Split(torch.from_numpy(features), labels, answers, ids)


def _features(data: Dataset | ConcatDataset, read: Reader, **how: Any) -> Features:
    """Features of a split, or of several as one: each is computed by itself, as it may be part of other sets, too."""
    if isinstance(data, Dataset):
        return read(data, **how)
    parts = [read(part, **how) for part in data.parts]
    ids = [part.sample_ids + first for part, first in zip(parts, data.first_rows(), strict=True)]
    return Features(np.concatenate([part.values for part in parts]), np.concatenate(ids))


def splits_of(downstream: DownstreamSet, samples: dict[str | None, int] | None = None) -> list[dict[str, Any]]:
    """What the results say of each split of a set: which samples and pictures, and how many of them were used.

    `samples_id` of feature files is a hash of their features and labels.
    """
    found: list[tuple[str | None, TestSplit]] = [(None, TestSplit(downstream.train)), *downstream.tests.items()]
    return [
        {
            "domain": downstream.domain,
            "set": downstream.name,
            "test": test,
            "path": str(split.data.path),
            **_ids(split.data),
            "answers": None if split.answers is None else content(split.answers),
            "corruption": split.corruption and split.corruption.model_dump(),
            "trained": content(*downstream.trained) if test is None and downstream.trained else None,
            **({} if samples is None else {"samples": samples[test]}),
        }
        for test, split in found
    ]


def _ids(data: Data) -> dict[str, Any]:
    if isinstance(data, FeatureSet):
        return {"samples_id": content(data.values, data.labels), "images_id": None}
    joined = [{"path": str(one.path), **_ids(one)} for one in data.parts] if isinstance(data, ConcatDataset) else None
    return {"samples_id": data.samples_id, "images_id": data.images_id, **({"joined": joined} if joined else {})}


def say(text: str) -> None:
    """Tell those who wait."""
    print(f"tune: {text}", file=sys.stderr, flush=True)
