"""How a training's time is spent, and what holds it up."""

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch

DATA_BOUND = 0.2  # share of the time spent waiting for data from which a run warns of it
BUSY = 1.5  # load average over cores from which a run on a CPU warns that others use them too
WARN_AFTER = 30.0  # seconds of steps before either is said


@dataclass
class Since:
    """What has passed since the last logged step."""

    steps: int = 0
    waited: float = 0.0  # seconds spent waiting for the loader
    began: float = field(default_factory=time.monotonic)


class Pace:
    """Of all logged steps: how long they took, and waited."""

    def __init__(self) -> None:
        self._waited = self._stepping = 0.0  # seconds
        self._warned: set[str] = set()

    def add(self, waited: float, seconds: float) -> None:
        """A logged stretch of steps, and how much of it was spent waiting for the loader."""
        self._waited += waited
        self._stepping += seconds

    @property
    def is_data_bound(self) -> bool:
        return self._waited > DATA_BOUND * self._stepping

    def data_bound(self) -> str:
        """That it is, and what helps."""
        return (
            f"Data-bound: {self._waited / self._stepping:.0%} of the time is spent waiting for pictures. Remedies: "
            "more data.threads or cores, data.decoder dali on a GPU, smaller stored pictures (fastpt prep --max-side), "
            "or data.order quasi_random on slow disks. `--set data.decoder=synthetic` shows the rate without reading."
        )

    def warnings(self, device: torch.device) -> Iterator[str]:
        """What holds the run up, if something does; each is said once."""
        if self._stepping <= WARN_AFTER:
            return
        if self.is_data_bound and self._is_new("data-bound"):
            yield self.data_bound()
        load, cores, threads = os.getloadavg()[0], os.cpu_count() or 1, torch.get_num_threads()
        if device.type == "cpu" and threads > 1 and load > BUSY * cores and self._is_new("busy"):
            yield (
                f"Busy cores: a load of {load:.1f} on {cores}. torch's {threads} threads wait for one another, so a "
                "step can take many times as long; OMP_NUM_THREADS=1 is often faster beside other programs."
            )

    def _is_new(self, warning: str) -> bool:
        is_new = warning not in self._warned
        self._warned.add(warning)
        return is_new
