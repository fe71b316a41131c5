"""The recipe of a pre-training run: a strict schema over YAML. An unknown key is an error, every key is documented.

Importing this module imports no torch, so that the command line stays quick.
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, Strict

from fastpt.config import Section, load_strict
from fastpt.errors import FastptError
from fastpt.files import atomic_write

Share = Annotated[float, Field(ge=0, le=1)]
Pair = Annotated[tuple[float, float], Strict(False)]  # YAML has lists only
Quadruple = Annotated[tuple[float, float, float, float], Strict(False)]
IntPair = Annotated[tuple[int, int], Strict(False)]

OPTIM_DEFAULTS = {
    "lamb": {"betas": (0.9, 0.999), "eps": 1e-6},
    "adamw": {"betas": (0.9, 0.999), "eps": 1e-8},
    "sgd": {"momentum": 0.9, "nesterov": True},
}

MEASURES = {
    "supervised": ("top1", "top5"),
    "clip": (
        "zero_shot_top1",
        "zero_shot_top5",
        *(f"{way}_recall{k}" for way in ("image_to_text", "text_to_image") for k in (1, 5, 10)),
    ),
}


class TrainSplit(Section):
    """One of several prepared splits that are trained on as one."""

    path: str
    """Folder of the prepared split."""
    weight: int = Field(1, ge=1)
    """How many times an epoch each of its samples comes, with other crops."""


class Data(Section):
    """What is trained on, and how a picture is cut."""

    train: str | Annotated[list[TrainSplit], Field(min_length=2)]
    """Folder of the prepared split to train on; or several splits with weights, as one (clip)."""
    val: str | None = None
    """Folder of the prepared split to evaluate on: top-1 and top-5 (supervised), retrieval (clip)."""
    noise: float | str | None = None
    """Noise plan of the training split, or of each: a rate from 0 to below 1, or a plan's name. None or 0 is clean."""
    decoder: Literal["cpu", "dali", "synthetic"] = "cpu"
    """Which decoder reads the pictures; `synthetic` gives random pixels, to time training without reading."""
    size: int = Field(224, ge=8)
    """Side of the training crops, pixels."""
    sizes: list[IntPair] | None = None
    """Progressive size: pairs of an epoch (from 0) and the side that holds from it on, such as [[0, 160], [13, 192]];
    the last side is `size`."""
    eval_size: int | None = Field(None, ge=8)
    """Side of the evaluation crops, pixels; by default `size`."""
    crop_fraction: float = Field(0.95, gt=0, le=1)
    """Share of the picture's short side that evaluation keeps (its centre crop)."""
    interpolation: Literal["area", "bilinear", "bicubic"] = "area"
    """Resampling filter for training crops."""
    eval_interpolation: Literal["area", "bilinear", "bicubic"] = "bicubic"
    """Resampling filter for evaluation crops."""
    scale: Pair = (0.08, 1.0)
    """Random crops cover from scale[0] to scale[1] of the picture's area."""
    flip: bool = True
    """Mirror half of the training crops."""
    order: Literal["random", "quasi_random"] = "random"
    """Order of an epoch: wholly random, or `quasi_random` for disks that want large sequential reads."""
    threads: int | None = Field(None, ge=1)
    """Decoding threads a process; by default one for each core it may use."""

    def size_in(self, epoch: int) -> int:
        """Side of the training crops in an epoch, pixels."""
        return [side for start, side in self.sizes if start <= epoch][-1] if self.sizes else self.size


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


class Optim(Section):
    """The optimiser. Biases, norm parameters and other vectors are never decayed."""

    name: Literal["lamb", "adamw", "sgd"]
    """LAMB (timm), AdamW, or SGD with momentum."""
    lr: float = Field(gt=0)
    """Peak learning rate, for the global batch."""
    weight_decay: float = Field(0.0, ge=0)
    """Weight decay; LAMB and AdamW decouple it from the gradient, SGD adds it to the gradient."""
    betas: Pair | None = None
    """Decay of the first and second moments (lamb, adamw); by default [0.9, 0.999]."""
    eps: float | None = Field(None, gt=0)
    """Added to the root of the second moment (lamb, adamw); by default 1e-6 for lamb, 1e-8 for adamw."""
    momentum: Share | None = None
    """Momentum (sgd); by default 0.9."""
    nesterov: bool | None = None
    """Whether the momentum is Nesterov's (sgd), as it is by default."""


