"""One frozen encoder, one suite, some methods: what every head of every method reaches on every set."""

import platform
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fastpt.errors import FastptError
from fastpt.files import cache_dir
from fastpt.processes import cores
from fastpt.runs import read_provenance
from fastpt.runs.folder import EXPORT, PROVENANCE
from fastpt.tuned import exported, overlaps
from fastpt.tuning import best_probe
from fastpt.tuning.answers import answers_file
from fastpt.tuning.config import TuningConfig
from fastpt.tuning.encoders.encoder import Encoder, check_has_words, check_trainable, default_device
from fastpt.tuning.features import features_of
from fastpt.tuning.jobs import Job, measure, measure_first, noisy, spectrum
from fastpt.tuning.kept import Part, own_code
from fastpt.tuning.methods import METHODS
from fastpt.tuning.ranks import ALONE, Ranks, compute_shares
from fastpt.tuning.results import ENCODER, Results, Similarity, Spectrum
from fastpt.tuning.sets import FeaturedSet, Reader, read_set, read_split, say, splits_of
from fastpt.tuning.spectrum import linear_cka
from fastpt.tuning.suites import Domain, DownstreamSet, Missing, Suite, open_suite

PACKAGES = ("fastpt", "torch", "timm", "open_clip_torch", "numpy", "pillow")
"""Whose versions numbers should not depend on, and might."""
Save = Callable[[Results], None]


def tune(
    encoder: Encoder | None,
    suite: Suite,
    config: TuningConfig,
    threads: int | None = None,
    decoder: str = "cpu",
    cache: Path | None = None,
    save: Save = lambda results: None,
    check: Callable[[dict[str, Any]], None] = lambda results: None,
    other: Encoder | None = None,
    ranks: Ranks = ALONE,
) -> Results:
    """Train and test what `config` asks for on every set of the suite that is there.

    `encoder` is None if the suite holds features. Features, and what heads measured, are kept in `cache`, by default
    that of fastpt, so that a tuning that was stopped goes on. `save` gets the results so far whenever there are more;
    `check` gets them before the work, without a row. `other` is an encoder whose features of the tests are held against
    these. The other `ranks` compute their share of the features; this is the first of them. A first head is trained as
    soon as the features of the first set are there. What fails on one set or by one method is in `Results.missing`, and
    the rest goes on. Raises FastptError if nothing could be measured.
    """
    for taken, what in ((ENCODER, "stage before all methods"), (best_probe.NAME, "best of the probes")):
        if taken in config.methods:
            raise FastptError(f"a method called {taken!r} would pass for the {what}. Rename it there.")
    if "images" in config.trained_on().values():
        check_trainable(encoder)
    if "names" in config.trained_on().values():
        check_has_words(encoder)
    origin = _origin(encoder)  # here, so that damage is found before all the work
    downstream, missing = open_suite(suite, config.variant)
    for one in downstream:
        for line in one.departures:
            say(f"set {one.name} is not as published: {line}")
    for entry in missing:
        say(f"set {entry.set} is {'not used' if entry.failed else 'left out'}: {entry.reason}")
    tuning = _Tuning(suite, encoder, config, decoder, threads or cores(), cache, origin, missing)
    check(replace(tuning.results(), splits=[split for one in downstream for split in splits_of(one)]).as_dict())
    tuning.read(downstream, other, ranks, decoder=decoder, threads=threads or ranks.cores, cache=cache)
    tuning.measure(save)
    results = tuning.results()
    if not results.rows:
        raise FastptError("\n".join(f"set {one.where}: {one.reason}" for one in results.failed))
    return results


def similarities(data: FeaturedSet, other: Encoder, read: Reader) -> Iterator[Similarity]:
    """Of each test CKA with the features of another encoder, of the samples that both could read."""
    one = data.downstream
    for test, split in data.tests.items():
        theirs = read_split(one.tests[test], read)
        assert split.sample_ids is not None
        assert theirs.sample_ids is not None
        _, mine, its = np.intersect1d(split.sample_ids, theirs.sample_ids, True, True)
        cka = linear_cka(split.features[mine], theirs.features[its])
        yield Similarity(one.domain, one.name, test, other.name, cka)


