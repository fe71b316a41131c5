"""Progress of a long job: a bar on a terminal, a plain line now and then elsewhere."""

import sys
import time


class Progress:
    """A callable `progress(done, total)`, for counts of `unit`; also a context manager that ends the bar."""

    PLAIN_INTERVAL = 10.0  # seconds

    def __init__(self, what: str, unit: str):
        self._what, self._unit = what, unit
        self._bar = None
        self._start = self._last = time.monotonic()
        self._first: int | None = None  # what a resumed job had done before

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, done: int, total: int) -> None:
        self._first = done if self._first is None else self._first
        if sys.stderr.isatty():
            self._draw(done, total)
        elif time.monotonic() - self._last >= self.PLAIN_INTERVAL:
            self._last = time.monotonic()
            rate = (done - self._first) / (self._last - self._start)
            print(
                f"{self._what}: {done:,} of {total:,} {self._unit}, {rate:,.0f} a second", file=sys.stderr, flush=True
            )

    def _draw(self, done: int, total: int) -> None:
        from tqdm import tqdm

        if self._bar is None:
            self._bar = tqdm(total=total, initial=done, desc=self._what, unit=self._unit, unit_scale=True, leave=False)
        self._bar.update(done - self._bar.n)
