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


@pytest.mark.parametrize("options", [{"budget": 2}, {"lrs": [0.1, 0.2]}, {"reg_weights": [0.1, 0.2]}])
def test_choices_that_fine_tuning_does_not_make_are_refused(options):
    with pytest.raises(FastptError, match="Fine-tuning chooses nothing"):
        TuningConfig(["nmtune+lora"], options=options)


@pytest.mark.parametrize("way", FINETUNING)
def test_the_authors_code_has_its_own_terms_one_rate_and_no_mlp(way):
    found = {head: METHODS.get(f"{head}+{way}").settings(variant="reference-code") for head in ("lp", "nmtune")}
    for one in found.values():
        assert (one["variant"], one["mlp"], one["classifier_init"]) == ("reference-code", None, "kaiming")
        assert (one["lr"], one["weight_decay"], one["epochs"], one["batch_size"]) == (0.001, 1e-4, 30, 64)
    assert found["lp"]["reg_weight"] == 0
    assert found["nmtune"]["reg_weight"] == 1
    assert found["nmtune"]["weights"] == {"consistency": 0.0, "covariance": 0.04, "dominance": 0.001}
    assert "variant" not in METHODS.get(f"nmtune+{way}").settings(variant="paper")


def test_an_mlp_that_the_authors_code_does_not_train_is_refused():
    with pytest.raises(FastptError, match=r"MLP\+LoRA cannot be run as in the authors' code.*Leave --mlp out"):
        TuningConfig(["mlp+lora"], options={"variant": "reference-code"})
