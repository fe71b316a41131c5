"""All that fastpt knows of DeepSpeed: its start, its configuration, its engine, its checkpoints, its private parts.

The private parts differ between minor versions, so the package pins those that this was tested with; with another one
a warning says so.
"""

import argparse
import atexit
import contextlib
import json
import logging
import math
import os
import shutil
import sys
import warnings
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fastpt.errors import FastptError
from fastpt.files import write_json
from fastpt.recipe import Recipe
from fastpt.training.config import TrainingPrecision
from fastpt.training.reducer import GradientReducer

TESTED = "0.19"  # the minor version, as in pyproject.toml
BACKEND = "inductor"  # of torch.compile
LOSS_SCALE = "loss_scale.json"  # in a checkpoint

log = logging.getLogger("fastpt.training")


def join_group(gpu: bool) -> None:
    """Import DeepSpeed and join the group of processes that the environment describes (RANK, WORLD_SIZE and so on).

    Raises FastptError where DeepSpeed is not installed.
    """
    os.environ.setdefault("DS_ACCELERATOR", "cuda" if gpu else "cpu")
    try:
        with _silenced():
            import deepspeed
    except ModuleNotFoundError as error:
        if error.name != "deepspeed":
            raise
        raise FastptError("training needs DeepSpeed, which is missing. Run: pip install 'fastpt[train]'") from None
    _check_version()
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)  # its handler writes to stdout
    # What it calls in torch is its own affair: told at every step (ZeRO 3) or start, and nothing that a user can mend.
    warnings.filterwarnings("ignore", r"`torch\.distributed\.\w+` is deprecated", FutureWarning)
    warnings.filterwarnings("ignore", r"barrier\(\): using the device", UserWarning)
    # Its shared-memory all-reduce serves inference only, and costs a compiler and 30 s at the first start on a CPU.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    if not torch.distributed.is_initialized():
        deepspeed.init_distributed(dist_backend="nccl" if gpu else "gloo", verbose=False)
        atexit.register(torch.distributed.destroy_process_group)  # or its threads may abort the interpreter as it ends


def _check_version() -> None:
    found = version("deepspeed")
    if not found.startswith(f"{TESTED}."):
        log.warning(
            "DeepSpeed %s is in use, but fastpt reaches into private parts of it and was tested with %s: training may "
            "fail, or be wrong. pip install 'deepspeed==%s.*'",
            found,
            TESTED,
            TESTED,
        )


@contextlib.contextmanager
def _silenced() -> Iterator[None]:
    """Drop what is written to the terminal: importing DeepSpeed tries out a compiler and shows its complaints."""
    sys.stdout.flush()
    kept = {stream: os.dup(stream) for stream in (1, 2)}
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        for stream in kept:
            os.dup2(nowhere, stream)
        yield
    finally:
        for stream, copy in kept.items():
            os.dup2(copy, stream)
            os.close(copy)
        os.close(nowhere)


def configuration(recipe: Recipe, world_size: int, precision: TrainingPrecision, load_universal: bool = False) -> dict:
    """DeepSpeed's configuration: the only place where one is written.

    bf16 and fp16 are torch autocast over fp32 weights, because DeepSpeed's own bf16 mode breaks BatchNorm on a CPU and
    keeps no fp32 statistics. `gradient_clipping` is always stated, because DeepSpeed clips at 1.0 where it is not; it
    is 0 without ZeRO, where `Engine` clips. DeepSpeed's timer would wait for the GPU before and after each piece.
    """
    engine = recipe.engine
    return {
        "train_batch_size": recipe.batch_size,
        "train_micro_batch_size_per_gpu": recipe.micro_batch(world_size),
        "gradient_accumulation_steps": engine.gradient_accumulation_steps,
        "gradient_clipping": engine.gradient_clipping if engine.zero_stage else 0.0,
        "zero_optimization": {"stage": engine.zero_stage},
        "zero_allow_untested_optimizer": True,
        "torch_autocast": {"enabled": precision != "fp32", "dtype": "float16" if precision == "fp16" else "bfloat16"},
        "checkpoint": {"load_universal": load_universal},
        "steps_per_print": 10**9,
        "timers": {"throughput": {"enabled": False}},
    }


