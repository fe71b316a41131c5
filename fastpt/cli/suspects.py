"""`fastpt suspects`: which labels of a split are likely wrong."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import fastpt
from fastpt.cli.shared import FOLDER, JSON, OUTPUT, SEED, Noise
from fastpt.errors import FastptError
from fastpt.printable import one_line, percentage, printable

if TYPE_CHECKING:
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
        raise click.BadParameter(f"{out.name} is a parquet file: let its name end in {SUFFIX}", param_hint="--out")
    from fastpt.report.suspects import check_page, write_suspects

    page = page or out.with_suffix(".html")
    check_page(page)
    for path in (out, page):
        if not path.parent.is_dir():
            raise FastptError(f"{path.parent} is no folder, where {path.name} is to be written. Make it first.")
    dataset = fastpt.Dataset(folder)
    clean = dataset.clean_labels
    plan = dataset.noise_plan(shown, of="labels")
    noise = plan.name if plan else None
    wrong = dataset.wrong(noise, of="labels")

    import numpy as np

    from fastpt.noise.predictions import UNKNOWN, write_predictions
    from fastpt.runs import newest_finished
    from fastpt.tuning.encoders import open_encoder
    from fastpt.tuning.encoders.encoder import default_device
    from fastpt.tuning.suspects import agreement, average_precision, dynamics_of, find_suspects, order_by

    opened = open_encoder(encoder or f"run:{run or newest_finished()}", default_device())
    predictions, made_with = find_suspects(opened, dataset, noise, folds, seed, threads)
    scores = dynamics_of(opened.run, dataset, wrong) if opened.run else {}
    identity = write_predictions(out, dataset, predictions, {**made_with, "noise": noise}, scores)
    # A wrong sample whose label is its own has a picture of no class that is known.
    truth = np.where(wrong & (predictions.given == clean), UNKNOWN, clean)
    known = agreement(predictions, truth) if noise else None
    ranked = {name: average_precision(wrong, order_by(score)) for name, score in scores.items() if noise}
    doubted = int((predictions.given != predictions.suggested).sum())
    first = float((predictions.margin > 0).mean())
    facts = [
        ("Labels in question", f"those of noise plan {one_line(noise)}" if noise else "the split's own"),
        ("Looked at by", f"{opened.name}, a ridge probe on its features, {folds} folds"),
        ("Told by the probe", _told(first, "of the labels in question; if few, take another encoder")),
        ("Doubted", f"{doubted:,} of {len(dataset):,} ({percentage(round(doubted / len(dataset), 3))})"),
        *(_agreement(known) if known else []),
        *((f"The same, by {name}", _told(share, "of the run's training")) for name, share in ranked.items()),
        ("All samples", f"{out} ({identity[:12]})"),
    ]
    write_suspects(page, dataset, dataset.shown(noise), predictions, facts, pictures, truth if noise else None)
    if as_json:
        document: dict[str, Any] = {"samples": len(dataset), "doubted": doubted, "noise": noise, "made_with": made_with}
        document |= {"agreement": known.as_dict() if known else None, "average_precision_of_dynamics": ranked}
        document |= {"most_probable": first, "out": str(out), "page": str(page)}
        click.echo(json.dumps(document, indent=2))
    else:
        lines = [f"{name}: {value}" for name, value in facts] + [f"The worst: {page}"]
        click.echo(printable("\n".join(lines)))


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
