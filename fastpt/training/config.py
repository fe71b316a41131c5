"""The recipe's sections of training, whatever the task: model, optimiser, schedule, engine, evaluation, checkpoints."""

from collections.abc import Iterable
from typing import Any, Literal

from pydantic import Field

from fastpt.config import Pair, Precision, Section, Share

TrainingPrecision = Literal[Precision, "fp16"]


class Model(Section):
    """Which network is trained."""

    name: str
    """A timm model (supervised) or an open_clip model (clip). With `config`, a name of your own."""
    drop_path: Share = 0.0
    """Stochastic depth rate (supervised)."""
    args: dict[str, Any] = {}
    """Further keyword arguments of the timm model (supervised)."""
    config: dict[str, Any] | None = None
    """An open_clip model configuration written out: embed_dim, vision_cfg, text_cfg (clip)."""


OPTIM_DEFAULTS: dict[str, dict[str, Any]] = {
    "lamb": {"betas": (0.9, 0.999), "eps": 1e-6},
    "adamw": {"betas": (0.9, 0.999), "eps": 1e-8},
    "sgd": {"momentum": 0.9, "nesterov": True},
}


class Optim(Section):
    """The optimiser. Biases, norm parameters and other vectors are never decayed; of the rest, what timm (supervised)
    or open_clip (clip) decays: positional embeddings with clip only."""

    name: Literal["lamb", "adamw", "sgd"]
    """LAMB (timm), AdamW, or SGD with momentum."""
    lr: float = Field(gt=0)
    """Peak learning rate, for the global batch."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Weight decay; LAMB and AdamW decouple it from the gradient, SGD adds it to the gradient."""
    betas: Pair | None = None
    """Decay of the first and second moments (lamb, adamw); by default [0.9, 0.999]."""
    eps: float | None = Field(default=None, gt=0)
    """Added to the root of the second moment (lamb, adamw); by default 1e-6 for lamb, 1e-8 for adamw."""
    momentum: Share | None = None
    """Momentum (sgd); by default 0.9."""
    nesterov: bool | None = None
    """Whether the momentum is Nesterov's (sgd), as it is by default."""

    def model_post_init(self, _: Any) -> None:
        """Fill in the defaults of this optimiser, so that the record of a run states what was used."""
        for name, value in OPTIM_DEFAULTS[self.name].items():
            if getattr(self, name) is None:
                setattr(self, name, value)

    def problems(self) -> Iterable[str]:
        for name in ("betas", "eps", "momentum", "nesterov"):
            if getattr(self, name) is not None and name not in OPTIM_DEFAULTS[self.name]:
                yield f"optim.{name} does not apply to {self.name}; remove it."


class Schedule(Section):
    """How long (give one of epochs, steps, samples), and the learning rate on the way: linear warm-up from 0, then down
    to `min_lr`, step by step."""

    epochs: int | None = Field(default=None, ge=1, le=10**9)
    """Epochs of training. What does not fill a last batch in an epoch is left out."""
    steps: int | None = Field(default=None, ge=1, le=10**9)
    """Steps of training."""
    samples: int | None = Field(default=None, ge=1, le=10**12)
    """Samples of training, rounded up to whole steps."""
    decay: Literal["cosine", "linear"] = "cosine"
    """How the learning rate falls after the warm-up."""
    warmup_epochs: float | None = Field(default=None, ge=0)
    """Warm-up, epochs. Give this or `warmup_steps`; none is no warm-up."""
    warmup_steps: int | None = Field(default=None, ge=0)
    """Warm-up, steps."""
    min_lr: float = Field(default=0.0, ge=0)
    """Learning rate at the end."""

    def problems(self) -> Iterable[str]:
        warmup, epochs = self.warmup_epochs, self.epochs
        if warmup is not None and self.warmup_steps is not None:
            yield "schedule has both warmup_epochs and warmup_steps; keep one."
        if [epochs, self.steps, self.samples].count(None) != 2:
            yield "schedule needs exactly one of epochs, steps and samples."
        elif epochs is not None and warmup is not None and warmup >= epochs:
            yield (
                f"schedule.warmup_epochs {warmup:g} leaves nothing of schedule.epochs {epochs}; set it lower, or train "
                "longer."
            )


