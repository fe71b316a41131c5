"""`fastpt suspects`: which labels of a split are likely wrong."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import fastpt
from fastpt.cli.shared import FOLDER, JSON, OUTPUT, SEED, Noise
from fastpt.errors import FastptError
from fastpt.printable import one_line, percentage, printable

if TYPE_CHECKING:
    import numpy as np

    from fastpt.noise.predictions import Predictions
    from fastpt.tuning.suspects import Agreement

SUFFIX = ".parquet"


@click.command()
@click.argument("folder", type=FOLDER)
@click.option(
    "--noise",
    "shown",
    type=Noise(),
    metavar="PLAN|RATE",
    help="The labels in question are those that this noise plan shows (default: the split's own).",
)
@click.option("--run", type=FOLDER, help="The run whose encoder looks at the pictures (default: the newest finished).")
@click.option("--encoder", metavar="KIND:NAME[:WEIGHTS]", help="Any frozen encoder, as of `fastpt tune`.")
@click.option("--folds", type=click.IntRange(2, 100), default=5, show_default=True, help="Of the cross-validation.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Of the folds.")
@click.option("--out", type=OUTPUT, default=Path("suspects.parquet"), show_default=True, help="What is said of all.")
@click.option("--page", type=OUTPUT, help="The page of the worst (default: beside --out, .html).")
@click.option("--pictures", type=click.IntRange(0, 1000), default=100, show_default=True, help="On the page.")
@click.option("--threads", type=click.IntRange(1, 1024), help="Decoding threads (default: all cores).")
@JSON
def suspects(
    folder: Path,
    shown: float | str | None,
    run: Path | None,
    encoder: str | None,
    folds: int,
    seed: int,
    out: Path,
    page: Path | None,
    pictures: int,
    threads: int | None,
    as_json: bool,
) -> None:
    """Say which labels of the split FOLDER are likely wrong. By a cross-validated probe on frozen features.

    \b
    fastpt suspects data/mine/train --encoder timm:resnet50
    fastpt suspects data/cifar10n/train --noise external-worse --run runs/r18     how well it finds what is wrong
    fastpt noise data/mine/train --kind external --file suspects.parquet          train on corrected labels ...
    fastpt train recipe.yaml --set data.noise=external-suspects --set data.keep=right    ... or without them
    """
    if run and encoder:
        raise click.UsageError("--run and --encoder name two encoders; give one")
    if out.suffix != SUFFIX:
        raise click.BadParameter(f"{out} is a parquet file: let its name end in {SUFFIX}", param_hint="--out")
    from fastpt.report.suspects import check_page, write_suspects

    page = page or out.with_suffix(".html")
    check_page(page)
    for path in (out, page):
        if not path.parent.is_dir():
            raise FastptError(f"{path.parent} is no folder, where {path.name} is to be written. Make it first.")
    said = _look(fastpt.Dataset(folder), shown, encoder, run, folds, seed, threads, out)
    facts = _facts(said, folds, out)
    pictures_shown = said.dataset.shown(said.noise)
    truth = said.truth if said.noise else None
    write_suspects(page, said.dataset, pictures_shown, said.predictions, facts, pictures, truth)
    if as_json:
        click.echo(json.dumps(_document(said, out, page), indent=2))
    else:
        lines = [f"{name}: {value}" for name, value in facts] + [f"The worst: {page}"]
        click.echo(printable("\n".join(lines)))


@dataclass(frozen=True)
class _Said:
    """What was found of the labels of a split."""

    dataset: "fastpt.Dataset"
    noise: str | None
    """The plan whose labels are in question; None: the split's own."""
    encoder: str
    predictions: "Predictions"
    made_with: dict[str, Any]
    identity: str
    """Of the file."""
    truth: "np.ndarray"
    """int64 [N], the right labels where a plan changed them."""
    agreement: "Agreement | None"
    ranked: dict[str, float | None]
    """Average precision of what training recorded of each sample, by measure."""

    @property
    def doubted(self) -> int:
        """How many labels are."""
        return int((self.predictions.given != self.predictions.suggested).sum())

    @property
    def most_probable(self) -> float:
        """The share of labels that the probe holds for the most probable."""
        return float((self.predictions.margin > 0).mean())


def _look(
    dataset: "fastpt.Dataset",
    shown: float | str | None,
    encoder: str | None,
    run: Path | None,
    folds: int,
    seed: int,
    threads: int | None,
    out: Path,
) -> _Said:
    """Look for suspects, and write `out`."""
    clean = dataset.clean_labels
    plan = dataset.noise_plan(shown, of="labels")
    noise = plan.name if plan else None
    wrong = dataset.wrong(noise, of="labels")

    import numpy as np

    from fastpt.noise.predictions import UNKNOWN, write_predictions
    from fastpt.runs.folder import newest_finished
    from fastpt.tuning.encoders import open_encoder
    from fastpt.tuning.encoders.encoder import default_device
    from fastpt.tuning.suspects import agreement, average_precision, dynamics_of, find_suspects, order_by

    opened = open_encoder(encoder or f"run:{run or newest_finished()}", default_device())
    predictions, made_with = find_suspects(opened, dataset, noise, folds, seed, threads)
    scores = dynamics_of(opened.run, dataset, plan) if opened.run else {}
    identity = write_predictions(out, dataset, predictions, {**made_with, "noise": noise}, scores)
    # A wrong sample whose label is its own has a picture of no class that is known.
    truth = np.where(wrong & (predictions.given == clean), UNKNOWN, clean)
    known = agreement(predictions, truth) if noise else None
    ranked = {name: average_precision(wrong, order_by(score)) for name, score in scores.items() if noise}
    return _Said(dataset, noise, opened.name, predictions, made_with, identity, truth, known, ranked)


def _facts(said: _Said, folds: int, out: Path) -> list[tuple[str, str]]:
    """What the page and the terminal say, by name."""
    samples = len(said.dataset)
    return [
        ("Labels in question", f"those of noise plan {one_line(said.noise)}" if said.noise else "the split's own"),
        ("Looked at by", f"{said.encoder}, a ridge probe on its features, {folds} folds"),
        ("Told by the probe", _told(said.most_probable, "of the labels in question; if few, take another encoder")),
        ("Doubted", f"{said.doubted:,} of {samples:,} ({percentage(round(said.doubted / samples, 3))})"),
        *(_agreement(said.agreement) if said.agreement else []),
        *((f"The same, by {name}", _told(share, "of the run's training")) for name, share in said.ranked.items()),
        ("All samples", f"{out} ({said.identity[:12]})"),
    ]


def _document(said: _Said, out: Path, page: Path) -> dict[str, Any]:
    return {
        "samples": len(said.dataset),
        "doubted": said.doubted,
        "noise": said.noise,
        "made_with": said.made_with,
        "agreement": said.agreement.as_dict() if said.agreement else None,
        "average_precision_of_dynamics": said.ranked,
        "most_probable": said.most_probable,
        "out": str(out),
        "page": str(page),
    }


def _agreement(found: "Agreement") -> list[tuple[str, str]]:
    return [
        ("Wrong, in truth", f"{found.wrong:,}"),
        ("Precision", _told(found.precision, "of the doubted are wrong")),
        ("Recall", _told(found.recall, "of the wrong are doubted")),
        ("Average precision", _told(found.average_precision, "of the ranking")),
        ("Corrected", _told(found.corrected, "of the wrong that are doubted get the right label")),
    ]


def _told(share: float | None, what: str) -> str:
    return f"{percentage(round(share, 3))} {what}" if share is not None else "there are none"
