"""`fastpt tune`: one frozen encoder, one suite, some methods; results as JSON, CSV and a text table."""

import itertools
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from fastpt import Dataset
from fastpt.errors import FastptError
from fastpt.files import atomic_write, write_json
from fastpt.processes import cores
from fastpt.recipe import load_recipe
from fastpt.runs import PROVENANCE, RECIPE, RUNS, TUNE, newest_finished, read_provenance
from fastpt.tuning.config import Trained, TuningConfig, noisy, train
from fastpt.tuning.encoders.encoder import Encoder, Precision, open_encoder, open_run
from fastpt.tuning.feature_files import FeatureSet
from fastpt.tuning.features import CACHE, features_of, training_view
from fastpt.tuning.fit import PROTOCOLS, protocol
from fastpt.tuning.heads import Heads
from fastpt.tuning.methods.finetune import LR, WEIGHT_DECAY, check_trainable, finetune
from fastpt.tuning.results import METHODS, csv_table, summary, text_table
from fastpt.tuning.spectrum import entropy_of, largest_ratio_of, singular_values
from fastpt.tuning.subsets import subset
from fastpt.tuning.suites import DownstreamSet, Suite, load_suite, open_suite

FORMAT = "2.0"
MOST_SINGULAR_VALUES = 512


def tune_command(
    run: Path | None = None,
    encoder: str | None = None,
    suite: str | None = None,
    methods: Sequence[str] = tuple(PROTOCOLS),
    seeds: int = 1,
    out: Path | None = None,
    epochs: int | None = None,
    threads: int | None = None,
    decoder: str = "cpu",
    precision: Precision = "fp32",
    **settings: Any,
) -> dict:
    """What the command line calls: fill in what was not said, tune, write `out` (.json) with .csv and .txt beside it.

    Without `run` and `encoder`, the newest finished run under runs/; without `suite`, the one that its recipe names.
    A suite of feature files takes neither. `seeds` is how many; they are 0, 1, ... `settings` are
    others of `Plan`: fractions, lrs, penalties, label_noise, variant, terms, head_precision. Returns the results as
    written. Raises FastptError.
    """
    plan = TuningConfig(methods, range(seeds), epochs=epochs, **settings)
    loaded = load_suite(suite) if suite else None
    if loaded and loaded.has_features:
        if run or encoder:
            raise FastptError(f"suite {loaded.name} holds features already. Leave --run and --encoder out.")
        opened = None
    else:
        run = newest_finished() if run is None and encoder is None else run
        loaded = loaded or load_suite(_suite_of(run))
        device = "cuda" if torch.cuda.is_available() else "cpu"
        opened = open_encoder(encoder, device, precision) if run is None else open_run(run, device, precision)
    name = opened.name if opened else "features"
    folder = run or RUNS / name.replace(":", "-")
    out = out or folder / TUNE / f"{loaded.name}.json"
    if out.is_dir():
        raise FastptError(f"--out {out} is a folder. Name the results file, such as {out / loaded.name}.json.")
    out.parent.mkdir(parents=True, exist_ok=True)  # before the work, so that nothing is lost if it cannot be written
    _say(f"encoder {name}, suite {loaded.name}")
    results = tune(opened, loaded, plan, threads, decoder)
    write_json(out, results)
    for suffix, text in ((".csv", csv_table(results)), (".txt", text_table(results))):
        with atomic_write(out.with_suffix(suffix), "w") as file:
            file.write(text)
    _say(f"results in {out}, table in {out.with_suffix('.txt')}")
    return results


def tune(
    encoder: Encoder | None,
    suite: Suite,
    plan: TuningConfig,
    threads: int | None = None,
    decoder: str = "cpu",
    cache: Path = CACHE,
) -> dict:
    """Train and test heads, and fine-tuned encoders, as the plan says on every set of the suite that is there.

    `encoder` is None if the suite holds features. Returns {"format", "suite", "encoder", "config", "methods", "rows",
    "summary", "spectra", "missing", "seconds"}: a row is the value (0 to 1) of one set, test, method, seed and fraction, with the
    settings that were chosen; the summary is that of `results.summary`; a spectrum is that of one test's features,
    as the encoder gives them and after the MLP of the first seed, trained on the largest fraction. Raises FastptError.
    """
    if plan.fine_tuned:
        check_trainable(encoder)
    origin = _origin(encoder)  # here, so that damage is told before all the work
    tasks, missing = open_suite(suite)
    for entry in missing:
        _say(f"set {entry['set']} is left out: {entry['reason']}")
    threads = threads or cores()
    views = 2 if plan.variant == "reference-code" else 0
    start = time.perf_counter()
    arrays = [_arrays(encoder, task, decoder, threads, cache, views) for task in tasks]
    features_done = time.perf_counter()
    device = encoder.device if encoder else torch.device("cuda" if torch.cuda.is_available() else "cpu")
    rows, spectra = _measure_all(tasks, arrays, plan, threads, device)
    for (task, data), method in itertools.product(zip(tasks, arrays, strict=True), plan.fine_tuned):
        more_rows, more_spectra = _measure_fine_tuned(encoder, task, data.train, method, plan, decoder, threads)
        rows, spectra = rows + more_rows, spectra + more_spectra
    return {
        "format": FORMAT,
        "suite": suite.name,
        "encoder": _describe(encoder, origin, arrays[0].train.features.shape[1]),
        "config": plan.describe(),
        "methods": {method: METHODS[method] for method in plan.methods},
        "rows": rows,
        "summary": summary(rows),
        "spectra": spectra,
        "missing": missing,
        "seconds": {
            "features": round(features_done - start, 2),
            "fit": round(time.perf_counter() - features_done, 2),
        },
    }


