"""One method on one downstream set: heads are trained, tested, and kept; all that are asked for, side by side."""

import itertools
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from fastpt.errors import FastptError
from fastpt.noise.kinds.symmetric import symmetric
from fastpt.tuning.config import TuningConfig
from fastpt.tuning.encoders.encoder import Encoder
from fastpt.tuning.feature_files import FeatureSet
from fastpt.tuning.features import features_of
from fastpt.tuning.kept import KeptHeads, Part, code
from fastpt.tuning.methods import METHODS, Fitted, HeadSpec, TrainingData, TrainingImages
from fastpt.tuning.metrics import measured
from fastpt.tuning.results import Row, Spectrum
from fastpt.tuning.sets import FeaturedSet, Split, read_split, say
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
    trains_on: str
    config: TuningConfig
    encoder: Encoder | None
    decoder: str
    threads: int
    cache: Path  # for what heads measured

    @property
    def title(self) -> str:
        """What is trained on what, for those who wait."""
        return f"{self.data.downstream.domain} {self.data.downstream.name}: {self.method}"

    def training_data(self) -> TrainingData:
        """What the method gets to see."""
        train, downstream = self.data.train, self.data.downstream
        views = self.data.views if self.trains_on == "views" else None
        features = train.features if views is None else views
        if self.trains_on != "images":
            return TrainingData(features, train.labels, downstream.classes)
        assert self.encoder is not None
        assert train.sample_ids is not None
        assert not isinstance(downstream.train, FeatureSet)
        images = TrainingImages(self.encoder, downstream.train, train.sample_ids, self.decoder, self.threads)
        return TrainingData(features, train.labels, downstream.classes, images)

    def tests(self, fitted: Fitted) -> dict[str, Split]:
        """The tests under the fine-tuned encoder, if there is one: its features are of one use and not kept."""
        if fitted.encoder is None:
            return self.data.tests
        with TemporaryDirectory() as scratch:
            read = partial(features_of, fitted.encoder, decoder=self.decoder, threads=self.threads, cache=Path(scratch))
            return {
                name: read_split(test.data, read, test.answers) for name, test in self.data.downstream.tests.items()
            }

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
            "views": self.data.views_content if self.trains_on == "views" else None,
            "images": self._images_key() if self.trains_on == "images" else None,
            "tests": {name: split.content for name, split in self.data.tests.items()},
            "device": torch.cuda.get_device_name(device) if on_gpu else torch.backends.cpu.get_cpu_capability(),
            "threads": torch.get_num_threads(),
        }

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
        return Part(sum(part.heads for part in parts), rows, spectra)

    def _parts(self, device: torch.device) -> Iterator[Part]:
        heads = len(self.config.seeds) * len(self.config.fractions)
        kept, done = KeptHeads(self.cache, self.key(device)), 0
        while done < heads and (part := kept.read(done)):
            done += part.heads
            yield part
        if done:
            say(f"{self.title}: {done} of {heads} heads are kept from before")
        if done < heads:
            for fitted in train(self.config, self.method, self.training_data(), device, done):
                part = self._measured(fitted, device)
                kept.write(done, part)
                done += part.heads
                if part.heads < heads:
                    say(f"{self.title}, {done} of {heads} heads: {_accuracies(part.rows)}")
                yield part

    def _measured(self, fitted: Fitted, device: torch.device) -> Part:
        """The spectrum is that of the first seed, trained on the largest fraction."""
        one, spectra = self.data.downstream, []
        shown = {"seed": self.config.seeds[0], "fraction": max(self.config.fractions)}
        tests = self.tests(fitted)
        rows = [row for test, split in tests.items() for row in self._rows(test, split, fitted, device)]
        heads = [head for head, settings in enumerate(fitted.settings) if shown.items() <= settings.items()]
        if fitted.transformed and heads:
            spectra = [
                spectrum(one, test, self.method, fitted.transformed(split.features.to(device), heads[0]), split.labels)
                for test, split in tests.items()
            ]
        return Part(len(fitted.settings), rows, spectra)

    def _rows(self, test: str, split: Split, fitted: Fitted, device: torch.device) -> Iterator[Row]:
        one = self.data.downstream
        found = map(measured, split.answered(fitted, one.classes, device))
        validation = fitted.validation or [None] * len(fitted.settings)
        for settings, measures, validated in zip(fitted.settings, found, validation, strict=True):
            value = measures[one.metric]
            assert value is not None  # of answers alone
            yield Row(
                domain=one.domain,
                set=one.name,
                test=test,
                method=self.method,
                metric=one.metric,
                value=value,
                samples=len(split.labels),
                seed=settings["seed"],
                fraction=settings["fraction"],
                settings={name: value for name, value in settings.items() if name not in ("seed", "fraction")},
                validation=validated,
                measures=measures,
            )


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
    before = torch.get_num_threads()
    threads = jobs[0].threads
    torch.set_num_threads(max(1, threads // len(light)))
    # Loads torch's linear algebra for the device, which fails if several threads are the first to need it.
    torch.linalg.eigvalsh(torch.eye(2, device=device))
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

    pool = ThreadPoolExecutor(min(threads, len(light)))
    try:
        futures = {pool.submit(measured, job): job for job in longest_first}
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:
        pool.shutdown(cancel_futures=True)  # what has not begun, where one broke down
        torch.set_num_threads(before)
    for job in heavy:
        yield job, measured(job)


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
