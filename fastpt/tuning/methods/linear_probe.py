"""LP, the linear probe: a linear classifier on the features, as the paper trains it."""

from fastpt.tuning.methods.head_training import HeadMethod, HeadTraining

METHOD = HeadMethod(
    "LP",
    "#0072b2",
    "Linear probe. Always added, as the baseline.",
    HeadTraining(lr=0.1, weight_decay=0.0, mlp=None),
    reference_code={"lr": 0.01, "weight_decay": 1e-4, "classifier_init": "kaiming"},
)
RATES = (0.001, 0.01, 0.1)
"""Learning rates that probes choose from which have none of their own: their papers train no heads on features."""
