"""`fastpt init`: files to start from, for the data at hand."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from fastpt.cli.shared import OUTPUT, RECORDED
from fastpt.errors import FastptError
from fastpt.printable import plural, printable
from fastpt.storage.address import ADDRESS, RemotePath

if TYPE_CHECKING:
    from fastpt.data.dataset import Dataset

SMALL = 96  # pixels; pictures up to this are trained on at 64
RATES = (0.0, 0.05, 0.1, 0.2, 0.3)


@click.command()
@click.argument("file", type=click.Choice(["recipe", "suite", "study"]))
@click.argument("sources", type=RECORDED, nargs=-1, required=True, metavar="SOURCE...")
@click.option("--suite", help="recipe, study: the suite that runs are tuned on.")
@click.option("--out", type=OUTPUT, help="The file to write (default: recipe.yaml, suite.yaml, study.yaml).")
def init(file: str, sources: tuple[Path, ...], suite: str | None, out: Path | None) -> None:
    """Write a commented recipe, suite or study to start from. Replaces no file.

    \b
    fastpt init recipe data/mine                  a classifier of the split data/mine/train, or a CLIP of its captions
    fastpt init suite data/flowers data/pets      what encoders are compared on
    fastpt init study recipe.yaml --suite suite.yaml     that recipe at several noise rates and seeds
    """
    out = out or Path(f"{file}.yaml")
    if out.suffix not in (".yaml", ".yml"):
        raise click.BadParameter(f"{out} is to be YAML: let its name end in .yaml", param_hint="--out")
    if suite and file == "suite":
        raise click.UsageError("--suite names a suite for a recipe or a study; leave it out")
    if file != "suite" and len(sources) > 1:
        raise click.UsageError(f"a {file} is made of one {'folder' if file == 'recipe' else 'recipe'}; give one")
    text = _WRITERS[file](sources, suite, out)
    try:
        with out.open("x", encoding="utf-8") as opened:
            opened.write(text)
    except FileExistsError:
        raise FastptError(f"{out} is there already, and nothing is replaced. Give --out another name.") from None
    click.echo(printable(f"wrote {out}; `fastpt keys {file}` says what else may stand there"))


def _suite(sources: tuple[Path, ...], suite: str | None, out: Path) -> str:
    import fastpt
    from fastpt.tuning.found_sets import suite_of
    from fastpt.tuning.suites import SplitSpec

    found = suite_of(list(sources), out.stem)
    seen = [one.name for one in found.id] + [one.name for one in found.ood]
    if twice := sorted({name for name in seen if seen.count(name) > 1}):
        raise FastptError(f"two folders are called {twice[0]!r}, and so would be their sets. Write one suite a folder.")

    def split(spec: SplitSpec) -> str:
        path = _scalar(spec.splits[0])
        return f"{{split: {path}, classes: {spec.classes}}}" if spec.classes else path

    def size(spec: SplitSpec) -> str:
        dataset = fastpt.Dataset(spec.splits[0])
        return f"{plural(len(dataset), 'sample')} of {len(dataset.classes)} classes"

    lines = [
        "# What encoders are compared on: light heads are trained on `train`, the encoder frozen, and tested.",
        "#",
        f"#   fastpt tune --suite {out}                            the newest run",
        f"#   fastpt tune --suite {out} --encoder timm:resnet50    or any encoder",
        f"name: {_scalar(out.stem)}",
    ]
    if found.id:
        lines += ["# In domain: trained and tested on one kind of pictures.", "id:"]
    for one in found.id:
        assert one.test  # what a folder's splits are
        lines += [
            f"  - name: {_scalar(one.name)}",
            f"    train: {split(one.train)}  # {size(one.train)}",
            f"    test: {split(one.test)}  # {size(one.test)}",
            "    metric: accuracy  # or mean_per_class, where classes are unequal",
        ]
    if found.ood:
        lines += ["# Out of domain: trained on one kind, tested on others.", "ood:"]
    for one in found.ood:
        tests = [f"      {_scalar(name)}: {split(spec)}" for name, spec in one.tests.items()]
        lines += [
            f"  - name: {_scalar(one.name)}",
            f"    train: {split(one.train)}  # {size(one.train)}",
            "    tests:",
            *tests,
        ]
    return "\n".join(lines) + "\n"


class _Task(NamedTuple):
    """What a recipe says of one task alone."""

    name: str
    model: str
    of: str
    scale: str
    lines: tuple[str, ...]


def _classifier(train: "Dataset", small: bool) -> _Task:
    model = "resnet18" if small else "resnet50"
    lines = (
        f"model: {{name: {model}}}  # any of timm's",
        "optim: {name: adamw, lr: 1.0e-3, weight_decay: 0.05}",
        "augment: {label_smoothing: 0.1}",
    )
    return _Task("supervised", model, f"of {len(train.classes)} classes", "[0.35, 1.0]", lines)


def _clip(train: "Dataset", small: bool) -> _Task:
    lines = (
        "model: {name: RN50}  # any of open_clip's",
        "optim: {name: adamw, lr: 5.0e-4, weight_decay: 0.1, betas: [0.9, 0.98]}",
    )
    small_lines = (
        "model:  # or {name: RN50}, or any of open_clip's",
        "  name: small-clip",
        "  config:",
        "    embed_dim: 128",
        "    vision_cfg: {timm_model_name: resnet10_narrow, timm_pool: avg, timm_proj: linear}",
        "    text_cfg: {context_length: 32, vocab_size: 49408, width: 128, heads: 4, layers: 1}",
        "optim: {name: adamw, lr: 2.0e-3, weight_decay: 0.05, betas: [0.9, 0.98]}",
    )
    zero_shot = "# clip: {zero_shot: {data: data/imagenet/val}}  # zero-shot accuracy on any split with labels"
    if small:
        return _Task("clip", "A small CLIP", "with captions", "[0.6, 1.0]", (*small_lines, zero_shot))
    return _Task("clip", "CLIP RN50", "with captions", "[0.9, 1.0]", (*lines, zero_shot))


def _recipe(sources: tuple[Path, ...], suite: str | None, out: Path) -> str:
    import numpy as np

    import fastpt
    from fastpt.tuning.found_sets import TESTS, TRAIN

    (folder,) = (RemotePath.parse(str(one)) if ADDRESS.match(str(one)) else one for one in sources)
    path = folder if (folder / "dataset.json").exists() else folder / TRAIN
    train = fastpt.Dataset(path)
    val = next((path.parent / one for one in TESTS[::-1] if (path.parent / one / "dataset.json").exists()), None)
    side = float(np.median(np.minimum(train.samples.width, train.samples.height)))
    size = 64 if side <= SMALL else 224
    task = (_classifier if train.has_labels else _clip)(train, size == 64)
    batch = min(256, 2 ** max(1, int(np.log2(max(len(train) // 16, 2)))))
    plans = ", ".join(train.noise_plans()[:3])
    lines = [
        f"# {task.model} on {train.name}/{train.split}: {plural(len(train), 'picture')} {task.of}.",
        "#",
        "# Reaches: (write here what it reached, and on how many seeds)",
        f"# Takes:   (`fastpt train {out} --dry-run` says what to expect)",
        "#",
        f"#   fastpt train {out}",
        f"#   fastpt train {out} --set data.noise=0.1    after `fastpt noise {path} --rate 0.1`",
        f"task: {task.name}",
        "data:",
        f"  train: {_scalar(str(path))}",
        *([f"  val: {_scalar(str(val))}"] if val else []),
        f"  noise: 0  # a rate, or the name of a plan{f': {printable(plans)}' if plans else ''}",
        f"  size: {size}  # side of the training crops, pixels; the pictures' shorter sides are {side:.0f} (median)",
        f"  scale: {task.scale}  # share of the picture that a crop shows",
        *(["  crop_fraction: 1.0  # what open_clip's preprocessing shows"] if not train.has_labels else []),
        *task.lines,
        "schedule: {epochs: 16, warmup_epochs: 1}",
        f"batch_size: {batch}  # of all processes together",
        *(["evaluate: {every_epochs: 4}"] if val else []),
        "checkpoint: {every_epochs: 4}",
        f"tune: {{suite: {_scalar(suite)}}}"
        if suite
        else "# tune: {suite: suite.yaml}  # what `fastpt tune` measures on; `fastpt init suite` writes one",
    ]
    return "\n".join(lines) + "\n"


def _study(sources: tuple[Path, ...], suite: str | None, out: Path) -> str:
    from fastpt.recipe import load_recipe

    (recipe,) = sources
    loaded = load_recipe(recipe)
    suites = suite or (loaded.tune.suite if loaded.tune else None)
    if not suites:
        raise FastptError(f"{recipe} names no suite that its runs would be compared on. Give --suite.")
    lines = [
        f"# What label noise does to {recipe}: {len(RATES)} noise rates, three seeds, tuned on one suite.",
        "#",
        f"#   fastpt study {out} --dry-run    what would run, with the time and disk expected",
        f"#   fastpt study {out}              goes on where it stopped",
        f"name: {_scalar(out.stem)}",
        "pretrain:",
        f"  - recipe: {_scalar(str(recipe))}",
        f"    rates: [{', '.join(f'{rate:g}' for rate in RATES)}]  # 0 is clean; plans that are missing are made",
        "    seeds: [0, 1, 2]  # of training; more of them make verdicts sharper",
        f"    suites: [{_scalar(suites)}]",
        "tune: {methods: [lp, mlp, nmtune], num_seeds: 3}",
        "# claims:  # what is asked, before the first run; `fastpt study power` then says how many seeds decide",
        "#   - {name: slight noise helps, estimand: mean - clean, setting: id, method: lp, rates: [0.05, 0.1],",
        '#      side: "> 0", margin: 0.5}  # in domain (id) or out (ood); 0.5 points are negligible',
    ]
    return "\n".join(lines) + "\n"


_WRITERS: dict[str, Callable[[tuple[Path, ...], str | None, Path], str]] = {
    "recipe": _recipe,
    "suite": _suite,
    "study": _study,
}


def _scalar(text: str) -> str:
    """A text as YAML reads it back."""
    import yaml

    plain = re.fullmatch(r"[\w./-]+", text) and yaml.safe_load(text) == text
    return text if plain else json.dumps(text, ensure_ascii=False)
