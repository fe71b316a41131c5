"""NMTune on plain arrays: features of any frozen encoder in, classes out."""

import inspect
from typing import Any, Self

import numpy as np

from fastpt.config import Precision
from fastpt.errors import FastptError
from fastpt.tuning.arrays import checked_features
from fastpt.tuning.fit import fit
from fastpt.tuning.heads import Heads
from fastpt.tuning.methods.head_training import HeadTraining, head_training


class NMTuneClassifier:
    """A scikit-learn-style classifier: `NMTuneClassifier(seed=0).fit(F, y).predict(F_test)`.

    F is a float array [N, D] of frozen features; y an array [N] of classes, integers or strings. The defaults are the
    paper's protocol; `method` "mlp" leaves the regularisers away and "lp" the MLP too. What is None is the method's.

    scikit-learn is not needed; where it is there, this can be cloned, cross-validated, searched and put in a pipeline.
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
        self._training()  # refuses what cannot be run

    def fit(self, F: np.ndarray, y: np.ndarray) -> Self:
        """Train on features [N, D] and classes [N]. Raises FastptError if they cannot be trained on."""
        self.classes_, labels = _classes(y)
        self.heads_ = fit(F, labels, self._training(), [self.seed], max(len(self.classes_), 2))
        return self

    def predict(self, F: np.ndarray) -> np.ndarray:
        """Features [N, D] -> classes [N], of y's type."""
        probabilities = self.predict_proba(F)
        return self.classes_[probabilities.argmax(1)]

    def predict_proba(self, F: np.ndarray) -> np.ndarray:
        """Features [N, D] -> float32 probabilities [N, K], columns in the order of `classes_`."""
        heads = self._fitted()
        return heads.logits(checked_features(F, heads.dim))[0].softmax(-1).numpy()

    def transform(self, F: np.ndarray) -> np.ndarray:
        """Features [N, D] -> float32 [N, D] after the MLP."""
        heads = self._fitted()
        return heads.transformed(checked_features(F, heads.dim), 0).numpy()

    def score(self, F: np.ndarray, y: np.ndarray) -> float:
        """The share of features [N, D] that get their class of y [N]."""
        return float((self.predict(F) == np.asarray(y)).mean())

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **changes: Any) -> Self:
        """Change arguments of the constructor; what was trained stays. Raises FastptError for others, or bad values."""
        known = self.get_params()
        if unknown := sorted(set(changes) - set(known)):
            raise FastptError(f"NMTuneClassifier has no {unknown[0]!r}. It has {', '.join(known)}.")
        type(self)(**known | changes)  # refuses what cannot be run
        vars(self).update(changes)
        return self

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import ClassifierTags, Tags, TargetTags

        return Tags(
            estimator_type="classifier", target_tags=TargetTags(required=True), classifier_tags=ClassifierTags()
        )

    def _training(self) -> HeadTraining:
        return head_training(
            self.method,
            reg_weight=self.reg_weight,
            lr=self.lr,
            weight_decay=self.weight_decay,
            epochs=self.epochs,
            batch_size=self.batch_size,
            precision=self.precision,
        )

    def _fitted(self) -> Heads:
        if not hasattr(self, "heads_"):
            raise FastptError("This classifier has not been trained. Call fit(F, y) first.")
        return self.heads_


def _classes(y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The classes in y [N], sorted, and the number of each sample's. Raises FastptError if y does not name classes."""
    y = np.asarray(y)
    if y.dtype.kind == "f" and (y != np.floor(y)).any():
        raise FastptError("y holds NaN or fractions, which are no classes. Give integers or strings.")
    try:
        return np.unique(y, return_inverse=True)
    except TypeError as error:
        raise FastptError(f"y holds things that cannot be compared ({error}). Give integers or strings.") from None
