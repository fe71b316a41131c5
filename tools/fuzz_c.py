"""All C of fastpt under AddressSanitizer and UndefinedBehaviorSanitizer, fed with damaged pictures and nonsense.

    python tools/fuzz_c.py --seconds 60
    python tools/fuzz_c.py --sanitizer thread --seconds 60      # the loader's threads under ThreadSanitizer

Builds each library anew with the sanitizers, aside from what is installed, then calls the functions that fastpt calls:
with pictures cut and changed at random, tables and boxes that do not fit them, planes of every stride, places past the
end of a file. Ends with 1 and the sanitizer's report at the first fault. Needs gcc with libasan and libtsan.
"""

import argparse
import ctypes
import io
import os
import subprocess
import sys
import tempfile
import time
import tomllib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import xxhash
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent


def build(folder: Path, sanitizer: str) -> None:
    """Compile each library of pyproject.toml into `folder`."""
    options = [*SANITIZERS[sanitizer][0], "-O1", "-g", "-shared", "-fPIC"]
    for module in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["ext-modules"]:
        output = folder / f"{module['name'].rpartition('.')[2]}.so"
        sources = [str(ROOT / source) for source in module["sources"]]
        libraries = [f"-l{name}" for name in module.get("libraries", [])]
        subprocess.run(["gcc", *options, *sources, "-o", str(output), *libraries], check=True)


def sanitized(folder: Path, sanitizer: str) -> int:
    """Run this again, to `fuzz`, in a process in which the sanitizer is loaded first. Returns its exit code."""
    runtime = SANITIZERS[sanitizer][1]
    found = subprocess.run(["gcc", f"-print-file-name={runtime}"], capture_output=True, text=True, check=True)
    environment = {
        **os.environ,
        "LD_PRELOAD": found.stdout.strip(),
        "ASAN_OPTIONS": "detect_leaks=0",  # Python itself leaks
        "TSAN_OPTIONS": "halt_on_error=1",
        "PYTHONPATH": str(ROOT),
        "PYTHONMALLOC": "malloc",  # so that the sanitizer sees the ends of Python's memory too
    }
    words = [sys.executable, __file__, *sys.argv[1:], "--libraries", str(folder)]
    if sanitizer == "thread":
        words = ["setarch", "-R", *words]  # its shadow memory needs addresses that are not spread at random
    return subprocess.run(words, env=environment).returncode


# --- what is fed to them ------------------------------------------------------------------------------------------


def pictures() -> list[bytes]:
    """Small JPEGs of every kind that the kernel meets: grey, every subsampling, progressive, CMYK, with restarts.

    Those that can have entry points are there with and without.
    """
    from fastpt.jpeg import entropy, frames

    rng = np.random.default_rng(0)
    found = [subsampled(rng, h, v) for h, v in ((2, 1), (1, 2), (4, 1), (4, 2))]
    for mode, size, options in (
        ("RGB", (64, 48), {}),
        ("RGB", (33, 17), {"subsampling": 0}),
        ("RGB", (40, 40), {"progressive": True}),
        ("RGB", (50, 30), {"restart_marker_blocks": 3}),
        ("L", (41, 23), {}),
        ("CMYK", (24, 24), {}),
        ("RGB", (1, 1), {}),
        ("RGB", (300, 2), {"optimize": True}),
        ("RGB", (160, 120), {"quality": 95}),  # for several lanes
    ):
        channels = len(Image.new(mode, (1, 1)).getbands())
        pixels = rng.integers(0, 256, (size[1], size[0], channels), np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels.squeeze(-1) if channels == 1 else pixels, mode).save(buffer, "JPEG", **options)
        found.append(buffer.getvalue())
    sizes = frames.frame_sizes([np.frombuffer(jpeg, np.uint8) for jpeg in found])[:, ::-1].tolist()
    noted = [entropy.note_entry_points(jpeg, tuple(size)) for jpeg, size in zip(found, sizes, strict=True)]
    return found + [one.jpeg for one in noted if one.has_entry_points]


