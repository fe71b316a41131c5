"""`fastpt tune`: one frozen encoder, one suite, some methods; results as JSON, CSV and a text table."""

import json
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from fastpt import Dataset
from fastpt.errors import FastptError
from fastpt.files import atomic_write, write_json
from fastpt.recipe import load_recipe
from fastpt.tuning.encoders import Encoder, open_encoder, open_run
from fastpt.tuning.features import CACHE, features_of
from fastpt.tuning.fit import PROTOCOLS, Protocol, fit, protocol
from fastpt.tuning.spectrum import entropy_of, largest_ratio_of, singular_values
from fastpt.tuning.suites import Suite, Task, load_suite, open_suite
from fastpt.tuning.table import csv_table, text_table

FORMAT = 1
RUNS = Path("runs")
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
    decoder: str = "ffcv",
) -> dict:
    """What the command line calls: fill in what was not said, tune, write `out` (.json) with .csv and .txt beside it.

    Without `run` and `encoder`, the newest finished run under runs/; without `suite`, the one that its recipe names.
    `seeds` is how many; they are 0, 1, ... Returns the results as written. Raises FastptError.
    """
    run = newest_run() if run is None and encoder is None else run
    loaded = load_suite(suite or _suite_of(run))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    opened = open_encoder(encoder, device) if run is None else open_run(run, device)
    folder = run or RUNS / opened.name.replace(":", "-")
    out = out or folder / "tune" / f"{loaded.name}.json"
    if out.is_dir():
        raise FastptError(f"--out {out} is a folder. Name the results file, such as {out / loaded.name}.json.")
    out.parent.mkdir(parents=True, exist_ok=True)  # before the work, so that nothing is lost if it cannot be written
    _say(f"encoder {opened.name}, suite {loaded.name}")
    results = tune(opened, loaded, methods, range(seeds), epochs, threads, decoder)
    write_json(out, results)
    for suffix, text in ((".csv", csv_table(results)), (".txt", text_table(results))):
        with atomic_write(out.with_suffix(suffix), "w") as file:
            file.write(text)
    _say(f"results in {out}, table in {out.with_suffix('.txt')}")
    return results


def tune(
    encoder: Encoder,
    suite: Suite,
    methods: Sequence[str],
    seeds: Sequence[int],
    epochs: int | None = None,
    threads: int | None = None,
    decoder: str = "ffcv",
    cache: Path = CACHE,
) -> dict:
    """Train and test heads of the given methods and of LP, the baseline, on every set of the suite that is there.

    Returns {"format", "suite", "encoder", "rows", "spectra", "missing", "seconds"}: a row is the value (0 to 1) of one
    set, test, method and seed; a spectrum is that of one test's features, as the encoder gives them and after the MLP
    of the first seed. Raises FastptError.
    """
    protocols = {name: protocol(name, epochs=epochs) for name in sorted({"lp", *methods}, key=list(PROTOCOLS).index)}
    tasks, missing = open_suite(suite)
    for entry in missing:
        _say(f"set {entry['set']} is left out: {entry['reason']}")
    threads = threads or len(os.sched_getaffinity(0))
    start = time.perf_counter()
    arrays = [_arrays(encoder, task, decoder, threads, cache) for task in tasks]
    features_done = time.perf_counter()
    rows, spectra = _measure_all(tasks, arrays, protocols, seeds, threads, encoder.device)
    return {
        "format": FORMAT,
        "suite": suite.name,
        "encoder": _describe(encoder, arrays[0].train.features.shape[1]),
        "rows": rows,
        "spectra": spectra,
        "missing": missing,
        "seconds": {
            "features": round(features_done - start, 2),
            "fit": round(time.perf_counter() - features_done, 2),
        },
    }


def newest_run(runs: Path = RUNS) -> Path:
    """The run whose export was written last. Raises FastptError if none has ended."""
    exports = [path for name in ("config.json", "open_clip_config.json") for path in runs.glob(f"*/export/{name}")]
    if not exports:
        raise FastptError(f"no finished run in {runs}/. Train one with `fastpt train`, or give --run or --encoder.")
    return max(exports, key=lambda path: path.stat().st_mtime).parents[1]


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


