"""One method on one downstream set: heads are trained, tested, and kept; all that are asked for, side by side."""

import itertools
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from fastpt.data.classes import no_words
from fastpt.errors import FastptError
from fastpt.noise.kinds.symmetric import symmetric
from fastpt.tuning.answers import pack
from fastpt.tuning.config import TuningConfig
from fastpt.tuning.encoders.encoder import Encoder, check_has_words
from fastpt.tuning.feature_files import FeatureSet
from fastpt.tuning.features import features_of
from fastpt.tuning.kept import KeptHeads, Part, code, content
from fastpt.tuning.methods import METHODS, ClassNames, Fitted, HeadSpec, TrainingData, TrainingImages, TrainsOn
from fastpt.tuning.metrics import Answers, measured
from fastpt.tuning.results import Row, Spectrum
from fastpt.tuning.sets import FeaturedSet, Fold, Split, read_split, say
from fastpt.tuning.spectrum import (
    class_alignment,
    effective_rank,
    largest_singular_value_ratio,
    singular_value_entropy,
    singular_values,
    uniformity,
)
from fastpt.tuning.subsets import subset
from fastpt.tuning.suites import DownstreamSet

MOST_SINGULAR_VALUES = 512


@dataclass(frozen=True, eq=False)
class Job:
    """One method on one downstream set."""

    data: FeaturedSet
    method: str
    trains_on: TrainsOn
    config: TuningConfig
    encoder: Encoder | None
    decoder: str
    threads: int
    cache: Path  # for what heads measured

    @property
    def title(self) -> str:
        """What is trained on what, for those who wait."""
        return f"{self.data.downstream.domain} {self.data.downstream.name}: {self.method}"

    def training_data(self, fold: Fold) -> TrainingData:
        """What the method gets to see."""
        train, downstream = self.data.train.rows(fold.trained), self.data.downstream
        views = self._views()
        features = train.features if views is None else views
        if views is not None and fold.trained is not None:
            features = views[:, torch.from_numpy(fold.trained)]
        if self.trains_on == "names":
            return TrainingData(features, train.labels, downstream.classes, names=self.names)
        if self.trains_on != "images":
            return TrainingData(features, train.labels, downstream.classes)
        assert self.encoder is not None
        assert train.sample_ids is not None
        assert not isinstance(downstream.train, FeatureSet)
        images = TrainingImages(self.encoder, downstream.train, train.sample_ids, self.decoder, self.threads)
        return TrainingData(features, train.labels, downstream.classes, images)

    @cached_property
    def names(self) -> ClassNames:
        """What the classes are called; told if that is no words."""
        one, encoder = self.data.downstream, self.encoder
        assert encoder is not None
        assert not isinstance(one.train, FeatureSet)
        names = one.train.class_names
        odd, times = [name for name in names if not name.strip()] + no_words(names), Counter(names)
        same = [name for name in times if times[name] > 1]
        for found, what in ((odd, "are no words"), (same, "stand for several classes, of which the first alone wins")):
            if found:
                say(
                    f"{self.title}: {len(found)} of {one.classes} class names {what}, such as {found[0]!r}; they are "
                    "taken as they are. Prepare the split with names (classes.json beside class folders)."
                )
        return ClassNames(encoder, names)

    def _views(self) -> torch.Tensor | None:
        """float32 [V, N, D], for a method that trains on views."""
        if not isinstance(self.trains_on, int):
            return None
        assert self.data.views is not None
        return self.data.views[: self.trains_on]

    def tests(self, fitted: Fitted, fold: Fold) -> dict[str, Split]:
        """What a fold tests, under the fine-tuned encoder, if there is one: its features are of one use, not kept."""
        if fitted.encoder is None:
            return {name: split.rows(fold.tested) for name, split in self.data.tests.items()}
        with TemporaryDirectory() as scratch:
            read = partial(features_of, fitted.encoder, decoder=self.decoder, threads=self.threads, cache=Path(scratch))
            tests = self.data.downstream.tests.items()
            return {name: read_split(test, read).rows(fold.tested) for name, test in tests}

    def key(self, device: torch.device) -> dict[str, Any]:
        """All that what the heads measure depends on."""
        one, config = self.data.downstream, self.config
        on_gpu = device.type == "cuda"
        return {
            "code": code(self.method),
            "method": self.method,
            "options": {name: str(value) for name, value in config.options_of(self.method).items()},
            "seeds": list(config.seeds),
            "fractions": list(config.fractions),
            "label_noise": config.label_noise,
            "set": [one.domain, one.name, one.metric, one.classes],
            "train": self.data.train.content,
            "views": content(self._views()),
            "images": self._images_key() if self.trains_on == "images" else None,
            "names": self._names_key() if self.trains_on == "names" else None,
            "folds": [content(fold.trained, fold.tested) for fold in self.data.folds],
            "tests": {name: split.content for name, split in self.data.tests.items()},
            "device": torch.cuda.get_device_name(device) if on_gpu else torch.backends.cpu.get_cpu_capability(),
            "threads": torch.get_num_threads(),
        }

    def _names_key(self) -> list[Any]:
        """What zero-shot takes besides features: the encoder, the names as its tokenizer has them, and the library that
        templates come from."""
        encoder, names = self.names.encoder, self.names.names
        tokens = check_has_words(encoder)[1](names).tolist()
        library = version("open_clip_torch")
        return [encoder.architecture, encoder.weights_sha256, encoder.precision, names, tokens, library]

    def _images_key(self) -> dict[str, Any]:
        """What fine-tuning takes besides features: the encoder and the pictures of all splits."""
        one, encoder = self.data.downstream, self.encoder
        assert encoder is not None
        splits = {"": one.train} | {name: test.data for name, test in one.tests.items()}
        return {
            "encoder": [encoder.architecture, encoder.weights_sha256, asdict(encoder.preprocessing), encoder.precision],
            "pictures": {name: data.images_id for name, data in splits.items() if not isinstance(data, FeatureSet)},
            "decoder": self.decoder,
        }

    def measure(self, device: torch.device) -> Part:
        """Train the heads and test them; those that an earlier tuning trained are not trained again.

        Raises FastptError.
        """
        with METHODS.blaming(self.method):
            parts = list(self._parts(device))
        rows, spectra = [row for part in parts for row in part.rows], [one for part in parts for one in part.spectra]
        answers = [one for part in parts for one in part.answers]
        return Part(sum(part.heads for part in parts), rows, spectra, answers)

    def _parts(self, device: torch.device) -> Iterator[Part]:
        heads = len(self.config.seeds) * len(self.config.fractions)
        kept, done = KeptHeads(self.cache, self.key(device)), 0
        while done < heads and (part := kept.read(done)):
            done += part.heads
            yield part
        if done:
            say(f"{self.title}: {done} of {heads} heads are kept from before")
        if done < heads:
            given = map(self.training_data, self.data.folds)
            for fitted in zip(*(train(self.config, self.method, one, device, done) for one in given), strict=True):
                part = self._measured(fitted, device)
                kept.write(done, part)
                done += part.heads
                if part.heads < heads:
                    say(f"{self.title}, {done} of {heads} heads: {_accuracies(part.rows)}")
                yield part

    def _measured(self, fitted: Sequence[Fitted], device: torch.device) -> Part:
        """What the heads of each fold reach together. The spectrum is that of the first seed, trained on the largest
        fraction; of the first fold, as what the heads of others make of features has axes of its own."""
        one, spectra, of_first = self.data.downstream, [], fitted[0]
        shown = {"seed": self.config.seeds[0], "fraction": max(self.config.fractions)}
        tests = [self.tests(of_fold, fold) for of_fold, fold in zip(fitted, self.data.folds, strict=True)]
        found = [one for test in tests[0] for one in self._rows(test, [one[test] for one in tests], fitted, device)]
        heads = [head for head, settings in enumerate(of_first.settings) if shown.items() <= settings.items()]
        if of_first.transformed and heads:
            spectra = [
                spectrum(
                    one, test, self.method, of_first.transformed(split.features.to(device), heads[0]), split.labels
                )
                for test, split in tests[0].items()
            ]
        return Part(len(of_first.settings), [row for row, _ in found], spectra, [answers for _, answers in found])

    def _rows(
        self, test: str, splits: Sequence[Split], fitted: Sequence[Fitted], device: torch.device
    ) -> Iterator[tuple[Row, str]]:
        """Of each head a row, and its packed answers; `splits` are what each fold tests."""
        one = self.data.downstream
        answered = zip(
            *(split.answered(mine, one.classes, device) for split, mine in zip(splits, fitted, strict=True)),
            strict=True,
        )
        found = ((measured(one), pack(one.named)) for one in map(self._in_order, answered))
        chosen = zip(*(mine.settings for mine in fitted), strict=True)
        validations = zip(*(mine.validation or [None] * len(mine.settings) for mine in fitted), strict=True)
        for of_folds, (measures, answers), validation in zip(chosen, found, validations, strict=True):
            settings, known = _of_all_folds(of_folds), [value for value in validation if value is not None]
            value = measures[one.metric]
            assert value is not None  # of answers alone
            row = Row(
                domain=one.domain,
                set=one.name,
                test=test,
                method=self.method,
                metric=one.metric,
                value=value,
                samples=sum(len(split.labels) for split in splits),
                seed=settings["seed"],
                fraction=settings["fraction"],
                settings={name: value for name, value in settings.items() if name not in ("seed", "fraction")},
                validation=fmean(known) if len(known) == len(fitted) else None,
                measures=measures,
            )
            yield row, answers

    def _in_order(self, answers: Sequence[Answers]) -> Answers:
        """The answers of all folds as of one head, in the order of the test."""
        if len(answers) == 1:
            return answers[0]
        order = np.argsort(np.concatenate([fold.tested for fold in self.data.folds if fold.tested is not None]))
        predicted, labels, scores = (
            np.concatenate([getattr(one, name) for one in answers])[order] for name in ("predicted", "labels", "scores")
        )
        return Answers(predicted, labels, scores, answers[0].has_probabilities, answers[0].classes)


