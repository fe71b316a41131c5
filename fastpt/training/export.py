"""A finished run's model in a folder that its library loads, with a card that says what it was trained on.

Weights are safetensors only. `export_run` reads the newest whole checkpoint, so it can be repeated at any time. For
transformers it writes a folder of its own: `tune` and reports know `export/` alone.
"""

from pathlib import Path

import yaml

from fastpt.errors import DamagedData, FastptError
from fastpt.files import atomic_folder, locked, seal_folder
from fastpt.printable import percentage
from fastpt.recipe import Recipe, recipe_of
from fastpt.runs import read_metrics, read_provenance
from fastpt.runs.folder import EXPORT, EXPORT_FORMAT, EXPORT_HF
from fastpt.training import checkpoint
from fastpt.training.tasks import TASKS

INSTALLED = "of an installed package"


def export_run(run: Path, best: bool = False, for_transformers: bool = False) -> Path:
    """Write `run`/export anew, of the last checkpoint or the best, or `run`/export-hf, and return it.

    Raises FastptError if `run` is no run or has no such checkpoint, or transformers has no such model; DamagedData if
    it is damaged.
    """
    origin = read_provenance(run)
    recipe = recipe_of(run)
    newest, passed = checkpoint.newest_intact(run)
    if passed:  # an older one would be other weights under the results of the last
        raise DamagedData(
            f"{passed[0].split(';')[0]}, so {run} is not exported; an export that is there stays as it is. "
            "`fastpt train --resume` trains on from the checkpoint before."
        )
    if newest is None:
        raise FastptError(f"{run} has no checkpoint yet, so there is nothing to export. Train it with `fastpt train`.")
    chosen = checkpoint.best(run) if best else newest
    checkpoint.check_is_of(run, chosen)
    weights, state = checkpoint.read_weights(chosen), checkpoint.read_state(chosen)
    facts = {key: state[key] for key in ("step", "settings_sha256")} | {"chosen": "best" if best else "last"}
    kind, name = TASKS.get(recipe.task), EXPORT_HF if for_transformers else EXPORT
    with locked(run / f".{name}.lock"), atomic_folder(run / name) as export:  # of two exports one waits
        write = kind.export_hf if for_transformers else kind.export
        usage = write(export, recipe, origin, weights)
        card = _card(recipe, origin, read_metrics(run), state["step"], usage)
        (export / "README.md").write_text(card, encoding="utf-8")
        seal_folder(export, EXPORT_FORMAT, **facts)
    return run / name


def _resumed(start: dict) -> list[str]:
    """What the card says of a start after the first."""
    changes = [f"Changed from step {start['step']} on: {change}" for change in start["changes"]]
    return [f"Resumed at step {start['step']} with: {_start(start)}, code {start['git'] or INSTALLED}", *changes]


def _start(start: dict) -> str:
    versions = ", ".join(f"{name} {value}" for name, value in start["versions"].items())
    return f"{start['world_size']} process(es) on {start['device']}, {start['precision']}; {versions}"


def _card(recipe: Recipe, origin: dict, metrics: list[dict], step: int, usage: str) -> str:
    """The model card: data, noise, recipe, results of the last evaluation up to `step`, how to load it."""
    data, noise = origin["dataset"], origin["noise"]
    if noise:
        noise_line = (
            f"`{noise['plan']}`: {noise['kind']} noise, {percentage(noise['rate'])} asked for, "
            f"{percentage(noise['realised_rate'])} realised, seed {noise['seed']}, "
            f"array sha256 `{noise['array_sha256']}`"
        )
    else:
        noise_line = "none: clean targets"
    done = [event for event in metrics if event["event"] == "eval" and event["step"] <= step]
    last = [event for event in done if event["step"] == max(event["step"] for event in done)]
    rows = [
        f"| {event['split']} | {name} | {event['precision']} | {value:.2%} |"
        for event in last
        for name, value in event.items()
        if isinstance(value, float) and name != "epoch"
    ]
    head = ["| split | measure | in | value |", "| --- | --- | --- | ---: |"]
    results = "\n".join([*head, *rows]) if rows else "Not evaluated."
    earlier = f" after step {last[0]['step']}, not of these weights," if last and last[0]["step"] != step else ""
    measured = f"Evaluated{earlier} on centre crops of {percentage(recipe.data.crop_fraction)}"
    measured += ", the mean of each picture and its mirror image" if recipe.evaluate.flip else ""
    resumed = "".join(f"- {line}\n" for start in origin.get("resumed", []) for line in _resumed(start))
    return f"""# {recipe.model.name}, pre-trained with fastpt

- Task: {recipe.task}
- Data: {data["name"]}/{data["split"]}, {data["samples"]:,} samples, samples_id `{origin["samples_id"]}`
- Noise: {noise_line}
- Recipe: {origin["recipe"]}, seed {origin["seed"]}, code {origin["git"] or INSTALLED}
- Weights: fp32, after step {step}{f", moving average with decay {recipe.ema}" if recipe.ema else ""}
- Begun with: {_start(origin)}
{resumed}
## Results

{results}

{measured}, at {recipe.data.eval_size or recipe.data.size} px,
{recipe.data.eval_interpolation}.

## Use

```python
{usage}
```

## Recipe

```yaml
{yaml.safe_dump(recipe.as_dict(), sort_keys=False)}```
"""
