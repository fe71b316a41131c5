"""Checkpoints that are whole or not there.

    checkpoints/step-00000500/
      model.safetensors                the weights that are evaluated and exported (the moving average, if there is one)
      seen.safetensors                 where samples are recorded, what is known of those of the epoch under way
      mp_rank_00_model_states.pt ...   DeepSpeed's files: weights, optimiser
      loss_scale.json                  of fp16 alone
      state.json                       step, sum of the settings, loader, seconds trained, best evaluation, lines logged
      manifest.json                    sha256 of each file, written last and sealed

DeepSpeed writes into a folder of another name; when all is on the disk, the folder is renamed, and older ones may go.
The newest is found by looking: no file says which it is, so none can say it wrongly. Loading checks every checksum
before a file is opened, and goes back to the checkpoint before if one is damaged. DeepSpeed loads with full pickle;
here torch is made to refuse whatever is not a tensor, a plain value, or one of DeepSpeed's own few classes.
"""

import contextlib
import json
import pickle
import shutil
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
import torch.distributed as dist

from fastpt.errors import DamagedData, FastptError
from fastpt.files import atomic_folder, find_damage, remove, seal_folder, unwritten_is_oserror, write_json
from fastpt.recipe import Recipe
from fastpt.runs import read_provenance
from fastpt.runs.folder import CHECKPOINT_FORMAT, CHECKPOINTS, PROVENANCE, newest_first
from fastpt.runs.records import known_settings
from fastpt.training import deepspeed_adapter
from fastpt.training.deepspeed_adapter import Engine
from fastpt.training.launch import DistInfo, on_rank_zero

WEIGHTS, SEEN, STATE = "model.safetensors", "seen.safetensors", "state.json"
UNIVERSAL = ".universal"  # a checkpoint converted for another number of processes, while it is loaded


def folder_name(step: int) -> str:
    """What the checkpoint after `step` steps is called."""
    return f"step-{step:08d}"


def save(
    run: Path,
    engine: Engine,
    dist_info: DistInfo,
    state: dict,
    weights: Mapping[str, torch.Tensor],
    keep: int,
    seen: Mapping[str, torch.Tensor],
) -> None:
    """Save the engine, `weights` (on the CPU), `state` and `seen` (of `dynamics.Recorder`) as the newest checkpoint.

    `state` holds `step` and `best` (a step and its measure, or None). All checkpoints are dropped but the `keep` newest
    and the best. Every process calls this. Raises FastptError if a weight is not finite, so that a checkpoint is always
    one to go back to.
    """
    on_rank_zero(dist_info, lambda: _check_finite(run, weights, state["step"]))
    state = {**state, "world_size": dist_info.world_size}
    path = run / CHECKPOINTS / folder_name(state["step"])
    try:
        with unwritten_is_oserror(path), contextlib.ExitStack() as folder:
            aside = on_rank_zero(dist_info, lambda: folder.enter_context(atomic_folder(path)))
            engine.save(aside)
            on_rank_zero(dist_info, lambda: _seal(aside, state, weights, seen))
    except OSError as error:
        raise FastptError(
            f"checkpoint {path} could not be written ({error.strerror}). {describe_newest(run)} "
            "Make room and go on with --resume."
        ) from None
    on_rank_zero(dist_info, lambda: _drop_others(path, state, keep))


def _check_finite(run: Path, weights: Mapping[str, torch.Tensor], step: int) -> None:
    for name, tensor in weights.items():
        if not torch.isfinite(tensor).all():
            raise FastptError(
                f"{name} is not finite after step {step}, so it is not saved. {describe_newest(run)} "
                "Lower optim.lr, warm up longer, or set engine.gradient_clipping."
            )


def describe_newest(run: Path) -> str:
    """A sentence that names the newest checkpoint."""
    newest = next(iter(newest_first(run)), None)
    return f"The last good checkpoint is {newest}." if newest else "There is no checkpoint yet."


def _seal(folder: Path, state: dict, weights: Mapping[str, torch.Tensor], seen: Mapping[str, torch.Tensor]) -> None:
    """Add what is not DeepSpeed's, and seal all."""
    safetensors.torch.save_file(dict(weights), folder / WEIGHTS)
    if seen:
        safetensors.torch.save_file(dict(seen), folder / SEEN)
    write_json(folder / STATE, state)
    seal_folder(folder, CHECKPOINT_FORMAT)


def _drop_others(checkpoint: Path, state: dict, keep: int) -> None:
    """Keep `checkpoint`, the newest before it, and the best. Those of later steps were damaged: it took their place."""
    found = newest_first(checkpoint.parents[1])
    kept = found[found.index(checkpoint) :][:keep]
    if state["best"]:
        kept.append(checkpoint.with_name(folder_name(state["best"]["step"])))
    for old in found:
        if old not in kept:
            remove(old)