class Engine:
    """DeepSpeed's engine over a model and its optimiser; calling it runs the model. Every process calls every method.

    `load_universal` makes one that `load`s a checkpoint converted for another number of processes.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        recipe: Recipe,
        world_size: int,
        precision: TrainingPrecision,
        load_universal: bool = False,
    ):
        import deepspeed

        self.module = model
        self._zero, self._universal = recipe.engine.zero_stage, load_universal
        self._clipping = recipe.engine.gradient_clipping
        config = configuration(recipe, world_size, precision, load_universal)
        started = deepspeed.initialize(model=model, optimizer=optimizer, dist_init_required=False, config=config)
        self._engine: Any = started[0]
        self._optimizer: Any = started[1]
        self._skipped_before = 0  # in the starts before
        self._reducer: GradientReducer | None = None  # ZeRO reduces by itself
        if self._zero == 0:
            # Not earlier: DeepSpeed broadcasts weights as contiguous bytes. Not under ZeRO: there weights are views of
            # flat buffers, and convolutions take the layout from the pictures alone.
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            # It would reduce only when the backward pass is over, and copy all gradients twice even of one process.
            self._engine.enable_backward_allreduce = False
            if world_size > 1:
                self._reducer = GradientReducer(model.parameters())
        # Batches are all of one shape, or of the few sizes of data.sizes: what cuDNN finds out once serves many steps.
        torch.backends.cudnn.benchmark = True
        if recipe.engine.compile:
            self._engine.compile(backend=BACKEND)

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._engine(*arguments, **named)

    @contextlib.contextmanager
    def evaluating(self, precision: TrainingPrecision) -> Iterator[None]:
        """Within, `module` itself is to be called: in evaluation mode, and in this precision, not the training's."""
        self._engine.eval()
        torch.backends.cudnn.benchmark = False  # the last batch of each split has a shape of its own
        with autocast(self._engine.device, precision), _sent_whole(self.module.parameters()):
            yield
        torch.backends.cudnn.benchmark = True
        self._engine.train()
        if self._zero == 3:
            # It fetches weights ahead for what it expects to run next. After an evaluation that does not come, and the
            # weights on their way could not be gathered for a checkpoint.
            self._engine.empty_partition_cache()

    @property
    def learning_rate(self) -> float:
        return float(self._optimizer.param_groups[0]["lr"])

    @learning_rate.setter
    def learning_rate(self, rate: float) -> None:
        for group in self._optimizer.param_groups:
            group["lr"] = rate

    @property
    def skipped_steps(self) -> int:
        """Steps left out because the gradient was not finite, since this start."""
        return int(self._engine.skipped_steps) - self._skipped_before

    def backward(self, loss: Tensor) -> None:
        """The gradient of a piece's loss, added to those of the pieces before, divided by the number of pieces."""
        if self._reducer and self._engine.is_gradient_accumulation_boundary():
            self._reducer.begin()
        self._engine.backward(loss)
        if self._reducer:
            self._reducer.finish()

    def step(self, wants_norm: bool = False) -> float:
        """To be called after each piece: the last of a step moves the weights.

        Returns the norm of the step's gradient before clipping, if it is wanted (after the last piece); else NaN.
        """
        norm = None if self._zero else self._clip(wants_norm)
        self._engine.step()
        if not wants_norm:
            return math.nan
        return float(self._engine.get_global_grad_norm() if norm is None else norm)

    def _clip(self, wants_norm: bool) -> Tensor | None:
        """Without ZeRO, which does it itself: clip, if this piece is the last of its step, waiting for nothing.

        DeepSpeed would launch five kernels a weight, and send two numbers to the GPU, for which it waits. Returns the
        norm before, if it was computed.
        """
        clips = self._clipping and self._engine.is_gradient_accumulation_boundary()
        if not clips and not wants_norm:
            return None
        gradients = [parameter.grad for parameter in self.module.parameters() if parameter.grad is not None]
        scaler = self._engine.torch_autocast_z0_gradscaler  # of fp16
        if clips and scaler:
            scaler.unscale_(self._engine.optimizer)
        norm = nn.utils.get_total_norm(gradients)
        if clips:
            nn.utils.clip_grads_with_norm_(self.module.parameters(), self._clipping, norm)
        return norm if clips or not scaler else norm / scaler.get_scale()

    def weight_bytes(self) -> int:
        """Of all weights and buffers, whatever part of them this process keeps."""
        sizes = [getattr(one, "ds_numel", one.numel()) * one.element_size() for one in self.module.parameters()]
        return sum(sizes) + sum(buffer.nbytes for buffer in self.module.buffers())

    def optimizer_bytes(self) -> int:
        """Of the optimiser's part in what this process saves; with ZeRO, a copy of weights is in it."""
        inner = getattr(self._engine.optimizer, "optimizer", self._engine.optimizer)
        moments = [value for state in inner.state.values() for value in state.values() if torch.is_tensor(value)]
        copies = [one for group in inner.param_groups for one in group["params"]] if self._zero else []
        return sum(tensor.nbytes for tensor in [*moments, *copies])

    def save(self, folder: Path) -> None:
        """Write weights and optimiser into `folder`."""
        self._engine.save_checkpoint(str(folder.parent), tag=folder.name, save_latest=False)
        scaler = self._engine.torch_autocast_z0_gradscaler  # of fp16, which DeepSpeed leaves out
        if scaler and torch.distributed.get_rank() == 0:
            write_json(folder / LOSS_SCALE, scaler.state_dict())

    def load(self, folder: Path) -> None:
        """Put what `save` wrote in place. Raises pickle.UnpicklingError for files that hold more than they should."""
        groups = self._engine.optimizer.param_groups
        settings = [{name: value for name, value in group.items() if name != "params"} for group in groups]
        with _tensors_and_plain_values_only():
            self._engine.load_checkpoint(str(folder.parent), tag=folder.name)
        # The recipe's, as the record says, and not those that were saved: torch and ZeRO put these back. A converted
        # checkpoint of ZeRO 3 gives all groups those of the first, so that nothing decays any more.
        for group, own in zip(self._engine.optimizer.param_groups, settings, strict=True):
            group.update(own)
        if self._zero in (1, 2):
            self._engine.optimizer.clip_grad = self._clipping
        if self._universal:
            _undo_sharing(self._engine.optimizer)
        scaler, saved = self._engine.torch_autocast_z0_gradscaler, folder / LOSS_SCALE
        if scaler and saved.exists():  # not after a start in another precision
            scaler.load_state_dict(json.loads(saved.read_bytes()))
        self._skipped_before = int(self._engine.skipped_steps)


