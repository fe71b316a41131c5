"""Who is compared with fastpt, and in which environment each lives."""

import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
ENVIRONMENTS = ROOT / ".bench"  # made by tools/bench/setup


@dataclass(frozen=True)
class Peer:
    """A package to be compared with, as pip knows it."""

    requirement: str
    """With the version that was tested, where it is not fastpt's own dependency, and with what it needs older."""
    own: bool = False
    """Whether it has an environment of its own, as its pins clash with ours or it is nobody's dependency."""

    @property
    def package(self) -> str:
        return self.requirement.partition("==")[0]


PEERS = {
    "fastpt": Peer("fastpt"),
    "ffcv": Peer("ffcv"),
    "dali": Peer("nvidia-dali-cuda130"),
    "torch": Peer("torch"),
    "torchvision": Peer("torchvision"),
    "webdataset": Peer("webdataset"),
    "open_clip": Peer("open_clip_torch"),
    "scikit-learn": Peer("scikit-learn"),
    "numpy": Peer("numpy"),
    "streaming": Peer("mosaicml-streaming==0.13.0", own=True),
    "litdata": Peer("litdata==0.2.76", own=True),
    "spdl": Peer("spdl==0.8.0", own=True),
    "torchcodec": Peer("torchcodec==0.17.0", own=True),
    "grain": Peer("grain==0.2.18", own=True),
    "lance": Peer("pylance==14.0.2", own=True),
    "img2dataset": Peer("img2dataset==1.47.0", own=True),
    "CLIP_benchmark": Peer("clip-benchmark==1.6.2 numpy<2.4", own=True),
    "cleanlab": Peer("cleanlab"),
    "timm": Peer("timm"),
}


def python_of(peer: str) -> str:
    """The interpreter that a peer lives in."""
    own = ENVIRONMENTS / peer / "bin" / "python"
    return str(own) if own.exists() else sys.executable
