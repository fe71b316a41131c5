"""What must not move when code does: bytes, numbers and names that fastpt writes, as they were written once.

    python -m tests.goldens --write          after a change that is meant: write goldens.json anew, and look at the diff

A test compares with the same functions. Bytes and pixels follow from the libraries and the vector units of the machine
too (numpy's sines, torch's kernels, libjpeg), so their sums are compared only where these are those of `written_with`;
pixels are compared by the means of blocks everywhere.
"""

import argparse
import contextlib
import csv
import hashlib
import io
import json
import os
import platform
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
import yaml
from click.testing import CliRunner
from PIL import Image
from torch.nn.functional import adaptive_avg_pool2d, cross_entropy

from datasets_prep.sources.demo.scenes import demo_splits
from fastpt import Dataset, Loader
from fastpt.augment import transforms
from fastpt.augment.randaugment import randaugment
from fastpt.cli import main as fastpt
from fastpt.data.hashes import xxh3_64
from fastpt.loading.crops import center_crops, random_resized_crops
from fastpt.loading.order import epoch_order
from fastpt.losses.nmtune import nmtune_regularizer
from fastpt.noise import add_noise
from fastpt.noise.formats import read_matrix
from fastpt.noise.kinds.asymmetric import asymmetric, nearest_classes
from fastpt.noise.kinds.pairswap import pairswap
from fastpt.noise.kinds.swap import swap
from fastpt.noise.kinds.symmetric import symmetric
from fastpt.training.run import train
from fastpt.tuning.fit import fit
from fastpt.tuning.methods.head_training import head_training
from tests.conftest import made_up, picture, prepared
from tests.training.conftest import TINY_CLIP, TINY_RESNET, losses, tiny_recipe

FILE = Path(__file__).with_name("goldens.json")
WITHOUT = ("format", "self_sha256")  # of sealed JSON files: they may change alone


def written_with() -> dict[str, str]:
    """What bytes and pixels depend on beside our code."""
    packages = ("numpy", "pillow", "opencv-python", "pyarrow", "torch")
    cpu = f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"
    return {"cpu": cpu, **{name: version(name) for name in packages}}


# --- a prepared split ---------------------------------------------------------------------------------------------


def pictures() -> dict[int, bytes]:
    """Pictures that preparation has to work on, by row: large, grey, with alpha, CMYK, progressive; and one damaged."""
    return {
        0: picture(0, size=(700, 520)),
        1: picture(1, mode="L"),
        2: picture(2, mode="RGBA", format="PNG"),
        3: picture(3, mode="CMYK"),
        4: picture(4, size=(610, 80), progressive=True),
        5: picture(5, mode="P", format="GIF"),
        6: picture(6)[:200],
    }


def split_files(folder: Path) -> dict:
    """Every file of two small splits in both formats, with plans of labels and of captions."""
    demo = demo_splits(0)[0]
    listings = {
        "made-up": made_up(24, captions=True, special=pictures()),
        "demo": demo.take(np.arange(0, len(demo), 300), "train", True),
    }
    found = {}
    for name, listing in listings.items():
        for store in ("ffcv", "wds"):
            dataset = prepared(
                folder / name / store, listing, [0.125, 0.25], max_rejects=1, format=store, shard_samples=10
            )
            found |= {f"{name}/{store}/{file}": content for file, content in contents(dataset.path)}
    return found


