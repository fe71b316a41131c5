"""What is done with prepared splits."""

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

import fastpt
from fastpt import runs
from fastpt.cli.shared import FOLDER, JSON, OUTPUT, FiniteRange, Noise, describe, describe_classes, describe_plan
from fastpt.errors import DamagedData, FastptError
from fastpt.printable import first_few, mapping, one_line, printable
from fastpt.progress import Progress
from fastpt.runs.folder import is_run

if TYPE_CHECKING:
    from fastpt.data.plan import Targets

FEW_CLASSES = 5


@click.command()
@click.argument("folder", type=FOLDER)
@JSON
def info(folder: Path, as_json: bool) -> None:
    """Say what the prepared splits at FOLDER hold. What is damaged is an error behind all the rest."""
    from fastpt.data.verify import split_folders

    found, problems, folders = [], [], split_folders(folder)
    for path in folders:
        try:
            dataset = fastpt.Dataset(path)
        except FastptError as error:
            problems.append(error)
            continue
        plans = []
        for name in dataset.noise_plans():
            try:
                plans.append(dataset.noise_plan(name))
            except FastptError as error:
                problems.append(error)
        found.append((dataset, plans))
    documents = [{**dataset.manifest, "noise": [plan.as_dict() for plan in plans]} for dataset, plans in found]
    if as_json and documents:
        click.echo(json.dumps(documents if len(folders) > 1 else documents[0], indent=2))
    for dataset, plans in () if as_json else found:
        click.echo(printable(describe(dataset)))
        click.echo(printable(_describe_samples(dataset)))
        for plan in plans:
            click.echo(printable(describe_plan(plan, len(dataset)) + describe_classes(dataset, plan)))
    for problem in problems[1:]:
        click.echo(printable(f"Error: {problem}"), err=True)
    if problems:
        raise problems[0]


def _describe_samples(dataset: "fastpt.Dataset") -> str:
    """How large the pictures are and how they came to be stored, the first key, the first classes."""
    import numpy as np

    sides = np.maximum(dataset.samples.width, dataset.samples.height)
    pictures = f"  longer sides: {sides.min()} to {sides.max()} px, median {np.median(sides):.0f}"
    if reencoded := dataset.manifest["counts"].get("reencoded"):
        pictures += (
            f"; {sum(reencoded.values()) / len(dataset):.1%} of the pictures re-encoded, "
            f"{reencoded['444'] / len(dataset):.1%} at 4:4:4; "
            f"{dataset.manifest['counts']['with_entry_points']:,} of {len(dataset):,} with entry points"
        )
    lines = [pictures, f"  first key: {one_line(dataset.table(['key'])['key'][0])}"]
    if dataset.has_labels:
        names = [f"{i} {one_line(name)}" for i, name in enumerate(dataset.class_names)]
        lines.append(f"  classes: {first_few(names, FEW_CLASSES)}")
    return "\n".join(lines)


@click.command()
@click.argument("folder", type=FOLDER)
@click.option("--deep", is_flag=True, help="Decode every picture, and make every noise plan again to compare.")
@JSON
def verify(folder: Path, deep: bool, as_json: bool) -> None:
    """Check every file of the splits at FOLDER by its checksum. Names each that changed.

    FOLDER may be a run: its checkpoints, export and tuning results, and the features that tuning keeps of it.
    """
    from fastpt.data.verify import split_folders, verify_deep
    from fastpt.data.verify import verify as verify_split
    from fastpt.noise.verify import verify_plans

    if deep and is_run(folder):
        raise click.UsageError("--deep decodes the pictures of splits; of a run every file is held against its sum")
    problems = {str(folder): _verify_run(folder)} if is_run(folder) else {}
    for path in split_folders(folder) if not problems else ():
        problems[str(path)] = verify_split(path)
        if deep and not problems[str(path)]:  # what changed since it was written needs no deeper look
            with Progress(f"verify {path}", "pictures") as progress:
                problems[str(path)] = verify_deep(path, progress) + verify_plans(fastpt.Dataset(path))
    if as_json:
        click.echo(json.dumps(problems, indent=2))
    else:
        well = "every file is as it was written" + ", pictures decode, counts and noise agree" * deep
        for path, lines in problems.items():
            click.echo("\n".join(printable(line) for line in lines) or f"{path}: {well}")
    sys.exit(DamagedData.exit_code if any(problems.values()) else 0)


def _verify_run(run: Path) -> list[str]:
    from fastpt.tuning.feature_cache import verify_features

    tuned = runs.read_run(run).tunes
    weights = {mapping(tune.get("encoder")).get("weights_sha256") for tune in tuned}
    return runs.verify(run) + verify_features({one for one in weights if isinstance(one, str)})


