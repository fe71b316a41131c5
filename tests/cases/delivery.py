"""What the Loader delivers of a split, for comparison: `python -m tests.cases.delivery split|ffcv PATH` prints it.

In a process of its own, since a damaged split has killed the process that reads it.
"""

import hashlib
import json
import sys

from fastpt import Dataset, Loader
from fastpt.errors import FastptError


def delivered(dataset: Dataset) -> tuple[dict[str, str], int]:
    """A digest of each sample's pixels and label by its id, and how many were counted as bad."""
    found, targets = {}, dataset.targets(None, of="labels")
    with Loader(dataset, 8, 32, seed=0, order="sequential", drop_last=False, threads=1) as loader:
        for batch in loader:
            for image, sample_id in zip(batch.images.numpy(), batch.sample_ids.tolist(), strict=True):
                label = bytes([int(targets[sample_id])])
                found[str(sample_id)] = hashlib.sha256(image.tobytes() + label).hexdigest()
    return found, len(loader.bad_samples)


def main(kind: str, path: str) -> None:
    try:
        dataset = Dataset(path) if kind == "split" else Dataset.from_ffcv(path, cache="index")
        print(json.dumps(delivered(dataset)))
    except FastptError as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main(*sys.argv[1:])
