"""What a training task brings: to the recipe, to the loop, to the record, and to who loads the export."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from fastpt import config

if TYPE_CHECKING:
    from torch import Tensor, nn

    from fastpt.data.concat import ConcatDataset
    from fastpt.data.dataset import Dataset
    from fastpt.data.plan import NoisePlan, Targets
    from fastpt.data.samples import ImageDataset
    from fastpt.loading.batch import Batch
    from fastpt.recipe import Recipe
    from fastpt.training.launch import DistInfo
    from fastpt.training.optim import Decays

Results = dict[str, dict[str, float]]
"""{split: {measure: value}}. Values are shares, of 0 to 1, and the larger the better."""

Observe = Callable[["Batch", "Tensor", "Tensor"], None]
"""What is told of a batch beside its loss: logits [B, K] of its pictures, and the labels int64 [B] that they have."""

MEMORIZATION = {
    "clean_fit": "Right targets: as they were shown",
    "mislabeled_memorized": "Wrong targets: memorized, as they were shown",
    "mislabeled_corrected": "Wrong targets: corrected, as they truly are",
}
"""The measures of what was learned of the training targets, the same for every task, and their labels."""


class TaskKind(Protocol):
    """A task as the recipe, the record and the export know it. Its module imports nothing heavy."""

    of: "Targets"
    """What is learned from, and what noise makes wrong: labels or captions."""
    Section: type[config.Section]
    """The recipe's section that is called like the task: what no other task knows."""
    measures: Mapping[str, str]
    """What `Task.evaluate` measures, and the labels of it; any may choose the best checkpoint."""

    observes: bool
    """Whether its `losses` tell what each sample's loss was, for `record.samples`."""

    def check(self, recipe: "Recipe") -> Iterable[str]:
        """What does not go together in a recipe of this task: one line each, which names keys in full."""
        ...

    def build(self, recipe: "Recipe", dist_info: "DistInfo") -> "Task":
        """The task, ready to train; torch's generator is seeded. Raises FastptError for what the user can mend."""
        ...

    def export(
        self, folder: Path, recipe: "Recipe", provenance: Mapping[str, Any], weights: Mapping[str, "Tensor"]
    ) -> str:
        """Write `weights` (whole, on the CPU) into the empty `folder` as the library of the model loads them.

        Returns the Python code that does: it names the folder `PATH`, and stands in the model card.
        """
        ...

    def export_hf(
        self, folder: Path, recipe: "Recipe", provenance: Mapping[str, Any], weights: Mapping[str, "Tensor"]
    ) -> str:
        """As `export`, for transformers. Raises FastptError if it has no such model."""
        ...


class Task(Protocol):
    """A task in training."""

    @property
    def model(self) -> "nn.Module":
        """What is trained, on the CPU until training starts."""
        ...

    @property
    def decays(self) -> "Decays":
        """What of `model` weight decay acts on."""
        ...

    @property
    def train_set(self) -> "Dataset | ConcatDataset":
        """The split, or the splits as one, that the recipe names and noise is of."""
        ...

    @property
    def trained_on(self) -> "ImageDataset":
        """What the loader reads of it: all samples, or those that `data.keep` keeps."""
        ...

    @property
    def noise(self) -> "NoisePlan | None":
        """The plan of the training targets; None if they are clean."""
        ...

    @property
    def measured_on(self) -> "Mapping[str, ImageDataset]":
        """The splits that `evaluate` measures on, by the key of the recipe that names them."""
        ...

    def losses(
        self,
        forward: Callable[..., Any],
        pieces: "Iterable[Batch]",
        seed_piece: Callable[[int], None],
        observe: "Observe",
    ) -> "Iterator[Tensor]":
        """The loss of each of a step's pieces, float32 scalars whose mean has the step's gradient.

        The backward pass of one runs before the next is asked for. `forward` runs the model; `seed_piece` seeds the
        random generators for piece 0, 1 and so on. A task that observes tells `observe` of each piece.
        """
        ...

    def after_step(self) -> None:
        """Keep weights within bounds, where they have any."""
        ...

    def evaluate(self, forward: Callable[..., Any], last: bool) -> Results:
        """What is measured at each evaluation; at the last there may be more. Every process calls this.

        Nothing of it is recorded if an output of `forward` was not finite. Every process has to run it equally often.
        """
        ...
