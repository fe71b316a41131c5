"""Noise made elsewhere, such as the labels of annotators: what a file says each sample is shown."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fastpt.data.plan import Changed, NoisePlan
from fastpt.noise.kinds import Made, NoiseKind

if TYPE_CHECKING:
    from fastpt.data.dataset import Dataset


class External(NoiseKind):
    summary = "labels or captions that a file holds"
    of = frozenset({"labels", "captions"})
    takes_rate = False
    files = {"file": "list (.csv, .tsv, .jsonl, .parquet) of `key,label` or `key,caption_of`, or .npy"}

    def make(self, dataset: "Dataset", of: Changed, rate: float, seed: int, files: Mapping[str, Path]) -> Made:
        from fastpt.noise.annotations import read_captions, read_labels

        return (read_labels if of == "labels" else read_captions)(files["file"], dataset)

    def check(self, plan: NoisePlan, dataset: "Dataset") -> list[str]:
        return [] if plan.rate == plan.realised_rate else ["has another rate than its file"]


KIND = External()
