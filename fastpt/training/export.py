"""A finished run's model in the folders that timm and open_clip load, with a card that says what it was trained on.

Weights are safetensors only. `export_run` reads the newest whole checkpoint, so it can be repeated at any time.
"""

import shutil
from pathlib import Path
from typing import Any

import safetensors.torch
import timm
import torch
import yaml

from fastpt.errors import FastptError
from fastpt.files import write_json
from fastpt.recipe import Recipe, load_recipe
from fastpt.runs import EXPORT, RECIPE, read_metrics, read_provenance
from fastpt.training import checkpoint
from fastpt.training.tasks import clip, supervised


def export_run(run: Path, best: bool = False) -> Path:
    """Write `run`/export anew, of the last checkpoint or the best, and return it.

    Raises FastptError if `run` is no run or has no such checkpoint.
    """
    origin = read_provenance(run)
    recipe = load_recipe(run / RECIPE)
    newest, passed = checkpoint.newest_intact(run)
    if passed:  # an older one would be other weights under the results of the last
        raise FastptError(
            f"{passed[0].split(';')[0]}, so {run} is not exported; an export that is there stays as it is. "
            "`fastpt train --resume` trains on from the checkpoint before."
        )
    if newest is None:
        raise FastptError(f"{run} has no checkpoint yet, so there is nothing to export. Train it with `fastpt train`.")
    chosen = checkpoint.best(run) if best else newest
    weights, step = checkpoint.read_weights(chosen), checkpoint.read_state(chosen)["step"]
    aside, export = run / ".export.tmp", run / EXPORT
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir()
    usage = (_export_timm if recipe.task == "supervised" else _export_open_clip)(aside, recipe, origin, weights)
    (aside / "README.md").write_text(_card(recipe, origin, read_metrics(run), step, usage), encoding="utf-8")
    shutil.rmtree(export, ignore_errors=True)
    aside.rename(export)
    return export


def _export_timm(folder: Path, recipe: Recipe, origin: dict, weights: dict[str, torch.Tensor]) -> str:
    names, data = origin["dataset"]["class_names"], recipe.data
    model = supervised.build_model(recipe, len(names))
    model.load_state_dict(weights, strict=True)
    size = data.eval_size or data.size
    config = {
        "architecture": recipe.model.name.split(".")[0],
        "num_classes": len(names),
        "num_features": model.num_features,
        "label_names": names,
        "pretrained_cfg": {
            "input_size": [3, size, size],
            "fixed_input_size": model.pretrained_cfg.get("fixed_input_size", False),
            "interpolation": "box" if data.eval_interpolation == "area" else data.eval_interpolation,
            "crop_pct": data.crop_fraction,
            "crop_mode": "center",
            "mean": list(supervised.MEAN),
            "std": list(supervised.STD),
            "num_classes": len(names),
            "pool_size": None,
            "first_conv": model.pretrained_cfg.get("first_conv"),
            "classifier": model.pretrained_cfg.get("classifier"),
        },
        "model_args": dict(recipe.model.args),
    }
    write_json(folder / "config.json", config)
    safetensors.torch.save_file(weights, folder / "model.safetensors", {"format": "pt"})
    ours = type(model).__module__ == "fastpt.models"
    first = "import fastpt.models  # registers the architecture\n" if ours else ""
    return f'{first}import timm\n\nmodel = timm.create_model("local-dir:PATH", pretrained=True)'


def _export_open_clip(folder: Path, recipe: Recipe, origin: dict, weights: dict[str, torch.Tensor]) -> str:
    config = clip.model_config(recipe.model, recipe.data.size)
    weights = dict(weights)
    for name in {"logit_scale", "logit_bias"} & set(weights):
        weights[name] = weights[name].reshape(())  # a vector in training, see clip.py
    clip.build_model(config).load_state_dict(weights, strict=True)
    # open_clip resizes the shorter side to the size, then crops: crop_fraction does not exist there.
    preprocess = {"mean": list(clip.MEAN), "std": list(clip.STD), "interpolation": "bicubic", "resize_mode": "shortest"}
    write_json(folder / "open_clip_config.json", {"model_cfg": config, "preprocess_cfg": preprocess})
    safetensors.torch.save_file(weights, folder / "open_clip_model.safetensors", {"format": "pt"})
    tower = config["vision_cfg"].get("timm_model_name") or ""
    ours = timm.is_model(tower) and timm.model_entrypoint(tower).__module__ == "fastpt.models"
    first = "import fastpt.models  # registers the vision tower\n" if ours else ""
    return (
        f'{first}import open_clip\n\nmodel, _, preprocess = open_clip.create_model_and_transforms("local-dir:PATH")\n'
        'tokenizer = open_clip.get_tokenizer("local-dir:PATH")'
    )


def _card(recipe: Recipe, origin: dict, metrics: list[dict], step: int, usage: str) -> str:
    """The model card: data, noise, recipe, results of the last evaluation up to `step`, how to load it."""
    data, noise = origin["dataset"], origin["noise"]
    if noise:
        told = (
            f"`{noise['plan']}`: {noise['kind']} noise, {noise['rate']:.2%} asked for, {noise['realised_rate']:.4%} "
            f"realised, seed {noise['seed']}, array sha256 `{noise['array_sha256']}`"
        )
    else:
        told = "none: clean targets"
    last = max((event["step"] for event in metrics if event["event"] == "eval" and event["step"] <= step), default=None)
    rows = [
        f"| {event['split']} | {name} | {value:.2%} |"
        for event in metrics
        if event["event"] == "eval" and event["step"] == last
        for name, value in event.items()
        if isinstance(value, float) and name != "epoch"
    ]
    results = "\n".join(["| split | measure | value |", "| --- | --- | ---: |", *rows]) if rows else "Not evaluated."
    changes = "".join(f"- Changed on the way: {change}\n" for change in origin.get("changes", []))
    versions = ", ".join(f"{name} {value}" for name, value in origin["versions"].items())
    return f"""# {recipe.model.name}, pre-trained with fastpt

- Task: {recipe.task}
- Data: {data["name"]}/{data["split"]}, {data["samples"]:,} samples, samples_id `{origin["samples_id"]}`
- Noise: {told}
- Recipe: {origin["recipe"]}, seed {origin["seed"]}, code {origin["git"] or "outside a repository"}
- Weights: after step {step}{f", moving average with decay {recipe.ema}" if recipe.ema else ""}
- Made with: {versions}
{changes}
## Results

{results}

Evaluated on centre crops of {recipe.data.crop_fraction:.0%}, at {recipe.data.eval_size or recipe.data.size} px,
{recipe.data.eval_interpolation}.

## Use

```python
{usage}
```

## Recipe

```yaml
{_yaml(recipe.as_dict())}```
"""


def _yaml(value: Any) -> str:
    return yaml.safe_dump(value, sort_keys=False)
