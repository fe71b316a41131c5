"""The linear probe of CLIP and of its benchmarks: logistic regression by L-BFGS, its strength validated.

The sweep is CLIP's (Radford et al. 2021, appendix A.3): strengths first 10² apart, then ever closer about the best.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from fastpt.errors import FastptError
from fastpt.tuning.methods import Fitted, HeadSpec, TrainingData
from fastpt.tuning.methods.budget import BUDGET, between
from fastpt.tuning.subsets import validation_part

if TYPE_CHECKING:
    import torch
    from torch import Tensor

FIRST_EXPONENTS = (-6.0, -4.0, -2.0, 0.0, 2.0, 4.0, 6.0)
"""Of C, powers of ten, that are tried first."""
STEPS = (1.0, 0.5, 0.25, 0.125)
"""How far to both sides of the best exponent so far the next two lie: eight to a decade, as in CLIP."""
MOST_ITERATIONS = 1000
STEEPEST = 1e-4
"""Slope of the mean loss by any weight, along the features' principal directions, at which a search ends:
scikit-learn's tolerance."""


class Logistic:
    """A linear classifier of least cross-entropy under an L2 penalty, solved to the end, not for some epochs."""

    label, colour = "Logistic", "#5b4a9e"
    summary = "Logistic regression by L-BFGS, its strength validated."
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
        """All heads in one part, each by itself.

        A head minimises C Σ CE(W (x − x̄)/s + b, y) + ‖W‖²/2 over its rows, s² the mean variance of the features; of two
        classes C Σ CE + ‖W‖², as scikit-learn, which has the difference of the two alone.
        """
        import scipy.optimize  # noqa: F401  (before the limit, which is of the libraries that are loaded)
        import torch
        from threadpoolctl import threadpool_limits

        from fastpt.tuning.arrays import validate
        from fastpt.tuning.heads import Heads

        features, labels, _ = validate(data.features, data.labels, data.classes)
        features, labels = features.to(device).double(), labels.to(device)
        parts, settings, validation = [], [], []
        with threadpool_limits(1, "blas"):  # of scipy's vectors, for which threads wait more than they work
            for head in heads:
                rows = torch.arange(len(labels)) if head.rows is None else torch.from_numpy(head.rows)
                x, y = features[rows.to(device)], labels[rows.to(device)]
                strength, share, start = _choose(x, y, data.classes, head.seed, *_tried(budget))
                weight, bias, _ = _Rows(x, y, data.classes).solve(strength, start)
                part = Heads(x.shape[1], data.classes, [0]).to(device).requires_grad_(False)
                part.classifier.weight[0] = weight
                part.classifier.bias[0, 0] = bias
                parts.append(part)
                settings.append({"C": strength})
                validation.append(share)
        logits = Heads.join(parts).eval().logits
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
    x: Tensor, y: Tensor, classes: int, seed: int, exponents: Sequence[float], steps: Sequence[float]
) -> tuple[float, float | None, Tensor | None]:
    """The C with most right answers on a validation part, the smallest of equals, the share of these, and where its
    search ended.

    1 and None if no class has a sample to spare. A search starts where that of the next smaller C ended: it took 2.4
    times as long from 0.
    """
    part = validation_part(y.cpu().numpy(), seed)
    if part is None:
        return 1.0, None, None
    kept, held = part
    rows = _Rows(x[kept], y[kept], classes)
    ends: dict[float, Tensor] = {}

    def right(exponent: float) -> float:
        start = ends.get(max((smaller for smaller in ends if smaller < exponent), default=exponent))
        weight, bias, ends[exponent] = rows.solve(10**exponent, start)
        return float(((x[held] @ weight.T + bias).argmax(1) == y[held]).double().mean())

    exponent, share = best_exponent(right, exponents, steps)
    return 10**exponent, share, ends[exponent]


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