class Schedule(Section):
    """How long (give one of epochs, steps, samples), and the learning rate on the way: linear warm-up from 0, then down
    to `min_lr`, step by step."""

    epochs: int | None = Field(None, ge=1)
    """Epochs of training. What does not fill a last batch in an epoch is left out."""
    steps: int | None = Field(None, ge=1)
    """Steps of training."""
    samples: int | None = Field(None, ge=1)
    """Samples of training, rounded up to whole steps."""
    decay: Literal["cosine", "linear"] = "cosine"
    """How the learning rate falls after the warm-up."""
    warmup_epochs: float | None = Field(None, ge=0)
    """Warm-up, epochs. Give this or `warmup_steps`; none is no warm-up."""
    warmup_steps: int | None = Field(None, ge=0)
    """Warm-up, steps."""
    min_lr: float = Field(0.0, ge=0)
    """Learning rate at the end."""


class Augment(Section):
    """What is done to a training batch beyond crop and flip. Mixup, cutmix, smoothing and repeats: supervised only."""

    randaugment: str | None = None
    """RandAugment as `m7-std0.5`: magnitude 7 of 10 with a normal spread, two operations a picture (timm's `inc1`)."""
    color_jitter: Quadruple | None = None
    """Colour jitter: how far brightness, contrast, saturation and hue move, such as [0.4, 0.4, 0.4, 0.1]."""
    color_jitter_probability: Share = 1.0
    """Share of the pictures that are jittered."""
    grayscale: Share = 0.0
    """Share of the pictures that are made grey."""
    blur: Share = 0.0
    """Share of the pictures that are blurred, by a Gaussian of 0.1 to 2 pixels."""
    random_erasing: Share = 0.0
    """Random erasing: share of the pictures of which a rectangle of 2 to 33 % becomes noise (timm's `reprob`)."""
    mixup: float = Field(0.0, ge=0)
    """Alpha of mixup; 0 is off. With cutmix too, each batch gets one of them at even odds."""
    cutmix: float = Field(0.0, ge=0)
    """Alpha of cutmix; 0 is off."""
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    """Label smoothing."""
    repeated_augmentation: int = Field(1, ge=1)
    """Repeated augmentation: each chosen sample comes this many times, with other crops; epochs keep their length."""


class Engine(Section):
    """How DeepSpeed runs it."""

    precision: Literal["fp32", "bf16", "fp16"] = "bf16"
    """bf16 and fp16 are autocast with fp32 weights; fp16 scales the loss, and runs on a GPU only. A processor without
    bf16 instructions runs fp32 instead, and says so."""
    zero_stage: Literal[0, 1, 2, 3] = 0
    """ZeRO stage: what is cut over the processes (1: optimiser state, 2: gradients too, 3: weights too)."""
    gradient_accumulation_steps: int = Field(1, ge=1)
    """Pieces in which each process computes its share of a batch. Each pair of task clip is contrasted with the whole
    batch all the same, which costs a second forward pass."""
    gradient_clipping: float = Field(0.0, ge=0)
    """Largest norm of the gradient; 0 is off."""
    activation_checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them: less memory, about a third
    more time. BatchNorm then counts each batch twice in its running statistics."""
    compile: bool = False
    """torch.compile the model (supervised, ZeRO 0): minutes at the start, then faster steps on a GPU."""


class Evaluate(Section):
    """When and how the model is measured; always at the end."""

    every_epochs: int = Field(1, ge=1)
    """Epochs between evaluations."""
    batch_size: int = Field(256, ge=1)
    """Pictures a batch on each process."""
    flip: bool = False
    """Average the outputs of each picture and its mirror image (supervised)."""
    wrong_labels: int = Field(1000, ge=0)
    """At the end, how many wrongly labelled training pictures show what was memorised (supervised); 0 is none. To meet
    them, 1 / data.noise times as many pictures are read."""
    training_pairs: int = Field(1000, ge=0)
    """How many clean and how many noised training pairs show what was memorised (clip); 0 is none."""


class ZeroShot(Section):
    """Zero-shot classification of a labelled split by its class names (clip)."""

    data: str
    """Folder of the prepared split."""
    templates: Literal["openai", "simple"] | list[str] = "simple"
    """open_clip's 80 ImageNet templates, its 7 simple ones, or your own: texts with {} where the class name goes."""


class Checkpoint(Section):
    """When training is saved; always at the end."""

    every_epochs: int | None = Field(None, ge=1)
    """Epochs between checkpoints; 1 where neither is given."""
    every_steps: int | None = Field(None, ge=1)
    """Steps between checkpoints; give this or `every_epochs`."""
    keep: int = Field(2, ge=1)
    """How many checkpoints are kept: the newest ones."""
    keep_best: str | None = None
    """A measure of the evaluation, such as top1: what reaches a new best is saved, and kept beside the newest ones."""


