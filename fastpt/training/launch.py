"""The processes of a training: which one this is, how they start, agree and end, and what they run on."""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from fastpt.errors import FastptError, RecipeError
from fastpt.processes import cpu_kind
from fastpt.recipe import Recipe
from fastpt.training.config import TrainingPrecision
from fastpt.training.deepspeed_adapter import join_group

SAME = 5.0  # seconds within which several SIGTERM are one

Result = TypeVar("Result")


@dataclass(frozen=True)
class DistInfo:
    """Which of the training's processes this is, and what it computes on."""

    rank: int
    world_size: int
    device: torch.device

    @property
    def is_rank_zero(self) -> bool:
        return self.rank == 0


def start() -> DistInfo:
    """Join the group that torchrun, `deepspeed` or SLURM's launcher describes, or make a group of one. Repeatable."""
    ours = _describe_a_group_of_one()
    gpu, local_rank = torch.cuda.is_available(), int(os.environ["LOCAL_RANK"])
    if gpu:
        torch.cuda.set_device(local_rank)
    join_group(gpu)
    device = torch.device("cuda", local_rank) if gpu else torch.device("cpu")
    dist_info = DistInfo(int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), device)
    for name in ours:  # or what else trains in this process, or is started by it, would take it for its launcher
        del os.environ[name]
    return dist_info


def on_rank_zero(dist_info: DistInfo, work: Callable[[], Result]) -> Result:
    """Do `work` on the first process only; all get its result, or its FastptError or OSError."""
    outcome: list = [None, None]
    if dist_info.is_rank_zero:
        try:
            outcome = [work(), None]
        except (FastptError, OSError) as error:
            outcome = [None, error]
    if dist_info.world_size > 1:
        dist.broadcast_object_list(outcome, src=0)
    if outcome[1] is not None:
        raise outcome[1]
    return outcome[0]


def say(dist_info: DistInfo, text: str) -> None:
    """A line for those who wait, from the first process: to stderr, as all progress."""
    if dist_info.is_rank_zero:
        print(text, file=sys.stderr, flush=True)


def once_a_node(dist_info: DistInfo, work: Callable[[], object]) -> None:
    """Do `work` on the first process of each machine, while the others wait; all get the FastptError or OSError of any.

    It may take longer than a collective of the training may, after which a process is thought dead.
    """
    error: Exception | None = None
    if dist_info.world_size == 1 or int(os.environ["LOCAL_RANK"]) == 0:
        try:
            work()
        except (FastptError, OSError) as found:
            error = found
    if dist_info.world_size > 1:
        errors: list[Exception | None] = [None] * dist_info.world_size
        patient: Any = dist.new_group(backend="gloo", timeout=timedelta(days=1))
        dist.all_gather_object(errors, error, patient)
        error = next(filter(None, errors), None)
    if error is not None:
        raise error


class Preemption:
    """Whether somebody asked the training to end by SIGTERM, as SLURM does before it takes a machine away.

    A context manager. The processes may get the signal in different steps, but must end in the same one. So each step
    sends its answer round and reads the one sent round in the step before, which costs no waiting: a signal is acted on
    one step later. One more SIGTERM ends the process at once, but not within SAME seconds: where the launcher and its
    processes are asked together, as systemd does, the launcher hands its own on.
    """

    def __init__(self, dist_info: DistInfo):
        self._asked_at: float | None = None  # of the monotonic clock
        self._flag = torch.zeros(1)
        self._sent: dist.Work | None = None
        self._before: Any = None
        self._group: Any = dist.new_group(backend="gloo") if dist_info.world_size > 1 else None

    def __enter__(self) -> "Preemption":
        if threading.current_thread() is threading.main_thread():  # Python allows signal handlers there only
            self._before = signal.signal(signal.SIGTERM, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
        if self._sent is not None:
            self._sent.wait()

    def _note(self, *_: object) -> None:
        now = time.monotonic()
        if self._asked_at is not None and now - self._asked_at > SAME:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.raise_signal(signal.SIGTERM)
        self._asked_at = self._asked_at or now

    def agreed(self) -> bool:
        """The answer of all processes. Every process calls this once a step."""
        if self._group is None:
            return self._asked_at is not None
        answer = False
        if self._sent is not None:
            self._sent.wait()
            answer = bool(self._flag.item())
        self._flag = torch.tensor([float(self._asked_at is not None)])
        self._sent = dist.all_reduce(self._flag, dist.ReduceOp.MAX, group=self._group, async_op=True)
        return answer


def _describe_a_group_of_one() -> list[str]:
    """The names of what was set in the environment: DeepSpeed looks for MPI unless it is."""
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        if missing := [name for name in ("MASTER_ADDR", "MASTER_PORT") if name not in os.environ]:
            raise FastptError(
                f"RANK and WORLD_SIZE are set, but {' and '.join(missing)} not: the processes cannot find each other. "
                "Start them by torchrun, deepspeed or srun, or unset RANK and WORLD_SIZE."
            )
        os.environ.setdefault("LOCAL_RANK", "0")
        return []
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    names = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}
    group = names | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ.update(group)
    return list(group)


def precision(recipe: Recipe, device: torch.device) -> TrainingPrecision:
    """The precision that this device trains in.

    Raises RecipeError for fp16 on a CPU, whose kernels lack it in part and are slow where they have it.
    """
    if recipe.engine.precision == "fp16" and device.type == "cpu":
        raise RecipeError("engine.precision fp16 needs a GPU, and none is seen here. Use bf16 or fp32.")
    return available(recipe.engine.precision, device)


def available(precision: TrainingPrecision, device: torch.device) -> TrainingPrecision:
    """The precision, or fp32 for bf16 on a processor without bf16 instructions, where that is slower."""
    if precision == "bf16" and device.type == "cpu":
        fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
        return "bf16" if fast else "fp32"
    return precision


def machine(recipe: Recipe, dist_info: DistInfo) -> dict:
    """What a training runs on: number of processes, the first one's device, and the precision really used."""
    gpu = dist_info.device.type == "cuda"
    return {
        "machine": torch.cuda.get_device_name(dist_info.device) if gpu else cpu_kind(),
        "world_size": dist_info.world_size,
        "device": torch.cuda.get_device_name(dist_info.device)
        if gpu
        else f"CPU ({torch.backends.cpu.get_cpu_capability()})",
        "precision": precision(recipe, dist_info.device),
    }
