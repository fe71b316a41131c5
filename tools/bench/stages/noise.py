"""Making noise plans: which samples are shown what, written with their sums."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from tools.bench.contest import Contest, Entry
from tools.bench.made_up import CLASSES, made_up
from tools.bench.options import Options

KINDS = {"symmetric": 0.1, "asymmetric": 0.1, "swap": 0.3, "pairswap": 0.3}
IN_MEMORY = "it draws an array: nothing is keyed, nested, exact, measured or written"


def contests(options: Options, scratch: Path) -> Iterator[Contest]:
    """Plans of ImageNet's size; for more rows see tools/bench/scale."""
    for count in [50_000 if options.quick else 1_281_167]:
        path = str(made_up(scratch / str(count), count))
        what = (
            f"Noise of {count:,} samples in {CLASSES:,} classes or captions. Ours are ranked by a hash of the key, "
            "nested, exact, measured and written to disk with sha256; cleanlab's and numpy's are arrays in memory."
        )
        entries = [
            *(
                Entry(f"fastpt, {kind}", f"{__name__}:ours", "fastpt", {"path": path, "kind": kind, "rate": rate})
                for kind, rate in KINDS.items()
            ),
            Entry("numpy, symmetric", f"{__name__}:of_numpy", "numpy", {"path": path}, IN_MEMORY),
            Entry("cleanlab, symmetric", f"{__name__}:of_cleanlab", "cleanlab", {"path": path}, IN_MEMORY),
        ]
        yield Contest("noise", f"{count:,} samples", what, "s", entries, measure="seconds")


def ours(path: str, kind: str, rate: float) -> Callable[[], int]:
    import numpy as np

    from fastpt import Dataset
    from fastpt.noise import add_noise

    files = {}
    if kind == "asymmetric":
        files["matrix"] = Path(path) / f"matrix-{kind}.npy"
        np.save(files["matrix"], np.random.default_rng(0).random((CLASSES, CLASSES)))

    def run() -> int:
        shutil.rmtree(Path(path) / "noise", ignore_errors=True)
        return len(add_noise(Dataset(path), rate, 0, kind=kind, files=files).array)

    return run


def _labels(path: str):
    import pyarrow.parquet as pq

    return pq.read_table(Path(path) / "samples.parquet", columns=["clean_label"])["clean_label"].to_numpy()


def of_numpy(path: str) -> Callable[[], int]:
    import numpy as np

    labels, rng = _labels(path), np.random.default_rng(0)

    def run() -> int:
        flipped = rng.random(len(labels)) < 0.1
        return len(np.where(flipped, (labels + rng.integers(1, CLASSES, len(labels))) % CLASSES, labels))

    return run


def of_cleanlab(path: str) -> Callable[[], int]:
    import numpy as np
    from cleanlab.benchmarking.noise_generation import generate_noisy_labels

    labels = _labels(path)
    matrix = np.full((CLASSES, CLASSES), 0.1 / (CLASSES - 1))
    np.fill_diagonal(matrix, 0.9)
    return lambda: len(generate_noisy_labels(labels, matrix))
