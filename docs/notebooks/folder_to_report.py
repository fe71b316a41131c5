# %% [markdown]
# # From a folder of photos to a report
#
# A folder with a folder a class becomes a prepared split, a small network is trained on it with clean and with noisy
# labels, heads are tuned on what it learned, and one page compares the two. Opens as a notebook where jupytext is
# installed, and runs as a script; the folder here is drawn, put your own into PHOTOS. Minutes on two cores.

# %%
import subprocess
import sys
from pathlib import Path

import numpy as np
import yaml
from PIL import Image, ImageDraw


def fastpt(*words: str) -> None:
    subprocess.run([sys.executable, "-m", "fastpt", *words], check=True)


# %%
PHOTOS = Path("photos")
if not PHOTOS.exists():
    draws = np.random.default_rng(0)
    for label in ("circle", "square", "line"):
        (PHOTOS / label).mkdir(parents=True)
        for number in range(80):
            picture = Image.new("RGB", (64, 64), tuple(draws.integers(0, 120, 3).tolist()))
            left, top = draws.integers(4, 28, 2).tolist()
            box, colour = (left, top, left + 30, top + 30), tuple(draws.integers(150, 256, 3).tolist())
            pencil = ImageDraw.Draw(picture)
            {"circle": pencil.ellipse, "square": pencil.rectangle, "line": pencil.line}[label](box, fill=colour)
            picture.save(PHOTOS / label / f"{number:03d}.jpg", quality=90)

# %% [markdown]
# Every fifth picture is held out; a plan of wrong labels stands beside the pictures.

# %%
if not Path("data/photos").exists():
    fastpt("prep", "--noise", "0.3", "imagefolder", "--source", str(PHOTOS), "--name", "photos", "--holdout", "0.2")

# %%
recipe = {
    "task": "supervised",
    "data": {"train": "data/photos/train", "val": "data/photos/val", "size": 32},
    "model": {"name": "resnet10_narrow"},
    "optim": {"name": "adamw", "lr": 1e-3},
    "schedule": {"epochs": 6},
    "batch_size": 16,
    "log_every": 4,
}
Path("photos.yaml").write_text(yaml.safe_dump(recipe))
suite = {"name": "photos", "id": [{"name": "photos", "train": "data/photos/train", "test": "data/photos/val"}]}
Path("suite.yaml").write_text(yaml.safe_dump(suite))

# %%
for noise in ("0", "0.3"):
    run = f"runs/photos-{noise}"
    fastpt("train", "photos.yaml", "--set", f"data.noise={noise}", "--run-dir", run, *["--resume"] * Path(run).exists())
    fastpt("tune", "--lp", "--run", run, "--suite", "suite.yaml")

# %%
fastpt("report", "runs/photos-0", "runs/photos-0.3")
print("Open report.html in a browser.")
