"""NMTune (Chen et al., ICLR 2024): MLP tuning under the regularisers of fastpt/losses/nmtune.py."""

from dataclasses import replace

from fastpt.tuning.methods import mlp
from fastpt.tuning.methods.budget import BUDGET
from fastpt.tuning.methods.head_training import (
    ABLATE,
    EPOCHS,
    HEAD_PRECISION,
    LRS,
    REG_WEIGHTS,
    VARIANT,
    VIEWS,
    HeadMethod,
    Weights,
)

METHOD = HeadMethod(
    "NMTune",
    "#008f68",
    "NMTune: MLP tuning with the paper's regularisers.",
    replace(mlp.METHOD.training, reg_weight=0.01),
    (LRS, REG_WEIGHTS, BUDGET, VARIANT, VIEWS, ABLATE, EPOCHS, HEAD_PRECISION),
    {**mlp.METHOD.reference_code, "reg_weight": 1.0, "weights": Weights(1.0, 0.04, 0.001)},
)