@click.command()
@click.argument("folder", type=FOLDER)
@click.option("--noise", type=Noise(), required=True, metavar="PLAN|RATE|clean", help="What the samples are shown.")
@click.option(
    "--format",
    "store",
    type=click.Choice(["ffcv", "wds", "parquet"]),
    required=True,
    help="One FFCV file, WebDataset tars, or parquet as Hugging Face's datasets read it.",
)
@click.option("--out", type=OUTPUT, required=True, help="The folder to make.")
@click.option("--of", type=click.Choice(["labels", "captions"]), help="Which targets, where the split has both.")
@click.option(
    "--shard-samples", type=click.IntRange(1), default=20_000, show_default=True, help="Samples a tar or parquet file."
)
@click.option("--limit", type=click.IntRange(1), help="Write so many, drawn at random: each time the same.")
@click.option("--class", "only", metavar="NAME", multiple=True, help="Write what is truly of this class; repeatable.")
def materialize(
    folder: Path,
    noise: float | str | None,
    store: str,
    out: Path,
    of: "Targets | None",
    shard_samples: int,
    limit: int | None,
    only: tuple[str, ...],
) -> None:
    """Write the split FOLDER with noisy targets for other readers. FFCV, webdataset, datasets, DALI, open_clip, timm.

    \b
    fastpt materialize data/imagenet/train --noise 0.05 --format ffcv --out imagenet-noisy
    fastpt materialize data/yfcc15m/train --noise swap-0.05-seed0 --format wds --out yfcc15m-noisy
    fastpt materialize data/imagenet/train --noise 0.05 --format parquet --class tench --limit 100 --out some

    Pictures are copied as stored. An FFCV file has the fields image and label, or caption (FFCV's JSONField). Tars (in
    .json) and parquet also say of each sample its key, what is shown and what is clean, and whether it is_noisy.
    """
    from datasets_prep.materialize import materialize as write_files

    with Progress(f"materialize {folder}", "pictures") as progress:
        write_files(fastpt.Dataset(folder), noise, store, out, of, shard_samples, progress, limit, only)
    click.echo(f"wrote {out}")


@click.command()
@click.argument("folder", type=FOLDER)
@click.option(
    "--noise", "plans", type=Noise(), multiple=True, metavar="PLAN|RATE|clean", help="Show this alone; repeatable."
)
@click.option("--pictures", type=click.IntRange(1, 1000), default=24, show_default=True, help="Pictures a section.")
@click.option("--out", type=OUTPUT, help="The file (default: NAME-SPLIT-preview.html here).")
def preview(folder: Path, plans: tuple[float | str | None, ...], pictures: int, out: Path | None) -> None:
    """Show the split FOLDER on one HTML page. It has pictures, targets clean and noisy, classes, sizes."""
    from fastpt.report.preview import write_preview

    dataset = fastpt.Dataset(folder)
    out = out or Path(f"{dataset.name}-{dataset.split}-preview.html")
    write_preview(dataset, list(plans) or dataset.noise_plans(), pictures, out)
    click.echo(f"wrote {out}")


@click.command()
@click.argument("folder", type=FOLDER)
@click.option("--model-rate", type=FiniteRange(0, min_open=True), help="Pictures a second that the model takes.")
@click.option(
    "--size", type=click.IntRange(1, 16384), default=224, show_default=True, help="Side of the crops, pixels."
)
@click.option("--batch-size", type=click.IntRange(1, 2**20), default=256, show_default=True, help="Pictures a batch.")
@click.option("--threads", type=click.IntRange(1, 1024), help="Decoding threads (default: this process's cores).")
@click.option("--seconds", type=FiniteRange(0, min_open=True), default=5.0, show_default=True, help="Of each measure.")
@JSON
def bench(
    folder: Path,
    model_rate: float | None,
    size: int,
    batch_size: int,
    threads: int | None,
    seconds: float,
    as_json: bool,
) -> None:
    """Measure how fast the split FOLDER loads on this machine. Says whether a model would wait for it.

    The rate of your model is in the log of a training whose recipe has data.decoder: synthetic.
    """
    from fastpt.loading.bench import benchmark, describe, judge

    report = benchmark(fastpt.Dataset(folder), size, batch_size, threads, seconds)
    advice = judge(report, model_rate) if model_rate else []
    if as_json:
        click.echo(json.dumps({**report.as_dict(), "model_rate": model_rate, "advice": advice}, indent=2))
    else:
        click.echo(printable("\n".join(describe(report) + advice)))