@dataclass(frozen=True)
class _Arrays:
    train: _Split
    tests: dict[str, _Split]


def _arrays(encoder: Encoder, task: Task, decoder: str, threads: int, cache: Path) -> _Arrays:
    def split(dataset: Dataset) -> _Split:
        features = features_of(encoder, dataset, decoder, threads, cache)
        return _Split(torch.from_numpy(features.values), dataset.targets(None, of="labels")[features.sample_ids])

    return _Arrays(split(task.train), {name: split(dataset) for name, dataset in task.tests.items()})


def _measure_all(
    tasks: list[Task],
    arrays: list[_Arrays],
    protocols: dict[str, Protocol],
    seeds: Sequence[int],
    threads: int,
    device: torch.device,
) -> tuple[list[dict], list[dict]]:
    """Rows and spectra of every task and method, in that order.

    Each is a job of its own on few threads: the matrices are small, and threads that share one product spend their time
    waiting for each other, all the more beside other programs.
    """
    jobs = [(task, data, method) for task, data in zip(tasks, arrays, strict=True) for method in protocols]
    longest_first = sorted(range(len(jobs)), key=lambda i: (jobs[i][2] == "lp", -len(jobs[i][1].train.labels)))
    before = torch.get_num_threads()
    torch.set_num_threads(max(1, threads // len(jobs)))
    try:
        with ThreadPoolExecutor(min(threads, len(jobs))) as pool:
            futures = {i: pool.submit(_measure, *jobs[i], protocols[jobs[i][2]], seeds, device) for i in longest_first}
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
    task: Task, arrays: _Arrays, method: str, protocol: Protocol, seeds: Sequence[int], device: torch.device
) -> tuple[list[dict], list[dict]]:
    """Train the heads of one method on one task; test them, and take the spectrum after the MLP."""
    start = time.perf_counter()
    try:
        heads = fit(arrays.train.features, arrays.train.labels, protocol, seeds, len(task.train.classes), device)
    except FastptError as error:
        raise FastptError(f"set {task.name}, {method}: {error}") from None
    rows, spectra = [], []
    for test, split in arrays.tests.items():
        features = split.features.to(device)
        for seed, predicted in zip(seeds, heads.predict(features).cpu().numpy(), strict=True):
            value = METRICS[task.metric](predicted, split.labels)
            rows.append(
                {"setting": task.setting, "set": task.name, "test": test, "method": method, "metric": task.metric,
                 "seed": seed, "value": value, "samples": len(split.labels)}
            )  # fmt: skip
        if protocol.mlp:
            spectra.append(_spectrum(task, test, method, heads.transformed(features, 0)))
    _say(f"{task.setting} {task.name}: {method} trained in {time.perf_counter() - start:.1f} s")
    return rows, spectra


def _spectrum(task: Task, test: str, stage: str, features: torch.Tensor) -> dict:
    sigma = singular_values(features)
    return {
        "setting": task.setting,
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
    recipe = run / "recipe.yaml"
    if not recipe.is_file():
        raise FastptError(f"{run} has no recipe.yaml, so it names no suite. Check --run, or give --suite.")
    tune_section = load_recipe(recipe).tune
    if tune_section is None:
        raise FastptError(f"the recipe of {run} names no suite (tune: {{suite: ...}}). Give --suite NAME or FILE.")
    return tune_section.suite


def _describe(encoder: Encoder, features: int) -> dict:
    """What the results say of the encoder; the noise of its pre-training is what its run recorded."""
    provenance: dict = {}
    if encoder.run is not None and (encoder.run / "provenance.json").is_file():
        provenance = json.loads((encoder.run / "provenance.json").read_text(encoding="utf-8"))
    noise = provenance.get("noise")
    return {
        "name": encoder.name,
        "weights_sha256": encoder.weights_sha256,
        "run": None if encoder.run is None else str(encoder.run),
        "recipe": provenance.get("recipe"),
        "noise": noise and {key: noise.get(key) for key in ("plan", "kind", "rate", "realised_rate")},
        "features": features,
    }


def _say(text: str) -> None:
    print(f"tune: {text}", file=sys.stderr, flush=True)
