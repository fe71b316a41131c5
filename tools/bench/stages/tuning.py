"""Tuning heads on features: ours against a plain implementation of the paper, one head at a time, and scikit-learn.

Plain: torch's layers, optimiser, schedule and DataLoader, torch.cov and svdvals, as one writes it from the paper.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tools.bench.contest import Contest, Entry
from tools.bench.options import Options

if TYPE_CHECKING:
    from torch import Tensor

METHODS = {"lp": "LP", "mlp": "MLP", "nmtune": "NMTune"}
DIM, CLASSES = 2048, 100


def contests(options: Options, scratch: Path) -> Iterator[Contest]:
    """An epoch of each method, and sixteen heads of LP."""
    count = options.sized(10_000, 2000)
    what = f"{count:,} made-up features of {DIM:,} dimensions in {CLASSES} classes, batches of 64."
    for method, label in METHODS.items():
        given = {"method": method, "samples": count}
        entries = [
            Entry("fastpt", f"{__name__}:ours", "fastpt", given),
            Entry("fastpt, bf16", f"{__name__}:ours", "fastpt", {**given, "precision": "bf16"}),
            Entry("plain", f"{__name__}:plain", "torch", given),
        ]
        yield Contest("tuning", f"an epoch of {label}", what, "s", entries, measure="seconds")
    entries = [
        Entry(
            "fastpt, 16 heads together", f"{__name__}:ours", "fastpt", {"method": "lp", "samples": count, "heads": 16}
        ),
        Entry("plain, 16 one by one", f"{__name__}:plain", "torch", {"method": "lp", "samples": count, "heads": 16}),
    ]
    yield Contest("tuning", "an epoch of 16 LP heads", what, "s", entries, measure="seconds")
    entries = [
        Entry("fastpt ridge, all strengths", f"{__name__}:ridge", "fastpt", {"samples": count}),
        Entry("scikit-learn RidgeClassifierCV", f"{__name__}:sklearn_ridge", "scikit-learn", {"samples": count}),
    ]
    yield Contest("tuning", "ridge with its strength chosen", what, "s", entries, measure="seconds")


def made_up_features(samples: int) -> "tuple[Tensor, Tensor]":
    """Rectified, correlated clusters, as the pooled features of a convolutional network are."""
    import torch

    generator = torch.Generator().manual_seed(0)
    y = torch.randint(CLASSES, (samples,), generator=generator)
    decay = torch.linspace(1, 0.02, 256)
    hidden = torch.randn(CLASSES, 256, generator=generator)[y] + 2.5 * torch.randn(samples, 256, generator=generator)
    return torch.relu((hidden * decay) @ torch.randn(256, DIM, generator=generator)) * 0.05, y


def _data(samples: int) -> "tuple[Tensor, Tensor]":
    import torch

    from fastpt.processes import cores

    torch.set_num_threads(cores())
    return made_up_features(samples)


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


def ridge(samples: int) -> Callable[[], int]:
    from fastpt.tuning.methods import HeadSpec
    from fastpt.tuning.methods.ridge import fit_ridge

    x, y = _data(samples)
    return lambda: len(fit_ridge(x, y, [HeadSpec(0)], CLASSES)[1])


def sklearn_ridge(samples: int) -> Callable[[], int]:
    from sklearn.linear_model import RidgeClassifierCV

    from fastpt.tuning.methods.ridge import L2

    x, y = _data(samples)
    variance = float(x.var(0).mean()) * samples
    strengths = [l2 * variance for l2 in L2]
    return lambda: len(RidgeClassifierCV(strengths).fit(x.numpy(), y.numpy()).classes_)