def contents(folder: Path) -> Iterator[tuple[str, object]]:
    """The sha256 of each file; of JSON files what they hold."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if path.suffix == ".json":
            values = json.loads(path.read_text())
            yield path.relative_to(folder).as_posix(), {key: values[key] for key in values if key not in WITHOUT}
        else:
            yield path.relative_to(folder).as_posix(), sha256(path.read_bytes())


def sha256(values: bytes | np.ndarray | torch.Tensor) -> str:
    if isinstance(values, torch.Tensor):
        values = values.numpy()
    if isinstance(values, np.ndarray):
        values = f"{values.dtype} {values.shape}".encode() + np.ascontiguousarray(values).tobytes()
    return hashlib.sha256(values).hexdigest()


# --- noise, order, crops: the same on any machine -----------------------------------------------------------------


def noise_arrays(folder: Path) -> dict:
    """Arrays of every kind of noise, at two rates and seeds."""
    keys = [f"pictures/{i:04d}.jpg" for i in range(3000)]
    labels = np.random.default_rng(0).integers(0, 12, len(keys))
    texts = xxh3_64([f"text {i % 700}" for i in range(len(keys))])
    edges = [("root", f"group {i}") for i in range(4)] + [(f"group {i % 4}", f"class {i}") for i in range(12)]
    classes = [f"class {i}" for i in range(12)]
    nearest = nearest_classes(edges, classes)
    np.savetxt(folder / "matrix.csv", np.random.default_rng(1).integers(0, 9, (12, 12)), fmt="%d", delimiter=",")
    matrix = read_matrix(folder / "matrix.csv", 12)
    found = {}
    for rate in (0.05, 0.3):
        for seed in (0, 7):
            arrays = {
                "symmetric": symmetric(keys, labels, classes, rate, seed),
                "asymmetric, matrix": asymmetric(keys, labels, classes, matrix, rate, seed),
                "asymmetric, hierarchy": asymmetric(keys, labels, classes, nearest, rate, seed),
                "swap": swap(keys, texts, rate, seed),
                "pairswap": pairswap(keys, rate, seed),
            }
            found |= {f"{kind} {rate} seed {seed}": sha256(array) for kind, array in arrays.items()}
    return found | {"external": external(folder)}


def external(folder: Path) -> str:
    dataset = prepared(folder / "external", made_up(12))
    (folder / "labels.csv").write_text("key,label\npictures/0003.jpg,class 1\npictures/0005.jpg,0\n")
    return sha256(add_noise(dataset, None, 0, "labels", "external", {"file": folder / "labels.csv"}).array)


def orders(_: Path) -> dict:
    """Ids and views of epochs."""
    asked = [
        (n, seed, epoch, kind, block, repeats)
        for n, block in ((1, 4), (1000, 7), (20_000, 16))
        for kind, repeats in (("random", 1), ("random", 3), ("quasi_random", 1), ("quasi_random", 2), ("sequential", 1))
        for seed, epoch in ((0, 0), (3, 5))
    ]
    found = {}
    for n, seed, epoch, kind, block, repeats in asked:
        ids, views = epoch_order(n, seed, epoch, kind, block, repeats)
        name = f"{kind} of {n}, seed {seed}, epoch {epoch}, block {block}, repeats {repeats}"
        found[name] = {"first": ids[:8].tolist(), "ids": sha256(ids), "views": sha256(views)}
    return found


def crops(_: Path) -> dict:
    """Boxes and flips."""
    rng = np.random.default_rng(0)
    ids, views = rng.integers(0, 10**7, 500), rng.integers(0, 3, 500)
    widths, heights = rng.integers(1, 600, 500), rng.integers(1, 600, 500)
    found = {}
    for name, settings in {"default": {}, "narrow": {"scale": (0.5, 1.0), "ratio": (0.9, 1.1)}}.items():
        boxes, flips = random_resized_crops(widths, heights, ids, views, 11, 2, **settings)
        found[name] = {"first": boxes[:4].tolist(), "boxes": sha256(boxes), "flips": sha256(flips)}
    return found | {"center": sha256(center_crops(widths, heights, 0.875))}


# --- pixels -------------------------------------------------------------------------------------------------------


def decoded(folder: Path) -> dict:
    """The first batches of our own decoder, by each interpolation; boxes that shrink and that grow, grey pictures."""
    special = {i: picture(i, size=(40 + 23 * i, 300 - 11 * i), mode="L" if i % 5 == 0 else "RGB") for i in range(16)}
    dataset = prepared(folder / "pixels", made_up(16, special=special))
    found = {}
    for interpolation in ("area", "bilinear", "bicubic"):
        loader = Loader(dataset, 8, 64, seed=3, interpolation=interpolation, decoder="cpu", threads=1)
        found |= {f"{interpolation}, batch {i}": pixels(batch.images) for i, batch in enumerate(loader)}
    return found


def transformed(_: Path) -> dict:
    """What the batch transforms make of made-up pictures."""
    drawn = [np.asarray(Image.open(io.BytesIO(picture(i, size=(48, 48), format="PNG")))) for i in range(16)]
    images = torch.from_numpy(np.stack(drawn))
    keys = torch.from_numpy(np.random.default_rng(5).integers(-(2**63), 2**63 - 1, 16))
    floats = transforms.normalize(images, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    return {
        "randaugment": pixels(randaugment(images, 7, 0.5, keys, (124, 116, 104), bicubic=True)),
        "color_jitter": pixels(transforms.color_jitter(images, 0.4, 0.4, 0.4, 0.1, keys, 0.8)),
        "grayscale": pixels(transforms.grayscale(images, 0.5, keys)),
        "gaussian_blur": pixels(transforms.gaussian_blur(images, 0.5, keys)),
        "normalized": pixels(floats.permute(0, 2, 3, 1)),
        "random_erasing": pixels(transforms.random_erasing(floats, 0.5, keys).permute(0, 2, 3, 1)),
    }


def pixels(images: torch.Tensor) -> dict:
    """Of [B, H, W, 3]: the sha256, and means of four blocks of each picture and channel."""
    halves = adaptive_avg_pool2d(images.permute(0, 3, 1, 2).double(), 2)
    return {"sha256": sha256(images), "blocks": [[round(v, 2) for v in one] for one in halves.flatten(1).tolist()]}


# --- losses -------------------------------------------------------------------------------------------------------


def training_losses(folder: Path) -> dict:
    """Ten losses of each task."""
    return {run.name: [float(f"{loss:.5g}") for loss in losses(run).values()] for run in runs(folder)}


def runs(folder: Path) -> tuple[Path, Path]:
    """A finished run of each task below `folder`, made once."""
    found = folder / "runs" / "supervised", folder / "runs" / "clip"
    if not found[0].exists():
        torch.set_num_threads(1)
        trained_on = prepared(folder / "train", made_up(40, captions=True), [0.2])
        special = {i: picture(1000 + i) for i in range(12)}
        held_out = prepared(folder / "val", made_up(12, captions=True, special=special, name="val", is_train=False))
        suite = {"name": "small", "id": [{"name": "set", "train": str(trained_on.path), "test": str(held_out.path)}]}
        suite["id"].append({"name": "absent", "train": "absent/train", "test": "absent/test"})
        (folder / "small.yaml").write_text(yaml.safe_dump(suite))
        common = ("data.noise=0.2", f"tune.suite={folder / 'small.yaml'}")
        augment = "augment={randaugment: m7-std0.5, mixup: 0.2}"
        zero_shot = f"clip.zero_shot={{data: {held_out.path}, templates: ['a picture of {{}}']}}"
        recipe = tiny_recipe(folder, trained_on, held_out, "supervised", TINY_RESNET, (*common, augment, "ema=0.9"))
        train(recipe, "tiny", found[0])
        train(tiny_recipe(folder, trained_on, held_out, "clip", TINY_CLIP, (*common, zero_shot)), "tiny", found[1])
    return found


def regularizers(_: Path) -> dict:
    """Values and gradients' lengths of NMTune's regularisers."""
    features, _ = blobs()
    terms = {"consistency": (1, 0, 0), "covariance": (0, 1, 0), "dominance": (0, 0, 1), "all": (1, 1, 1)}
    found = {}
    for name, weights in terms.items():
        for rows, top in ((10, 1), (120, 2)):
            given = features[:rows].double()
            moved = (given + torch.linspace(-1, 1, 16, dtype=torch.float64)).requires_grad_()
            value = nmtune_regularizer(given, moved, *weights, top=top)
            (gradient,) = torch.autograd.grad(value, moved)
            found[f"{name} of {rows}, top {top}"] = [float(f"{x:.9g}") for x in (value.item(), gradient.norm().item())]
    return found


def head_losses(_: Path) -> dict:
    """The cross-entropy of two heads that each method trained."""
    features, labels = blobs()
    two_views = torch.stack([features, features + 0.1])
    trained = {
        method: fit(features, labels, head_training(method, epochs=30), [0, 1], 4) for method in ("lp", "mlp", "nmtune")
    }
    reference_code = head_training("nmtune", "reference-code", epochs=30)
    trained["nmtune of the reference code"] = fit(two_views, labels, reference_code, [0, 1], 4)
    return {
        method: [float(f"{cross_entropy(one, labels).item():.7g}") for one in heads.logits(features).double()]
        for method, heads in trained.items()
    }


def blobs() -> tuple[torch.Tensor, torch.Tensor]:
    """Features float32 [120, 16] in four classes, and their labels."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 120)
    features = rng.normal(size=(4, 16))[labels] + rng.normal(size=(120, 16))
    return torch.from_numpy(features.astype(np.float32)), torch.from_numpy(labels)


