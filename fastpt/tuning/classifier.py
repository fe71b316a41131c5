"""NMTune on plain arrays: features of any frozen encoder in, classes out."""

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.utils import Tags
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from fastpt.config import Precision
from fastpt.tuning.arrays import checked_features
from fastpt.tuning.fit import fit
from fastpt.tuning.methods.head_training import head_training

_validate: Any = validate_data  # its defaults are texts, and a type checker sees no more of it


class NMTuneClassifier(ClassifierMixin, TransformerMixin, BaseEstimator):
    """A scikit-learn classifier: `NMTuneClassifier(seed=0).fit(X, y).predict(X_test)`.

    X is a float array [N, D] of frozen features; y an array [N] of classes, integers or strings. The defaults are the
    paper's protocol; `method` "mlp" leaves the regularisers away and "lp" the MLP too. What is None is the method's.

    It computes on torch's threads: all cores, or as many as OMP_NUM_THREADS or `torch.set_num_threads` say; in
    scikit-learn's parallel workers (`n_jobs`) they are fewer by themselves.

    As all of scikit-learn's, it can be cloned, cross-validated, searched and put in a pipeline; arguments are judged by
    `fit` (FastptError), arrays by scikit-learn (ValueError).

    Attributes, once trained: `classes_` [K], sorted; `n_features_in_`, D; `heads_`, the trained head.
    """

    def __init__(
        self,
        method: str = "nmtune",
        *,
        seed: int = 0,
        reg_weight: float | None = None,
        lr: float | None = None,
        weight_decay: float | None = None,
        epochs: int | None = None,
        batch_size: int | None = None,
        precision: Precision = "fp32",
    ):
        self.method, self.seed, self.reg_weight, self.lr, self.weight_decay = method, seed, reg_weight, lr, weight_decay
        self.epochs, self.batch_size, self.precision = epochs, batch_size, precision

    def fit(self, X: np.ndarray, y: np.ndarray) -> Self:
        """Train on features [N, D] and classes [N]. Raises ValueError or FastptError if they cannot be trained on."""
        changes = self.get_params()
        training = head_training(changes.pop("method"), **{key: changes[key] for key in changes if key != "seed"})
        X, y = _validate(self, X, y, dtype=np.float32, ensure_min_samples=2)
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"y has one class, {self.classes_[0]}; a classifier needs samples of two.")
        self.heads_ = fit(X, labels, training, [self.seed], len(self.classes_))
        return self

    def predict(self, X: np.ndarray) -> np.ndarray:
        """Features [N, D] -> classes [N], of y's type."""
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(1)]

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        """Features [N, D] -> float32 probabilities [N, K], columns in the order of `classes_`."""
        X = self._checked(X)
        return self.heads_.logits(checked_features(X))[0].softmax(-1).numpy()

    def transform(self, X: np.ndarray) -> np.ndarray:
        """Features [N, D] -> float32 [N, D] after the MLP."""
        X = self._checked(X)
        return self.heads_.transformed(checked_features(X), 0).numpy()

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        assert tags.transformer_tags is not None  # it is a transformer
        tags.transformer_tags.preserves_dtype = []  # all is float32
        return tags

    def _checked(self, X: np.ndarray) -> np.ndarray:
        check_is_fitted(self)
        return _validate(self, X, dtype=np.float32, reset=False)
