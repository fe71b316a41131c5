"""`fastpt tune`: one frozen encoder, one suite, some methods; results as JSON, CSV and a text table."""

import os
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

from fastpt.config import Precision
from fastpt.errors import FastptError
from fastpt.files import atomic_write, cache_dir, write_sealed_json
from fastpt.processes import cores
from fastpt.recipe import recipe_of
from fastpt.runs import EXPORT, PROVENANCE, RECIPE, TUNE, newest_finished, read_provenance
from fastpt.tuned import ANSWERS, check_replaced, exported
from fastpt.tuning import best_probe
from fastpt.tuning.answers import answers_file
from fastpt.tuning.config import TuningConfig
from fastpt.tuning.encoders import open_encoder
from fastpt.tuning.encoders.encoder import Encoder, check_trainable
from fastpt.tuning.features import features_of
from fastpt.tuning.jobs import Job, measure, measure_first, noisy, spectrum
from fastpt.tuning.kept import Part, own_code
from fastpt.tuning.methods import HEADS, METHODS
from fastpt.tuning.ranks import Ranks, compute_shares
from fastpt.tuning.results import ENCODER, Results, Similarity, Spectrum
from fastpt.tuning.sets import FeaturedSet, Reader, read_set, read_split, say, splits_of
from fastpt.tuning.spectrum import linear_cka
from fastpt.tuning.suite_files import load_suite
from fastpt.tuning.suites import Domain, DownstreamSet, Missing, Suite, open_suite
from fastpt.tuning.tables import csv_table, text_table

PACKAGES = ("fastpt", "torch", "timm", "open_clip_torch", "numpy", "pillow")
"""Whose versions numbers should not depend on, and might."""
Save = Callable[[Results], None]
ALONE = Ranks()


def tune_command(
    run: Path | None = None,
    encoder: str | None = None,
    suite: str | None = None,
    methods: Sequence[str] = HEADS,
    num_seeds: int = 1,
    fractions: Sequence[float] = (1.0,),
    label_noise: float = 0.0,
    out: Path | None = None,
    threads: int | None = None,
    decoder: str = "cpu",
    precision: Precision = "fp32",
    cka_with: str | None = None,
    ranks: Ranks = ALONE,
    **options: Any,
) -> Results:
    """What the command line calls: fill in what was not given, tune, write `out` (.json) with .csv, .txt and .parquet
    beside it.

    Without `run` and `encoder`, the newest finished run under runs/; without `suite`, the one that its recipe names.
    A suite of feature files takes neither. Seeds are 0, 1, ... `options` are those of the methods, such as epochs or
    lrs. `cka_with` is another encoder, or the folder of another run; CKA compares its features of the tests with these.
    `ranks` are processes of which this is the first; the others call `features_command` with the same arguments.
    What is measured is written as it comes; `Results.failed` says what could not be. Without `out`, results of
    other settings are not replaced. Raises FastptError.
    """
    config = TuningConfig(methods, range(num_seeds), fractions, label_noise, options)
    path = _checked(out) if out else None
    loaded, opened, other = _opened(run, encoder, suite, precision, cka_with)
    name = opened.name if opened else "features"
    path = path or _place(opened, name) / f"{loaded.name}.json"
    _check_writable(path.parent)
    say(f"encoder {name}, suite {loaded.name}")

    # As it comes, unless results are there: those stay until all of the new ones are.
    save = (lambda results: None) if path.exists() else partial(_write, path)
    check = partial(check_replaced, path, bool(out))
    results = tune(opened, loaded, config, threads, decoder, save=save, check=check, other=other, ranks=ranks)
    _write(path, results)
    say(f"results in {path}, table in {path.with_suffix('.txt')}")
    return results


