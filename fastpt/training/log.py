"""The record of a running training: metrics.jsonl, TensorBoard, trackers, and the line on the screen."""

import datetime
import sys
import time
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fastpt.files import atomic_write, unwritten_is_oserror
from fastpt.recipe import Recipe
from fastpt.records import sealed_line
from fastpt.runs import read_metrics
from fastpt.runs.folder import METRICS, TENSORBOARD
from fastpt.training.trackers import Trackers

PLAIN_LINE_SECONDS = 10.0


class MetricsLogger:
    """The open record of a running training: metrics.jsonl, TensorBoard and the recipe's trackers from `step` on, and
    the progress line.

    What the file says of later steps (a killed run got further than its checkpoint) is dropped first, so that no line
    is there twice; so is that the run has ended, if it goes on. `lines` is how many there were when the checkpoint was
    written: fewer are told, as a power cut can lose some.
    """

    def __init__(self, run: Path, recipe: Recipe, step: int, total: int, lines: int = 0):
        from torch.utils.tensorboard import SummaryWriter

        kept = [event for event in read_metrics(run) if event["step"] <= step and event["event"] != "end"]
        self.lines = len(kept)
        """Of metrics.jsonl so far."""
        with atomic_write(run / METRICS, "w") as file:
            file.writelines(map(sealed_line, kept))
        self._file = (run / METRICS).open("a", encoding="utf-8")
        self._board = SummaryWriter(str(run / TENSORBOARD), purge_step=step + 1)
        self._total, self._first_step, self._began, self._last_line = total, step, time.monotonic(), 0.0
        self._bar = tqdm(total=total, initial=step, unit="step") if sys.stderr.isatty() else None
        self._trackers, self._finished = Trackers(run, recipe, goes_on=step > 0, say=self.say), False
        if self.lines < lines:
            self.say(f"{run / METRICS} has lost {lines - self.lines} of its {lines} lines up to step {step}.")

    def train(self, **values: Any) -> None:
        """A logged training step; see `loop.Training` for the values."""
        self._write("train", values)
        shown = (
            f"loss {values['loss']:.4f}, {values['images_per_second']:.0f} img/s, "
            f"waiting for data {values['data_wait']:.0%}"
        )
        if self._bar is not None:
            self._bar.set_postfix_str(shown, refresh=False)
            self._bar.update(values["step"] - self._bar.n)
        elif time.monotonic() - self._last_line > PLAIN_LINE_SECONDS:
            self._last_line = time.monotonic()
            pace = (self._last_line - self._began) / max(1, values["step"] - self._first_step)
            left = datetime.timedelta(seconds=round(pace * (self._total - values["step"])))
            self.say(f"step {values['step']}/{self._total}, epoch {values['epoch']:.2f}, {shown}, {left} left")

    def evaluation(self, **values: Any) -> None:
        """The measures of one split."""
        self._write("eval", values)
        measures = {name: value for name, value in values.items() if isinstance(value, float) and name != "epoch"}
        self.say(
            f"step {values['step']}/{self._total}, {values['split']} in {values['precision']}: "
            + ", ".join(f"{name} {value:.2%}" for name, value in measures.items())
        )

    def end(self, **values: Any) -> None:
        """The last line: what says that the run is finished."""
        self._write("end", values)
        self._finished = True

    def say(self, text: str) -> None:
        """A line for the person who waits: to stderr, above the progress bar if there is one."""
        tqdm.write(text, file=sys.stderr) if self._bar is not None else print(text, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Close the files; the record stays as it is."""
        if self._bar is not None:
            self._bar.close()
        self._board.close()
        self._trackers.close(self._finished)
        self._file.close()

    def _write(self, event: str, values: dict) -> None:
        with unwritten_is_oserror(self._file.name):
            self._file.write(sealed_line({"event": event, **values}))
            self._file.flush()
        self.lines += 1
        group = values.get("split", event)
        scalars = {f"{group}/{name}": value for name, value in values.items() if isinstance(value, float)}
        for name, value in scalars.items():
            self._board.add_scalar(name, value, values["step"])
        self._trackers.log(values["step"], scalars)
