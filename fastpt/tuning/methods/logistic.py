"""The linear probe of CLIP and of its benchmarks: logistic regression by L-BFGS, its strength validated.

The sweep is CLIP's (Radford et al. 2021, appendix A.3): strengths first 10² apart, then ever closer about the best.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fastpt.errors import FastptError
from fastpt.tuning.methods import Fitted, HeadSpec, TrainingData
from fastpt.tuning.methods.budget import BUDGET, between
from fastpt.tuning.subsets import validation_part

if TYPE_CHECKING:
    import torch

FIRST_EXPONENTS = (-6.0, -4.0, -2.0, 0.0, 2.0, 4.0, 6.0)
"""Of C, powers of ten, that are tried first."""
STEPS = (1.0, 0.5, 0.25, 0.125)
"""How far to both sides of the best exponent so far the next two lie: eight to a decade, as in CLIP."""
MOST_ITERATIONS = 1000


class Logistic:
    """A linear classifier of least cross-entropy under an L2 penalty, solved to the end, not for some epochs."""

    label, colour = "Logistic", "#5b4a9e"
    summary = "Logistic regression by L-BFGS, its strength validated (scikit-learn)."
    options = (BUDGET,)

    def check(self, budget: int | None = None) -> None:
        """Any budget can be kept to."""

    def trains_on(self, budget: int | None = None) -> Literal["features"]:
        return "features"

    def settings(self, budget: int | None = None) -> dict[str, Any]:
        first, steps = _tried(budget)
        return {
            "C_exponents": list(first),
            "steps": list(steps),
            "max_iter": MOST_ITERATIONS,
            "tried": len(first) + 2 * len(steps),
        }

    def fit(
        self, data: TrainingData, heads: Sequence[HeadSpec], device: torch.device, budget: int | None = None
    ) -> Iterator[Fitted]:
        """All heads in one part, each by itself, on the CPU.

        A head minimises C Σ CE(W (x − x̄)/s + b, y) + ‖W‖²/2 over its rows, s² the mean variance of the features.
        """
        from fastpt.tuning.heads import Heads

        features, parts, settings, validation = data.features.cpu().double().numpy(), [], [], []
        for head in heads:
            rows = np.arange(len(data.labels)) if head.rows is None else head.rows
            x, y = features[rows], data.labels[rows]
            strength, share = _choose(x, y, head.seed, *_tried(budget))
            weight, bias = _solve(x, y, data.classes, strength)
            part = Heads(x.shape[1], data.classes, [0]).requires_grad_(False)
            part.classifier.weight[0] = part.classifier.weight.new_tensor(weight)
            part.classifier.bias[0, 0] = part.classifier.bias.new_tensor(bias)
            parts.append(part)
            settings.append({"C": strength})
            validation.append(share)
        logits = Heads.join(parts).to(device).eval().logits
        yield Fitted(settings, logits, validation=validation, has_probabilities=True)


METHOD = Logistic()


def _tried(budget: int | None) -> tuple[Sequence[float], Sequence[float]]:
    """The exponents that are tried first, and the steps about the best of them: of a budget no steps, whose number
    depends on where the best lies."""
    if budget is None:
        return FIRST_EXPONENTS, STEPS
    low, high = FIRST_EXPONENTS[0], FIRST_EXPONENTS[-1]
    return [math.log10(one) for one in between(10**low, 10**high, budget)], ()


def _choose(
    x: np.ndarray, y: np.ndarray, seed: int, exponents: Sequence[float], steps: Sequence[float]
) -> tuple[float, float | None]:
    """The C with most right answers on a validation part, the smallest of equals, and the share of these.

    1 and None if no class has a sample to spare.
    """
    part = validation_part(y, seed)
    if part is None:
        return 1.0, None
    kept, held = part
    classes = int(y.max()) + 1

    def right(exponent: float) -> float:
        weight, bias = _solve(x[kept], y[kept], classes, 10**exponent)
        return float(((x[held] @ weight.T + bias).argmax(1) == y[held]).mean())

    exponent, share = best_exponent(right, exponents, steps)
    return 10**exponent, share


def best_exponent(
    score: Callable[[float], float],
    exponents: Sequence[float] = FIRST_EXPONENTS,
    steps: Sequence[float] = STEPS,
) -> tuple[float, float]:
    """Where the score is largest, and that score, of rising exponents and then two more about the best a step."""
    scores = {exponent: score(exponent) for exponent in exponents}
    for step in steps:
        best = _largest(scores)
        for exponent in (best - step, best + step):
            if exponents[0] <= exponent <= exponents[-1] and exponent not in scores:
                scores[exponent] = score(exponent)
    best = _largest(scores)
    return best, scores[best]


def _largest(scores: dict[float, float]) -> float:
    return min(scores, key=lambda exponent: (-scores[exponent], exponent))


def _solve(x: np.ndarray, y: np.ndarray, classes: int, strength: float) -> tuple[np.ndarray, np.ndarray]:
    """Weights [K, D] and biases [K] on the features as they are; a class without a sample is never the answer."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    mean = x.mean(0)
    scale = float(np.sqrt(x.var(0).mean()))
    if not scale > 0:
        raise FastptError("All features are alike, and nothing can be learned from them. Look for the fault.")
    solver: Any = LogisticRegression(C=strength, max_iter=MOST_ITERATIONS)
    with warnings.catch_warnings():  # at the largest C the classes may be separable: there is no end to converge to
        warnings.simplefilter("ignore", ConvergenceWarning)
        solver.fit((x - mean) / scale, y)
    weight, bias = solver.coef_ / scale, solver.intercept_
    if len(weight) == 1:  # of two classes it has the difference
        weight, bias = np.concatenate([-weight, weight]) / 2, np.concatenate([-bias, bias]) / 2
    whole, biases = np.zeros((classes, x.shape[1])), np.full(classes, -np.inf)
    whole[solver.classes_], biases[solver.classes_] = weight, bias - weight @ mean
    return whole, biases
