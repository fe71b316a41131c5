"""Bytes changed, cut or zeroed in every kind of file that fastpt reads; then a command that reads it."""

import random
import shutil
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.cases import workplace
from tools.attack import scene
from tools.attack.scene import JOBS

SPLIT, RUN, CACHE = "data/pets/train", "run", "cache/fastpt"


@dataclass(frozen=True)
class Kind:
    """Files of one kind, and what reads them."""

    files: str
    """A pattern, from the scene's folder."""
    jobs: tuple[str, ...]
    without: tuple[str, ...] = ()
    """What is taken away before: copies in caches that would be read instead."""
    users: bool = False
    """Whether it is the user's word and has no sum, so that other content is another wish and no damage."""


FEATURES, TOKENS = (f"{CACHE}/features", f"{CACHE}/heads"), (f"{CACHE}/tokens",)
KINDS = {
    "dataset.json": Kind(f"{SPLIT}/dataset.json", ("train", "tune", "materialize", "info", "verify")),
    "samples.parquet": Kind(f"{SPLIT}/samples.parquet", ("train", "tune", "materialize", "verify"), FEATURES),
    "samples.parquet, captions": Kind(f"{SPLIT}/samples.parquet", ("train clip",), TOKENS),
    "shards, FFCV": Kind(f"{SPLIT}/images/*.beton", ("train", "tune", "materialize", "materialize ffcv", "verify"),
                         FEATURES),
    "shards, tar": Kind("tars/train/images/*.tar", ("train tars", "verify tars")),
    "indexes of tars": Kind("tars/train/images/*.idx", ("train tars", "verify tars")),
    "rejected.jsonl": Kind("tars/train/rejected.jsonl", ("train tars", "verify tars")),
    "noise plans, .json": Kind(f"{SPLIT}/noise/*.json", ("train", "materialize", "info", "verify")),
    "noise plans, .npy": Kind(f"{SPLIT}/noise/*.npy", ("train", "train clip", "materialize", "info", "verify")),
    "plans that travel": Kind("plan.parquet", ("import",)),
    "suspicions": Kind("suspects.parquet", ("instance", "confused", "corrected")),
    "records of samples": Kind("run/samples/*", ("verify run", "suspects", "report")),
    "records of samples of a stopped run": Kind("killed/samples/*", ("resume",)),
    "records of a finished run": Kind("run/*.*", ("export", "tune", "report", "verify run")),
    "records of a stopped run": Kind("killed/*.*", ("resume",)),
    "checkpoints": Kind("killed/checkpoints/*/*", ("resume",)),
    "checkpoints of a finished run": Kind("run/checkpoints/*/*", ("export", "verify run")),
    "exports": Kind("run/export/*", ("tune", "verify run")),
    "results": Kind("run/tune/*.json", ("report", "verify run")),
    "answers": Kind("run/tune/*.parquet", ("verify run",)),
    "kept heads": Kind(f"{CACHE}/heads/*/*", ("tune",)),
    "kept features": Kind(f"{CACHE}/features/*/*", ("tune",), (f"{CACHE}/heads",)),
    "kept splits of an address": Kind(f"{CACHE}/splits/*/**/*", ("train remote",)),
    "kept tokens": Kind(f"{CACHE}/tokens/*.*", ("train clip",)),
    "indexes of foreign files": Kind(f"{CACHE}/indexes/*/*", ("read ffcv", "read tar")),
    "a study's records": Kind("study/steps/*.json", ("study status",)),
    "recipes": Kind("recipe.yaml", ("train",), users=True),
    "suites": Kind("small.yaml", ("tune",), users=True),
    "studies": Kind("study.yaml", ("study status",), users=True),
    "lists": Kind("list.csv", ("prep list",), users=True),
    "pictures of a source": Kind("drawn/train/*/*.jpg", ("prep", "prep list"), users=True),
    "tars of a source": Kind("drawn.tar", ("prep tars",), users=True),
    "tars of others, in place": Kind("drawn.tar", ("read tar",), users=True),
    "FFCV files of others, in place": Kind("other.beton", ("read ffcv",), users=True),
}  # fmt: skip


