"""How long commands and imports take to answer, each in a fresh process."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from tools.bench.contest import Contest, Entry
from tools.bench.options import Options

COMMANDS = {
    "fastpt --help": ["-m", "fastpt", "--help"],
    "fastpt prep imagenet --help": ["-m", "fastpt", "prep", "imagenet", "--help"],
    "fastpt keys recipe": ["-m", "fastpt", "keys", "recipe"],
    "import fastpt": ["-c", "import fastpt"],
}
PEERS = {"import torch": "torch", "import webdataset": "webdataset", "import ffcv": "ffcv", "import timm": "timm"}


def contests(options: Options, scratch: Path) -> Iterator[Contest]:
    """Ours beside imports that users know."""
    what = "A process from its start to its end, files in the page cache. Imports of others are there to compare."
    entries = [Entry(name, f"{__name__}:command", "fastpt", {"words": words}) for name, words in COMMANDS.items()]
    entries += [
        Entry(name, f"{__name__}:command", "fastpt", {"words": ["-c", f"import {module}"]})
        for name, module in PEERS.items()
    ]
    yield Contest("startup", "commands", what, "s", entries, measure="seconds")


def command(words: list[str]) -> Callable[[], int]:
    def run() -> int:
        subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL, env=os.environ)
        return 1

    return run
