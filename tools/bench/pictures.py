"""The pictures that benches read: those of a tar, repeated, prepared once."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datasets_prep.listing import SplitListing
    from fastpt import Dataset


class Photos:
    """The pictures of a tar, over and over, `count` in all; can be sent to workers."""

    def __init__(self, tar: Path | str, count: int):
        from fastpt.storage.files import open_files
        from fastpt.storage.names import is_image

        self.files, self.count = open_files(Path(tar)), count
        self.names = [name for name in self.files.names() if is_image(name)]

    def __len__(self) -> int:
        return self.count

    def __call__(self, i: int) -> bytes:
        return self.files.read(self.names[i % len(self.names)])


def listing(photos: Photos, classes: int = 1, captions: bool = False) -> "SplitListing":
    """A training split of the pictures; labels go round the classes."""
    import numpy as np

    from datasets_prep.listing import SplitListing

    names = [f"class {i}" for i in range(classes)]
    keys = [f"{i:06d}" for i in range(len(photos))]
    texts = [f"photo number {i}" for i in range(len(photos))] if captions else None
    return SplitListing("train", keys, np.arange(len(photos)) % classes, texts, names, names, photos)


def prepared(
    tar: Path | str,
    out: Path,
    count: int,
    max_side: int | None = 500,
    quality: int = 90,
    format: str = "ffcv",
    classes: int = 1,
    captions: bool = False,
) -> "Dataset":
    """The pictures of a tar, repeated to `count`, as a prepared split of one shard below `out`."""
    from datasets_prep.convert import prepare
    from datasets_prep.images.policy import ImagePolicy
    from datasets_prep.listing import Found
    from datasets_prep.shard import Options

    split = listing(Photos(tar, count), classes, captions)
    options = Options(policy=ImagePolicy(max_side, quality), format=format, shard_samples=count)
    ((dataset, _),) = prepare(Found.only([split]), out, "bench", options, [], 1, 0.0, lambda *_: None)
    return dataset