class _Tuning:
    """A tuning at work, and what it has measured so far."""

    def __init__(
        self,
        suite: Suite,
        encoder: Encoder | None,
        config: TuningConfig,
        decoder: str,
        threads: int,
        cache: Path | None,
        origin: dict[str, Any],
        missing: list[Missing],
    ):
        self.suite, self.encoder, self.config, self.origin = suite, encoder, config, origin
        self.decoder, self.threads, self.heads = decoder, threads, cache / "heads" if cache else cache_dir("heads")
        self.device = encoder.device if encoder else torch.device(default_device())
        self.missing = list(missing)
        self.sets: list[FeaturedSet] = []
        self.first: Part | None = None  # what the first of all jobs measured, before the others were begun
        self.wrong_labels: dict[tuple[str, str], int] = {}  # of the training split of each set
        self.spectra: list[Spectrum] = []  # of the encoder's features
        self.similarities: list[Similarity] = []
        self.to_do: dict[tuple[Domain, str, str], Part | None] = {}  # by domain, set and method, in the results' order
        self.seconds = {"features": 0.0, "fit": 0.0}

    def read(self, downstream: Sequence[DownstreamSet], other: Encoder | None, ranks: Ranks, **reading: Any) -> None:
        """The features of all sets, and what they are like; `reading` are further arguments of `features_of`."""
        start = time.perf_counter()
        for one in downstream:
            try:
                if self.encoder and ranks.world_size > 1:
                    compute_shares(ranks, self.encoder, one, self.config.views, other, **reading)
                found = self._featured(one, self.encoder and partial(features_of, self.encoder, **reading))
                if other:
                    self.similarities += similarities(found, other, partial(features_of, other, **reading))
                if len(self.sets) == 1:  # a number to look at before the features of all sets are there
                    self.first = measure_first(self._jobs(found), len(downstream), self.device)
            except FastptError as error:
                say(f"set {one.name} cannot be used: {error}")
                self.fail(one, str(error))
        self.seconds["features"] = time.perf_counter() - start

    def _featured(self, one: DownstreamSet, read: Reader | None) -> FeaturedSet:
        found = read_set(self.encoder, one, read, self.config.views)
        spectra = [spectrum(one, test, ENCODER, split.features, split.labels) for test, split in found.tests.items()]
        self.wrong_labels[one.domain, one.name] = sum(
            int((noisy(labels, one.classes, self.config.label_noise) != labels).sum())
            for labels in found.trained_labels()
        )
        for line in overlaps(self._splits(found)):
            say(line)
        self.sets.append(found)
        self.spectra += spectra
        return found

    def _jobs(self, data: FeaturedSet) -> list[Job]:
        return [
            Job(data, method, trains_on, self.config, self.encoder, self.decoder, self.threads, self.heads)
            for method, trains_on in self.config.trained_on().items()
        ]

    def measure(self, save: Save) -> None:
        """What each method reaches on each set; `save` gets the results whenever there are more."""
        start = time.perf_counter()
        jobs = [job for data in self.sets for job in self._jobs(data)]
        self.to_do = {(job.data.downstream.domain, job.data.downstream.name, job.method): None for job in jobs}
        if self.first:
            self.to_do[next(iter(self.to_do))] = self.first
            del jobs[0]
            save(self.results())
        for job, found in measure(jobs, self.device) if jobs else ():
            one = job.data.downstream
            if isinstance(found, Part):
                self.to_do[one.domain, one.name, job.method] = found
            else:
                self.fail(one, str(found), job.method)
            self.seconds["fit"] = time.perf_counter() - start
            if any(self.to_do.values()):
                save(self.results())

    def fail(self, downstream: DownstreamSet, reason: str, method: str | None = None) -> None:
        self.missing.append(Missing(downstream.domain, downstream.name, reason, method, failed=True))
        self.to_do.pop((downstream.domain, downstream.name, method or ""), None)

    def results(self) -> Results:
        parts = [part for part in self.to_do.values() if part]
        under_way = [
            Missing(domain, name, "not measured yet: the tuning is at work, or was stopped", method, failed=True)
            for (domain, name, method), part in self.to_do.items()
            if part is None
        ]
        rows = [row for part in parts for row in part.rows]
        methods = {method: _method(method, self.config) for method in self.config.methods}
        whole = best_probe.with_best_probe(rows)
        if len(whole) > len(rows):
            methods[best_probe.NAME] = best_probe.described(rows, methods)
        return Results(
            suite=self.suite.name,
            encoder=_describe(self.encoder, self.origin, self.decoder, self.sets),
            config=self.config.as_dict(),
            methods=methods,
            splits=[split for one in self.sets for split in self._splits(one)],
            rows=whole,
            answers=answers_file(
                [truth for one in self.sets for truth in one.truths()],
                [one for part in parts for one in zip(part.rows, part.answers, strict=True)],
            ),
            spectra=self.spectra + [one for part in parts for one in part.spectra],
            similarities=self.similarities,
            missing=self.missing + under_way,
            departures=[f"{one.downstream.name} {line}" for one in self.sets for line in one.downstream.departures],
            made_with=_made_with(self.encoder),
            seconds={name: round(value, 2) for name, value in self.seconds.items()},
        )

    def _splits(self, one: FeaturedSet) -> list[dict[str, Any]]:
        train, *tests = splits_of(one.downstream, one.samples)
        return [
            {**train, "wrong_labels": self.wrong_labels[one.downstream.domain, one.downstream.name]},
            *({**test, "in_training": one.in_training[test["test"]]} for test in tests),
        ]


