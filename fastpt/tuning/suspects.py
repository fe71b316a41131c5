"""Labels that are suspected: what a cross-validated probe on frozen features says of each sample's label.

The probe is ridge classification, whose scores a softmax at the temperature of least held-out cross-entropy makes
probabilities. Which labels are doubted is confident learning (Northcutt et al. 2021, arXiv 1911.00068, equations 1 and
2): sample i of label y is counted for class j, the most probable of those with p_i(j) >= t_j, where t_j is the mean of
p(j) over the samples of label j; it is doubted if there is such a j, and it is not y.
"""

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fastpt.data.dataset import Dataset
from fastpt.data.hashes import Texts, xxh3_128
from fastpt.data.plan import NoisePlan
from fastpt.errors import FastptError
from fastpt.noise.predictions import MOST_CLASSES, UNKNOWN, Predictions
from fastpt.noise.ranking import keyed_order
from fastpt.printable import mapping
from fastpt.tuning.features import features_of
from fastpt.tuning.methods.ridge import BLOCK, L2, solve
from fastpt.tuning.subsets import VALIDATION_SHARE

if TYPE_CHECKING:
    import torch

    from fastpt.tuning.encoders.encoder import Encoder
    from fastpt.tuning.heads import Heads

TEMPERATURES = tuple(2.0**power for power in np.arange(-8, 1.5, 0.5))
"""That scores are divided by; the scores of a sample add up to about 1."""


Blocks = Callable[[], Iterator[tuple[np.ndarray, np.ndarray]]]
"""Rows, int64 [B], and their probabilities, float32 [B, K]: in blocks that together have each of N samples once. They
may be asked for again, and are the same then: all of ImageNet's are 5.1 GB."""


