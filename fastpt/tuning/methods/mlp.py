"""MLP tuning: a two-layer MLP and a linear classifier on the features. NMTune without its regularisers."""

from fastpt.tuning.methods.budget import BUDGET
from fastpt.tuning.methods.head_training import (
    EPOCHS,
    HEAD_PRECISION,
    LRS,
    VARIANT,
    VIEWS,
    HeadMethod,
    HeadTraining,
)

METHOD = HeadMethod(
    "MLP",
    "#c77f00",
    "MLP tuning: a two-layer MLP and a linear head.",
    HeadTraining(lr=0.001, weight_decay=1e-4, mlp="paper"),
    (LRS, BUDGET, VARIANT, VIEWS, EPOCHS, HEAD_PRECISION),
    reference_code={"mlp": "reference-code", "classifier_init": "kaiming"},
)
