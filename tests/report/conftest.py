"""Run folders of the shape that `fastpt train` and `fastpt tune` leave behind."""

import hashlib
import math
from pathlib import Path

import pytest

from fastpt.files import write_sealed_json
from fastpt.records import sealed_line
from fastpt.runs import read_provenance, read_recipe
from fastpt.runs.folder import EXPORT_FORMAT
from fastpt.runs.records import write_records
from fastpt.tuned import FORMAT as TUNE_FORMAT
from fastpt.tuned import exported

METHODS = {
    "lp": {"label": "LP", "colour": "#0072b2"},
    "mlp": {"label": "MLP", "colour": "#c77f00"},
    "nmtune": {"label": "NMTune", "colour": "#008f68"},
}

MEMORIZATION = {
    "clean_fit": "Right targets: as they were shown",
    "mislabeled_memorized": "Wrong targets: memorized, as they were shown",
    "mislabeled_corrected": "Wrong targets: corrected, as they truly are",
}


def noise_record(rate: float, kind: str = "symmetric") -> dict | None:
    if rate == 0:
        return None
    plan = f"{kind}-{rate:g}-seed0"
    return {"plan": plan, "kind": kind, "rate": rate, "realised_rate": rate + 0.0002, "array_sha256": "a5" * 32}


def metric_lines(task: str, rate: float, steps: int = 200, seed: int = 0) -> list[dict]:
    lines = []
    for step in range(10, steps + 1, 10):
        loss = 2.5 * math.exp(-step / 80) + 0.3 + rate + 0.05 * math.sin(step * (1 + seed))
        lines.append(
            {
                "event": "train",
                "step": step,
                "samples": step * 128,
                "epoch": step // 50,
                "loss": loss,
                "lr": 0.01 * 0.5 * (1 + math.cos(math.pi * step / steps)),
                "images_per_second": 400.0 + step / 10,
                "data_wait": 0.02,
                "grad_norm": 1.1,
                "seconds": step * 0.35,
            }
        )
        if step % 50 == 0:
            top1 = 0.7 * (1 - math.exp(-step / 60)) - 0.3 * rate
            found = {"zero_shot_top1": top1} if task == "clip" else {"split": "val", "top1": top1, "loss": loss + 0.1}
            lines.append({"event": "eval", "step": step, "epoch": step // 50, **found})
    return [*lines, {"event": "end", "step": steps, "seconds": steps * 0.36}]


def tune_results(values: dict[tuple[str, str, str], dict[str, list[float]]], spectra: bool = True) -> dict:
    """`values`: (domain, set, test) -> method -> one value for each seed of the head."""
    rows = [
        {
            "domain": domain,
            "set": set_,
            "test": test,
            "method": method,
            "metric": "accuracy",
            "seed": seed,
            "fraction": 1.0,
            "value": value,
            "samples": 300,
        }
        for (domain, set_, test), methods in values.items()
        for method, seeds in methods.items()
        for seed, value in enumerate(seeds)
    ]
    stages = [
        {
            "domain": domain,
            "set": set_,
            "test": test,
            "stage": stage,
            "sve": 5.1 - i,
            "lsvr": 2.0 + i,
            "singular_values": [math.exp(-k / (30 + 20 * i)) * 40 for k in range(128)],
        }
        for domain, set_, test in values
        for i, stage in enumerate(("encoder", "mlp", "nmtune"))
    ]
    encoder = {"name": "resnet18", "weights_sha256": "b7" * 32, "run": "runs/x", "features": 512}
    return {
        "format": TUNE_FORMAT,
        "suite": "demo",
        "encoder": encoder,
        "methods": METHODS,
        "rows": rows,
        "spectra": stages if spectra else [],
        "missing": [],
        "seconds": {"features": 3.1, "fit": 12.0},
    }


def write_run(
    root: Path,
    recipe: str = "demo_resnet",
    rate: float = 0.0,
    seed: int = 0,
    task: str = "supervised",
    tune: dict | None = None,
    train: str = "data/demo/train",
    name: str | None = None,
    plan: dict | None = None,
    samples_id: str = "c3" * 32,
    keep: str = "all",
) -> Path:
    """A finished run folder; the caller spoils what it wants spoilt."""
    noise = plan or noise_record(rate, "swap" if task == "clip" else "symmetric")
    path = root / "runs" / (name or f"{recipe}-{noise['plan'] if noise else 'clean'}-s{seed}")
    path.mkdir(parents=True)
    resolved = {
        "task": task,
        "data": {
            "train": train,
            "val": "data/demo/val",
            "noise": rate or None,
            "size": 64,
            "decoder": "cpu",
            "keep": keep,
        },
        "model": {"name": "resnet18" if task == "supervised" else "clip-tiny"},
        "optim": {"name": "lamb", "lr": 0.01},
        "schedule": {"epochs": 4},
        "batch_size": 128,
        "seed": seed,
    }
    provenance = {
        "recipe": recipe,
        "measures": {"zero_shot_top1": "Zero-shot top-1 accuracy"} if task == "clip" else {"top1": "Top-1 accuracy"},
        "memorization": MEMORIZATION,
        "versions": {"fastpt": "0.1.0", "torch": "2.7.0"},
        "git": "0123abc",
        "samples_id": samples_id,
        "noise": noise,
        "seed": seed,
        "command": f"fastpt train recipes/{recipe}.yaml --set data.noise={rate}",
    }
    write_records(path, resolved, provenance)
    (path / "metrics.jsonl").write_text("".join(map(sealed_line, metric_lines(task, rate, seed=seed))))
    (path / "export").mkdir()
    sums = {"model.safetensors": hashlib.sha256(path.name.encode()).hexdigest()}
    write_sealed_json(path / "export" / "manifest.json", {"format": EXPORT_FORMAT, "files": sums})
    if tune is not None:
        write_tune(path, tune)
    return path


def change_provenance(run: Path, **values: object) -> None:
    """Write a run's provenance with other values in it, as a training would have."""
    write_records(run, read_recipe(run), {**read_provenance(run), **values})


def add_lines(run: Path, *lines: dict | str) -> None:
    """Add events, or texts as they are, to metrics.jsonl."""
    with (run / "metrics.jsonl").open("a") as file:
        file.writelines(line if isinstance(line, str) else sealed_line(line) for line in lines)


def write_tune(run: Path, tune: dict, name: str | None = None) -> None:
    """Results in a run's folder, of its weights."""
    origin = read_provenance(run)
    trained = {key: origin.get(key) for key in ("recipe", "seed", "samples_id", "images_id", "noise")}
    encoder = {**(tune["encoder"] or {}), **trained, "export": exported(run / "export")}
    (run / "tune").mkdir(exist_ok=True)
    write_sealed_json(run / "tune" / f"{name or tune['suite']}.json", {**tune, "encoder": encoder})


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
    """Relative data paths of the fixtures must not find what happens to lie in the working directory."""
    monkeypatch.chdir(tmp_path)
