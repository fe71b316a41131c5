"""Pages and files that are not run here name what is there, and their sums are right."""

import re
import tomllib
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]


def test_the_dockerfile_names_files_and_extras_that_are_there():
    lines = (TOP / "tools" / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    copied = [word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]]
    assert copied
    assert [name for name in copied if not (TOP / name).exists()] == []
    extras = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    (asked,) = re.findall(r'editable "\.\[(.*?)\]"', "\n".join(lines))
    assert set(asked.replace("$CUDA", "cuda12,cuda13").split(",")) <= set(extras)


@pytest.mark.parametrize("page", sorted((TOP / "docs").glob("*.md")), ids=lambda page: page.name)
def test_links_of_a_page_lead_to_files_that_are_there(page):
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))
    assert [name for name in targets if "://" not in name and not (page.parent / name).exists()] == []


IN1K, YFCC = 1_281_167, 15e6


@pytest.mark.parametrize(
    ("row", "sums"),
    [
        ("prepare ImageNet-1K", {"64 GB": IN1K * 50.2e3 / 1e9, "19 min": IN1K / 1127 / 60}),
        ("prepare YFCC15M", {"753 GB": YFCC * 50.2e3 / 1e9, "3.7 h": YFCC / 1127 / 3600}),
        ("one more noise rate, ImageNet-1K", {"5 MB": IN1K * 4 / 1e6, "1 s": 13 * IN1K / YFCC}),
        ("one more noise rate, YFCC15M captions", {"120 MB": YFCC * 8 / 1e6}),
        ("train ResNet-50, A2 (300 epochs, 224 px)", {"47 h": 300 * IN1K / 2289 / 3600, "0.3 GB": 25.6e6 * 12 / 1e9}),
        ("train ResNet-50, A3 (100 epochs, 160 px)", {"15 h": 100 * IN1K / 2346 / 3600}),
        ("tune: features of ImageNet-1K, 2,048 numbers each", {"10.5 GB": IN1K * 2048 * 4 / 1e9}),
        ("tune: features of YFCC15M, 1,024 numbers each", {"61 GB": YFCC * 1024 * 4 / 1e9}),
    ],
)
def test_sizes_are_what_their_derivations_give(row, sums):
    (line,) = [
        line for line in (TOP / "docs" / "sizes.md").read_text(encoding="utf-8").splitlines() if f"| {row} |" in line
    ]
    for written, value in sums.items():
        assert written in line
        number = written.split()[0]
        assert f"{value:.{len(number.partition('.')[2])}f}" == number
