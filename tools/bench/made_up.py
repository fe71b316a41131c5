"""A made-up split of many samples, without pictures: keys and captions as long as ImageNet's and YFCC15M's."""

from pathlib import Path

CLASSES = 1000
SHARD_SAMPLES = 20_000


def made_up(folder: Path, count: int) -> Path:
    """Write a split of `count` samples in 1,000 classes; return its folder."""
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
    shards = [
        {"name": f"{number:05d}.beton", "bytes": SHARD_SAMPLES * 80_000, "sha256": None}
        for number in range(-(-count // SHARD_SAMPLES))
    ]
    description = manifest.Description("made-up", "train", note="", settings={}, classes=classes, class_names=classes)
    manifest.write(folder, pa.table(table), [], shards, description)
    return folder


def resident(which: str = "VmRSS") -> float:
    """MB of memory of this process, now (VmRSS) or at its most (VmHWM)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(which)) / 1024


def forget_peak() -> None:
    """Count this process's most memory from here on."""
    Path("/proc/self/clear_refs").write_text("5")