def flip(content: bytearray, dice: random.Random) -> str:
    """Change one byte."""
    # Half of the time at the ends: where there are holes, the middle is nothing but zeros.
    at = dice.randrange(len(content)) if dice.random() < 0.5 else dice.randrange(-min(4000, len(content)), 4000)
    at %= len(content)
    before = content[at]
    content[at] ^= 1 << dice.randrange(8) if dice.random() < 0.5 else dice.randrange(1, 256)
    return f"byte {at} of {len(content)}: {before:#x} -> {content[at]:#x}"


def truncate(content: bytearray, dice: random.Random) -> str:
    """Cut it off."""
    length = len(content)
    del content[dice.randrange(length) :]
    return f"{len(content)} of {length} bytes"


def zero(content: bytearray, dice: random.Random) -> str:
    """Zeros in place of a piece, as a power cut leaves them."""
    at = dice.randrange(len(content))
    stop = min(len(content), at + dice.choice((1, 16, 512, 4096)))
    content[at:stop] = bytes(stop - at)
    return f"zeros from {at} to {stop} of {len(content)} bytes"


HOW: dict[str, Callable[[bytearray, random.Random], str]] = {"flip": flip, "truncate": truncate, "zero": zero}


def attack(base: Path, how: str, names: list[str], count: int, dice: random.Random) -> bool:
    """Damage a file of each kind `count` times. Prints a line for each; returns whether all was well."""
    whole: dict[str, str] = {}
    return all([_attack(base, how, name, count, dice, whole) for name in names])


def _attack(base: Path, how: str, name: str, count: int, dice: random.Random, whole: dict[str, str]) -> bool:
    kind, here, seen, faults = KINDS[name], base / "here", Counter(), []
    for number in range(count):
        job = kind.jobs[number % len(kind.jobs)]
        workplace.copy(base / "saved", here)
        if job not in whole:
            whole[job] = scene.undisturbed(here, JOBS[job])
            workplace.copy(base / "saved", here)
        for path in kind.without:
            shutil.rmtree(here / path, ignore_errors=True)
        path = dice.choice([path for path in sorted(here.glob(kind.files)) if path.is_file() and path.stat().st_size])
        content = bytearray(path.read_bytes())
        what = HOW[how](content, dice)
        if content == path.read_bytes():
            continue
        path.write_bytes(content)
        ended = scene.run(here, JOBS[job].words)
        outcome = _judge(here, path, job, ended, whole[job], kind.users)
        seen[outcome] += 1
        if outcome.isupper():
            faults.append(f"{outcome}: {path.relative_to(here)}, {what}; {job}: {ended.printed[-700:]!r}")
    print(f"{how} {name}: {dict(sorted(seen.items()))}", flush=True)
    for fault in faults:
        print(f"    {fault}", flush=True)
    return not faults


def _judge(here: Path, path: Path, job: str, ended: scene.Ended, whole: str, users: bool) -> str:
    """What became of it, in capitals if it is a fault."""
    errors = [line for line in ended.printed.splitlines() if line.startswith("Error")]
    if "Traceback" in ended.printed or ended.code < 0:
        return "NO END" if ended.code == -9 else "TRACEBACK" if ended.code >= 0 else "SIGNAL"
    named = any(part in ended.printed for part in (path.name, path.parent.name, path.stem))
    if job.startswith("verify"):
        return "refused" if ended.code and named else "UNSEEN"
    if ended.code:
        return "refused" if errors and (named or users) else "REFUSED WITHOUT A NAME"
    if scene.result(here, JOBS[job], ended) == whole:
        return "the same, told" if path.name in ended.printed else "the same"
    if users:
        return "taken as it is"
    # Other words have a part of its path in them anyway: "8 samples", "exported to run/export".
    return "different, told" if path.name in ended.printed else "WRONG"
