"""Trains a recipe, for tests that need a process to kill, or several: `train_script.py RECIPE RUN [--resume]`."""

import sys
from pathlib import Path

import torch

from fastpt.recipe import load_recipe
from fastpt.training.run import train

if __name__ == "__main__":
    torch.set_num_threads(1)
    train(load_recipe(sys.argv[1]), "tiny", Path(sys.argv[2]), resume="--resume" in sys.argv)