def newest_intact(run: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint whose files are as they were written, and a line for each damaged one passed over.

    Raises DamagedData if there are checkpoints, and all are damaged.
    """
    passed = []
    for checkpoint in newest_first(run):
        problem = find_damage(checkpoint, CHECKPOINT_FORMAT)
        if problem is None:
            return checkpoint, passed
        passed.append(f"checkpoint {checkpoint} is damaged ({problem}); going back to the one before.")
    if passed:
        raise DamagedData(
            "\n".join([*passed, f"No whole checkpoint is left in {run}. Start anew with another --run-dir."])
        )
    return None, []


def best(run: Path) -> Path:
    """The checkpoint of the best evaluation. Raises FastptError if there is none, DamagedData if it is damaged."""
    newest, _ = newest_intact(run)
    found = read_state(newest)["best"] if newest else None
    if newest is None or not found:
        raise FastptError(f"{run} has no best checkpoint. They are kept where the recipe sets checkpoint.keep_best.")
    checkpoint = newest.parent / folder_name(found["step"])
    problem = find_damage(checkpoint, CHECKPOINT_FORMAT)
    if problem:
        raise DamagedData(f"checkpoint {checkpoint} is damaged ({problem}). Export the last one instead.")
    return checkpoint


def read_state(checkpoint: Path) -> dict:
    """What `save` was given as `state`, with the number of processes as `world_size`. Raises DamagedData."""
    try:
        state = json.loads((checkpoint / STATE).read_bytes())
        if {"step", "loader", "seconds", "best", "lines", "world_size"} <= state.keys():
            return state
    except (ValueError, AttributeError, RecursionError):
        pass
    raise DamagedData(f"{checkpoint / STATE} does not say where training stood. Delete {checkpoint} and resume.")


def check_is_of(run: Path, checkpoint: Path) -> None:
    """Raise FastptError if a checkpoint is of another run, copied here: under other settings than any of this one's."""
    if read_state(checkpoint)["settings_sha256"] not in known_settings(read_provenance(run)):
        raise FastptError(
            f"checkpoint {checkpoint} was trained under other settings than {run / PROVENANCE} tells: it is of another "
            "run. Remove it, or restore the record."
        )


def read_weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    """The weights that are evaluated and exported, on the CPU."""
    return safetensors.torch.load_file(checkpoint / WEIGHTS)


def read_seen(checkpoint: Path) -> dict[str, torch.Tensor]:
    """What `save` was given as `seen`."""
    path = checkpoint / SEEN
    return safetensors.torch.load_file(path) if path.exists() else {}


def needs_conversion(checkpoint: Path, dist_info: DistInfo, recipe: Recipe) -> bool:
    """Whether ZeRO cut the optimiser for another number of processes than this training has.

    Raises FastptError where DeepSpeed cannot convert: it knows the moments of Adam only.
    """
    before, zero = read_state(checkpoint)["world_size"], recipe.engine.zero_stage
    if zero == 0 or before == dist_info.world_size:
        return False
    if recipe.optim.name == "sgd":
        raise FastptError(
            f"{checkpoint} was saved by {before} processes with ZeRO {zero} and sgd, which DeepSpeed cannot cut anew "
            f"for {dist_info.world_size}. Resume with {before} processes."
        )
    return True


def load(checkpoint: Path, engine: Engine, dist_info: DistInfo, convert: bool) -> None:
    """Put a whole checkpoint into the engine, which is made with `load_universal` if the checkpoint is to be converted.

    Every process calls this. Raises FastptError if the checkpoint is of another model, DamagedData if it wants more
    unpickled than tensors, plain values and DeepSpeed's own classes.
    """
    universal = checkpoint.parent / UNIVERSAL
    try:
        if convert:
            on_rank_zero(dist_info, lambda: deepspeed_adapter.convert(checkpoint, universal))
        engine.load(universal if convert else checkpoint)
    except pickle.UnpicklingError as error:
        raise DamagedData(
            f"checkpoint {checkpoint} wants objects unpickled that are neither tensors nor plain values, which can run "
            f"code: {str(error).splitlines()[0]} Do not use a checkpoint that fastpt did not write."
        ) from None
    except RuntimeError as error:
        if "state_dict" not in str(error):
            raise
        raise FastptError(
            f"checkpoint {checkpoint} is of another model: {str(error).splitlines()[1].strip()} "
            "Resume with the recipe's model, or start anew with another --run-dir."
        ) from None
    if dist_info.world_size > 1:
        dist.barrier()
    on_rank_zero(dist_info, lambda: shutil.rmtree(universal, ignore_errors=True))
