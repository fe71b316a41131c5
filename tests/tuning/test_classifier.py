import numpy as np
import pytest

from fastpt.errors import FastptError
from fastpt.tuning import NMTuneClassifier


@pytest.fixture
def named_blobs():
    random = np.random.default_rng(0)
    labels = random.choice(["ant", "bee", "cat"], 200)
    centres = {name: random.normal(size=8) for name in ("ant", "bee", "cat")}
    return np.stack([centres[name] + 0.2 * random.normal(size=8) for name in labels]), labels


@pytest.mark.parametrize("method", ["lp", "mlp", "nmtune"])
def test_predicts_the_classes_it_was_given(named_blobs, method):
    F, y = named_blobs
    classifier = NMTuneClassifier(method, lr=0.02).fit(F[:150], y[:150])
    assert classifier.classes_.tolist() == ["ant", "bee", "cat"]
    assert (classifier.predict(F[150:]) == y[150:]).mean() > 0.95
    np.testing.assert_allclose(classifier.predict_proba(F[150:]).sum(1), 1, rtol=1e-5)
    assert classifier.transform(F).shape == F.shape


def test_equal_seeds_give_equal_probabilities(named_blobs):
    F, y = named_blobs
    first, again, other = (
        NMTuneClassifier(seed=seed, epochs=2).fit(F, y).predict_proba(F) for seed in (0, 0, 1)
    )  # fmt: skip
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_wrong_use_is_told_in_one_clear_error(named_blobs):
    F, y = named_blobs
    with pytest.raises(FastptError, match=r"Call fit"):
        NMTuneClassifier().predict(F)
    with pytest.raises(FastptError, match="at least two classes"):
        NMTuneClassifier().fit(F, np.full(len(F), "ant"))
    with pytest.raises(FastptError, match="7 dimensions, but the heads were trained on 8"):
        NMTuneClassifier("lp", epochs=1).fit(F, y).predict(F[:, :7])
