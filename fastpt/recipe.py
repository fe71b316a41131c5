"""The recipe of a pre-training run: sections of the rooms that use them, and what spans several of them.

Importing this module imports no torch, so that the command line stays quick.
"""

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import Field, create_model

from fastpt.augment.config import Augment
from fastpt.config import Section, Seed, read_mapping, validate
from fastpt.errors import RecipeError
from fastpt.loading.config import Data
from fastpt.runs import read_recipe
from fastpt.runs.folder import RECIPE
from fastpt.training.config import Checkpoint, Engine, Evaluate, Model, Optim, Record, Schedule
from fastpt.training.tasks import TASKS
from fastpt.tuning.config import Tune

TaskSection = TypeVar("TaskSection", bound=Section)


class Recipe(Section):
    """A pre-training run. What only one task knows stands in a section of its name; see `recipe_schema`."""

    task: str
    """What is learned. `supervised`: a classifier, from labels. `clip`: two towers, from picture-caption pairs."""
    data: Data
    model: Model
    optim: Optim
    schedule: Schedule
    batch_size: int = Field(ge=1)
    """Samples a step over all processes and pieces; processes x engine.gradient_accumulation_steps must divide it."""
    augment: Augment = Augment()
    ema: float | None = Field(default=None, gt=0, lt=1)
    """Decay of an exponential moving average of the weights, a step, such as 0.9998, less at first: at most
    1 - (1 + step)^(-2/3). The average is what is evaluated and exported; none trains without."""
    engine: Engine = Engine()
    evaluate: Evaluate = Evaluate()
    checkpoint: Checkpoint = Checkpoint()
    log_every: int = Field(default=10, ge=1)
    """Steps between lines of metrics.jsonl. A line states the loss of its own step."""
    record: Record = Record()
    seed: Seed = 0
    """Seed of the weights, the order, the crops and every other random choice."""
    tune: Tune | None = None

    def problems(self) -> Iterable[str]:
        if self.optim.name == "lamb" and self.engine.zero_stage:
            yield (
                f"optim.name lamb with engine.zero_stage {self.engine.zero_stage} trains wrongly without a word: "
                "ZeRO's flat partitions destroy LAMB's trust ratio per layer. Use engine.zero_stage 0, or adamw."
            )
        if self.schedule.min_lr > self.optim.lr:
            yield f"schedule.min_lr {self.schedule.min_lr:g} is above optim.lr {self.optim.lr:g}."
        task, best = TASKS.get(self.task), self.checkpoint.keep_best
        if best is not None and best not in task.measures:
            yield f"checkpoint.keep_best is {best!r}; measures of task {self.task}: {', '.join(task.measures)}."
        if self.record.samples and not task.observes:
            yield f"record.samples does not apply to task {self.task}, which observes no sample by itself; remove it."
        for name in TASKS.names():
            if name != self.task and getattr(self, name) is not None:
                yield f"{name} does not apply to task {self.task}; remove it."
        yield from task.check(self)

    def of_task(self, section: type[TaskSection]) -> TaskSection:
        """The section of the recipe's own task, which is a `section`."""
        found = getattr(self, self.task)
        assert isinstance(found, section)
        return found

    def unused(self, *keys: str) -> Iterable[str]:
        """A line for each of these dotted keys that is given, for a task that has no use for them."""
        for key in keys:
            section, _, name = key.partition(".")
            values = getattr(self, section)
            if getattr(values, name) != type(values).model_fields[name].default:
                yield f"{key} does not apply to task {self.task}; remove it."

    def micro_batch(self, world_size: int) -> int:
        """Samples that one process computes at a time. Raises RecipeError if the batch does not divide."""
        pieces = world_size * self.engine.gradient_accumulation_steps
        if self.batch_size % pieces:
            raise RecipeError(
                f"batch_size {self.batch_size} does not divide over {world_size} processes x "
                f"engine.gradient_accumulation_steps {self.engine.gradient_accumulation_steps} = {pieces} "
                f"pieces. Choose a multiple of {pieces}."
            )
        micro = self.batch_size // pieces
        if (self.augment.mixup or self.augment.cutmix) and micro % 2:
            raise RecipeError(
                f"mixup and cutmix pair the pictures of a piece, but each piece has {micro} pictures. "
                f"Choose a batch_size that is a multiple of {2 * pieces}."
            )
        return micro

    def as_dict(self) -> dict[str, Any]:
        """Every setting, defaults written out: what a run records. `load_recipe` reads it back to an equal recipe."""
        return self.model_dump(mode="json", exclude_none=True)


def recipe_schema() -> type[Recipe]:
    """What may stand in a recipe's file: `Recipe` with a section for each task, of which the recipe's own is there."""
    return _schema(tuple(TASKS.names()))


@cache
def _schema(tasks: tuple[str, ...]) -> type[Recipe]:
    fields: dict[str, Any] = {name: (TASKS.get(name).Section | None, None) for name in tasks}
    fields["task"] = (Literal[tasks], Field(description=Recipe.model_fields["task"].description))
    return create_model("Recipe", __base__=Recipe, **fields)


def load_recipe(path: Path | str, overrides: Iterable[str] = ()) -> Recipe:
    """Read a recipe, apply `a.b=value` overrides (values are YAML), check it. Raises RecipeError that names the key."""
    path = Path(path)
    return _validated(read_mapping(path, overrides), path)


def recipe_of(run: Path) -> Recipe:
    """The recipe of a run. Raises FastptError if `run` is no run, DamagedData if the recipe has changed."""
    return _validated(read_recipe(run), run / RECIPE)


def completed(recorded: Mapping[str, Any]) -> dict[str, Any]:
    """A recorded recipe with the defaults of keys that came after it; as it stands where it cannot be followed now."""
    try:
        return _validated(dict(recorded), Path(RECIPE)).as_dict()
    except RecipeError:
        return dict(recorded)


def _validated(values: dict[str, Any], path: Path) -> Recipe:
    if values.get("task") in TASKS.names() and values.get(values["task"]) is None:
        values[values["task"]] = {}
    return validate(recipe_schema(), values, path)
