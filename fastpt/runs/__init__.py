"""Runs: a folder each, and its one reader. How a run begins is `training.starts`.

    runs/<recipe>-<noise plan or clean>-s<seed>/
      recipe.yaml        the resolved recipe
      provenance.json    where the weights come from
      metrics.jsonl      an event a line: train, eval, end
      samples/           what each sample's loss did, epoch by epoch, where the recipe asks for it: see `dynamics`
      tensorboard/       the same numbers for TensorBoard
      trackers/          under which id trackers know the run, and what they leave here, where the recipe names some
      checkpoints/       what a training that was stopped goes on from
      export/            the finished model, as timm or open_clip loads it, and the sums of its files
      tune/              what `fastpt tune` found, a file for each suite

`read_run` tolerates what is missing or damaged: each becomes a line in `Run.problems`. `read_recipe` and the others
of one file do not. `folder` has the names, `records` the files, `run` what a report reads of them, `check` what damage
there is.
"""

from fastpt.runs.check import verify
from fastpt.runs.records import is_finished, read_metrics, read_provenance, read_recipe, read_samples
from fastpt.runs.run import Run, read_run, read_runs

__all__ = [
    "Run",
    "is_finished",
    "read_metrics",
    "read_provenance",
    "read_recipe",
    "read_run",
    "read_runs",
    "read_samples",
    "verify",
]
