"""Attacks on what fastpt keeps and reads: `python -m tools.attack kill|flip|truncate|zero|disk [--only NAME ...]`.

    python -m tools.attack kill --count 50                     kills at random moments, then the same command again
    python -m tools.attack flip --count 100                    changed bytes in every kind of file that is read
    python -m tools.attack truncate --count 50                 ... cut
    python -m tools.attack zero --count 50                     ... with zeros in place of a piece
    unshare -rm python -m tools.attack disk --count 20         disks that fill while something is written

Tiny data, so that a command takes less than a second. Prints what became of each; ends with 1 if anything was wrong:
a traceback, a signal, no end, other results without a word, work that is lost. What was found:
docs/results/reliability.md.
"""

import argparse
import os
import random
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}

from tests.cases import workplace
from tools.attack import damage, disk, kills, scene


def main() -> bool:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("how", choices=["kill", *damage.HOW, "disk"])
    parser.add_argument("--only", action="append", help="A job, or a kind of file; repeatable (default: all).")
    parser.add_argument("--count", type=int, default=20, help="Kills of a job, files of a kind, or disks of a job.")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    known = {"kill": kills.KILLED, "disk": disk.FILLED}.get(options.how, tuple(damage.KINDS))
    names = options.only or list(known)
    if unknown := set(names) - set(known):
        parser.error(f"--only {' '.join(unknown)}: choose among {', '.join(known)}")
    dice = random.Random(options.seed)
    scene.import_all()
    with (
        tempfile.TemporaryDirectory() as folder,
        disk.mounted(Path(folder)) if options.how == "disk" else nullcontext(),
    ):
        base = Path(folder)
        more = ["study"] * ("a study's records" in names) + ["train remote"] * ("kept splits of an address" in names)
        with scene.at_an_address(base):
            scene.make(base / "here", *more)
            workplace.copy(base / "here", base / "saved")
            if options.how in damage.HOW:
                return damage.attack(base, options.how, names, options.count, dice)
            return {"kill": kills.attack, "disk": disk.attack}[options.how](base, names, options.count, dice)


if __name__ == "__main__":
    sys.exit(0 if main() else 1)
