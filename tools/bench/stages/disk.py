"""What noise costs on disk: one set with plans beside it, or a converted copy for every rate."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tools.bench.contest import Contest, Entry
from tools.bench.options import Options
from tools.bench.pictures import prepared

RATES = (0.05, 0.1, 0.2, 0.3)


def contests(options: Options, scratch: Path) -> Iterator[Contest]:
    """Small pictures, clean and at four rates."""
    tar = options.tar("sign_digits_64.tar")
    path = str(prepared(tar, scratch / "set", options.sized(20_000, 1000), None, classes=10).path)
    what = "A training split of pictures of 64 px, clean and at four noise rates: bytes of all files, none compressed."
    entries = [
        Entry("fastpt, one set and four plans", f"{__name__}:plans", "fastpt", {"path": path}),
        Entry("five copies as FFCV files", f"{__name__}:copies", "ffcv", {"path": path, "scratch": str(scratch)}),
    ]
    yield Contest("disk", "five noise rates", what, "MB", entries, measure="value")


def size(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) / 1e6


def _fastpt(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "fastpt", *words], check=True, stdout=subprocess.DEVNULL)


def plans(path: str) -> Callable[[], float]:
    for rate in RATES:
        _fastpt("noise", path, "--rate", str(rate))
    return lambda: size(Path(path))


def copies(path: str, scratch: str) -> Callable[[], float]:
    folder = Path(scratch, "copies")
    for rate in (0, *RATES):
        _fastpt("noise", path, "--rate", str(rate)) if rate else None
        _fastpt("materialize", path, "--noise", str(rate), "--format", "ffcv", "--out", str(folder / str(rate)))
    return lambda: size(folder)
