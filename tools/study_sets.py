"""Prepares every set of the studies recipes/study_labels.yaml and study_captions.yaml from the tars of real pictures.

    FASTPT_REAL_DATA=DIR python -m tools.study_sets      # into data/, where the suites look for them; 2 core minutes

What is there already is left alone. DIR holds the tars that docs/results/mini-study.md is about: tinyimagenet100,
fashion20k, flowers17_96, sign_digits_64, grocery_96, pacs_96. From fashion20k's list of pictures two further sets are
drawn: the 40 commonest article types, and men's and women's pictures of the types that both have MOST_RARE times.
"""

import csv
import io
import os
import subprocess
import sys
import tarfile
from collections import Counter
from pathlib import Path

COMMONEST = 40
MOST_RARE = 10
"""Pictures of an article type that men's and women's fashion have each, at least."""
FASHION = ("--source", "fashion20k.tar", "--image-pattern", "images/{id}.jpg", "--label-column", "articleType")
LISTS = Path("data/study_lists")
SETS = {
    "tinyimagenet100": ("imagefolder", "--source", "tinyimagenet100.tar"),
    "fashion20k": ("captions", *FASHION, "--list", "captions.csv", "--caption-column", "caption", "--holdout", "0.1"),
    "flowers17": ("imagefolder", "--source", "flowers17_96.tar"),
    "sign_digits": ("imagefolder", "--source", "sign_digits_64.tar", "--holdout", "0.2"),
    "grocery": ("imagefolder", "--source", "grocery_96.tar"),
    "pacs": ("imagefolder", "--source", "pacs_96.tar", "--split-level", "1"),
    "fashion_types": ("list", *FASHION, "--list", str(LISTS / "fashion_types.csv")),
    "fashion_genders": ("list", *FASHION, "--list", str(LISTS / "fashion_genders.csv"), "--split-column", "split"),
}
"""Name of each set, and how `fastpt prep` makes it; tars are in FASTPT_REAL_DATA."""


def main() -> None:
    """Prepare what is not there."""
    sources = os.environ.get("FASTPT_REAL_DATA")
    if not sources:
        sys.exit("FASTPT_REAL_DATA does not name the folder of the tars of real pictures. Set it.")
    write_lists(Path(sources, "fashion20k.tar"))
    for name, (source, *words) in SETS.items():
        if not any(Path("data", name).glob("*/dataset.json")):
            words = [str(Path(sources, word)) if word.endswith(".tar") else word for word in words]
            subprocess.run([sys.executable, "-m", "fastpt", "prep", source, *words, "--name", name], check=True)


def write_lists(tar: Path) -> None:
    """The lists of the two sets that are drawn from fashion20k."""
    with tarfile.open(tar) as opened:
        content = opened.extractfile("captions.csv")
        assert content
        rows = list(csv.DictReader(io.TextIOWrapper(content, "utf-8")))
    LISTS.mkdir(parents=True, exist_ok=True)
    types = Counter(row["articleType"] for row in rows)
    common = {name for name, _ in sorted(types.items(), key=lambda one: (-one[1], one[0]))[:COMMONEST]}
    _write("fashion_types.csv", [row for row in rows if row["articleType"] in common])
    men, women = (Counter(row["articleType"] for row in rows if row["gender"] == one) for one in ("Men", "Women"))
    both = {name for name in types if min(men[name], women[name]) >= MOST_RARE}
    chosen = [row for row in rows if row["gender"] in ("Men", "Women") and row["articleType"] in both]
    _write("fashion_genders.csv", [row | {"split": row["gender"].lower()} for row in chosen])


def _write(name: str, rows: list[dict[str, str]]) -> None:
    with Path(LISTS, name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["id", "articleType", "split"], extrasaction="ignore", restval="train")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main()
