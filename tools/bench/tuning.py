"""Tuning against a plain implementation of the paper: one head at a time, DataLoader, torch.cov and svdvals.

    python tools/bench/tuning.py                    # 10,000 features of 2,048 dimensions, 100 classes, batch 64
    python tools/bench/tuning.py --mini             # 3 methods x 3 seeds on four made-up sets of the mini suite's sizes

Seconds a head and epoch of LP, MLP tuning and NMTune, ours and plain, in turns on the same features; the ratio of the
medians; test accuracy of both after the same epochs; the price of 16 LP heads in heads.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from fastpt.tuning.fit import fit
from fastpt.tuning.methods import HEADS, HeadSpec
from fastpt.tuning.methods.head_training import HeadTraining, head_training

MINI = {
    "flowers17": (1020, 340, 17),
    "grocery": (2640, 2485, 81),
    "sign_digits": (1640, 410, 10),
    "pacs": (1670, 8000, 7),
}
"""About the samples to train on, to test on, and the classes of the mini suite's sets."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=1, help="of each timed training")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32", help="of our heads' products")
    parser.add_argument("--threads", type=int, help="of every training (default: all cores)")
    parser.add_argument("--methods", nargs="+", choices=HEADS, default=HEADS)
    parser.add_argument("--mini", action="store_true", help="time the mini suite's sizes, 1,280 dimensions, 30 epochs")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, heads in {options.precision}")
    if options.mini:
        mini()
    else:
        against_plain(options)


def against_plain(options: argparse.Namespace) -> None:
    x, y = made_up_features(options.samples + 2000, options.dim, options.classes)
    train, test = (x[:-2000], y[:-2000]), (x[-2000:], y[-2000:])
    for method in options.methods:
        chosen = head_training(method, epochs=options.epochs, precision=options.precision)
        ours = lambda: fit(*train, chosen, [0], options.classes)  # noqa: E731, B023
        plain = lambda: plain_fit(*train, chosen, options.classes)  # noqa: E731, B023
        times, (heads, model) = in_turns([ours, plain], options.rounds)
        fast, slow = (statistics.median(one) / options.epochs for one in times)
        right = [
            (predicted == test[1]).float().mean().item()
            for predicted in (heads.predict(test[0])[0], model(test[0])[0].argmax(1))
        ]
        steps = options.samples / chosen.batch_size
        print(
            f"{method:7s} ours {fast:7.3f} s an epoch ({1e3 * fast / steps:6.2f} ms a step), plain {slow:7.3f} s: "
            f"{slow / fast:5.2f}x; accuracy {right[0]:.3f} and {right[1]:.3f}"
        )
    if "lp" in options.methods:
        chosen = head_training("lp", epochs=options.epochs, precision=options.precision)
        rates = (0.003, 0.01, 0.03, 0.1)
        grid = [HeadSpec(seed, lr=lr) for seed in range(4) for lr in rates]
        seeds = [HeadSpec(seed) for seed in range(16)]
        jobs = [lambda many=many: fit(*train, chosen, many, options.classes) for many in ([0], grid, seeds)]
        times, _ = in_turns(jobs, options.rounds)
        one, *sixteen = (statistics.median(values) for values in times)
        for what, value in zip(("4 rates x 4 seeds", "16 seeds"), sixteen, strict=True):
            print(f"16 LP heads, {what}: the price of {value / one:.2f} trained one by one")


def mini() -> None:
    start = time.perf_counter()
    for name, (train, tests, classes) in MINI.items():
        x, y = made_up_features(train + tests, 1280, classes)
        for method in HEADS:
            begun = time.perf_counter()
            fit(x[:train], y[:train], head_training(method), range(3), classes).predict(x[train:])
            print(f"{name:12s} {method:7s} {time.perf_counter() - begun:6.2f} s", flush=True)
    print(f"mini suite, 3 methods x 3 seeds: {time.perf_counter() - start:.1f} s")


def made_up_features(samples: int, dim: int, classes: int) -> tuple[Tensor, Tensor]:
    """Rectified, correlated clusters, as the pooled features of a convolutional network are."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(classes, (samples,), generator=generator)
    decay = torch.linspace(1, 0.02, 256)
    hidden = torch.randn(classes, 256, generator=generator)[y] + 2.5 * torch.randn(samples, 256, generator=generator)
    return torch.relu((hidden * decay) @ torch.randn(256, dim, generator=generator)) * 0.05, y


def in_turns(jobs: list[Callable], rounds: int) -> tuple[list[list[float]], list]:
    """Seconds of each job in each round, and its last result; one round more goes before, to warm up."""
    times: list[list[float]] = [[] for _ in jobs]
    results = [None for _ in jobs]
    for turn in range(rounds + 1):
        for i, job in enumerate(jobs):
            start = time.perf_counter()
            results[i] = job()
            if turn:
                times[i].append(time.perf_counter() - start)
    return times, results


class PlainHead(torch.nn.Module):
    def __init__(self, dim: int, classes: int, mlp: bool):
        super().__init__()
        layers = [torch.nn.Linear(dim, dim), torch.nn.ReLU(), torch.nn.Linear(dim, dim)] if mlp else []
        self.mlp = torch.nn.Sequential(*layers)
        self.classifier = torch.nn.Linear(dim, classes)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = self.mlp(x)
        return self.classifier(z), z


def plain_regularizer(f: Tensor, z: Tensor) -> Tensor:
    normalize = torch.nn.functional.normalize
    consistency = (normalize(f) - normalize(z)).square().sum(1).mean()
    covariance = torch.cov(z.T)
    covariance = (covariance.square().sum() - covariance.diagonal().square().sum()) / z.shape[1]
    sigma = torch.linalg.svdvals(z)
    return consistency + covariance - sigma[0] / sigma.sum()


def plain_fit(x: Tensor, y: Tensor, chosen: HeadTraining, classes: int) -> PlainHead:
    """What one writes from the paper: torch's layers, optimiser, schedule and loader."""
    torch.manual_seed(0)
    model = PlainHead(x.shape[1], classes, bool(chosen.mlp))
    loader = DataLoader(TensorDataset(x, y), chosen.batch_size, shuffle=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=chosen.lr, weight_decay=chosen.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, chosen.epochs * len(loader))
    for _ in range(chosen.epochs):
        for features, labels in loader:
            logits, z = model(features)
            loss = torch.nn.functional.cross_entropy(logits, labels)
            if chosen.reg_weight:
                loss = loss + chosen.reg_weight * plain_regularizer(features, z)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return model.requires_grad_(False)


if __name__ == "__main__":
    main()