class _Rows:
    """What a head learns from: features x float64 [N, D], centred and scaled as one, and labels int64 [N]."""

    def __init__(self, x: Tensor, y: Tensor, classes: int):
        import torch

        self._mean, self._classes = x.mean(0), classes
        self._scale = x.var(0, unbiased=False).mean().sqrt()
        if not self._scale > 0:
            raise FastptError("All features are alike, and nothing can be learned from them. Look for the fault.")
        centred = (x - self._mean) / self._scale
        variances, self._directions = _principal(centred)
        self._rows = torch.cat([centred @ self._directions, x.new_ones(len(x), 1)], 1)
        self._variances = torch.cat([variances, variances.new_ones(1)])  # the last weight is the bias
        self._seen, targets = y.unique(return_inverse=True)
        self._one_hot = torch.nn.functional.one_hot(targets, len(self._seen)).double() / len(x)

    def solve(self, strength: float, start: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Weights [K, D] and biases [K] on the features as they are, float64, and where the search ended, from which
        that of another strength, or over other rows, may start; a class without a sample is never the answer.

        The objective of `Logistic.fit` divided by C n, as scikit-learn's LogisticRegression has it. Along the principal
        directions of the features its second derivatives are about p(1 - p) σ² + penalty, by whose roots the variables
        of the search are divided: of one scale, they took up to ten times as many evaluations on an encoder's features.
        """
        import torch
        from scipy.optimize import minimize

        rows, count, seen = self._rows, len(self._rows), self._seen
        penalty = rows.new_full((1, rows.shape[1]), (2 if len(seen) == 2 else 1) / (strength * count))
        penalty[:, -1] = 0
        if start is None:
            begin = rows.new_zeros(len(seen), rows.shape[1])
        else:
            begin = torch.cat([start[:, :-1] @ self._directions, start[:, -1:]], 1)
        shares = (rows @ begin.T).softmax(1)
        doubt = (shares * (1 - shares)).mean().clamp_min(torch.finfo(rows.dtype).eps)
        unit = (doubt * self._variances + penalty).rsqrt()
        steepest = math.inf

        def objective(values: np.ndarray) -> tuple[float, np.ndarray]:
            nonlocal steepest
            weight = torch.from_numpy(values).to(rows.device).view(len(seen), -1) * unit
            logits = rows @ weight.T
            normaliser = logits.logsumexp(1)
            penalised = penalty * weight
            loss = normaliser.mean() - (logits * self._one_hot).sum() + (penalised * weight).sum() / 2
            residual = (logits - normaliser.unsqueeze(1)).exp_() / count - self._one_hot
            slope = residual.T @ rows + penalised
            steepest = float(slope.abs().max())
            return float(loss), (slope * unit).flatten().cpu().numpy()

        def stop(intermediate_result: object) -> None:
            if steepest <= STEEPEST:
                raise StopIteration

        options = {"maxiter": MOST_ITERATIONS, "gtol": 0, "ftol": 64 * np.finfo(float).eps, "maxls": 50}
        begin = (begin / unit).flatten().cpu().numpy()
        end = minimize(objective, begin, jac=True, method="L-BFGS-B", callback=stop, options=options).x
        solution = torch.from_numpy(end).to(rows.device).view(len(seen), -1) * unit
        solution = torch.cat([solution[:, :-1] @ self._directions.T, solution[:, -1:]], 1)
        weight = rows.new_zeros(self._classes, len(self._directions))
        bias = rows.new_full((self._classes,), -math.inf)
        weight[seen] = solution[:, :-1] / self._scale
        bias[seen] = solution[:, -1] - weight[seen] @ self._mean
        return weight, bias, solution


def _principal(centred: Tensor) -> tuple[Tensor, Tensor]:
    """Variances [R] of centred rows [N, D] along their principal directions [D, R]: of fewer rows than features those
    that rows span, beyond which the best weights are 0."""
    import torch

    if len(centred) < centred.shape[1]:
        _, values, directions = torch.linalg.svd(centred, full_matrices=False)
        return values**2 / len(centred), directions.T
    variances, directions = torch.linalg.eigh(centred.T @ centred / len(centred))
    return variances.clamp_min(0), directions
