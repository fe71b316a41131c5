import numpy as np
import pytest
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import estimator_checks_generator

from fastpt.errors import FastptError
from fastpt.tuning import NMTuneClassifier

# Scikit-learn's samples are 300 of 2 features: an MLP 2 wide does not learn them in 150 steps at the paper's rate.
RULES = [
    pytest.param(*rule, id=f"{name}-{rule[1].func.__name__}")
    for name, estimator in (("lp", NMTuneClassifier("lp")), ("nmtune", NMTuneClassifier(lr=0.1)))
    for rule in estimator_checks_generator(estimator)
    if "array_api" not in str(rule[1])  # arrays of other libraries are turned into numpy's
]


@pytest.mark.parametrize(("estimator", "rule"), RULES)
@pytest.mark.filterwarnings("ignore")
def test_it_keeps_scikit_learns_rules(estimator, rule):
    rule(estimator)


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


def test_what_cannot_be_run_is_told_before_any_work(named_blobs):
    F, y = named_blobs
    with pytest.raises(ValueError, match="Invalid parameter 'rate'"):
        NMTuneClassifier().set_params(rate=1)
    with pytest.raises(FastptError, match=r"lr is above 0"):
        NMTuneClassifier(lr=-1).fit(F, y)
    with pytest.raises(FastptError, match=r"no training of heads 'probe'"):
        NMTuneClassifier("probe").fit(F, y)


def test_wrong_use_is_told_in_one_clear_error(named_blobs):
    F, y = named_blobs
    with pytest.raises(NotFittedError, match=r"Call 'fit'"):
        NMTuneClassifier().predict(F)
    with pytest.raises(ValueError, match="one class, ant"):
        NMTuneClassifier().fit(F, np.full(len(F), "ant"))
    with pytest.raises(ValueError, match="X has 7 features, but NMTuneClassifier is expecting 8"):
        NMTuneClassifier("lp", epochs=1).fit(F, y).predict(F[:, :7])


def test_it_shows_its_settings():
    assert repr(NMTuneClassifier(seed=3, epochs=5)) == "NMTuneClassifier(epochs=5, seed=3)"


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
        (lambda F, y: (np.full_like(F, "x", dtype=object), y), "could not convert"),
        (lambda F, y: ([[1.0], [1.0, 2.0]], y), "inhomogeneous"),
        (lambda F, y: (F, np.where(y == "ant", np.nan, 1.0)), "NaN"),
        (lambda F, y: (F, F[:, 0]), "Unknown label type"),
        (lambda F, y: (F, np.array([1, "ant"] * 100, dtype=object)), "not supported|Unknown label|mix"),
        (lambda F, y: (F * 1e300, y), "infinity"),
    ],
)
def test_arrays_that_are_no_features_or_classes_are_told(named_blobs, change, message):
    with pytest.raises((ValueError, TypeError), match=message):
        NMTuneClassifier("lp", epochs=1).fit(*change(*named_blobs))


@pytest.mark.parametrize("seed", [-1, 1.5, None])
def test_a_seed_that_is_none_is_told(named_blobs, seed):
    with pytest.raises(FastptError, match="The seed of a head is"):
        NMTuneClassifier("lp", epochs=1, seed=seed).fit(*named_blobs)


def test_a_seed_may_be_of_numpy(named_blobs):
    F, y = named_blobs
    one, other = (NMTuneClassifier("lp", epochs=1, seed=seed).fit(F, y).predict_proba(F) for seed in (3, np.int64(3)))
    assert np.array_equal(one, other)