class Tune(Section):
    """What `fastpt tune` measures this run on by default."""

    suite: str
    """Name of a suite (recipes/suites) or the path of its file."""


class Recipe(Section):
    """A pre-training run."""

    task: Literal["supervised", "clip"]
    """`supervised`: a classifier on labels. `clip`: two towers on picture-caption pairs."""
    data: Data
    model: Model
    optim: Optim
    schedule: Schedule
    batch_size: int = Field(ge=1)
    """Samples a step over all processes and pieces; processes x engine.gradient_accumulation_steps must divide it."""
    augment: Augment | None = None
    loss: Literal["cross_entropy", "bce"] | None = None
    """Loss (supervised): softmax cross entropy (the default) or binary cross entropy over the classes."""
    bce_threshold: Share | None = None
    """Mixed labels above this share count as whole ones in `bce` (timm's bce_target_thresh); none keeps the shares."""
    ema: float | None = Field(None, gt=0, lt=1)
    """Decay of an exponential moving average of the weights, a step, such as 0.9998, less at first: at most
    1 - (1 + step)^(-2/3). The average is what is evaluated and exported; none trains without."""
    engine: Engine = Engine()
    evaluate: Evaluate = Evaluate()
    zero_shot: ZeroShot | None = None
    checkpoint: Checkpoint = Checkpoint()
    log_every: int = Field(10, ge=1)
    """Steps between lines of metrics.jsonl. A line states the loss of its own step."""
    seed: int = Field(0, ge=0)
    """Seed of the weights, the order, the crops and every other random choice."""
    tune: Tune | None = None

    def micro_batch(self, world_size: int) -> int:
        """Samples that one process computes at a time. Raises FastptError if the batch does not divide."""
        pieces = world_size * self.engine.gradient_accumulation_steps
        if self.batch_size % pieces:
            raise FastptError(
                f"batch_size {self.batch_size} does not divide over {world_size} processes x "
                f"engine.gradient_accumulation_steps {self.engine.gradient_accumulation_steps} = {pieces} "
                f"pieces. Choose a multiple of {pieces}."
            )
        micro = self.batch_size // pieces
        if self.augment and (self.augment.mixup or self.augment.cutmix) and micro % 2:
            raise FastptError(
                f"mixup and cutmix pair the pictures of a piece, but each piece has {micro} pictures. "
                f"Choose a batch_size that is a multiple of {2 * pieces}."
            )
        return micro

    def as_dict(self) -> dict:
        """Every setting, defaults written out: what a run records. `load_recipe` reads it back to an equal recipe."""
        return self.model_dump(mode="json", exclude_none=True)

    def save(self, path: Path) -> None:
        """Write the resolved recipe as YAML."""
        with atomic_write(path, "w") as file:
            yaml.safe_dump(self.as_dict(), file, sort_keys=False)


