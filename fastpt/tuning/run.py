"""`fastpt tune`: one frozen encoder, one suite, some methods; results as JSON, CSV and a text table."""

import itertools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from fastpt import Dataset
from fastpt.config import Precision
from fastpt.errors import FastptError
from fastpt.files import atomic_write, cache_dir, write_sealed_json
from fastpt.noise.kinds.symmetric import symmetric
from fastpt.processes import cores
from fastpt.recipe import recipe_of
from fastpt.runs import PROVENANCE, RECIPE, RUNS, TUNE, newest_finished, read_provenance
from fastpt.tuning.config import TuningConfig
from fastpt.tuning.encoders import open_encoder
from fastpt.tuning.encoders.encoder import Encoder, check_trainable
from fastpt.tuning.feature_files import FeatureSet
from fastpt.tuning.features import Features, features_of, training_view
from fastpt.tuning.kept import KeptHeads, Part, code, content
from fastpt.tuning.methods import HEADS, METHODS, Fitted, HeadSpec, TrainingData, TrainingImages
from fastpt.tuning.results import ENCODER, Results, Row, Spectrum, csv_table, text_table
from fastpt.tuning.spectrum import largest_singular_value_ratio, singular_value_entropy, singular_values
from fastpt.tuning.subsets import subset
from fastpt.tuning.suites import DownstreamSet, Suite, load_suite, open_suite

MOST_SINGULAR_VALUES = 512
VIEWS = 2
"""Of the pictures of a training split, for methods that train on views."""
Reader = Callable[..., Features]
"""`features_of` under one encoder."""


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
    **options: Any,
) -> Results:
    """What the command line calls: fill in what was not given, tune, write `out` (.json) with .csv and .txt beside it.

    Without `run` and `encoder`, the newest finished run under runs/; without `suite`, the one that its recipe names.
    A suite of feature files takes neither. Seeds are 0, 1, ... `options` are those of the methods, such as epochs or
    lrs. Raises FastptError.
    """
    config = TuningConfig(methods, range(num_seeds), fractions, label_noise, options)
    loaded = load_suite(suite) if suite else None
    if loaded and loaded.has_features:
        if run or encoder:
            raise FastptError(f"suite {loaded.name} holds features already. Leave --run and --encoder out.")
        opened = None
    else:
        run = newest_finished() if run is None and encoder is None else run
        loaded = loaded or load_suite(_suite_of(run))
        opened = open_encoder(f"run:{run}" if encoder is None else encoder, _device(), precision)
    name = opened.name if opened else "features"
    folder = (opened and opened.run) or RUNS / name.replace(":", "-")
    out = out or folder / TUNE / f"{loaded.name}.json"
    if out.is_dir():
        raise FastptError(f"--out {out} is a folder. Name the results file, such as {out / loaded.name}.json.")
    if out.suffix != ".json":  # .csv and .txt stand beside it
        plain = out.with_suffix("") if out.suffix in (".csv", ".txt") else out
        raise FastptError(f"--out {out} names no .json, which the results are. Name it {plain}.json.")
    out.parent.mkdir(parents=True, exist_ok=True)  # before the work, so that nothing is lost if it cannot be written
    _say(f"encoder {name}, suite {loaded.name}")
    results = tune(opened, loaded, config, threads, decoder)
    write_sealed_json(out, results.as_dict())
    for suffix, text in ((".csv", csv_table(results)), (".txt", text_table(results))):
        with atomic_write(out.with_suffix(suffix), "w") as file:
            file.write(text)
    _say(f"results in {out}, table in {out.with_suffix('.txt')}")
    return results


def tune(
    encoder: Encoder | None,
    suite: Suite,
    config: TuningConfig,
    threads: int | None = None,
    decoder: str = "cpu",
    cache: Path | None = None,
) -> Results:
    """Train and test what `config` asks for on every set of the suite that is there.

    `encoder` is None if the suite holds features. Features, and what heads measured, are kept in `cache`, by default
    that of fastpt, so that a tuning that was stopped goes on. Raises FastptError.
    """
    if ENCODER in config.methods:
        raise FastptError(f"a method called {ENCODER!r} would pass for the stage before all methods. Rename it there.")
    needs = {method: METHODS.get(method).trains_on(**config.options_of(method)) for method in config.methods}
    if "images" in needs.values():
        check_trainable(encoder)
    origin = _origin(encoder)  # here, so that damage is found before all the work
    downstream, missing = open_suite(suite)
    for entry in missing:
        _say(f"set {entry.set} is left out: {entry.reason}")
    threads = threads or cores()
    start = time.perf_counter()
    read = encoder and partial(features_of, encoder, decoder=decoder, threads=threads, cache=cache)
    sets = [_read_set(encoder, one, read, VIEWS if "views" in needs.values() else 0) for one in downstream]
    features_done = time.perf_counter()
    heads = cache / "heads" if cache else cache_dir("heads")
    jobs = [
        _Job(data, method, needs[method], config, encoder, decoder, threads, heads) for data in sets for method in needs
    ]
    rows, spectra = _done(jobs, encoder.device if encoder else torch.device(_device()))
    before = [
        _spectrum(one.downstream, test, ENCODER, split.features) for one in sets for test, split in one.tests.items()
    ]
    fit_seconds = time.perf_counter() - features_done
    return Results(
        suite=suite.name,
        encoder=_describe(encoder, origin, sets[0].train.features.shape[1]),
        config=config.as_dict(),
        methods={method: _method(method) for method in config.methods},
        rows=rows,
        spectra=before + spectra,
        missing=missing,
        seconds={"features": round(features_done - start, 2), "fit": round(fit_seconds, 2)},
    )


