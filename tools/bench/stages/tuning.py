"""Tuning heads on features: ours against plain code of the paper, scikit-learn, CLIP_benchmark and cleanlab.

Plain: torch's layers, optimiser, schedule and DataLoader, torch.cov and svdvals, as one writes it from the paper, one
head at a time. CLIP_benchmark's probe is its own functions, whose `.cuda()` is left out where there is no GPU.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tools.bench.contest import Contest, Entry
from tools.bench.machine import threads
from tools.bench.options import Options

if TYPE_CHECKING:
    from torch import Tensor

METHODS = {"lp": "LP", "mlp": "MLP", "nmtune": "NMTune"}
DIM, CLASSES = 2048, 100
FEW = 256  # dimensions where many trainings are asked for

TWICE = "leaving one out costs it no second decomposition; fastpt makes one for the choice, as all its methods choose"


def contests(options: Options, scratch: Path) -> Iterator[Contest]:
    """An epoch of each method, sixteen heads of LP, probes whose strength is chosen, and labels that are doubted."""
    count = options.sized(3000, 640)
    what = (
        f"{count:,} made-up features of {DIM:,} dimensions in {CLASSES} classes, batches of 64, AdamW along a cosine, "
        f"{threads()} threads, fp32 unless said."
    )
    for method, label in METHODS.items():
        given = {"method": method, "samples": count}
        entries = [
            _entry("fastpt", "ours", "fastpt", **given),
            _entry("fastpt, bf16", "ours", "fastpt", **given, precision="bf16"),
            _entry("plain", "plain", "torch", **given),
        ]
        if method == "lp":
            entries.append(_entry("CLIP_benchmark", "clip_benchmark_epoch", "CLIP_benchmark", samples=count))
        yield Contest("tuning", f"an epoch of {label}", what, "s", entries, measure="seconds")
    given = {"method": "lp", "samples": count, "heads": 16}
    entries = [
        _entry("fastpt, 16 heads together", "ours", "fastpt", **given),
        _entry("plain, 16 one by one", "plain", "torch", **given),
    ]
    yield Contest("tuning", "an epoch of 16 LP heads", what, "s", entries, measure="seconds")
    entries = [
        _entry("fastpt ridge, all strengths", "ridge", "fastpt", samples=count),
        _entry("scikit-learn RidgeClassifierCV", "sklearn_ridge", "scikit-learn", TWICE, samples=count),
    ]
    what = (
        f"{count:,} made-up features of {DIM:,} dimensions in {CLASSES} classes, {threads()} threads, nine strengths. "
        "fastpt chooses on a fifth that is held out, scikit-learn by leaving each sample out in turn."
    )
    yield Contest("tuning", "ridge with its strength chosen", what, "s", entries, measure="seconds")
    yield from _of_few_dimensions(options.sized(2000, 400))


def _of_few_dimensions(count: int) -> Iterator[Contest]:
    """What takes many trainings."""
    made, given = (
        f"{count:,} made-up features of {FEW} dimensions in 20 classes, {threads()} threads.",
        {"samples": count},
    )
    entries = [
        _entry("fastpt logistic", "logistic", "fastpt", **given),
        _entry("fastpt ridge", "ridge", "fastpt", **given, dim=FEW, classes=20),
        _entry("scikit-learn LogisticRegressionCV", "sklearn_logistic", "scikit-learn", **given),
        _entry("CLIP_benchmark", "clip_benchmark_probe", "CLIP_benchmark", **given),
    ]
    what = (
        f"{made} fastpt's logistic regression and scikit-learn's try 15 strengths by L-BFGS (the solver is "
        "scipy's in both; fastpt's variables are principal directions), CLIP_benchmark about as many by ten epochs of "
        "AdamW in batches of 64, ridge nine in closed form; each chooses on a fifth, and trains on all."
    )
    yield Contest("tuning", "a probe with its strength chosen", what, "s", entries, measure="seconds")
    entries = [
        _entry("fastpt suspects", "suspects", "fastpt", **given),
        _entry("cleanlab, logistic regression", "cleanlab", "cleanlab", **given),
    ]
    what = (
        f"{made} A tenth of the labels is wrong; five folds, confident learning. fastpt's probe is ridge, with its "
        "strength and temperature chosen; cleanlab's is what its documents take, scikit-learn's logistic regression."
    )
    yield Contest("tuning", "labels that are doubted", what, "s", entries, measure="seconds")


def _entry(label: str, function: str, peer: str, why: str = "", **given: Any) -> Entry:
    return Entry(label, f"{__name__}:{function}", peer, given, why)


def made_up_features(samples: int, dim: int = DIM, classes: int = CLASSES) -> "tuple[Tensor, Tensor]":
    """Rectified, correlated clusters, as the pooled features of a convolutional network are."""
    import torch

    generator = torch.Generator().manual_seed(0)
    y = torch.randint(classes, (samples,), generator=generator)
    decay = torch.linspace(1, 0.02, 256)
    hidden = torch.randn(classes, 256, generator=generator)[y] + 2.5 * torch.randn(samples, 256, generator=generator)
    return torch.relu((hidden * decay) @ torch.randn(256, dim, generator=generator)) * 0.05, y


def _data(samples: int, dim: int = DIM, classes: int = CLASSES) -> "tuple[Tensor, Tensor]":
    return made_up_features(samples, dim, classes)


def ours(method: str, samples: int, heads: int = 1, precision: str = "fp32") -> Callable[[], int]:
    from fastpt.tuning.fit import fit
    from fastpt.tuning.methods.head_training import head_training

    x, y = _data(samples)
    chosen = head_training(method, epochs=1, precision=precision)

    def run() -> int:
        fit(x, y, chosen, range(heads), CLASSES)
        return heads

    return run


def plain(method: str, samples: int, heads: int = 1) -> Callable[[], int]:
    """What one writes from the paper."""
    import torch
    from torch.nn import functional as F
    from torch.utils.data import DataLoader, TensorDataset

    from fastpt.tuning.methods.head_training import head_training

    x, y = _data(samples)
    chosen = head_training(method, epochs=1)

    def regularizer(f: "Tensor", z: "Tensor") -> "Tensor":
        consistency = (F.normalize(f) - F.normalize(z)).square().sum(1).mean()
        covariance = torch.cov(z.T)
        covariance = (covariance.square().sum() - covariance.diagonal().square().sum()) / z.shape[1]
        sigma = torch.linalg.svdvals(z)
        return consistency + covariance - sigma[0] / sigma.sum()

    def train() -> None:
        layers = [torch.nn.Linear(DIM, DIM), torch.nn.ReLU(), torch.nn.Linear(DIM, DIM)] if chosen.mlp else []
        mlp, classifier = torch.nn.Sequential(*layers), torch.nn.Linear(DIM, CLASSES)
        loader = DataLoader(TensorDataset(x, y), chosen.batch_size, shuffle=True)
        parameters = [*mlp.parameters(), *classifier.parameters()]
        optimizer = torch.optim.AdamW(parameters, lr=chosen.lr, weight_decay=chosen.weight_decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(loader))
        for features, labels in loader:
            z = mlp(features)
            loss = F.cross_entropy(classifier(z), labels)
            if chosen.reg_weight:
                loss = loss + chosen.reg_weight * regularizer(features, z)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()

    def run() -> int:
        for _ in range(heads):
            train()
        return heads

    return run


def clip_benchmark_epoch(samples: int) -> Callable[[], int]:
    from torch.utils.data import DataLoader

    from fastpt.tuning.methods.head_training import head_training

    probe, chosen = _clip_benchmark(), head_training("lp")
    loader = DataLoader(probe.FeatureDataset(*_data(samples)), chosen.batch_size, shuffle=True)

    def run() -> int:
        probe.train(loader, DIM, CLASSES, chosen.weight_decay, chosen.lr, 1, False, "cpu", 0)
        return 1

    return run


def clip_benchmark_probe(samples: int) -> Callable[[], int]:
    """Its sweep of weight decays, those far apart and then ever closer about the best, as its `evaluate` calls it."""
    import numpy as np
    from torch.utils.data import ConcatDataset, DataLoader

    from fastpt.tuning.subsets import holdout

    probe = _clip_benchmark()
    x, y = _data(samples, FEW, 20)
    parts = [probe.FeatureDataset(x[rows], y[rows]) for rows in holdout(y.numpy(), 0.2, 0)]
    fitting, held, whole = (DataLoader(part, 64, shuffle=True) for part in (*parts, ConcatDataset(parts)))
    decays = np.logspace(-6, 2, num=97).tolist()
    rest = (FEW, 20, 1e-3, 10, False, "cpu", False, 0)

    def run() -> int:
        best = probe.find_peak(decays, range(0, 97, 16), fitting, held, *rest)
        for step in (8, 4, 2, 1):
            near = [max(best - step, 0), best, min(best + step, 96)]
            best = probe.find_peak(decays, near, fitting, held, *rest)
        probe.train(whole, FEW, 20, decays[best], 1e-3, 10, False, "cpu", 0)
        return 1

    return run


def _clip_benchmark() -> Any:
    """Its linear probe, which asks for CUDA by name."""
    import torch
    from clip_benchmark.metrics import linear_probe

    if not torch.cuda.is_available():
        torch.nn.Module.cuda = torch.Tensor.cuda = lambda self, *_, **__: self  # type: ignore[method-assign]
    return linear_probe


def ridge(samples: int, dim: int = DIM, classes: int = CLASSES) -> Callable[[], int]:
    from fastpt.tuning.methods import HeadSpec
    from fastpt.tuning.methods.ridge import fit_ridge

    x, y = _data(samples, dim, classes)
    return lambda: len(fit_ridge(x, y, [HeadSpec(0)], classes)[1])


def sklearn_ridge(samples: int) -> Callable[[], int]:
    from sklearn.linear_model import RidgeClassifierCV

    from fastpt.tuning.methods.ridge import L2

    x, y = _data(samples)
    variance = float(x.var(0).mean()) * samples
    strengths = [l2 * variance for l2 in L2]
    return lambda: len(RidgeClassifierCV(strengths).fit(x.numpy(), y.numpy()).classes_)


def logistic(samples: int) -> Callable[[], int]:
    import torch

    from fastpt.tuning.methods import HeadSpec, TrainingData
    from fastpt.tuning.methods.logistic import METHOD

    x, y = _data(samples, FEW, 20)
    data = TrainingData(x, y.numpy(), 20)
    return lambda: len(list(METHOD.fit(data, [HeadSpec(0)], torch.device("cpu"))))


def sklearn_logistic(samples: int) -> Callable[[], int]:
    import numpy as np
    from sklearn.linear_model import LogisticRegressionCV
    from sklearn.preprocessing import StandardScaler

    from fastpt.tuning.methods.logistic import MOST_ITERATIONS
    from fastpt.tuning.subsets import holdout

    x, y = (one.numpy() for one in _data(samples, FEW, 20))
    split = [holdout(y, 0.2, 0)]

    def run() -> int:
        solver = LogisticRegressionCV(Cs=np.logspace(-6, 6, 15), cv=split, max_iter=MOST_ITERATIONS)
        return len(solver.fit(StandardScaler().fit_transform(x.astype(np.float64)), y).classes_)

    return run


def _noisy(samples: int) -> "tuple[Tensor, Tensor]":
    """Features, and labels of which a tenth is wrong."""
    import torch

    x, y = _data(samples, FEW, 20)
    wrong = torch.arange(samples) % 10 == 0
    return x, torch.where(wrong, (y + 1) % 20, y)


def suspects(samples: int) -> Callable[[], int]:
    from fastpt.tuning.suspects import folds_of, predictions_of, probe

    x, y = _noisy(samples)
    labels, keys = y.numpy(), [f"{i:06d}" for i in range(samples)]

    def run() -> int:
        probed = probe(x, labels, 20, folds_of(keys, labels, 5, 0))
        return int((predictions_of(probed.blocks, labels, 20).suggested != labels).sum())

    return run


def cleanlab(samples: int) -> Callable[[], int]:
    from cleanlab.filter import find_label_issues
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    x, y = (one.numpy() for one in _noisy(samples))

    def run() -> int:
        solver: Any = LogisticRegression(max_iter=1000)
        probabilities = cross_val_predict(solver, x, y, cv=5, method="predict_proba")
        return int(find_label_issues(y, probabilities, n_jobs=1).sum())

    return run
