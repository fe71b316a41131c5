"""Records training dynamics: what a step's pictures told, kept on the device, gathered where an epoch ends or is saved.

The first process alone writes. What is seen of an epoch that has not ended lies in the checkpoint, so that a resumed
run has of each sample what one that never stopped has: a checkpoint is the only thing that it goes on from.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fastpt import Batch, dynamics
from fastpt.data.plan import Targets
from fastpt.losses.classification import margins
from fastpt.recipe import Recipe
from fastpt.runs.folder import SAMPLES
from fastpt.training.evaluation import gather_rows
from fastpt.training.launch import DistInfo, on_rank_zero
from fastpt.training.tasks.kind import Task


class Recorder:
    """`record.samples` of a running training. Every process makes one, and calls every method but `observe` together.

    An epoch is one pass over what is trained on. Of a sample that comes with several views (repeated augmentation) the
    first view counts; of one that comes twice, since it stood in for a damaged picture, the later time.
    """

    def __init__(self, run: Path, recipe: Recipe, task: Task, of: Targets, dist_info: DistInfo):
        self._folder, self._dist_info = run / SAMPLES, dist_info
        self._names: list[str] = [*recipe.record.samples]
        self._kept = getattr(task.trained_on, "rows", None)  # of a Subset
        self._train_set, self._noise = task.train_set, recipe.data.noise
        self._of: Targets = of
        self._ids: list[Tensor] = []  # of each piece since the last gathering; -1 for later views
        self._values: list[Tensor] = []
        self._rows = self._unseen()  # of the epoch under way

    def begin(self, epoch: int, seen: Mapping[str, Tensor]) -> bool:
        """Start or go on in an epoch of which `seen` has been seen (see `seen`).

        Returns whether rows of earlier epochs are lost, as they were of other samples or targets, or damaged.
        """
        lost = on_rank_zero(self._dist_info, lambda: self._make_ready(epoch))
        self._rows = self._unseen()
        if not lost:
            self._rows |= {name: seen[name].numpy() for name in self._rows if name in seen}
        return lost

    def _make_ready(self, epoch: int) -> bool:
        if not (self._names or self._folder.exists()):
            return False
        shown = self._train_set.targets(self._noise, self._of)
        wrong = self._train_set.wrong(self._noise, self._of)
        return dynamics.begin(self._folder, self._train_set.samples_id, shown, wrong, epoch)

    @torch.no_grad()
    def observe(self, batch: Batch, logits: Tensor, labels: Tensor) -> None:
        """Keep what a piece tells; see `tasks.kind.Observe`. Nothing waits for the device."""
        if not self._names:
            return
        logits = logits.detach().float()
        found = {
            "loss": F.cross_entropy(logits, labels, reduction="none"),
            "margin": margins(logits, labels),
            "correct": (logits.argmax(1) == labels).float(),
        }
        self._ids.append(torch.where(batch.views.cpu() == 0, batch.sample_ids.cpu(), -1))
        self._values.append(torch.stack([found[name] for name in self._names], 1))

    def seen(self) -> dict[str, Tensor]:
        """What has been seen of the epoch under way, float32 [N] by measure, NaN where nothing; {} if none has been.

        Of all processes, on the first one.
        """
        self._gather()
        rows = {name: torch.from_numpy(row) for name, row in self._rows.items()}
        return {} if all(row.isnan().all() for row in rows.values()) else rows

    def write(self, epoch: int) -> None:
        """Write the row of the epoch under way, which has ended, or training has."""
        self._gather()
        if self._names:
            on_rank_zero(self._dist_info, lambda: dynamics.append(self._folder, epoch, self._rows))
        self._rows = self._unseen()

    def _unseen(self) -> dict[str, np.ndarray]:
        names = self._names if self._dist_info.is_rank_zero else ()
        return {name: np.full(len(self._train_set), np.nan, np.float32) for name in names}

    def _gather(self) -> None:
        if not self._ids:
            return
        ids, values = torch.cat(self._ids), torch.cat(self._values).cpu()
        self._ids, self._values = [], []
        # Each process has the same number: in the order of the epoch they take turns, so the later time is the later.
        turns = torch.arange(len(ids) * self._dist_info.world_size).view(self._dist_info.world_size, -1).T.flatten()
        ids, values = gather_rows(ids, self._dist_info)[turns], gather_rows(values, self._dist_info)[turns]
        first = ids >= 0
        places = ids[first].numpy() if self._kept is None else self._kept[ids[first].numpy()]
        for name, row in self._rows.items():
            row[places] = values[first, self._names.index(name)].numpy()
