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
    first, again, other = (NMTuneClassifier(seed=seed, epochs=2).fit(F, y).predict_proba(F) for seed in (0, 0, 1))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_scikit_learn_clones_searches_and_pipes_it(named_blobs):
    from sklearn.base import clone
    from sklearn.model_selection import GridSearchCV, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    F, y = named_blobs
    classifier = NMTuneClassifier("lp", epochs=2, seed=3)
    assert clone(classifier).get_params() == classifier.get_params()
    assert cross_val_score(classifier, F, y, cv=3).min() > 0.9
    search = GridSearchCV(make_pipeline(StandardScaler(), classifier), {"nmtuneclassifier__lr": [1e-6, 0.1]}, cv=3)
    assert search.fit(F, y).best_params_ == {"nmtuneclassifier__lr": 0.1}
    assert search.best_estimator_[-1].seed == 3


def test_arguments_can_be_changed_but_not_to_what_cannot_be_run(named_blobs):
    F, y = named_blobs
    classifier = NMTuneClassifier("lp", epochs=1)
    assert classifier.set_params(epochs=2, lr=0.02) is classifier
    assert np.array_equal(
        classifier.fit(F, y).predict_proba(F), NMTuneClassifier("lp", epochs=2, lr=0.02).fit(F, y).predict_proba(F)
    )
    assert classifier.score(F, y) == (classifier.predict(F) == y).mean()
    with pytest.raises(FastptError, match=r"has no 'rate'\. It has method, seed, reg_weight"):
        classifier.set_params(rate=1)
    with pytest.raises(FastptError, match=r"lr is above 0"):
        classifier.set_params(lr=-1)
    assert classifier.lr == 0.02


def test_wrong_use_is_told_in_one_clear_error(named_blobs):
    F, y = named_blobs
    with pytest.raises(FastptError, match=r"Call fit"):
        NMTuneClassifier().predict(F)
    with pytest.raises(FastptError, match="at least two classes"):
        NMTuneClassifier().fit(F, np.full(len(F), "ant"))
    with pytest.raises(FastptError, match="7 dimensions, but the heads were trained on 8"):
        NMTuneClassifier("lp", epochs=1).fit(F, y).predict(F[:, :7])


@pytest.mark.parametrize(
    "change",
    [
        lambda F: F[::-1][::-1],
        lambda F: np.ascontiguousarray(F[::-1])[::-1],
        lambda F: F.astype(">f8"),
        lambda F: F.astype(np.longdouble),
        lambda F: F.tolist(),
        lambda F: np.lib.stride_tricks.as_strided(F, writeable=False),
    ],
    ids=["twice reversed", "reversed", "big-endian", "long double", "lists", "read-only"],
)
@pytest.mark.filterwarnings("error")
def test_any_array_of_numbers_is_taken(named_blobs, change):
    F, y = named_blobs
    trained, expected = (NMTuneClassifier("lp", epochs=1).fit(values, y) for values in (change(F), F))
    assert np.array_equal(trained.predict_proba(change(F)), expected.predict_proba(F))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda F, y: (F.astype(object), y), "features are object"),
        (lambda F, y: (F.astype(str), y), "features are <U"),
        (lambda F, y: ([[1.0], [1.0, 2.0]], y), "features are no array"),
        (lambda F, y: (F, np.where(y == "ant", np.nan, 1.0)), "NaN or fractions"),
        (lambda F, y: (F, F[:, 0]), "NaN or fractions"),
        (lambda F, y: (F, np.array([1, "ant"] * 100, dtype=object)), "cannot be compared"),
        (lambda F, y: (F * 1e300, y), r"NaN or infinity.*read as float32"),
    ],
)
def test_arrays_that_are_no_features_or_classes_are_told(named_blobs, change, message):
    with pytest.raises(FastptError, match=message):
        NMTuneClassifier("lp", epochs=1).fit(*change(*named_blobs))


@pytest.mark.parametrize("seed", [-1, 1.5, None])
def test_a_seed_that_is_none_is_told(named_blobs, seed):
    with pytest.raises(FastptError, match="The seed of a head is"):
        NMTuneClassifier("lp", epochs=1, seed=seed).fit(*named_blobs)


def test_a_seed_may_be_of_numpy(named_blobs):
    F, y = named_blobs
    one, other = (NMTuneClassifier("lp", epochs=1, seed=seed).fit(F, y).predict_proba(F) for seed in (3, np.int64(3)))
    assert np.array_equal(one, other)