def features_command(
    ranks: Ranks,
    run: Path | None = None,
    encoder: str | None = None,
    suite: str | None = None,
    methods: Sequence[str] = HEADS,
    num_seeds: int = 1,
    fractions: Sequence[float] = (1.0,),
    label_noise: float = 0.0,
    out: Path | None = None,  # the first process writes it
    threads: int | None = None,
    decoder: str = "cpu",
    precision: Precision = "fp32",
    cka_with: str | None = None,
    **options: Any,
) -> None:
    """What the other processes do while the first is in `tune_command`: their shares of the features. Raises
    FastptError."""
    config = TuningConfig(methods, range(num_seeds), fractions, label_noise, options)
    loaded, opened, other = _opened(run, encoder, suite, precision, cka_with)
    if opened:
        for one in open_suite(loaded)[0]:
            reading = {"decoder": decoder, "threads": threads or ranks.cores}
            compute_shares(ranks, opened, one, config.views, other, **reading)


def _opened(
    run: Path | None, encoder: str | None, suite: str | None, precision: Precision, cka_with: str | None
) -> tuple[Suite, Encoder | None, Encoder | None]:
    """The suite, the encoder, and the one that its features are held against. Raises FastptError."""
    loaded = load_suite(suite) if suite else None
    if loaded and loaded.has_features:
        if run or encoder:
            raise FastptError(f"suite {loaded.name} holds features already. Leave --run and --encoder out.")
        if cka_with:
            raise FastptError(f"suite {loaded.name} holds features already, of one encoder. Leave --cka-with out.")
        return loaded, None, None
    run = newest_finished() if run is None and encoder is None else run
    loaded = loaded or load_suite(_suite_of(run))
    opened = open_encoder(f"run:{run}" if encoder is None else encoder, default_device(), precision)
    other = open_encoder(_named(cka_with), default_device(), precision) if cka_with else None
    return loaded, opened, other


def _named(encoder: str) -> str:
    """An encoder, where a folder is that of a run."""
    return f"run:{encoder}" if Path(encoder).is_dir() else encoder


def _write(path: Path, results: Results) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path.with_suffix(ANSWERS)) as file:
        file.write(results.answers)
    write_sealed_json(path, results.as_dict())
    for suffix, text in ((".csv", csv_table(results)), (".txt", text_table(results))):
        with atomic_write(path.with_suffix(suffix), "w") as file:
            file.write(text)


def _place(encoder: Encoder | None, name: str) -> Path:
    """The folder of results: that of the run, or one beside runs/ for encoders that are none and for features."""
    return encoder.run / TUNE if encoder and encoder.run else Path(TUNE) / name.replace(":", "-").replace("/", "-")


def _check_writable(folder: Path) -> None:
    """Raise FastptError, before the work, if results could not be written to a folder that may not be there yet."""
    there = next(one for one in (folder, *folder.parents) if one.exists())
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        why = "may not be written to" if there.is_dir() else "is no folder"
        raise FastptError(f"results cannot be written to {folder}: {there} {why}. Name another place in --out.")