def subsampled(rng: np.random.Generator, h: int, v: int) -> bytes:
    """A JPEG with `h` x `v` blocks of luma in each MCU, and one of either colour.

    Pillow does not write most of these: the blocks are those of a grey JPEG, with other headers before them.
    """
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (32, 48 * (h * v + 2)), np.uint8)).save(buffer, "JPEG")
    jpeg = buffer.getvalue()
    grey_frame, grey_scan = jpeg.index(b"\xff\xc0"), jpeg.index(b"\xff\xda")
    frame = b"\xff\xc0\0\x11\x08" + (32 * v).to_bytes(2) + (48 * h).to_bytes(2)
    frame += bytes([3, 1, 16 * h + v, 0, 2, 0x11, 0, 3, 0x11, 0])
    scan = b"\xff\xda\0\x0c\x03\1\0\2\0\3\0\0\x3f\0"
    return jpeg[:grey_frame] + frame + jpeg[grey_frame + 13 : grey_scan] + scan + jpeg[grey_scan + 10 :]


def mutants(rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Pictures as they are, cut, with bytes changed, doubled or left out, or said to be of another size: uint8 arrays,
    each in memory of its own."""
    originals = pictures()
    while True:
        jpeg = np.frombuffer(originals[rng.integers(len(originals))], np.uint8).copy()
        kind = rng.integers(7)
        if kind == 1:
            jpeg = jpeg[: rng.integers(0, len(jpeg))].copy()
        elif kind == 2:
            jpeg[rng.integers(0, len(jpeg), rng.integers(1, 9))] = rng.integers(0, 256)
        elif kind == 3:  # in the headers, where lengths and tables stand
            jpeg[rng.integers(0, min(len(jpeg), 700), rng.integers(1, 4))] ^= np.uint8(1 << rng.integers(8))
        elif kind == 4:
            at = rng.integers(0, len(jpeg))
            jpeg = np.delete(jpeg, slice(at, at + rng.integers(1, 40)))
        elif kind == 5:
            at = rng.integers(0, len(jpeg))
            jpeg = np.concatenate([jpeg[:at], jpeg[max(0, at - 50) :]])
        elif kind == 6 and (frame := jpeg.tobytes().find(b"\xff\xc0")) >= 0:
            jpeg[frame + 5 : frame + 9] = np.frombuffer(rng.integers(1, 400, 2).astype(">u2").tobytes(), np.uint8)
        yield jpeg


def fuzz_kernel(rng: np.random.Generator, jpegs: Iterator[np.ndarray]) -> None:
    from fastpt.jpeg import frames, kernel

    batch = [next(jpegs) for _ in range(4)]
    shapes = frames.frame_sizes(batch)
    if rng.integers(3) == 0:  # a table that lies
        shapes = rng.integers(-2, 400, (4, 2)).astype(np.int32)
    if rng.integers(3) == 0:
        boxes = rng.integers(-5, 400, (4, 4)).astype(np.int32)
    else:
        corner = rng.integers(0, np.maximum(shapes, 1))
        boxes = np.concatenate([corner, np.maximum(rng.integers(0, np.maximum(shapes - corner, 1) + 1), 1)], 1)
    side = int(rng.integers(1, 70))
    images, flips = np.empty((4, side, side, 3), np.uint8), rng.integers(0, 2, 4) > 0
    filter = kernel.INTERPOLATIONS[rng.integers(len(kernel.INTERPOLATIONS))]
    kernel.kernel().fastpt_decoder_level(int(rng.integers(3)))
    kernel.decode(batch, shapes, boxes, flips, filter, images, np.arange(4))


def fuzz_entropy(rng: np.random.Generator, jpegs: Iterator[np.ndarray]) -> None:
    from fastpt.jpeg import entropy, frames

    jpeg = next(jpegs)
    height, width = frames.frame_sizes([jpeg])[0].tolist() if rng.integers(2) else rng.integers(-1, 400, 2).tolist()
    source = jpeg.tobytes()
    noted = entropy.note_entry_points(source, (width, height))
    assert noted.sound == entropy.is_sound(source, (width, height))
    entropy.entry_points(noted.jpeg)


def fuzz_entries(rng: np.random.Generator, jpegs: Iterator[np.ndarray]) -> None:
    from fastpt.jpeg import entropy

    changes = rng.integers(0, 256, rng.integers(0, 300), np.uint8)
    if rng.integers(2):
        changes &= rng.integers(0, 256, len(changes), np.uint8)  # more short numbers
    body = b"fastpt\0\x01" + bytes(changes[:2] if rng.integers(2) else [rng.integers(16), 0]) + bytes(changes)
    jpeg = next(jpegs).tobytes()
    segment = b"\xff\xe9" + (len(body) + 2).to_bytes(2) + body
    entropy.entry_points(jpeg[:2] + segment + jpeg[2:])


def fuzz_planes(rng: np.random.Generator, jpegs: Iterator[np.ndarray]) -> None:
    from fastpt.jpeg import frames, kernel, planes

    kernel.kernel().fastpt_decoder_level(int(rng.integers(3)))
    jpeg = next(jpegs)
    height, width = frames.frame_sizes([jpeg])[0].tolist() if rng.integers(4) else rng.integers(-1, 400, 2).tolist()
    found = planes.decode(jpeg.tobytes(), (width, height))
    height, width = rng.integers(1, 70, 2).tolist()
    kind = int(rng.integers(3))  # grey, whole colour, halved
    by = max(kind, 1)
    sides = [(height, width), *[(-(-height // by), -(-width // by))] * (2 if kind else 0)]
    most, extra = rng.integers(1, 257), rng.integers(0, 9)
    noise = [rng.integers(0, most, (h, w + extra), np.uint8)[:, :w] for h, w in sides]
    subsampling, quality = "444" if kind == 1 else "420", int(rng.integers(1, 101))
    encoded = planes.encode(noise if found is None or rng.integers(2) else found[:1], subsampling, quality, True)
    assert encoded.jpeg.endswith(b"\xff\xd9")


def fuzz_area(rng: np.random.Generator, _: Iterator[np.ndarray]) -> None:
    from datasets_prep.images import area

    height, width = rng.integers(1, 90, 2).tolist()
    plane = rng.integers(0, 256, (height, width + rng.integers(0, 9)), np.uint8)[:, :width]
    area.resize(plane, (int(rng.integers(1, width + 1)), int(rng.integers(1, height + 1))))


def fuzz_batches(rng: np.random.Generator, jpegs: Iterator[np.ndarray]) -> None:
    """Pictures in a file, some of them past its end or in one that is closed; several batches of them in work."""
    from fastpt.data.pictures import Pictures, Result
    from fastpt.data.samples import Samples
    from fastpt.errors import FastptError
    from fastpt.jpeg import frames, kernel
    from fastpt.loading.crops import center_crops, random_resized_crops
    from fastpt.loading.pool import MOST, Pool

    stored = [next(jpegs) for _ in range(6)]
    ends = np.cumsum([len(jpeg) for jpeg in stored])
    shapes = frames.frame_sizes(stored) + (rng.integers(8, size=(6, 2)) == 0)
    sums = np.array([xxhash.xxh3_64_intdigest(jpeg.data) for jpeg in stored], np.uint64)
    samples = Samples(
        shard=(rng.integers(0, 9, 6) == 0).astype(np.uint16 if rng.integers(2) else np.uint32),
        offset=(np.array([0, *ends[:-1]]) + (rng.integers(0, 9, 6) == 0)).astype(np.uint64),
        size=np.array([len(jpeg) for jpeg in stored], np.uint32),
        width=shapes[:, 1].astype(np.uint16),
        height=shapes[:, 0].astype(np.uint16),
        xxh3=np.where(rng.integers(0, 3, 6) == 0, 0, sums + (rng.integers(0, 9, 6) == 0)).astype(np.uint64),
    )
    with tempfile.TemporaryFile() as file:
        file.write(b"".join(jpeg.tobytes() for jpeg in stored))
        file.flush()

        def shard(index: int) -> int:
            if index:
                raise FastptError("there is one file")
            return file.fileno()

        side, filter = int(rng.integers(1, 40)), kernel.INTERPOLATIONS[rng.integers(len(kernel.INTERPOLATIONS))]
        pictures = Pictures(samples)
        with Pool(pictures, shard, int(rng.integers(1, 5)), side, filter) as pool:
            work = []
            for number in range(rng.integers(1, MOST)):
                ids = rng.integers(0, 6, rng.integers(0, 20))
                columns = samples.width[ids], samples.height[ids]
                boxes, flips = random_resized_crops(*columns, ids, ids, 0, number)
                if rng.integers(2):
                    boxes = center_crops(*columns, rng.random())
                images, (memory, starts) = np.empty((len(ids), side, side, 3), np.uint8), pictures.places(ids)
                work.append((ids, pool.submit(ids, boxes, flips, images)))
                work.append((ids, pool.submit(ids, boxes, flips, memory, starts)))
                if len(work) + 2 > MOST or rng.integers(3) == 0:  # waited for late, early, or never
                    work.pop(0)[1].wait()
                    work.pop(0)[1].wait()
            for ids, job in work[: rng.integers(0, len(work) + 1)]:
                job.wait()
                jpegs_read, results = pictures.read(ids, shard)
                readable = ~np.isin(results, (Result.SHORT, Result.UNREADABLE))
                good = [jpeg for jpeg, fine in zip(jpegs_read, readable, strict=True) if fine]
                intact = samples.intact(ids[readable], good)
                assert ((job.results[readable] != Result.DAMAGED) == intact).all()
                assert (job.results[~readable] == results[~readable]).all()


TARGETS: dict[str, Callable[[np.random.Generator, Iterator[np.ndarray]], None]] = {
    "kernel": fuzz_kernel,
    "entropy": fuzz_entropy,
    "entries": fuzz_entries,
    "planes": fuzz_planes,
    "area": fuzz_area,
    "batches": fuzz_batches,
}
SANITIZERS = {  # what to compile with, the library to load before all else, and the targets
    "address": (["-fsanitize=address,undefined", "-fno-sanitize-recover=all"], "libasan.so", tuple(TARGETS)),
    "thread": (["-fsanitize=thread"], "libtsan.so", ("batches",)),
}


def fuzz(libraries: Path, targets: Sequence[str], seconds: float, seed: int) -> None:
    """Call the targets in turn until the time is over; print how often."""
    from fastpt import native

    native.load = lambda name, beside: ctypes.CDLL(str(libraries / f"{name}.so"))
    rng, calls, end = np.random.default_rng(seed), Counter(), time.monotonic() + seconds
    jpegs = mutants(rng)
    while time.monotonic() < end:
        for name in targets:
            TARGETS[name](rng, jpegs)
            calls[name] += 1
    print(f"seed {seed}: no fault in " + ", ".join(f"{count:,} calls of {name}" for name, count in calls.items()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--sanitizer", choices=list(SANITIZERS), default="address")
    parser.add_argument("--only", choices=list(TARGETS), action="append", help="these targets; repeatable")
    parser.add_argument("--libraries", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.libraries:
        fuzz(options.libraries, options.only or SANITIZERS[options.sanitizer][2], options.seconds, options.seed)
    else:
        with tempfile.TemporaryDirectory() as folder:
            build(Path(folder), options.sanitizer)
            sys.exit(1 if sanitized(Path(folder), options.sanitizer) else 0)