@dataclass(frozen=True, eq=False)
class Probed:
    """A head for each fold, trained on all others, and the settings chosen on the first fifth of the folds."""

    features: "torch.Tensor"
    """float32 [N, D]."""
    folds: "torch.Tensor"
    """int64 [N]."""
    heads: "dict[int, Heads]"
    l2: float
    temperature: float

    def blocks(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Out-of-fold probabilities: see `Blocks`."""
        for number, head in self.heads.items():
            for rows in _rows(self.folds == number).split(BLOCK):
                scores = head.logits(self.features[rows])[0].double() / self.temperature
                yield rows.cpu().numpy(), scores.softmax(1).float().cpu().numpy()


def folds_of(keys: Texts, labels: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """The fold of each sample, int64 [N]: by key, and of each class as many in each fold as in another, or one more.

    labels: int [N].
    """
    order = keyed_order(*xxh3_128(keys, seed))
    order = order[np.argsort(labels[order], kind="stable")]
    counts = np.bincount(labels)
    fold = np.empty(len(labels), np.int64)
    within = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    fold[order] = (within + labels[order]) % folds  # small classes do not all begin in the first fold
    return fold


def probe(features: "torch.Tensor", labels: np.ndarray, classes: int, fold: np.ndarray) -> Probed:
    """What ridge probes, each trained on all folds but one, say of that one.

    features: float32 [N, D]; labels: int64 [N], numbers of `classes`; fold: int64 [N]. Raises FastptError if features
    are all alike, or if there is no second fold.
    """
    import torch

    if len(np.unique(fold)) < 2:
        raise FastptError(f"{len(labels)} samples are too few for a cross-validated probe. Give more.")
    targets, folds = (torch.from_numpy(one).to(features.device) for one in (labels, fold))
    is_held = folds < max(1, round(VALIDATION_SHARE * (fold.max() + 1)))
    choices = []
    for head in solve(features, targets, classes, L2, _rows(~is_held)):
        blocks = _rows(is_held).split(BLOCK)
        losses = np.sum([_losses(head.logits(features[rows])[0], targets[rows]) for rows in blocks], axis=0)
        choices.append(min(zip(losses, TEMPERATURES, strict=True)))
    best = int(np.argmin([loss for loss, _ in choices]))
    l2, temperature = L2[best], choices[best][1]
    heads = {
        number: solve(features, targets, classes, [l2], _rows(folds != number))[0]
        for number in np.unique(fold).tolist()
    }
    return Probed(features, folds, heads, l2, temperature)


def _rows(chosen: "torch.Tensor") -> "torch.Tensor":
    return chosen.nonzero()[:, 0]


def _losses(scores: "torch.Tensor", targets: "torch.Tensor") -> np.ndarray:
    """The cross-entropy of scores [M, K] at each of the temperatures, summed over rows."""
    from torch.nn.functional import cross_entropy

    return np.array([float(cross_entropy(scores.double() / one, targets, reduction="sum")) for one in TEMPERATURES])


def predictions_of(blocks: Blocks, given: np.ndarray, classes: int) -> Predictions:
    """What is kept of the probabilities of samples that were given labels, int64 [N], numbers of `classes`.

    They are asked for twice, block by block: for the thresholds, then to be judged by them.
    """
    own = np.empty(len(given), np.float64)
    for rows, probabilities in blocks():
        own[rows] = probabilities[np.arange(len(rows)), given[rows]]
    counts = np.bincount(given, minlength=classes)
    thresholds = np.bincount(given, own, classes) / np.maximum(counts, 1)
    most = min(classes, MOST_CLASSES)
    margin, suggested = np.empty(len(given), np.float32), np.empty_like(given)
    ranked, kept = np.empty((len(given), most), np.int64), np.empty((len(given), most), np.float32)
    for rows, probabilities in blocks():
        places = np.arange(len(rows)), given[rows]
        above = np.where((probabilities >= thresholds) & (counts > 0), probabilities, -1.0)
        suggested[rows] = np.where(above.max(1) >= 0, above.argmax(1), given[rows])
        first = np.argsort(-probabilities, axis=1, kind="stable")[:, :most]
        ranked[rows], kept[rows] = first, np.take_along_axis(probabilities, first, 1)
        others = probabilities.copy()
        others[places] = -1
        margin[rows] = probabilities[places] - np.maximum(others.max(1), 0)
    return Predictions(given, suggested, margin, ranked, kept)


def find_suspects(
    encoder: "Encoder", dataset: Dataset, noise: float | str | None, folds: int, seed: int, threads: int | None
) -> tuple[Predictions, dict[str, Any]]:
    """The predictions of a probe on the encoder's features for the labels that noise shows, and what made them.

    A sample whose picture cannot be read keeps its label. Raises FastptError.
    """
    import torch

    given, pictures = dataset.targets(noise, of="labels"), dataset.shown(noise, of="labels")
    features = features_of(encoder, pictures, threads=threads)
    ids = features.sample_ids
    fold = folds_of(dataset.stored_keys, given, folds, seed)
    values = torch.from_numpy(features.values).to(encoder.device)
    probed = probe(values, given[ids], len(dataset.classes), fold[ids])

    def blocks() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for rows, probabilities in probed.blocks():
            yield ids[rows], probabilities
        for row in np.setdiff1d(np.arange(len(given)), ids).tolist():
            yield np.array([row]), np.eye(1, len(dataset.classes), int(given[row]), dtype=np.float32)

    made_with = {
        "encoder": encoder.name,
        "weights_sha256": encoder.weights_sha256,
        "images_id": pictures.images_id,
        "folds": folds,
        "seed": seed,
        "l2": probed.l2,
        "temperature": probed.temperature,
    }
    return predictions_of(blocks, given, len(dataset.classes)), made_with


def dynamics_of(run: Path, dataset: Dataset, plan: NoisePlan | None) -> dict[str, np.ndarray]:
    """What the training of a run tells of each label, float64 [N] by name, the larger the more doubtful.

    Empty if the run recorded nothing, or was trained on other samples, under another noise plan, or on what the plan
    leaves right alone. Raises DamagedData if what it recorded is damaged.
    """
    from fastpt import dynamics
    from fastpt.runs import read_provenance, read_recipe, read_samples
    from fastpt.runs.folder import SAMPLES

    if not (run / SAMPLES).is_dir():
        return {}
    seen, noise = read_samples(run), mapping(read_provenance(run).get("noise"))
    # The same samples are wrong under several kinds of a rate and seed, and have other labels.
    names = ("of", "array_sha256", "source_sha256") if noise.get("of") == "pictures" else ("of", "array_sha256")
    told = plan.provenance() if plan else {}
    if seen.samples_id != dataset.samples_id or any(noise.get(name) != told.get(name) for name in names):
        return {}
    if mapping(read_recipe(run).get("data")).get("keep") == "right":
        return {}
    scores = {
        "low_margin": ("margin", lambda margin: -dynamics.aum(margin)),
        "forgetting_events": ("correct", dynamics.forgetting_events),
        "small_loss_rank": ("loss", dynamics.small_loss_rank),
    }
    return {name: score(seen.measures[one]) for name, (one, score) in scores.items() if one in seen.measures}


def order_by(score: np.ndarray) -> np.ndarray:
    """All rows by falling score, those without one (NaN) last: int64 [N]. score: float [N]."""
    return np.argsort(-np.nan_to_num(score, nan=-np.inf, posinf=np.inf, neginf=-np.inf), kind="stable")


@dataclass(frozen=True)
class Agreement:
    """How well suspicions agree with what is known to be wrong."""

    wrong: int
    """Labels that are wrong."""
    doubted: int
    precision: float | None
    """Share of the doubted labels that are wrong; None if none is doubted."""
    recall: float | None
    """Share of the wrong labels that are doubted; None if none is wrong."""
    average_precision: float | None
    """Of the ranking; a random one has the share of wrong labels."""
    corrected: float | None
    """Share of the wrong labels that are doubted for which the right one is suggested, of those that have one."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def agreement(predictions: Predictions, truth: np.ndarray) -> Agreement:
    """Suspicions against the true labels, int64 [N], some of which may be `UNKNOWN`."""
    wrong, doubted = predictions.given != truth, predictions.given != predictions.suggested
    found = wrong & doubted
    curable = found & (truth != UNKNOWN)
    return Agreement(
        int(wrong.sum()),
        int(doubted.sum()),
        _share(found.sum(), doubted.sum()),
        _share(found.sum(), wrong.sum()),
        average_precision(wrong, predictions.order()),
        _share((predictions.suggested == truth)[curable].sum(), curable.sum()),
    )


def average_precision(wrong: np.ndarray, order: np.ndarray) -> float | None:
    """Mean over the wrong samples, bool [N], of the precision down to each in an order, int64 [N]; None if none is."""
    hits = wrong[order]
    if not hits.any():
        return None
    return float((np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean())


def _share(part: Any, whole: Any) -> float | None:
    return float(part / whole) if whole else None