# --- names --------------------------------------------------------------------------------------------------------


def keys_of_files(folder: Path) -> dict:
    """The keys, not the values, of every JSON and CSV that fastpt writes or prints."""
    supervised, clip = runs(folder)
    with contextlib.chdir(folder):
        tuning = cli("tune", "--run", supervised, "--nmtune", "--ridge", "--epochs", 1, "--num-seeds", 2, "--json")
        cli("report", supervised, clip, "--out", "report.html", "--files")
        found = {"tune results": json.loads(tuning), **split_keys(folder), **study_keys()}
    for run in (supervised, clip):
        found[f"{run.name} recipe.yaml"] = yaml.safe_load((run / "recipe.yaml").read_text())
        for path in sorted(run.rglob("*.json")):
            found[f"{run.name} {path.relative_to(run)}"] = json.loads(path.read_text())
        for line in map(json.loads, (run / "metrics.jsonl").read_text().splitlines()):
            found[f"{run.name} metrics.jsonl {line['event']} {line.get('split', '')}".strip()] = line
    tables = [*sorted((folder / "report_files").glob("*.csv")), supervised / "tune" / "small.csv"]
    columns = {path.name: next(csv.reader(path.read_text().splitlines())) for path in tables}
    return {name: sorted(set(paths(value))) for name, value in found.items()} | columns


