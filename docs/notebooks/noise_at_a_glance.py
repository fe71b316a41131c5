# %% [markdown]
# # Noise at a glance
#
# One prepared split, several noise plans beside it: what each changes, and how they hang together. Opens as a notebook
# where jupytext is installed, and runs as a script. The pictures are the built-in demo world; put the folder of a split
# of your own in its place.

# %%
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from fastpt import Dataset
from fastpt.noise import add_noise
from fastpt.torch import FastptMapDataset

SPLIT = Path("data/demo/train")
if not SPLIT.exists():
    subprocess.run([sys.executable, "-m", "fastpt", "prep", "demo"], check=True)

# %%
dataset = Dataset(SPLIT)
rates = [0.05, 0.1, 0.2, 0.3]
plans = [add_noise(dataset, rate, seed=0, of="labels") for rate in rates]  # a plan that is there is taken again
wrong = {plan.rate: plan.array != dataset.clean_labels for plan in plans}
for plan in plans:
    print(f"{plan.name}: {wrong[plan.rate].sum()} of {len(dataset)} labels wrong, {plan.realised_rate:.3%}")

# %% [markdown]
# What is wrong at a low rate is wrong, in the same way, at every higher one. So runs at two rates differ in the labels
# between them and in nothing else.

# %%
for low, high in pairwise(plans):
    both = wrong[low.rate]
    assert wrong[high.rate][both].all()
    assert np.array_equal(low.array[both], high.array[both])

# %% [markdown]
# Where labels go: each row is a true class, each column what is shown in its place.

# %%
worst = plans[-1]
confusion = np.zeros((len(dataset.classes), len(dataset.classes)), int)
np.add.at(confusion, (dataset.clean_labels, worst.array), 1)
figure, axes = plt.subplots(figsize=(6, 5))
axes.imshow(np.log1p(confusion), cmap="viridis")
axes.set(title=worst.name, xlabel="label shown", ylabel="true class")
axes.set_yticks(range(len(dataset.class_names)), dataset.class_names)
figure.savefig("confusion.png", bbox_inches="tight")

# %% [markdown]
# Pictures that are shown a wrong label. `fastpt preview` makes a whole page of them.

# %%
pictures = FastptMapDataset(dataset, noise=worst.name)
rows = np.flatnonzero(wrong[worst.rate])[:8]
figure, axes = plt.subplots(2, 4, figsize=(9, 5))
for row, cell in zip(rows.tolist(), axes.flat, strict=True):
    picture, label = pictures[row]
    cell.imshow(picture)
    cell.set_title(f"{dataset.class_names[dataset.clean_labels[row]]}\nas {dataset.class_names[label]}", fontsize=8)
    cell.axis("off")
figure.savefig("mislabelled.png", bbox_inches="tight")
