"""Do features from the two decoders make the same linear probe?

    python -m tools.bench.parity data/flowers17/train data/flowers17/test \
        --encoder recipes/encoders/efficientnet_lite0.yaml

Features of both splits are computed from the pictures of either decoder; a linear probe (softmax regression on
standardised features, L2, fitted to its optimum) is trained on each and tested on each: four accuracies, beside the
standard error that the size of the test split gives any of them, and how many predictions differ.
"""

from pathlib import Path

import click
import numpy as np
import torch

from fastpt import Dataset, Loader
from fastpt.tuning.encoders import open_encoder
from fastpt.tuning.encoders.encoder import Encoder
from tools.bench import machine

DECODERS = ("cpu", "dali")


def features(encoder: Encoder, dataset: Dataset, decoder: str) -> torch.Tensor:
    """float32 [N, D], by sample id."""
    crop = encoder.preprocessing
    with Loader(
        dataset,
        64,
        crop.size,
        crop="center",
        crop_fraction=crop.crop_fraction,
        interpolation=crop.interpolation,
        flip=False,
        decoder=decoder,
        order="sequential",
        seed=0,
        drop_last=False,
    ) as loader:
        return torch.cat([encoder(batch.images) for batch in loader])


def probe(x: torch.Tensor, labels: torch.Tensor, classes: int, decay: float) -> torch.nn.Linear:
    """Softmax regression with weight decay, at its optimum: the loss is convex."""
    linear = torch.nn.Linear(x.shape[1], classes, dtype=torch.float64)
    torch.nn.init.zeros_(linear.weight)
    torch.nn.init.zeros_(linear.bias)
    optimizer = torch.optim.LBFGS(linear.parameters(), max_iter=500, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(linear(x), labels) + decay / 2 * linear.weight.square().sum()
        loss.backward()
        return loss

    optimizer.step(closure)
    return linear


@click.command(help=__doc__)
@click.argument("train", type=Path)
@click.argument("test", type=Path)
@click.option("--encoder", "spec", required=True, help="As `fastpt tune --encoder` takes it.")
@click.option("--decay", default=1e-3, show_default=True, help="Weight decay of the probe.")
@machine.told()
def main(train: Path, test: Path, spec: str, decay: float) -> None:
    encoder, sets = open_encoder(spec), {"train": Dataset(train), "test": Dataset(test)}
    labels = {name: torch.from_numpy(dataset.clean_labels) for name, dataset in sets.items()}
    x = {(name, d): features(encoder, sets[name], d).double() for name in sets for d in DECODERS}
    cosine = torch.nn.functional.cosine_similarity(x["test", "cpu"], x["test", "dali"])
    print(f"cosine of the two features of a test picture: median {cosine.median():.5f}, least {cosine.min():.5f}")
    predicted = {}
    for trained in DECODERS:
        mean, std = x["train", trained].mean(0), x["train", trained].std(0).clamp(min=1e-6)
        linear = probe((x["train", trained] - mean) / std, labels["train"], len(sets["train"].classes), decay)
        for tested in DECODERS:
            predicted[trained, tested] = linear((x["test", tested] - mean) / std).argmax(1).numpy()
    truth = labels["test"].numpy()
    for (trained, tested), found in predicted.items():
        share = np.mean(found == truth)
        error = np.sqrt(share * (1 - share) / len(truth))
        print(f"trained on {trained}, tested on {tested}: {share:.2%} of {len(truth)} (standard error {error:.2%})")
    differ = int((predicted["cpu", "cpu"] != predicted["dali", "dali"]).sum())
    print(f"predictions of the two that differ: {differ}")


if __name__ == "__main__":
    main()