def split_keys(folder: Path) -> dict:
    """Documents of and about a prepared split."""
    split = folder / "train" / "train"
    damaged = prepared(folder / "rejected", made_up(4, special={1: b"no picture"}), max_rejects=1)
    bench = cli("bench", split, "--size", 16, "--batch-size", 8, "--threads", 1, "--seconds", 0.02, "--json")
    return {
        "dataset.json": json.loads((split / "dataset.json").read_text()),
        "noise plan": json.loads((split / "noise" / "symmetric-0.2-seed0.json").read_text()),
        "rejected.jsonl": json.loads((damaged.path / "rejected.jsonl").read_text()),
        "fastpt info --json": json.loads(cli("info", split, "--json")),
        "fastpt verify --json": {"SPLIT": json.loads(cli("verify", split, "--json"))[str(split)]},
        "fastpt bench --json": json.loads(bench),
        "state of a loader": Loader(Dataset(split), 8, 16, seed=0).state_dict(),
    }


def study_keys() -> dict:
    """What `fastpt study status` prints, before and after its data is prepared."""
    study = {"name": "tiny", "pretrain": [{"recipe": "tiny.yaml", "rates": [0], "seeds": [0]}]}
    unprepared = {**study, "prepare": [{"run": "prep demo", "makes": ["absent"]}]}
    found = {}
    for name, values in {"": study, ", to be prepared": unprepared}.items():
        Path("study.yaml").write_text(yaml.safe_dump(values))
        found[f"fastpt study status --json{name}"] = json.loads(cli("study", "status", "study.yaml", "--json"))
    return found


def cli(*arguments: object) -> str:
    """What `fastpt ARGUMENTS` prints."""
    result = CliRunner().invoke(fastpt, list(map(str, arguments)), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def paths(value: object, prefix: str = "") -> Iterator[str]:
    """`a.b[].c` for every key; keys of versions depend on what is installed."""
    if isinstance(value, dict) and not prefix.endswith("versions."):
        for key, inner in value.items():
            yield f"{prefix}{key}"
            yield from paths(inner, f"{prefix}{key}.")
    elif isinstance(value, list):
        for inner in value:
            yield from paths(inner, f"{prefix.removesuffix('.')}[].")


GOLDENS = {
    "split files": split_files,
    "noise arrays": noise_arrays,
    "orders": orders,
    "crops": crops,
    "decoded": decoded,
    "transformed": transformed,
    "training losses": training_losses,
    "regularizers": regularizers,
    "head losses": head_losses,
    "keys": keys_of_files,
}


def write() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.environ["XDG_CACHE_HOME"] = folder
        values = {name: compute(Path(folder)) for name, compute in GOLDENS.items()}
    FILE.write_text(readable({"written with": written_with(), **values}))


def readable(values: dict[str, dict]) -> str:
    """JSON with a line for each entry of an entry, so that a diff shows what has moved."""
    entries = (
        f'"{name}": {{\n' + ",\n".join(f" {json.dumps(key)}: {json.dumps(one)}" for key, one in inner.items()) + "\n}"
        for name, inner in values.items()
    )
    return "{\n" + ",\n".join(entries) + "\n}\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Write goldens.json anew.")
    parser.add_argument("--write", action="store_true", required=True)
    parser.parse_args()
    write()