def _undo_sharing(optimizer: Any) -> None:
    """Give each weight a counter of steps again: DeepSpeed's loading of a converted ZeRO 3 checkpoint gives all one,
    which then counts once for each of them."""
    for state in optimizer.state.values():
        if "step" in state:
            state["step"] = state["step"].clone()


def convert(checkpoint: Path, universal: Path) -> None:
    """Put the pieces of a ZeRO checkpoint together, by DeepSpeed's own conversion, for any number of processes.

    One process calls this. Raises pickle.UnpicklingError as `Engine.load`.
    """
    from deepspeed.checkpoint import ds_to_universal

    shutil.rmtree(universal, ignore_errors=True)
    with _silenced(), _tensors_and_plain_values_only():
        ds_to_universal.main(
            argparse.Namespace(
                input_folder=str(checkpoint),
                output_folder=str(universal),
                num_extract_workers=1,
                num_merge_workers=1,
                keep_temp_folder=False,
                strict=True,
                inject_missing_state=True,
            )
        )
    (universal.parent / "latest_universal").unlink(missing_ok=True)


@contextlib.contextmanager
def _tensors_and_plain_values_only() -> Iterator[None]:
    """Make torch.load refuse anything else, although DeepSpeed asks it for full pickle."""
    from deepspeed.runtime.fp16.loss_scaler import DynamicLossScaler, LossScaler
    from deepspeed.runtime.zero.config import ZeroStageEnum
    from deepspeed.utils.tensor_fragment import fragment_address

    before = os.environ.get("TORCH_FORCE_WEIGHTS_ONLY_LOAD")
    os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = "1"
    try:
        with torch.serialization.safe_globals([fragment_address, LossScaler, DynamicLossScaler, ZeroStageEnum]):
            yield
    finally:
        del os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"]
        if before is not None:
            os.environ["TORCH_FORCE_WEIGHTS_ONLY_LOAD"] = before


@contextlib.contextmanager
def process_left_as_it_was() -> Iterator[None]:
    """Put back what trainings set for the whole process: ZeRO 3 torch's linear function, whose last bits are others,
    `Engine` that cuDNN tries out its algorithms, and LOCAL_RANK, which DeepSpeed needs (others think of a launcher)."""
    linear, tries = torch.nn.functional.linear, torch.backends.cudnn.benchmark
    launched = "LOCAL_RANK" in os.environ
    os.environ.setdefault("LOCAL_RANK", "0")
    try:
        yield
    finally:
        torch.nn.functional.linear, torch.backends.cudnn.benchmark = linear, tries
        if not launched:
            del os.environ["LOCAL_RANK"]


def autocast(device: torch.device, precision: TrainingPrecision) -> torch.autocast:
    """Within, products of matrices are in `precision`; of fp32 weights, fp32 is torch's own way."""
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device.type, dtype, enabled=precision != "fp32")


@contextlib.contextmanager
def _sent_whole(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Within, ZeRO 3 fetches weights as they are for the model to run; under autocast it sends them rounded to bf16."""
    from deepspeed.runtime.torch_autocast import PARAM_COMM_DTYPE_ATTR_NAME as SENT_AS

    sent = [(parameter, vars(parameter).pop(SENT_AS)) for parameter in parameters if SENT_AS in vars(parameter)]
    try:
        yield
    finally:
        for parameter, dtype in sent:
            setattr(parameter, SENT_AS, dtype)


def gathered_parameters(parameters: Iterable[nn.Parameter]) -> AbstractContextManager[None]:
    """Within, each process holds the parameters whole: ZeRO 3 gathers them; otherwise nothing happens."""
    import deepspeed

    return deepspeed.zero.GatheredParameters(list(parameters))


@torch.no_grad()
def clamp(parameter: nn.Parameter, low: float, high: float, zero_stage: int) -> None:
    """Keep a parameter from `low` to `high`, in the copy that ZeRO's optimiser keeps of it, too."""
    import deepspeed
    from deepspeed.utils import safe_get_local_fp32_param, safe_set_full_fp32_param, safe_set_local_fp32_param

    if zero_stage == 0:
        parameter.clamp_(low, high)
        return
    # The optimiser has weights of its own, which the next step would copy over the model's.
    with deepspeed.zero.GatheredParameters([parameter], modifier_rank=0):
        parameter.clamp_(low, high)
        if zero_stage < 3:
            safe_set_full_fp32_param(parameter, parameter.data)
    if zero_stage == 3:
        part = safe_get_local_fp32_param(parameter)
        safe_set_local_fp32_param(parameter, part.clamp(low, high))