def _checked(out: Path) -> Path:
    if out.is_dir():
        raise FastptError(f"--out {out} is a folder. Name the results file, such as {out / 'results.json'}.")
    if out.suffix != ".json":  # .csv and .txt stand beside it
        plain = out.with_suffix("") if out.suffix in (".csv", ".txt") else out
        raise FastptError(f"--out {out} names no .json, which the results are. Name it {plain}.json.")
    return out


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
    needs = config.trained_on()
    if "images" in needs.values():
        check_trainable(encoder)
    origin = _origin(encoder)  # here, so that damage is found before all the work
    downstream, missing = open_suite(suite, config.variant)
    for one in downstream:
        for line in one.departures:
            say(f"set {one.name} is not as published: {line}")
    for entry in missing:
        say(f"set {entry.set} is {'not used' if entry.failed else 'left out'}: {entry.reason}")
    tuning = _Tuning(suite, encoder, config, decoder, origin, missing)
    check(replace(tuning.results(), splits=[split for one in downstream for split in splits_of(one)]).as_dict())

    start = time.perf_counter()
    reading = {"decoder": decoder, "threads": threads or ranks.cores, "cache": cache}
    threads = threads or cores()
    read = encoder and partial(features_of, encoder, **reading)
    device = encoder.device if encoder else torch.device(default_device())
    heads = cache / "heads" if cache else cache_dir("heads")

    def jobs_of(data: FeaturedSet) -> list[Job]:
        return [Job(data, method, needs[method], config, encoder, decoder, threads, heads) for method in needs]

    first = None
    for one in downstream:
        try:
            if encoder and ranks.world_size > 1:
                compute_shares(ranks, encoder, one, config.views, other, **reading)
            found = read_set(encoder, one, read, config.views)
            spectra = [
                spectrum(one, test, ENCODER, split.features, split.labels) for test, split in found.tests.items()
            ]
            tuning.wrong_labels[one.domain, one.name] = sum(
                int((noisy(labels, one.classes, config.label_noise) != labels).sum())
                for labels in found.trained_labels()
            )
            tuning.sets.append(found)
            tuning.spectra += spectra
            if other:
                tuning.similarities += similarities(found, other, partial(features_of, other, **reading))
            if len(tuning.sets) == 1:  # a number to look at before the features of all sets are there
                first = measure_first(jobs_of(found), len(downstream), device)
        except FastptError as error:
            say(f"set {one.name} cannot be used: {error}")
            tuning.fail(one, str(error))
    tuning.seconds["features"] = time.perf_counter() - start
    jobs = [job for data in tuning.sets for job in jobs_of(data)]
    tuning.to_do = {(job.data.downstream.domain, job.data.downstream.name, job.method): None for job in jobs}
    if first:
        tuning.to_do[next(iter(tuning.to_do))] = first
        del jobs[0]
        save(tuning.results())
    for job, found in measure(jobs, device) if jobs else ():
        one = job.data.downstream
        if isinstance(found, Part):
            tuning.to_do[one.domain, one.name, job.method] = found
        else:
            tuning.fail(one, str(found), job.method)
        tuning.seconds["fit"] = time.perf_counter() - start - tuning.seconds["features"]
        if any(tuning.to_do.values()):
            save(tuning.results())
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
    """What a tuning has measured so far."""

    def __init__(
        self,
        suite: Suite,
        encoder: Encoder | None,
        config: TuningConfig,
        decoder: str,
        origin: dict[str, Any],
        missing: list[Missing],
    ):
        self.suite, self.encoder, self.config, self.decoder, self.origin = suite, encoder, config, decoder, origin
        self.missing = list(missing)
        self.sets: list[FeaturedSet] = []
        self.wrong_labels: dict[tuple[str, str], int] = {}  # of the training split of each set
        self.spectra: list[Spectrum] = []  # of the encoder's features
        self.similarities: list[Similarity] = []
        self.to_do: dict[tuple[Domain, str, str], Part | None] = {}  # by domain, set and method, in the results' order
        self.seconds = {"features": 0.0, "fit": 0.0}

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
        return [{**train, "wrong_labels": self.wrong_labels[one.downstream.domain, one.downstream.name]}, *tests]


def _method(name: str, config: TuningConfig) -> dict[str, Any]:
    """What the results say of a method, for those who read them without it."""
    method, origin = METHODS.get(name), METHODS.origin(name)
    known = {
        "label": method.label,
        "colour": method.colour,
        "settings": method.settings(**config.options_of(name)),
    }
    return known | ({"origin": origin._asdict()} if origin else {})


def default_device() -> str:
    """Where encoders and heads compute."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def _suite_of(run: Path | None) -> str:
    if run is None:
        raise FastptError("--encoder needs a suite to be measured on. Give --suite NAME or --suite FILE.")
    if not run.is_dir():
        raise FastptError(f"run {run} does not exist. Check --run.")
    if not (run / RECIPE).is_file():
        raise FastptError(f"{run} has no {RECIPE}, so it names no suite. Check --run, or give --suite.")
    tune_section = recipe_of(run).tune
    if tune_section is None:
        raise FastptError(f"the recipe of {run} names no suite (tune: {{suite: ...}}). Give --suite NAME or FILE.")
    return tune_section.suite


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
    return {"name": encoder.name, **dict(zip(known, values, strict=True)), **trained, "features": width}


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
