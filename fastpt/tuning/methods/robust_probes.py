"""Linear probes under losses that bear wrong labels, each with the settings of its paper (fastpt/losses).

At LP's rate, 0.1, most of these losses do badly even on right labels. So each head chooses its rate on a validation
part of its rows, whose labels are as wrong as the others.
"""

from dataclasses import replace

from fastpt.tuning.methods import linear_probe
from fastpt.tuning.methods.budget import BUDGET
from fastpt.tuning.methods.head_training import EPOCHS, HEAD_PRECISION, LRS, HeadMethod, Loss


def _probe(label: str, colour: str, summary: str, loss: Loss) -> HeadMethod:
    training = replace(linear_probe.METHOD.training, loss=loss, lr=0.01)
    return HeadMethod(label, colour, summary, training, (LRS, BUDGET, EPOCHS, HEAD_PRECISION), lrs=linear_probe.RATES)


GCE = _probe("LP, GCE", "#3a6ea5", "LP under generalised cross entropy, q = 0.7.", "gce")
SCE = _probe("LP, SCE", "#2e9cca", "LP under symmetric cross entropy.", "sce")
SMOOTHED = _probe("LP, smoothed", "#77a6c4", "LP under labels smoothed by 0.1.", "smoothed")
ELR = _probe("LP, ELR", "#16425b", "LP held to its early predictions (ELR).", "elr")