def _of_all_folds(settings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What was chosen for a head; where folds chose otherwise, their choices in order, as a text."""
    every = {name: [one[name] for one in settings] for name in settings[0]}
    return {name: of[0] if of.count(of[0]) == len(of) else ", ".join(map(str, of)) for name, of in every.items()}


def _accuracies(rows: Sequence[Row]) -> str:
    """The mean over heads of each test, for those who wait."""
    values: dict[str, list[float]] = {}
    for row in rows:
        values.setdefault(row.test, []).append(row.value)
    return ", ".join(f"{test} {np.mean(found):.2%}" for test, found in values.items())


def train(
    config: TuningConfig, method: str, data: TrainingData, device: torch.device | str, done: int = 0
) -> Iterator[Fitted]:
    """Heads of every seed and fraction but the first `done`; seed and fraction go before what was chosen for each.

    The labels are given as they are before the noise of `config`. Raises FastptError.
    """
    labels = noisy(data.labels, data.classes, config.label_noise)
    left = [{"seed": seed, "fraction": fraction} for fraction in config.fractions for seed in config.seeds]
    left = left[done:]
    heads = [
        HeadSpec(one["seed"], rows=None if one["fraction"] == 1 else subset(labels, one["fraction"], one["seed"]))
        for one in left
    ]
    given = replace(data, labels=labels)
    for fitted in METHODS.get(method).fit(given, heads, torch.device(device), **config.options_of(method)):
        mine, left = left[: len(fitted.settings)], left[len(fitted.settings) :]
        for name, value in (item for chosen in fitted.settings for item in chosen.items()):
            if name in Row.__dataclass_fields__ or not isinstance(value, (int, float, str)):
                raise FastptError(
                    f"{method} records {name!r} as a setting, of type {type(value).__name__}, which is a fault of its "
                    "own: a setting is a number or text, and not called as a column of the results."
                )
        settings = [one | chosen for one, chosen in zip(mine, fitted.settings, strict=True)]
        yield replace(fitted, settings=settings)
    if left:
        raise FastptError(
            f"{method} trained {len(heads) - len(left)} of {len(heads)} heads, which is a fault of its own."
        )


def noisy(labels: np.ndarray, classes: int, rate: float) -> np.ndarray:
    """Labels int64 [N], round(rate · N) of them flipped uniformly to another class, of each its share, by row."""
    if rate == 0:
        return labels
    keys, names = (list(map(str, range(count))) for count in (len(labels), classes))
    return symmetric(keys, labels, names, rate, seed=0).astype(np.int64)


def measure(jobs: Sequence[Job], device: torch.device) -> Iterator[tuple[Job, Part | FastptError]]:
    """Each job with what it measured, or why it failed, as they end: those on features first, then those on images.

    On features, each is a job of its own on few threads: the matrices are small, and threads that share one product
    spend their time waiting for each other, all the more beside other programs.
    """
    light, heavy = ([job for job in jobs if (job.trains_on == "images") == images] for images in (False, True))
    longest_first = sorted(light, key=lambda job: (-job.config.methods.index(job.method), -len(job.data.train.labels)))
    threads = jobs[0].threads
    number = itertools.count(1)

    def measured(job: Job) -> Part | FastptError:
        start = time.perf_counter()
        try:
            part = job.measure(device)
        except FastptError as error:
            say(f"{next(number)} of {len(jobs)}, {job.title}: failed: {error}")
            return error
        heads = f"{part.heads} head{'s' * (part.heads != 1)}, {time.perf_counter() - start:.1f} s"
        say(f"{next(number)} of {len(jobs)}, {job.title}: {_accuracies(part.rows)} ({heads})")
        return part

    with _threads(_threads_each(threads, len(light) or 1)):
        # Loads torch's linear algebra for the device, which fails if several threads are the first to need it.
        torch.linalg.eigvalsh(torch.eye(2, device=device))
        pool = ThreadPoolExecutor(min(threads, len(light) or 1))  # none, where all that is left fine-tunes
        try:
            futures = {pool.submit(measured, job): job for job in longest_first}
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)  # what has not begun, where one broke down
    for job in heavy:
        yield job, measured(job)


def measure_first(jobs: Sequence[Job], sets: int, device: torch.device) -> Part | None:
    """What the first of a set's jobs measures, on as many threads as `measure` gives each job of so many sets, told at
    once. None if it fails: `measure` tells why."""
    light = sum(job.trains_on != "images" for job in jobs)
    with _threads(_threads_each(jobs[0].threads, sets * light)):
        try:
            part = jobs[0].measure(device)
        except FastptError:
            return None
    say(f"first, {jobs[0].title}: {_accuracies(part.rows)}")
    return part


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """So many threads to a product of torch, and one to those of numpy and scipy, which have no large ones here. Only
    the thread that says so first may say how many a BLAS has."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with threadpool_limits(1, "blas"):
            yield
    finally:
        torch.set_num_threads(before)


def _threads_each(threads: int, jobs: int) -> int:
    """Of jobs on features side by side: how they are summed in a product depends on it."""
    return max(1, threads // jobs)


def spectrum(downstream: DownstreamSet, test: str, stage: str, features: torch.Tensor, labels: np.ndarray) -> Spectrum:
    """What the features of a test with these labels are like. Raises FastptError if there is no spectrum."""
    sigma = singular_values(features)
    return Spectrum(
        domain=downstream.domain,
        set=downstream.name,
        test=test,
        stage=stage,
        sve=singular_value_entropy(sigma),
        lsvr=largest_singular_value_ratio(sigma),
        effective_rank=effective_rank(sigma),
        alignment=class_alignment(features, labels),
        uniformity=uniformity(features),
        singular_values=[float(f"{value:.6g}") for value in (sigma / sigma[0])[:MOST_SINGULAR_VALUES]],
    )