class Engine(Section):
    """How DeepSpeed runs it."""

    precision: TrainingPrecision = "bf16"
    """bf16 and fp16 are autocast with fp32 weights; fp16 scales the loss, and runs on a GPU only, without ZeRO. A
    processor without bf16 instructions runs fp32 instead, and says so."""
    zero_stage: Literal[0, 1, 2, 3] = 0
    """ZeRO stage: what is cut over the processes (1: optimiser state, 2: gradients too, 3: weights too)."""
    gradient_accumulation_steps: int = Field(default=1, ge=1)
    """Pieces in which each process computes its share of a batch. Each pair of task clip is contrasted with the whole
    batch all the same, which costs a second forward pass."""
    gradient_clipping: float = Field(default=0.0, ge=0)
    """Largest norm of the gradient; 0 is off. LAMB's own, of 1 as in timm, stands beside it."""
    activation_checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them: less memory, about a third
    more time. BatchNorm then counts each batch twice in its running statistics."""
    compile: bool = False
    """torch.compile the model (not at ZeRO 3) and, on a GPU, RandAugment: minutes at the start, then faster steps."""

    def problems(self) -> Iterable[str]:
        if self.precision == "fp16" and self.zero_stage:
            yield (
                f"engine.precision fp16 with engine.zero_stage {self.zero_stage} cannot be: after a gradient that is "
                "not finite DeepSpeed leaves the scale of the loss as it is, so that no step is done any more, and "
                "gradients are clipped before they are divided by it. Use bf16, or zero_stage 0."
            )
        if self.compile and self.zero_stage == 3:
            yield (
                "engine.compile with engine.zero_stage 3 cannot be: ZeRO 3 fetches weights in hooks of each layer, "
                "which break the graph that is compiled. Use zero_stage 2 or less, or leave compile out."
            )


class Evaluate(Section):
    """When and how the model is measured; always at the end."""

    every_epochs: int = Field(default=1, ge=1)
    """Epochs between evaluations."""
    batch_size: int = Field(default=256, ge=1)
    """Pictures a batch on each process."""
    precision: Precision = "fp32"
    """What it computes in. fp32, as whoever loads the export will, and as torch does it (a GPU's convolutions in TF32);
    bf16 is faster, and its figures are others. Each figure says which."""
    flip: bool = False
    """Average the outputs of each picture and its mirror image (supervised)."""


class Checkpoint(Section):
    """When training is saved; always at the end."""

    every_epochs: int | None = Field(default=None, ge=1)
    """Epochs between checkpoints; 1 where neither is given."""
    every_steps: int | None = Field(default=None, ge=1)
    """Steps between checkpoints; give this or `every_epochs`."""
    keep: int = Field(default=2, ge=1)
    """How many checkpoints are kept: the newest ones."""
    keep_best: str | None = None
    """A measure of the evaluation, such as top1: what reaches a new best is saved, and kept beside the newest ones."""

    def model_post_init(self, _: Any) -> None:
        """State the default, too."""
        if self.every_steps is None and self.every_epochs is None:
            self.every_epochs = 1

    def problems(self) -> Iterable[str]:
        if self.every_epochs and self.every_steps:
            yield "checkpoint has both every_epochs and every_steps; keep one."


class Record(Section):
    """What is recorded beside metrics.jsonl and TensorBoard. It touches no weight; a resumed run may change it."""

    samples: list[Literal["loss", "margin", "correct"]] = []
    """Measures of each training sample in each epoch, in the run's `samples/` (supervised, without mixup and cutmix):
    the cross entropy of its label, its label's logit less the largest other one, whether it was predicted so."""

    trackers: list[Literal["wandb", "mlflow"]] = []
    """Trackers that get what is logged, too, where their own environment says (WANDB_MODE, MLFLOW_TRACKING_URI, ...).
    One that fails is left off, and training goes on."""

    def problems(self) -> Iterable[str]:
        for key in ("samples", "trackers"):
            names = getattr(self, key)
            if len(set(names)) < len(names):
                yield f"record.{key} names one twice: {', '.join(names)}."