def _method(name: str, config: TuningConfig) -> dict[str, Any]:
    """What the results say of a method, for those who read them without it."""
    method, origin = METHODS.get(name), METHODS.origin(name)
    known = {
        "label": method.label,
        "colour": method.colour,
        "settings": method.settings(**config.options_of(name)),
    }
    return known | ({"origin": origin._asdict()} if origin else {})


def _origin(encoder: Encoder | None) -> dict[str, Any]:
    """What the encoder's run recorded of its training; {} if it has none."""
    if encoder is None or encoder.run is None or not (encoder.run / PROVENANCE).is_file():
        return {}
    return read_provenance(encoder.run)


def _describe(
    encoder: Encoder | None, origin: dict[str, Any], decoder: str, sets: Sequence[FeaturedSet]
) -> dict[str, Any]:
    """What the results say of the encoder; seed, data and noise of its pre-training are what its run recorded."""
    width = sets[0].train.features.shape[-1] if sets else None
    known = ("weights_sha256", "precision", "preprocessing", "decoder", "run", "export")
    if encoder is None:
        return {"name": "features", **dict.fromkeys((*known, "recipe", "seed", "samples_id", "images_id", "noise"))} | {
            "features": width
        }
    crop = asdict(encoder.preprocessing)
    values = (
        encoder.weights_sha256,
        encoder.precision,
        {name: list(value) if isinstance(value, tuple) else value for name, value in crop.items()},
        decoder,
        None if encoder.run is None else str(encoder.run),
        None if encoder.run is None else exported(encoder.run / EXPORT),
    )
    trained = {name: origin.get(name) for name in ("recipe", "seed", "samples_id", "images_id", "noise")}
    package = {"origin": encoder.origin._asdict()} if encoder.origin else {}
    return {"name": encoder.name, **dict(zip(known, values, strict=True)), **package, **trained, "features": width}


def _made_with(encoder: Encoder | None) -> dict[str, Any]:
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    on_gpu = (encoder.device.type if encoder else default_device()) == "cuda"
    device = torch.cuda.get_device_name() if on_gpu else f"cpu, {torch.backends.cpu.get_cpu_capability()}"
    return {"versions": versions, "device": device, "code": own_code()}
