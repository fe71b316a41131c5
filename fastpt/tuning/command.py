"""`fastpt tune`: what was not given is filled in, the encoder tuned on the suite, the results written."""

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from fastpt.config import Precision
from fastpt.errors import FastptError
from fastpt.files import atomic_write, write_sealed_json
from fastpt.recipe import recipe_of
from fastpt.runs.folder import RECIPE, TUNE, newest_finished
from fastpt.tuned import ANSWERS, check_replaced
from fastpt.tuning.config import TuningConfig
from fastpt.tuning.encoders import open_encoder
from fastpt.tuning.encoders.encoder import Encoder, default_device
from fastpt.tuning.methods import HEADS
from fastpt.tuning.ranks import ALONE, Ranks, compute_shares
from fastpt.tuning.results import Results
from fastpt.tuning.run import tune
from fastpt.tuning.sets import say
from fastpt.tuning.suite_files import load_suite
from fastpt.tuning.suites import Suite, open_suite
from fastpt.tuning.tables import csv_table, text_table


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
) -> Results | None:
    """What the command line calls: fill in what was not given, tune, write `out` (.json) with .csv, .txt and .parquet
    beside it.

    Without `run` and `encoder`, the newest finished run under runs/; without `suite`, the one that its recipe names.
    A suite of feature files takes neither. Seeds are 0, 1, ... `options` are those of the methods, such as epochs or
    lrs. `cka_with` is another encoder, or the folder of another run; CKA compares its features of the tests with these.
    Of several processes, `ranks`, each calls this with the same arguments; the first tunes, the others compute their
    shares of the features and return None. What is measured is written as it comes; `Results.failed` says what could
    not be. Without `out`, results of other settings are not replaced. Raises FastptError.
    """
    config = TuningConfig(methods, range(num_seeds), fractions, label_noise, options)
    path = _checked(out) if out else None
    loaded, opened, other = _opened(run, encoder, suite, precision, cka_with)
    if ranks.rank:
        if opened:
            for one in open_suite(loaded)[0]:
                reading = {"decoder": decoder, "threads": threads or ranks.cores}
                compute_shares(ranks, opened, one, config.views, other, **reading)
        return None
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
    loaded = loaded or load_suite(suite_of(run))
    opened = open_encoder(f"run:{run}" if encoder is None else encoder, default_device(), precision)
    other = open_encoder(_named(cka_with), default_device(), precision) if cka_with else None
    return loaded, opened, other


def _named(encoder: str) -> str:
    """An encoder, where a folder is that of a run."""
    return f"run:{encoder}" if Path(encoder).is_dir() else encoder


def suite_of(run: Path | None) -> str:
    """The suite that the recipe of a run names. Raises FastptError if there is none, or no run."""
    if run is None:
        raise FastptError("--encoder needs a suite to be measured on. Give --suite NAME, FILE or a folder of splits.")
    if not run.is_dir():
        raise FastptError(f"run {run} does not exist. Check --run.")
    if not (run / RECIPE).is_file():
        raise FastptError(f"{run} has no {RECIPE}, so it names no suite. Check --run, or give --suite.")
    tune_section = recipe_of(run).tune
    if tune_section is None:
        none = f"the recipe of {run} names no suite (tune: {{suite: ...}})"
        raise FastptError(f"{none}. Give --suite NAME, FILE or a folder of splits.")
    return tune_section.suite


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


def _write(path: Path, results: Results) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path.with_suffix(ANSWERS)) as file:
        file.write(results.answers)
    write_sealed_json(path, results.as_dict())
    for suffix, text in ((".csv", csv_table(results)), (".txt", text_table(results))):
        with atomic_write(path.with_suffix(suffix), "w") as file:
            file.write(text)