def load_recipe(path: Path | str, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe, apply `a.b=value` overrides (values are YAML), check it. Raises FastptError that names the key."""
    path = Path(path)
    recipe = load_strict(Recipe, path, overrides)
    _fill_defaults(recipe)
    problems = list(_contradictions(recipe))
    if problems:
        raise FastptError("\n".join(f"{path}: {problem}" for problem in problems))
    return recipe


def _fill_defaults(recipe: Recipe) -> None:
    """The defaults that depend on another field, so that the record of a run states what was used."""
    recipe.augment = recipe.augment or Augment()
    if recipe.task == "supervised":
        recipe.loss = recipe.loss or "cross_entropy"
    for name, value in OPTIM_DEFAULTS[recipe.optim.name].items():
        if getattr(recipe.optim, name) is None:
            setattr(recipe.optim, name, value)
    if recipe.checkpoint.every_steps is None:
        recipe.checkpoint.every_epochs = recipe.checkpoint.every_epochs or 1


def parse_randaugment(text: str) -> tuple[float, float]:
    """`m7-std0.5` -> magnitude 7.0 and standard deviation 0.5. Raises FastptError if it reads otherwise."""
    match = re.fullmatch(r"m(\d+(?:\.\d+)?)(?:-std(\d+(?:\.\d+)?))?", text)
    if not match or not 0 <= float(match[1]) <= 10:
        raise FastptError(f"augment.randaugment is {text!r}; write m<0 to 10>-std<spread>, such as m7-std0.5.")
    return float(match[1]), float(match[2] or 0)


def _contradictions(recipe: Recipe) -> Iterable[str]:
    """What the fields allow one by one but not together: one line each."""
    data, engine, schedule, clip = recipe.data, recipe.engine, recipe.schedule, recipe.task == "clip"
    if isinstance(data.noise, float | int) and not 0 <= data.noise < 1:
        yield f"data.noise is {data.noise:g}; a rate lies from 0 to below 1 (5 % is 0.05)."
    if not 0 < data.scale[0] <= data.scale[1] <= 1:
        yield f"data.scale is {list(data.scale)}; it must rise within 0 to 1, such as [0.08, 1.0]."
    if recipe.optim.name == "lamb" and engine.zero_stage:
        yield (
            f"optim.name lamb with engine.zero_stage {engine.zero_stage} trains wrongly without a word: ZeRO's flat "
            "partitions destroy LAMB's trust ratio per layer. Use engine.zero_stage 0, or adamw."
        )
    if schedule.warmup_epochs is not None and schedule.warmup_steps is not None:
        yield "schedule has both warmup_epochs and warmup_steps; keep one."
    if [schedule.epochs, schedule.steps, schedule.samples].count(None) != 2:
        yield "schedule needs exactly one of epochs, steps and samples."
    elif schedule.epochs is not None and (schedule.warmup_epochs or 0) >= schedule.epochs:
        yield f"schedule.warmup_epochs {schedule.warmup_epochs:g} leaves nothing of schedule.epochs {schedule.epochs}."
    if data.sizes is not None:
        starts, sides = [start for start, _ in data.sizes], [side for _, side in data.sizes]
        if starts[:1] != [0] or starts != sorted(set(starts)) or min(sides) < 8 or sides[-1] != data.size:
            yield (
                f"data.sizes is {[list(pair) for pair in data.sizes]}; it needs rising epochs from 0 with sides of at "
                f"least 8 pixels, the last of them data.size, which is {data.size}."
            )
    if schedule.min_lr > recipe.optim.lr:
        yield f"schedule.min_lr {schedule.min_lr:g} is above optim.lr {recipe.optim.lr:g}."
    if recipe.checkpoint.every_epochs and recipe.checkpoint.every_steps:
        yield "checkpoint has both every_epochs and every_steps; keep one."
    if clip and data.eval_size not in (None, data.size):
        yield f"data.eval_size {data.eval_size} differs from data.size {data.size}, but a clip tower has one size."
    for name in ("betas", "eps", "momentum", "nesterov"):
        if getattr(recipe.optim, name) is not None and name not in OPTIM_DEFAULTS[recipe.optim.name]:
            yield f"optim.{name} does not apply to {recipe.optim.name}; remove it."
    for name in ("mixup", "cutmix", "label_smoothing", "repeated_augmentation"):
        if clip and getattr(recipe.augment, name) != getattr(Augment(), name):
            yield f"augment.{name} does not apply to task clip; remove it."
    color_jitter = recipe.augment.color_jitter
    if color_jitter and (min(color_jitter) < 0 or color_jitter[3] > 0.5):
        yield (
            f"augment.color_jitter is {list(color_jitter)}; it holds four shares of 0 or more, the last (hue) at most "
            "0.5."
        )
    for name, where in (("loss", clip), ("bce_threshold", clip), ("zero_shot", not clip)):
        if where and getattr(recipe, name) is not None:
            yield f"{name} does not apply to task {recipe.task}; remove it."
    for name, where in (("drop_path", clip), ("args", clip), ("config", not clip)):
        if where and getattr(recipe.model, name):
            yield f"model.{name} does not apply to task {recipe.task}; remove it."
    if clip and engine.compile:
        yield "engine.compile does not apply to task clip; remove it."
    if not clip and not isinstance(data.train, str):
        yield "data.train lists several splits, which task clip can train on as one, but not task supervised: name one."
    if clip and data.sizes:
        yield "data.sizes does not apply to task clip, whose tower has one size; remove it."
    if engine.compile and engine.zero_stage:
        yield (
            f"engine.compile with engine.zero_stage {engine.zero_stage} is not tested to give the same gradients. "
            "Use zero_stage 0."
        )
    if recipe.bce_threshold is not None and recipe.loss == "cross_entropy":
        yield "bce_threshold applies to loss bce only; remove it."
    if recipe.checkpoint.keep_best is not None:
        best, measures = recipe.checkpoint.keep_best, MEASURES[recipe.task]
        if best not in measures:
            yield f"checkpoint.keep_best is {best!r}; measures of task {recipe.task}: {', '.join(measures)}."
        elif data.val is None and not (clip and recipe.zero_shot):
            yield f"checkpoint.keep_best {best} needs a split to measure it on; give data.val."
    if recipe.augment.randaugment is not None:
        try:
            parse_randaugment(recipe.augment.randaugment)
        except FastptError as error:
            yield str(error)
