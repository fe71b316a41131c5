#!/usr/bin/env python
"""What a split of 15 million samples costs: to add noise plans, to open, to join targets. No pictures are needed.

    python tools/bench/scale.py [--samples 15000000] [--folder FOLDER]

The split is made up: keys and captions as long as those of ImageNet and YFCC15M, 1,000 classes, shards of 20,000. Each
step runs in a process of its own. `seconds` is wall time; `kept` and `peak` are resident memory in MB beyond that of
the process before the step (after imports). Imports alone take about 100 MB.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

CLASSES = 1000
SHARD_SAMPLES = 20_000
RATES = (0.05, 0.1, 0.2, 0.3, 0.4)
STEPS = {
    "open": "open, and where every picture lies",
    "join": "the same, one label plan, 1,000 batches of 1,024 targets",
    "join-captions": "the same with a caption plan and the texts of 1,000 batches",
    "samples_id": "samples_id from the table",
    **{f"symmetric {rate}": f"add symmetric noise, rate {rate}" for rate in RATES},
    "swap 0.3": "add caption noise (swap), rate 0.3",
    "pairswap 0.3": "add caption noise (pairswap), rate 0.3",
    "asymmetric 0.3": "add asymmetric noise, rate 0.3",
    "external": "add the labels of a CSV of all samples",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=15_000_000)
    parser.add_argument("--folder", type=Path, help="where to make the split, or one made before")
    parser.add_argument("--steps", nargs="*", help="these alone")
    parser.add_argument("--step", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.step:
        print(json.dumps(measure(args.step, args.folder)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.folder or Path(scratch)
        if not (folder / "dataset.json").exists():
            make_up(folder, args.samples)
        order = ["symmetric 0.05", "swap 0.3", *STEPS] if not args.steps else args.steps
        print(f"{args.samples:,} samples\n{'step':62} {'seconds':>8} {'kept MB':>8} {'peak MB':>8}")
        for step in dict.fromkeys(order):
            command = [sys.executable, __file__, "--step", step, "--folder", str(folder)]
            found = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
            print(f"{STEPS[step]:62} {found['seconds']:8.2f} {found['kept']:8.0f} {found['peak']:8.0f}", flush=True)
        plans = sorted((folder / "noise").glob("*.npy"))
        print("plans on disk: " + ", ".join(f"{plan.stem} {plan.stat().st_size / 1e6:.0f} MB" for plan in plans))


def make_up(folder: Path, count: int) -> None:
    """A split without pictures."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    from fastpt.data import manifest

    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    rows = np.arange(count)
    labels = rng.integers(0, CLASSES, count, dtype=np.int32)
    number = pc.cast(pa.array(rows), pa.string())
    synset = pc.utf8_lpad(pc.cast(pa.array(labels), pa.string()), 8, "0")
    table = {"key": pc.binary_join_element_wise("n", synset, "/n", synset, "_", number, ".JPEG", "")}
    table["clean_label"] = pa.array(labels)
    words = "a photograph of something that somebody saw near the water on a fine day, number "
    chunks = [pc.binary_join_element_wise(words, number.slice(cut, 1 << 20), "") for cut in range(0, count, 1 << 20)]
    table["caption"] = pa.chunked_array(chunks)
    sizes = rng.integers(20_000, 80_000, count, dtype=np.uint32)
    ends = np.cumsum(sizes, dtype=np.uint64)
    shard = (rows // SHARD_SAMPLES).astype(np.uint16)
    begins = ends - sizes
    table["shard"] = pa.array(shard)
    table["offset"] = pa.array(begins - begins[::SHARD_SAMPLES][shard])
    table["size"] = pa.array(sizes)
    table["width"] = pa.array(rng.integers(200, 500, count, dtype=np.uint16))
    table["height"] = pa.array(rng.integers(200, 500, count, dtype=np.uint16))
    table["xxh3"] = pa.array(rng.integers(0, 1 << 63, count, dtype=np.uint64))
    classes = [f"n{label:08d}" for label in range(CLASSES)]
    manifest.write(
        folder,
        pa.table(table),
        rejected=[],
        shards=[
            {"name": f"{number:05d}.beton", "bytes": SHARD_SAMPLES * 80_000, "sha256": None}
            for number in range(-(-count // SHARD_SAMPLES))
        ],
        name="made-up",
        split="train",
        note="",
        settings={},
        classes=classes,
        class_names=classes,
    )


def measure(step: str, folder: Path) -> dict:
    """Seconds and memory of a step, in this process."""
    import numpy as np

    from fastpt.data.dataset import Dataset
    from fastpt.data.manifest import samples_id
    from fastpt.noise import add_noise

    name, _, rate = step.partition(" ")
    with tempfile.TemporaryDirectory() as scratch:
        files = {}
        if name == "asymmetric":
            files = {"matrix": Path(scratch) / "matrix.npy"}
            np.save(files["matrix"], np.random.default_rng(0).random((CLASSES, CLASSES)))
        if name == "external":  # made in a process of its own, so that its memory does not count
            files = {"file": Path(scratch) / "labels.csv"}
            code = f"from fastpt import Dataset; from fastpt.noise.formats import *; d = Dataset({str(folder)!r}); "
            code += "keys = d.table(['key'])['key']; "
            code += f"write_csv(Path({str(files['file'])!r}), 'labels', keys, d.targets(0.05), d.classes)"
            subprocess.run([sys.executable, "-c", code], check=True)
        if name not in ("open", "join", "join-captions", "samples_id"):
            for old in (folder / "noise").glob(f"{name}{'-' + rate if rate else ''}*"):
                old.unlink()
        before, start = _memory("VmRSS"), time.perf_counter()
        if name == "samples_id":
            kept = samples_id(Dataset(folder).table(["key", "clean_label", "caption"]))
        elif name.startswith(("open", "join")):
            dataset = Dataset(folder)
            kept = [dataset, dataset.samples]
            if name != "open":
                of = "captions" if name == "join-captions" else "labels"
                targets = dataset.targets("swap-0.3-seed0" if of == "captions" else "symmetric-0.05-seed0", of)
                kept.append(targets)
                for ids in np.random.default_rng(0).integers(0, len(dataset), (1000, 1024)):
                    shown = targets[ids]
                    if of == "captions":
                        dataset.captions(shown)
        else:
            kept = add_noise(Dataset(folder), float(rate) if rate else None, 0, kind=name, files=files)
        seconds = time.perf_counter() - start
        found = {"seconds": seconds, "kept": _memory("VmRSS") - before, "peak": _memory("VmHWM") - before}
        del kept
    return found


def _memory(field: str) -> float:
    """Resident memory of this process, now (VmRSS) or at its most (VmHWM), in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024 / 1e6
    raise ValueError(field)


if __name__ == "__main__":
    main()