def accuracy(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Share of right answers."""
    return float((predicted == labels).mean())


def mean_per_class(predicted: np.ndarray, labels: np.ndarray) -> float:
    """Mean over the classes that occur in `labels` of the share of right answers in each."""
    counts = np.bincount(labels)
    right = np.bincount(labels, weights=predicted == labels)
    return float((right[counts > 0] / counts[counts > 0]).mean())


METRICS = {"accuracy": accuracy, "mean_per_class": mean_per_class}


@dataclass(frozen=True)
class _Split:
    features: torch.Tensor  # float32 [N, D]
    labels: np.ndarray  # int64 [N]
    answers: np.ndarray | None = None  # as in suites.Test
    sample_ids: np.ndarray | None = None  # int64 [N]; None: the samples are those of a feature file

    def predicted(self, heads: Heads, device: torch.device) -> np.ndarray:
        """int64 [H, N]: what each head answers, of the classes that the split knows."""
        features = self.features.to(device)
        if self.answers is None:
            return heads.predict(features).cpu().numpy()
        known = np.flatnonzero(self.answers >= 0)
        chosen = [heads.logits(part)[..., known].argmax(-1) for part in features.split(4096)]  # logits take memory
        return self.answers[known[torch.cat(chosen, 1).cpu().numpy()]]


@dataclass(frozen=True)
class _Arrays:
    train: _Split
    tests: dict[str, _Split]
    views: torch.Tensor | None = None  # float32 [V, N, D], of augmented training pictures


def _split(
    encoder: Encoder | None,
    data: Dataset | FeatureSet,
    decoder: str,
    threads: int,
    cache: Path,
    answers: np.ndarray | None = None,
) -> _Split:
    """Features and labels of a split, from the cache, the encoder or the suite's own files."""
    if isinstance(data, FeatureSet):
        features, labels, ids = data.values, data.labels, None
    else:
        found = features_of(encoder, data, decoder, threads, cache)
        features, labels, ids = found.values, data.targets(None, of="labels")[found.sample_ids], found.sample_ids
    if answers is not None:
        known = np.isin(labels, answers)
        if not known.all():
            _say(f"{data.path}: {np.sum(~known)} of {len(known)} samples have no training class and are left out")
        features, labels, ids = features[known], labels[known], None if ids is None else ids[known]
    return _Split(torch.from_numpy(features), labels, answers, ids)


def _arrays(
    encoder: Encoder | None, task: DownstreamSet, decoder: str, threads: int, cache: Path, views: int = 0
) -> _Arrays:
    """Features and labels of a task; `views` of train, if any."""
    train = _split(encoder, task.train, decoder, threads, cache)
    tests = {
        name: _split(encoder, test.data, decoder, threads, cache, test.answers) for name, test in task.tests.items()
    }
    if not views:
        return _Arrays(train, tests)
    if isinstance(task.train, FeatureSet):
        raise FastptError(f"set {task.name} has one view of each sample, and the method wants {views}. Choose another.")
    augmented = [
        features_of(encoder, task.train, decoder, threads, cache, training_view(encoder, number)).values
        for number in range(views)
    ]
    return _Arrays(train, tests, torch.from_numpy(np.stack(augmented)))


def _measure_all(
    tasks: list[DownstreamSet],
    arrays: list[_Arrays],
    plan: TuningConfig,
    threads: int,
    device: torch.device,
) -> tuple[list[dict], list[dict]]:
    """Rows and spectra of every task and method, in that order.

    Each is a job of its own on few threads: the matrices are small, and threads that share one product spend their time
    waiting for each other, all the more beside other programs.
    """
    jobs = [(task, data, method) for task, data in zip(tasks, arrays, strict=True) for method in plan.frozen]
    longest_first = sorted(
        range(len(jobs)), key=lambda i: (jobs[i][2] in ("lp", "ridge"), -len(jobs[i][1].train.labels))
    )
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, threads // len(jobs)))
    # Loads torch's linear algebra for the device, which fails if several threads are the first to need it.
    torch.linalg.eigvalsh(torch.eye(2, device=device))
    try:
        with ThreadPoolExecutor(min(threads, len(jobs))) as pool:
            futures = {i: pool.submit(_measure, *jobs[i], plan, device) for i in longest_first}
            done = [futures[i].result() for i in range(len(jobs))]
    finally:
        torch.set_num_threads(before)
    encoder_spectra = [
        _spectrum(task, test, "encoder", split.features)
        for task, data in zip(tasks, arrays, strict=True)
        for test, split in data.tests.items()
    ]
    rows = [row for rows, _ in done for row in rows]
    return rows, encoder_spectra + [spectrum for _, spectra in done for spectrum in spectra]


def _measure(
    task: DownstreamSet, arrays: _Arrays, method: str, plan: TuningConfig, device: torch.device
) -> tuple[list[dict], list[dict]]:
    """Train the heads of one method on one task; test them, and take the spectrum after the MLP."""
    start = time.perf_counter()
    # The linear methods train on centre crops; only the MLP of the reference code on augmented views.
    features = arrays.train.features if arrays.views is None or method in ("lp", "ridge") else arrays.views
    try:
        trained = train(plan, method, features, arrays.train.labels, task.classes, device)
    except FastptError as error:
        raise FastptError(f"set {task.name}, {method}: {error}") from None
    rows, spectra = [], []
    largest = plan.fractions.index(max(plan.fractions)) * len(plan.seeds)
    for test, split in arrays.tests.items():
        rows += _rows(task, test, split, method, trained, device)
        if trained.heads.mlp:
            spectra.append(_spectrum(task, test, method, trained.heads.transformed(split.features.to(device), largest)))
    _say(f"{task.domain} {task.name}: {method} trained in {time.perf_counter() - start:.1f} s")
    return rows, spectra


def _measure_fine_tuned(
    encoder: Encoder, task: DownstreamSet, train: _Split, method: str, plan: TuningConfig, decoder: str, threads: int
) -> tuple[list[dict], list[dict]]:
    """As `_measure`, for a method that fine-tunes the encoder. Its features are of one use and not kept."""
    start = time.perf_counter()
    base, kind = method.split("+")
    lr = plan.lrs[0] if plan.lrs else LR
    reg_weight = plan.reg_weights[0] if plan.reg_weights and base == "nmtune" else None
    settings = protocol(
        base, terms=plan.terms, epochs=plan.epochs, lr=lr, reg_weight=reg_weight, weight_decay=WEIGHT_DECAY
    )
    noisy_labels = noisy(train.labels, task.classes, plan.label_noise)
    labels = np.full(len(task.train), -1)
    labels[train.sample_ids] = noisy_labels
    rows, spectra = [], []
    for fraction, seed in itertools.product(plan.fractions, plan.seeds):
        ids = train.sample_ids if fraction == 1 else train.sample_ids[subset(noisy_labels, fraction, seed)]
        try:
            tuned, heads = finetune(
                encoder, task.train, labels, ids, kind, settings, seed, task.classes, decoder, threads
            )
        except FastptError as error:
            raise FastptError(f"set {task.name}, {method}: {error}") from None
        setting = {"seed": seed, "fraction": fraction, "lr": settings.lr, "reg_weight": settings.reg_weight}
        for name, test in task.tests.items():
            with TemporaryDirectory() as scratch:
                split = _split(tuned, test.data, decoder, threads, Path(scratch), test.answers)
            rows += _rows(task, name, split, method, Trained(heads, [setting]), encoder.device)
            if (fraction, seed) == (max(plan.fractions), plan.seeds[0]):
                spectra.append(_spectrum(task, name, method, heads.transformed(split.features.to(encoder.device), 0)))
    _say(f"{task.domain} {task.name}: {method} trained in {time.perf_counter() - start:.1f} s")
    return rows, spectra


def _rows(
    task: DownstreamSet, test: str, split: _Split, method: str, trained: Trained, device: torch.device
) -> list[dict]:
    """The value of each head on one test."""
    return [
        {
            "domain": task.domain,
            "set": task.name,
            "test": test,
            "method": method,
            "metric": task.metric,
            "value": METRICS[task.metric](predicted, split.labels),
            "samples": len(split.labels),
            **setting,
        }
        for setting, predicted in zip(trained.settings, split.predicted(trained.heads, device), strict=True)
    ]


def _spectrum(task: DownstreamSet, test: str, stage: str, features: torch.Tensor) -> dict:
    sigma = singular_values(features)
    return {
        "domain": task.domain,
        "set": task.name,
        "test": test,
        "stage": stage,
        "sve": entropy_of(sigma),
        "lsvr": largest_ratio_of(sigma),
        "singular_values": [float(f"{value:.6g}") for value in (sigma / sigma[0])[:MOST_SINGULAR_VALUES]],
    }


def _suite_of(run: Path | None) -> str:
    if run is None:
        raise FastptError("--encoder needs a suite to be measured on. Give --suite NAME or --suite FILE.")
    if not run.is_dir():
        raise FastptError(f"run {run} does not exist. Check --run.")
    recipe = run / RECIPE
    if not recipe.is_file():
        raise FastptError(f"{run} has no {RECIPE}, so it names no suite. Check --run, or give --suite.")
    tune_section = load_recipe(recipe).tune
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