def accuracy(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Share of right answers."""
    return float((predicted == labels).mean())


def mean_per_class(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the classes that occur in `labels` of the share of right answers in each."""
    counts = np.bincount(labels)
    right = np.bincount(labels, weights=predicted == labels)
    return float((right[counts > 0] / counts[counts > 0]).mean())


METRICS = {"accuracy": accuracy, "mean_per_class": mean_per_class}


@dataclass(frozen=True, eq=False)
class _Split:
    features: torch.Tensor  # float32 [N, D]
    labels: np.ndarray  # int64 [N]
    answers: np.ndarray | None = None  # as in suites.TestSplit
    sample_ids: np.ndarray | None = None  # int64 [N]; None: the samples are those of a feature file

    @cached_property
    def content(self) -> str:
        return content(self.features, self.labels, self.answers, self.sample_ids)

    def predicted(self, fitted: Fitted, classes: int, device: torch.device) -> np.ndarray:
        """int64 [H, N]: what each head answers, of the classes that the split knows. Raises FastptError."""
        answers = self.answers
        known = slice(None) if answers is None else np.flatnonzero(answers >= 0)
        parts = self.features.to(device).split(1024)  # the scores of many heads take memory
        scores = (_scores(fitted, part, classes) for part in parts)
        chosen = torch.cat([one[..., known].argmax(-1) for one in scores], 1).cpu().numpy()
        return chosen if answers is None else answers[known][chosen]


def _scores(fitted: Fitted, features: torch.Tensor, classes: int) -> torch.Tensor:
    """float [H, N, K]. Raises FastptError if a method gives scores of another shape, or of which none is largest."""
    scores, shape = fitted.logits(features), (len(fitted.settings), len(features), classes)
    if tuple(scores.shape) != shape or scores.isnan().any():
        found = f"of shape {list(scores.shape)}, {int(scores.isnan().sum())} of them NaN"
        raise FastptError(f"its scores are {found}, not numbers of shape {list(shape)}, which is a fault of its own.")
    return scores


@dataclass(frozen=True, eq=False)
class _Set:
    downstream: DownstreamSet
    train: _Split
    tests: dict[str, _Split]
    views: torch.Tensor | None  # float32 [VIEWS, N, D], of augmented training pictures

    @cached_property
    def views_content(self) -> str:
        return content(self.views)


def _read_set(encoder: Encoder | None, downstream: DownstreamSet, read: Reader | None, views: int) -> _Set:
    """Features and labels of a downstream set, and of `views` of its training pictures, if any."""
    train = _read_split(downstream.train, read)
    tests = {name: _read_split(test.data, read, test.answers) for name, test in downstream.tests.items()}
    if not views:
        return _Set(downstream, train, tests, None)
    if encoder is None or read is None or isinstance(downstream.train, FeatureSet):
        raise FastptError(
            f"set {downstream.name} has one view of each sample, and the method wants {views}. Choose another."
        )
    augmented = [read(downstream.train, view=training_view(encoder, number)).values for number in range(views)]
    return _Set(downstream, train, tests, torch.from_numpy(np.stack(augmented)))


def _read_split(data: Dataset | FeatureSet, read: Reader | None, answers: np.ndarray | None = None) -> _Split:
    """Features and labels of a split, from the cache, the encoder or the suite's own files."""
    if isinstance(data, FeatureSet):
        features, labels, ids = data.values, data.labels, None
    else:
        assert read is not None  # an encoder comes with a suite of prepared splits
        found = read(data)
        features, labels, ids = found.values, data.targets(None, of="labels")[found.sample_ids], found.sample_ids
    if answers is not None:
        known = np.isin(labels, answers)
        if not known.all():
            _say(f"{data.path}: {np.sum(~known)} of {len(known)} samples have no training class and are left out")
        features, labels, ids = features[known], labels[known], None if ids is None else ids[known]
    return _Split(torch.from_numpy(features), labels, answers, ids)


@dataclass(frozen=True, eq=False)
class _Job:
    """One method on one downstream set."""

    data: _Set
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
        assert isinstance(downstream.train, Dataset)
        images = TrainingImages(self.encoder, downstream.train, train.sample_ids, self.decoder, self.threads)
        return TrainingData(features, train.labels, downstream.classes, images)

    def tests(self, fitted: Fitted) -> dict[str, _Split]:
        """The tests under the fine-tuned encoder, if there is one: its features are of one use and not kept."""
        if fitted.encoder is None:
            return self.data.tests
        with TemporaryDirectory() as scratch:
            read = partial(features_of, fitted.encoder, decoder=self.decoder, threads=self.threads, cache=Path(scratch))
            return {
                name: _read_split(test.data, read, test.answers) for name, test in self.data.downstream.tests.items()
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
            "pictures": {name: data.images_id for name, data in splits.items() if isinstance(data, Dataset)},
            "decoder": self.decoder,
        }

    def measure(self, device: torch.device) -> Part:
        """Train the heads and test them; those that an earlier tuning trained are not trained again."""
        try:
            with METHODS.blaming(self.method):
                parts = list(self._parts(device))
        except FastptError as error:
            raise type(error)(f"set {self.data.downstream.name}, {self.method}: {error}") from error.__cause__
        rows, spectra = [row for part in parts for row in part.rows], [one for part in parts for one in part.spectra]
        return Part(sum(part.heads for part in parts), rows, spectra)

    def _parts(self, device: torch.device) -> Iterator[Part]:
        heads = len(self.config.seeds) * len(self.config.fractions)
        kept, done = KeptHeads(self.cache, self.key(device)), 0
        while done < heads and (part := kept.read(done)):
            done += part.heads
            yield part
        if done:
            _say(f"{self.title}: {done} of {heads} heads are kept from before")
        if done < heads:
            for fitted in train(self.config, self.method, self.training_data(), device, done):
                part = self._measured(fitted, device)
                kept.write(done, part)
                done += part.heads
                if part.heads < heads:
                    _say(f"{self.title}, {done} of {heads} heads: {_accuracies(part.rows)}")
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
                _spectrum(one, test, self.method, fitted.transformed(split.features.to(device), heads[0]))
                for test, split in tests.items()
            ]
        return Part(len(fitted.settings), rows, spectra)

    def _rows(self, test: str, split: _Split, fitted: Fitted, device: torch.device) -> Iterator[Row]:
        one = self.data.downstream
        found = split.predicted(fitted, one.classes, device)
        for settings, predicted in zip(fitted.settings, found, strict=True):
            yield Row(
                domain=one.domain,
                set=one.name,
                test=test,
                method=self.method,
                metric=one.metric,
                value=METRICS[one.metric](predicted, split.labels),
                samples=len(split.labels),
                seed=settings["seed"],
                fraction=settings["fraction"],
                settings={name: value for name, value in settings.items() if name not in ("seed", "fraction")},
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


def _done(jobs: list[_Job], device: torch.device) -> tuple[list[Row], list[Spectrum]]:
    """Rows and spectra of every job: first of those that train on features, then of those that train on images.

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

    def measured(job: _Job) -> Part:
        start, part = time.perf_counter(), job.measure(device)
        _say(
            f"{next(number)} of {len(jobs)}, {job.title}: {_accuracies(part.rows)} "
            f"({part.heads} head{'s' * (part.heads != 1)}, {time.perf_counter() - start:.1f} s)"
        )
        return part

    pool = ThreadPoolExecutor(min(threads, len(light)))
    try:
        futures = {id(job): pool.submit(measured, job) for job in longest_first}
        found = [futures[id(job)].result() for job in light]
    finally:
        pool.shutdown(cancel_futures=True)  # what has not begun, where one failed
        torch.set_num_threads(before)
    found += map(measured, heavy)
    return [row for part in found for row in part.rows], [one for part in found for one in part.spectra]


def _spectrum(downstream: DownstreamSet, test: str, stage: str, features: torch.Tensor) -> Spectrum:
    sigma = singular_values(features)
    relative = [float(f"{value:.6g}") for value in (sigma / sigma[0])[:MOST_SINGULAR_VALUES]]
    where = (downstream.domain, downstream.name, test, stage)
    return Spectrum(*where, singular_value_entropy(sigma), largest_singular_value_ratio(sigma), relative)


def _method(name: str) -> dict[str, Any]:
    """What the results say of a method, for those who read them without it."""
    method, origin = METHODS.get(name), METHODS.origin(name)
    known = {"label": method.label, "colour": method.colour}
    return known | ({"origin": origin._asdict()} if origin else {})


def _device() -> str:
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


def _origin(encoder: Encoder | None) -> dict:
    """What the encoder's run recorded of its training; {} if it has none."""
    if encoder is None or encoder.run is None or not (encoder.run / PROVENANCE).is_file():
        return {}
    return read_provenance(encoder.run)


def _describe(encoder: Encoder | None, origin: dict, features: int) -> dict:
    """What the results say of the encoder; the noise of its pre-training is what its run recorded."""
    if encoder is None:
        unknown = dict.fromkeys(("weights_sha256", "precision", "run", "recipe", "noise"))
        return {"name": "features", **unknown, "features": features}
    noise = origin.get("noise")
    return {
        "name": encoder.name,
        "weights_sha256": encoder.weights_sha256,
        "precision": encoder.precision,
        "run": None if encoder.run is None else str(encoder.run),
        "recipe": origin.get("recipe"),
        "noise": noise and {key: noise.get(key) for key in ("plan", "kind", "rate", "realised_rate")},
        "features": features,
    }


def _say(text: str) -> None:
    print(f"tune: {text}", file=sys.stderr, flush=True)
