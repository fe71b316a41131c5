import pytest

from fastpt.errors import FastptError
from fastpt.tuning.methods import HEADS, METHODS
from fastpt.tuning.methods.head_training import head_training


@pytest.mark.parametrize("method", HEADS)
def test_epochs_and_batches_are_the_papers(method):
    training = head_training(method)
    assert (training.epochs, training.batch_size) == (30, 64)


def test_unknown_methods_and_impossible_protocols_are_refused():
    with pytest.raises(FastptError, match="lp, mlp, nmtune"):
        head_training("ridge")
    with pytest.raises(FastptError, match="above 0"):
        head_training("lp", epochs=0)


@pytest.mark.parametrize(
    "change", [{"lr": float("nan")}, {"lr": float("inf")}, {"reg_weight": float("nan")}, {"weight_decay": -1.0}]
)
def test_settings_that_are_no_numbers_are_refused(change):
    with pytest.raises(FastptError, match="finite"):
        head_training("nmtune", **change)


def test_an_unknown_precision_is_refused():
    with pytest.raises(FastptError, match="fp32 and bf16"):
        head_training("lp", precision="fp8")


def test_options_have_their_values_and_others_their_own():
    method = METHODS.get("nmtune")
    assert method.trains_on(variant="reference-code", lrs=[0.1], views=5) == 5
    assert method.trains_on(ablate=("covariance",)) == "features"
    with pytest.raises(FastptError, match=r"There is no term 'covarianc'; did you mean covariance\?"):
        method.check(ablate=("covarianc",))
    with pytest.raises(FastptError, match="reg_weight -1"):
        method.check(reg_weights=[0.1, -1.0])


@pytest.mark.parametrize("method", ["mlp", "nmtune"])
def test_the_number_of_views_is_recorded_and_belongs_to_the_reference_code(method):
    method = METHODS.get(method)
    assert method.trains_on(variant="reference-code") == method.settings(variant="reference-code")["views"] == 8
    assert method.settings(variant="reference-code", views=3)["views"] == 3
    assert "views" not in method.settings()
    for options in ({"views": 3}, {"views": 1, "variant": "reference-code"}):
        with pytest.raises(FastptError, match=r"views [13] cannot be run"):
            method.check(**options)
