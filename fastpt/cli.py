"""The command line. Nothing heavy is imported before a command runs, so that help answers at once."""

import json as json_module
import os
import sys
from pathlib import Path

import click

from fastpt.errors import FastptError

HELP = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
FOLDER = click.Path(path_type=Path)
SEED = click.IntRange(min=0)
JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")


class Commands(click.Group):
    """Lists commands in the order of the work, and tells a FastptError in one line instead of a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def invoke(self, ctx: click.Context):
        try:
            return super().invoke(ctx)
        except FastptError as error:
            raise click.ClickException(_printable(str(error))) from None
        except OSError as error:
            if error.filename is None:  # not about a file that the user named: a fault of ours
                raise
            said = f"{error.filename}: {error.strerror}. Check that the path is right and that it may be written."
            raise click.ClickException(_printable(said)) from None


def _printable(text: str) -> str:
    """Text that may quote file names or captions, without control characters that would act on the terminal."""
    return "".join(char if char.isprintable() or char == "\n" else "\N{REPLACEMENT CHARACTER}" for char in text)


class Share(click.ParamType):
    name = "share"

    def convert(self, value, param, ctx):
        try:
            share = float(value)
        except ValueError:
            share = float("nan")
        if not 0 < share < 1:
            self.fail(f"a share lies above 0 and below 1, such as 0.1; found {value!r}", param, ctx)
        return share


class Rate(click.ParamType):
    name = "rate"

    def convert(self, value, param, ctx):
        from fastpt.data.noise import check_rate

        try:
            return check_rate(float(value))
        except ValueError:
            self.fail(f"a noise rate is a number, such as 0.05; found {value!r}", param, ctx)
        except FastptError as error:
            self.fail(str(error), param, ctx)


@click.group(cls=Commands, context_settings=HELP)
@click.version_option(package_name="fastpt")
def main() -> None:
    """Pre-train on noisy labels and tune what was learned: prep, train, tune, report."""


# --- data -------------------------------------------------------------------------------------------------------


@main.command()
@click.argument("source", type=click.Choice(["demo", "imagenet", "yfcc15m", "imagefolder", "captions", "webdataset"]))
@click.option("--source", "source_path", type=FOLDER, metavar="PATH", help="Folder or tar to read, in place.")
@click.option("--name", help="Name of the dataset (default: demo, imagenet, yfcc15m, or the source's file name).")
@click.option("--out", type=FOLDER, help="Folder for the splits (default: data/NAME).")
@click.option("--noise", "rates", type=Rate(), multiple=True, help="Noise rate, such as 0.05; repeatable. Train only.")
@click.option("--seed", type=SEED, default=0, show_default=True, help="Seed of noise, order and holdout.")
@click.option("--format", "store", type=click.Choice(["ffcv", "wds"]), default="ffcv", show_default=True,
              help="FFCV files, or WebDataset tars with DALI indexes.")  # fmt: skip
@click.option("--max-side", default="500", show_default=True, help="Larger pictures are reduced to this side; or none.")
@click.option(
    "--quality", type=click.IntRange(1, 100), default=90, show_default=True, help="JPEG quality if re-encoded."
)
@click.option("--order", type=click.Choice(["random", "source"]), default="random", show_default=True,
              help="Order of the samples in the shards.")  # fmt: skip
@click.option("--shard-samples", type=click.IntRange(1), default=20_000, show_default=True, help="Samples a shard.")
@click.option(
    "--holdout", type=Share(), metavar="SHARE", help="Split off a seeded share as val, if there is one split."
)
@click.option("--max-rejects", type=click.FloatRange(0, 1), default=0.001, show_default=True,
              help="Share of unusable pictures that is still accepted.")  # fmt: skip
@click.option("--workers", type=click.IntRange(1), default=os.cpu_count(), show_default="all cores", help="Processes.")
@click.option("--split-level", type=click.IntRange(0, 1), default=0, show_default=True,
              help="imagefolder: 1 if the top folders are splits.")  # fmt: skip
@click.option("--csv", help="captions: the CSV file, on disk or inside the source.")
@click.option("--image-pattern", help="captions: the picture of a row, such as 'images/{id}.jpg'.")
@click.option("--caption-column", default="caption", show_default=True, help="captions: the column with the text.")
@click.option("--label-column", help="captions: a column with class names, for zero-shot evaluation.")
def prep(source, source_path, name, out, rates, seed, store, max_side, quality, order, shard_samples, holdout,
         max_rejects, workers, split_level, csv, image_pattern, caption_column, label_column) -> None:  # fmt: skip
    """Convert SOURCE into prepared splits, with noise plans beside them.

    \b
    fastpt prep --noise 0.05 demo
    fastpt prep --noise 0.05 imagenet --source ILSVRC2012
    fastpt prep --noise 0.05 yfcc15m --source yfcc15m_tars
    fastpt prep --noise 0.05 imagefolder --source pets.tar --name pets
    fastpt prep captions --source shop.tar --csv captions.csv --image-pattern 'images/{id}.jpg'

    Pictures are stored once; a noise rate costs one small array. A stopped job goes on when run again.
    """
    from datasets_prep.convert import Options, prepare
    from datasets_prep.images import Policy
    from datasets_prep.sources import hold_out
    from fastpt.progress import Progress

    if not 0 <= max_rejects <= 1:  # FloatRange lets NaN pass
        raise click.BadParameter("a share of 0 to 1", param_hint="--max-rejects")
    if name and Path(name).name != name:
        raise click.BadParameter(
            f"a plain name, without folders; found {name!r}. --out takes a path", param_hint="--name"
        )
    limit = _max_side(max_side)
    splits = _list_source(source, source_path, seed, split_level, csv, image_pattern, caption_column, label_column)
    if holdout is not None:
        if len(splits) > 1:
            names = ", ".join(split.name for split in splits)
            raise click.UsageError(f"--holdout is for sources with one split; found {names}")
        splits = hold_out(splits[0], holdout, seed)
    if rates and not any(split.trains for split in splits):
        names = ", ".join(split.name for split in splits)
        raise FastptError(f"--noise goes to a split named train; found {names}. Leave --noise out.")
    if name is None:
        known = source in ("demo", "imagenet", "yfcc15m")  # the names by which recipes look for them
        name = source if known else source_path.name.split(".")[0]
    options = Options(store, Policy(limit, quality), shard_samples, order, seed)
    wanted = sorted({rate for rate in rates if rate > 0})
    with Progress(f"prep {name}", "pictures") as progress:
        done = list(prepare(splits, out or Path("data") / name, name, options, wanted, workers, max_rejects, progress))
    for dataset, plans in done:
        click.echo(_printable(_describe(dataset)))
        for plan in plans:
            click.echo(_printable(_describe_plan(plan, len(dataset))))


def _max_side(text: str) -> int | None:
    if text == "none":
        return None
    if text.isdigit() and int(text) > 0:
        return int(text)
    raise click.BadParameter(f"a number of pixels or none; found {text!r}", param_hint="--max-side")


def _list_source(source, path, seed, split_level, csv, image_pattern, caption_column, label_column):
    needs_csv = source == "captions"
    if (path is None) != (source == "demo"):
        raise click.UsageError("demo takes no --source" if source == "demo" else f"{source} needs --source PATH")
    if needs_csv != bool(csv) or needs_csv != bool(image_pattern):
        raise click.UsageError("--csv and --image-pattern go with captions, which needs both")
    if label_column and not needs_csv:
        raise click.UsageError("--label-column goes with captions")
    if split_level and source != "imagefolder":
        raise click.UsageError("--split-level goes with imagefolder")
    if source == "demo":
        from datasets_prep.sources.demo import demo_splits

        return demo_splits(seed)
    if source in ("webdataset", "yfcc15m"):  # YFCC15M comes as img2dataset's tars
        from datasets_prep.sources.webdataset import webdataset_splits

        return webdataset_splits(path)
    if source == "imagenet":
        from datasets_prep.sources.imagenet import imagenet_splits

        return imagenet_splits(path)
    from datasets_prep.sources.files import open_files

    if source == "imagefolder":
        from datasets_prep.sources.imagefolder import imagefolder_splits

        return imagefolder_splits(open_files(path), split_level)
    from datasets_prep.sources.captions import caption_splits

    return caption_splits(open_files(path), csv, image_pattern, caption_column, label_column)


def _describe(dataset) -> str:
    shards = dataset.manifest["shards"]
    size = dataset.manifest["counts"]["bytes"] / 1e6  # of the pictures: FFCV files have holes, which take no disk
    parts = [f"{len(dataset):,} samples"]
    if dataset.has_labels:
        parts.append(f"{len(dataset.classes)} classes")
    if dataset.has_captions:
        parts.append("captions")
    parts.append(f"{size:,.1f} MB in {len(shards)} shard{'s' * (len(shards) != 1)}")
    rejected = dataset.manifest["counts"]["rejected"]
    if rejected:
        parts.append(f"{rejected} left out (see {dataset.path / 'rejected.jsonl'})")
    remark = dataset.manifest["source_remark"]
    return f"{dataset.path}: {', '.join(parts)}" + (f"\n  note: {remark}" if remark else "")


def _describe_plan(plan, count: int) -> str:
    wrong = round(plan.realised_rate * count)
    what = "labels" if plan.of == "labels" else "captions"
    return f"  noise {plan.name}: asked {plan.rate:.4g}, realised {plan.realised_rate:.4g} ({wrong:,} wrong {what})"


@main.command()
@click.argument("folder", type=FOLDER)
@click.option("--rate", type=Rate(), required=True, help="Share of samples shown a wrong target.")
@click.option("--of", type=click.Choice(["labels", "captions"]), help="Which targets, where the split has both.")
@click.option("--seed", type=SEED, default=0, show_default=True)
def noise(folder: Path, rate: float, of: str | None, seed: int) -> None:
    """Add a noise plan to the prepared split FOLDER. Touches no picture."""
    from fastpt.data.dataset import Dataset

    if rate == 0:
        raise click.BadParameter("0 is clean and needs no plan", param_hint="--rate")
    dataset = Dataset(folder)
    click.echo(_describe_plan(dataset.add_noise(rate, seed, of), len(dataset)).strip())


@main.command()
@click.argument("folder", type=FOLDER)
@JSON
def info(folder: Path, as_json: bool) -> None:
    """Say what the prepared splits at FOLDER hold."""
    from fastpt.data.dataset import Dataset, load_plan
    from fastpt.data.verify import split_folders

    found = []
    for path in split_folders(folder):
        dataset = Dataset(path)
        plans = [load_plan(path / "noise" / f"{name}.json", dataset.samples_id) for name in dataset.noise_plans()]
        found.append((dataset, plans))
    if as_json:
        documents = [{**dataset.manifest, "noise": [plan.provenance() for plan in plans]} for dataset, plans in found]
        click.echo(json_module.dumps(documents if len(documents) > 1 else documents[0], indent=2))
        return
    for dataset, plans in found:
        click.echo(_printable(_describe(dataset)))
        for plan in plans:
            click.echo(_printable(_describe_plan(plan, len(dataset))))


@main.command()
@click.argument("folder", type=FOLDER)
@JSON
def verify(folder: Path, as_json: bool) -> None:
    """Check every file of the prepared splits at FOLDER against its checksum; name each that changed."""
    from fastpt.data.verify import split_folders
    from fastpt.data.verify import verify as verify_split

    problems = {str(path): verify_split(path) for path in split_folders(folder)}
    if as_json:
        click.echo(json_module.dumps(problems, indent=2))
    else:
        for path, lines in problems.items():
            click.echo("\n".join(_printable(line) for line in lines) or f"{path}: every file is as it was written")
    sys.exit(1 if any(problems.values()) else 0)


# --- runs -------------------------------------------------------------------------------------------------------


@main.command()
@click.argument("recipe", type=FOLDER)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a recipe key: data.noise=0.3.")
@click.option("--run-dir", type=FOLDER, help="Run folder (default: runs/<recipe>-<noise>-s<seed>).")
@click.option("--resume", is_flag=True, help="Go on from the newest whole checkpoint of the run.")
def train(recipe: Path, overrides: tuple[str, ...], run_dir: Path | None, resume: bool) -> None:
    """Pre-train as RECIPE says. One process; several under torchrun, deepspeed or SLURM."""
    from fastpt.recipe import load_recipe

    loaded = load_recipe(recipe, list(overrides))
    from fastpt.training.engine import train as run_training

    command = " ".join(["fastpt", *sys.argv[1:]])
    run_training(loaded, recipe.stem, run_dir, resume, command)


@main.command()
@click.argument("run", type=FOLDER)
def export(run: Path) -> None:
    """Write the weights of RUN as a timm or open_clip folder, with a model card."""
    from fastpt.training.export import export_run

    click.echo(f"exported to {export_run(run)}")


@main.command()
@click.option("--lp", is_flag=True, help="Linear probe. Always added, as the baseline.")
@click.option("--mlp", is_flag=True, help="MLP tuning: a two-layer MLP and a linear head.")
@click.option("--nmtune", is_flag=True, help="NMTune: MLP tuning with the paper's regularisers.")
@click.option("--run", type=FOLDER, help="The run whose encoder is tuned (default: the newest finished one).")
@click.option(
    "--encoder", metavar="KIND:NAME[:WEIGHTS]", help="Any frozen encoder: timm:resnet50, open_clip:RN50:FILE."
)
@click.option("--suite", help="A suite file, or the name of one in recipes/suites (default: as the run's recipe says).")
@click.option("--seeds", type=click.IntRange(1), default=1, show_default=True, help="Heads trained a method.")
@click.option("--epochs", type=click.IntRange(1), help="Epochs of tuning (default: the paper's 30).")
@click.option("--decoder", type=click.Choice(["ffcv", "dali"]), default="ffcv", show_default=True)
@click.option("--threads", type=click.IntRange(1), help="Decoding threads (default: all cores).")
@click.option("--out", type=FOLDER, help="Results file (default: <run>/tune/<suite>.json).")
@JSON
def tune(lp, mlp, nmtune, run, encoder, suite, seeds, epochs, decoder, threads, out, as_json) -> None:
    """Train light heads on the features of a frozen encoder, in and out of domain.

    \b
    fastpt tune --nmtune                            the newest run, its suite, NMTune beside the linear probe
    fastpt tune --encoder timm:resnet50 --suite mini
    """
    if run and encoder:
        raise click.UsageError("--run and --encoder name two encoders; give one")
    from fastpt.tuning.run import tune_command
    from fastpt.tuning.table import text_table

    chosen = [name for name, wanted in (("lp", lp), ("mlp", mlp), ("nmtune", nmtune)) if wanted]
    result = tune_command(
        run=run, encoder=encoder, suite=suite, methods=chosen or ["lp", "mlp", "nmtune"], seeds=seeds, out=out,
        epochs=epochs, threads=threads, decoder=decoder,
    )  # fmt: skip
    click.echo(json_module.dumps(result, indent=2) if as_json else _printable(text_table(result)))


@main.command()
@click.argument("runs", type=FOLDER, nargs=-1, required=True)
@click.option("--out", type=FOLDER, default=Path("report.html"), show_default=True, help="The page to write.")
@click.option("--files", is_flag=True, help="Also write the figures as SVG and the tables as CSV, beside the page.")
def report(runs: tuple[Path, ...], out: Path, files: bool) -> None:
    """Write one HTML page that compares RUNS: accuracies, spectra, curves, what the noise did."""
    from fastpt.report import write_report

    click.echo(f"report: {write_report(list(runs), out, files)}")
