"""Pictures and prepared splits that tests share. Real images come from the folder that FASTPT_REAL_DATA names."""

import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets_prep.convert import prepare
from datasets_prep.listing import Found, SplitListing
from datasets_prep.shard import Options
from fastpt import Dataset
from fastpt.jpeg import entropy


def pytest_configure(config: pytest.Config) -> None:
    """Caches and temporary files of the tests, those of their processes too, are their own, and go when they are done.

    Ctrl-C is what it is in a terminal: a run that a shell started in the background ignores it, and so would the jobs
    that tests interrupt.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if not worker:
        # pytest's own folders stay beside it, for those who look at what failed.
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
        folder = tempfile.TemporaryDirectory(prefix="fastpt-tests-", ignore_cleanup_errors=True)
        config.add_cleanup(folder.cleanup)
        os.environ["TMPDIR"] = tempfile.tempdir = folder.name
    os.environ["XDG_CACHE_HOME"] = f"{tempfile.gettempdir()}/cache{worker}"


LAUNCHED = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@pytest.fixture(autouse=True)
def _no_group_is_left() -> Iterator[None]:
    """A test that leaves a launcher's variables behind would have the trainings of those that follow wait for it."""
    yield
    left = [name for name in LAUNCHED if os.environ.pop(name, None)]
    assert not left, f"left in the environment: {left}"


def pytest_make_parametrize_id(val: object) -> str | None:
    """Names of cases are the same in each process that collects them: packed bytes have the time in them."""
    return f"{len(val)} bytes" if isinstance(val, bytes) and len(val) > 16 else None


def picture(seed: int, size: tuple[int, int] = (80, 64), mode: str = "RGB", format: str = "JPEG", **save) -> bytes:
    """An encoded picture of smooth colours, different for each seed. `size` is (width, height)."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).convert(mode, palette=Image.Palette.ADAPTIVE)
    buffer = io.BytesIO()
    image.save(buffer, format, **save)
    return buffer.getvalue()


def stored(seed: int) -> bytes:
    """`picture(seed)` as preparation stores it: with entry points."""
    return entropy.note_entry_points(picture(seed), (80, 64)).jpeg


class Pictures:
    """`read` of a made-up source: row i is `picture(i)`, except for rows whose bytes are given."""

    def __init__(self, special: dict[int, bytes] | None = None):
        self.special = special or {}

    def __call__(self, i: int) -> bytes:
        return self.special.get(i, picture(i))


def made_up(count: int, classes: int = 4, captions: bool = False, special: dict[int, bytes] | None = None, **fields):
    """A listing of `count` pictures in turn of `classes` classes."""
    names = [f"class {i}" for i in range(classes)]
    return SplitListing(
        **{
            "name": "train",
            "keys": [f"pictures/{i:04d}.jpg" for i in range(count)],
            "labels": np.arange(count) % classes if classes else None,
            "captions": [f"picture {i} of class {i % max(classes, 1)}" for i in range(count)] if captions else None,
            "classes": names,
            "class_names": names,
            "read": Pictures(special),
            "is_train": True,
            **fields,
        }
    )


def prepared(
    folder: Path, split: SplitListing, rates=(), workers: int = 1, max_rejects: float = 0.0, **options
) -> Dataset:
    """`split` as a prepared dataset below `folder`."""
    done = prepare(
        Found.only([split]), folder, "made-up", Options(**options), list(rates), workers, max_rejects, lambda *_: None
    )
    (dataset, _plans), *_ = done
    return dataset


@pytest.fixture(scope="session")
def labelled(tmp_path_factory) -> Dataset:
    """40 pictures in 4 classes and 3 shards, with a plan at 25 %."""
    return prepared(tmp_path_factory.mktemp("labelled"), made_up(40), [0.25], shard_samples=16)


@pytest.fixture(scope="session")
def captioned(tmp_path_factory) -> Dataset:
    """40 pictures with captions and labels, with plans at 20 %."""
    return prepared(tmp_path_factory.mktemp("captioned"), made_up(40, captions=True), [0.2])


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real images; tests that need it are skipped without it."""
    folder = os.environ.get("FASTPT_REAL_DATA")
    if not folder:
        pytest.skip("FASTPT_REAL_DATA does not name a folder of real images")
    return Path(folder)


@pytest.fixture(scope="session")
def plugin(tmp_path_factory) -> dict[str, str]:
    """The environment of processes in which the package of tests/plugin is installed."""
    folder = tmp_path_factory.mktemp("plugin")
    shutil.copytree(Path(__file__).with_name("plugin"), folder / "source")  # its build writes beside it
    options = ["--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--target", str(folder / "installed")]
    subprocess.run([sys.executable, "-m", "pip", "install", *options, str(folder / "source")], check=True)
    paths = [str(folder / "installed"), os.environ.get("PYTHONPATH", "")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}


@pytest.fixture
def plugin_fastpt(plugin, tmp_path):
    """Run `fastpt ARGS` in the test's folder, in a process where the package is installed."""

    def run(*words: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "fastpt", *words]
        return subprocess.run(command, cwd=tmp_path, env=plugin, capture_output=True, text=True)

    return run
