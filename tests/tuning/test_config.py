import subprocess
import sys

import pytest

from fastpt.errors import FastptError
from fastpt.tuning.config import TuningConfig


def test_the_baseline_is_always_among_the_methods_in_one_order():
    assert TuningConfig(["nmtune", "ridge"]).methods == ("lp", "ridge", "nmtune")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"methods": ["svm"]}, "no tuning method 'svm'"),
        ({"options": {"lrs": [0.0]}}, "above 0"),
        ({"options": {"reg_weights": [-1.0]}}, "not below 0"),
        ({"fractions": []}, "at least one"),
        ({"fractions": [0.5, 0.5]}, "none twice"),
        ({"options": {"variant": "mine"}}, "no variant 'mine'"),
        ({"options": {"ablate": ["mse"]}}, "no term 'mse'"),
        ({"options": {"head_precision": "fp16"}}, "no precision 'fp16'"),
    ],
)
def test_what_cannot_be_run_is_refused_before_any_work(settings, message):
    with pytest.raises(FastptError, match=message):
        TuningConfig(**settings)


def test_an_option_of_no_method_that_takes_part_is_refused():
    with pytest.raises(FastptError, match=r"reg_weights is no option of lp, mlp\. Add one of nmtune, "):
        TuningConfig(["mlp"], options={"reg_weights": [0.5]})
    with pytest.raises(FastptError, match=r"momentum is no option of lp\. Leave it out"):
        TuningConfig(["lp"], options={"momentum": 0.9})


def test_each_method_gets_its_own_options():
    config = TuningConfig(["mlp", "nmtune", "ridge"], options={"epochs": 2, "reg_weights": [0.5]})
    assert config.options_of("ridge") == {"budget": None}
    assert config.options_of("mlp") == {
        "lrs": (),
        "budget": None,
        "variant": "paper",
        "views": None,
        "epochs": 2,
        "head_precision": "fp32",
    }
    assert config.options_of("nmtune")["reg_weights"] == [0.5]


def test_the_record_has_defaults_too():
    assert TuningConfig(["lp"], options={"lrs": [0.1]}).as_dict() == {
        "seeds": [0],
        "fractions": [1.0],
        "label_noise": 0.0,
        "lrs": [0.1],
        "budget": None,
        "variant": "paper",
        "epochs": 30,
        "head_precision": "fp32",
    }


def test_what_is_asked_for_is_checked_without_torch():
    script = "import sys; from fastpt.tuning.config import TuningConfig as C; C(['nmtune+lora', 'ridge'])"
    subprocess.run([sys.executable, "-c", f"{script}; assert 'torch' not in sys.modules"], check=True)
