import pytest

from fastpt.errors import FastptError
from fastpt.tuning.config import TuningConfig
from fastpt.tuning.methods import FINETUNING, HEADS, METHODS


def test_every_head_is_trained_with_the_encoder_in_every_way():
    for head in HEADS:
        for way in FINETUNING:
            method = METHODS.get(f"{head}+{way}")
            assert (method.head, method.kind) == (METHODS.get(head), way)
            assert method.trains_on() == "images"


@pytest.mark.parametrize("options", [{"variant": "reference-code"}, {"lrs": [0.1, 0.2]}, {"reg_weights": [0.1, 0.2]}])
def test_choices_that_fine_tuning_does_not_make_are_refused(options):
    with pytest.raises(FastptError, match="variant of the paper only, and chooses nothing"):
        TuningConfig(["nmtune+lora"], options=options)
