"""Checkpoints that are whole or not there.

    checkpoints/step-00000500/
      mp_rank_00_model_states.pt ...   DeepSpeed's files: weights, optimiser
      state.json                       step, where the loader stands, seconds trained
      manifest.json                    sha256 of each file, written last and sealed
    checkpoints/latest                 the name of the newest one

DeepSpeed writes into a folder of another name; when all is on the disk, the folder is renamed. Loading checks every
checksum before a file is unpickled, and goes back to the checkpoint before if one is damaged.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import torch.distributed as dist

from fastpt.errors import FastptError
from fastpt.files import atomic_write, file_sha256, read_sealed_json, sync_folder, write_json, write_sealed_json
from fastpt.training.launch import Process, on_first

FORMAT = 1


def save(run: Path, engine: Any, process: Process, state: dict, keep: int) -> None:
    """Save the engine and `state` (which holds `step`) as the newest checkpoint; drop all but the `keep` newest.

    Every process calls this. `engine` is a DeepSpeed engine.
    """
    folder = run / "checkpoints"
    name = f"step-{state['step']:08d}"
    aside = f".{name}.tmp"
    on_first(process, lambda: shutil.rmtree(folder / aside, ignore_errors=True))
    engine.save_checkpoint(str(folder), tag=aside, save_latest=False)
    on_first(process, lambda: _commit(folder, aside, name, {**state, "world_size": process.world_size}, keep))


def _commit(folder: Path, aside: str, name: str, state: dict, keep: int) -> None:
    write_json(folder / aside / "state.json", state)
    files = sorted(path.name for path in (folder / aside).iterdir())
    for file in files:
        descriptor = os.open(folder / aside / file, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)
    sums = {file: file_sha256(folder / aside / file) for file in files}
    write_sealed_json(folder / aside / "manifest.json", {"format": FORMAT, "files": sums})
    shutil.rmtree(folder / name, ignore_errors=True)  # one from before a resume that went back further
    (folder / aside).rename(folder / name)
    sync_folder(folder)
    with atomic_write(folder / "latest", "w") as file:
        file.write(name + "\n")
    kept = [path for path in candidates(folder.parent) if path.name <= name][:keep]
    for old in folder.glob("step-*"):
        if old not in kept:
            shutil.rmtree(old)


def candidates(run: Path) -> list[Path]:
    """The checkpoints that `latest` and its forerunners name, newest first; all there are if `latest` is lost."""
    folder = run / "checkpoints"
    newest = (folder / "latest").read_text().strip() if (folder / "latest").exists() else "step-~"
    return sorted((path for path in folder.glob("step-*") if path.name <= newest), reverse=True)


def damage(checkpoint: Path) -> str | None:
    """What is wrong with a checkpoint's files; None if each is as it was written."""
    try:
        manifest = read_sealed_json(checkpoint / "manifest.json", FORMAT)
    except FileNotFoundError:
        return "manifest.json is missing"
    except FastptError as error:
        return str(error)
    for name, expected in manifest["files"].items():
        if not (checkpoint / name).exists():
            return f"{name} is missing"
        if file_sha256(checkpoint / name) != expected:
            return f"{name} does not match its sha256"
    return None


def newest_whole(run: Path) -> tuple[Path | None, list[str]]:
    """The newest checkpoint whose files are as they were written, and a line for each damaged one passed over."""
    passed = []
    for checkpoint in candidates(run):
        problem = damage(checkpoint)
        if problem is None:
            return checkpoint, passed
        passed.append(f"checkpoint {checkpoint} is damaged ({problem}); going back to the one before.")
    if passed:
        raise FastptError(
            "\n".join([*passed, f"No whole checkpoint is left in {run}. Start anew with another --run-dir."])
        )
    return None, []


def load(run: Path, engine: Any, process: Process, zero: int) -> tuple[dict | None, list[str]]:
    """Put the newest whole checkpoint into the engine; return its state and what to tell. None if there is none.

    Every process calls this. Raises FastptError if all are damaged, or if ZeRO's pieces were cut for another number of
    processes.
    """
    checkpoint, messages = on_first(process, lambda: newest_whole(run))
    if checkpoint is None:
        return None, messages
    state = json.loads((checkpoint / "state.json").read_text())
    if zero and state["world_size"] != process.world_size:
        raise FastptError(
            f"{checkpoint} was saved by {state['world_size']} processes with ZeRO {zero}, which cuts the optimiser "
            f"over them; this is {process.world_size}. Resume with {state['world_size']} processes."
        )
    engine.load_checkpoint(str(checkpoint.parent), tag=checkpoint.name)
    if process.world_size > 1:
        dist.barrier()
    return state, messages
