"""Tries an installed fastpt: its C is there, and what `pip install fastpt` gives works without what extras bring.

    python try_wheel.py [FOLDER]      fastpt is to be installed in FOLDER

Writes into a new folder in the working directory. Ends with 1 and what is wrong at the first thing that is.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

EXTRAS = ("ffcv", "numba", "deepspeed", "nvidia", "ray", "onnx", "onnxruntime")
LIBRARIES = (
    "fastpt/data/_pictures",
    "fastpt/jpeg/_jpeg",
    "fastpt/loading/_batches",
    "datasets_prep/images/_area",
)


class Without:
    """What looks for modules, but does not find those of the extras, which an environment may lend."""

    def __init__(self, finder: Any):
        self.finder = finder

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        return None if fullname.partition(".")[0] in EXTRAS else self.finder.find_spec(fullname, path, target)


def check(right: bool, wrong: str) -> None:
    if not right:
        sys.exit(f"Error: {wrong}")


def fastpt(*words: str) -> None:
    """Run a command in this process's own way: without extras."""
    code = "import try_wheel; try_wheel.hide(); from fastpt.cli import main; main()"
    path = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run([sys.executable, "-c", code, *words], env={**os.environ, "PYTHONPATH": path}, text=True)
    check(done.returncode == 0, f"fastpt {' '.join(words)} ended with {done.returncode}.")


def hide() -> None:
    sys.meta_path[:] = [Without(finder) for finder in sys.meta_path]


def main() -> None:
    hide()
    import numpy as np
    from PIL import Image

    import fastpt as package
    from fastpt import Dataset, Loader
    from fastpt.jpeg import entropy, kernel

    root = Path(package.__file__).parents[1]
    if len(sys.argv) > 1:
        inside = Path(sys.argv[1]).resolve() in root.resolve().parents
        check(inside, f"fastpt is that of {root}, not of {sys.argv[1]}.")
    compilers = [name for name in ("cc", "gcc", "g++", "clang") if shutil.which(name)]
    for name in LIBRARIES:
        check(any(root.glob(f"{name}*.so")), f"{name} is not in the wheel: it was not built.")
    check(kernel.kernel() is not None, "fastpt/jpeg does not load.")

    os.chdir(tempfile.mkdtemp(dir="."))
    numbers = np.random.default_rng(0)
    for i in range(32):
        folder = Path("pets", "cat" if i % 2 else "dog")
        folder.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(numbers.integers(0, 256, (12, 16, 3), np.uint8)).resize((640, 480))
        coarse.save(folder / f"{i}.{'png' if i % 5 == 0 else 'jpg'}")
    fastpt("prep", "imagefolder", "--source", "pets", "--noise", "0.25", "--max-side", "400", "--workers", "2")
    fastpt("info", "data/pets/train")
    fastpt("verify", "--deep", "data/pets/train")
    fastpt("materialize", "data/pets/train", "--noise", "0.25", "--format", "ffcv", "--out", "made")
    for dataset in (Dataset("data/pets/train"), Dataset.from_ffcv("made/train.beton", cache="index")):
        with Loader(dataset, 8, 64, seed=0) as loader:
            check(sum(len(batch.images) for batch in loader) == 32, f"{dataset} was not delivered whole.")
            check(not loader.stale_entry_points, f"{dataset} has entry points that are not those of its data.")
        noted = sum(len(entropy.entry_points(dataset.jpeg(i).tobytes())[0]) > 1 for i in range(32))
        check(noted == 32, f"{noted} of 32 pictures of {dataset} have entry points.")
    compiled = f"compilers in sight: {', '.join(compilers)}" if compilers else "no compiler in sight"
    print(f"fastpt {package.__version__} on Python {sys.version.split()[0]}: {kernel.name()} decodes; {compiled}")


if __name__ == "__main__":
    main()
