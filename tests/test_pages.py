"""Pages and files that are not run here name what is there, and their sums are right; the site builds."""

import itertools
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import fastpt

TOP = Path(__file__).parents[1]


def test_the_dockerfile_names_files_and_extras_that_are_there():
    lines = (TOP / "tools" / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    copied = [word for line in lines if line.startswith("COPY ") for word in line.split()[1:-1]]
    assert copied
    assert [name for name in copied if not (TOP / name).exists()] == []
    extras = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    asked = re.findall(r'--extra "?([$\w]+)', "\n".join(lines))
    assert len(asked) == 3
    assert set(" ".join(asked).replace("$CUDA", "cuda12 cuda13").split()) <= set(extras)


PAGES = [*TOP.glob("*.md"), *sorted((TOP / "docs").rglob("*.md"))]


def slugs(page: Path) -> set[str]:
    """What links may name of a page, as GitHub and MkDocs both write it."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    return {
        re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in re.findall(r"^#+ (.*)$", text, re.M)
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(TOP).as_posix())
def test_links_of_a_page_lead_to_what_is_there(page):
    lost = []
    for name, anchor in re.findall(r"\]\((?![a-z]+:)([^)#\s]*)#?([^)\s]*)\)", page.read_text(encoding="utf-8")):
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in slugs(target)):
            lost.append(f"{name}#{anchor}")
    assert lost == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(TOP).as_posix())
def test_lists_and_tables_of_a_page_are_seen_as_such(page):
    """MkDocs wants an empty line before them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S).splitlines()
    within = re.compile(r"- |\d+\. |\||  |#|$")
    starts = [(before, line) for before, line in itertools.pairwise(text) if re.match(r"- |\d+\. |\|", line)]
    assert [line for before, line in starts if not within.match(before)] == []


def test_the_site_shows_every_page():
    listed = re.findall(r"[\w/-]+\.md", (TOP / "tools" / "mkdocs.yml").read_text(encoding="utf-8"))
    pages = [*(TOP / "docs").rglob("*.md"), *(path.with_suffix(".md") for path in (TOP / "docs").rglob("*.py"))]
    assert sorted(listed) == sorted(page.relative_to(TOP / "docs").as_posix() for page in pages)


@pytest.mark.long
def test_the_site_builds_without_the_net(tmp_path):
    """Every warning is an error; of what a reader's browser fetches, all is in the folder."""
    command = [TOP / "tools" / "docs", "build", "--site-dir", tmp_path / "site"]
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), "http://127.0.0.1:9")
    environment = {**os.environ, **proxies, "PYTHON": sys.executable}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    pages = [page.read_text(encoding="utf-8") for page in (tmp_path / "site").rglob("*.html")]
    assert len(pages) > 60
    fetched = re.compile(r'<(?:script|img|iframe|link)\b[^>]*?(?:src|href)="?(?:https?:)?//[^>]*>')
    assert {found for page in pages for found in fetched.findall(page)} == set()


IN1K, YFCC = 1_281_167, 15e6


@pytest.mark.parametrize(
    ("row", "sums"),
    [
        ("prepare ImageNet-1K", {"64 GB": IN1K * 50.2e3 / 1e9, "19 min": IN1K / 1127 / 60}),
        ("prepare YFCC15M", {"753 GB": YFCC * 50.2e3 / 1e9, "3.7 h": YFCC / 1127 / 3600}),
        ("one more noise rate, ImageNet-1K", {"5 MB": IN1K * 4 / 1e6}),
        ("one more noise rate, YFCC15M captions", {"120 MB": YFCC * 8 / 1e6}),
        ("train ResNet-50, A2 (300 epochs, 224 px)", {"47 h": 300 * IN1K / 2289 / 3600, "0.3 GB": 25.6e6 * 12 / 1e9}),
        ("train ResNet-50, A3 (100 epochs, 160 px)", {"15 h": 100 * IN1K / 2346 / 3600}),
        ("tune: features of ImageNet-1K, 2,048 numbers each", {"10.5 GB": IN1K * 2048 * 4 / 1e9}),
        ("tune: features of YFCC15M, 1,024 numbers each", {"61 GB": YFCC * 1024 * 4 / 1e9}),
    ],
)
def test_sizes_are_what_their_derivations_give(row, sums):
    (line,) = [
        line
        for line in (TOP / "docs" / "reference" / "sizes.md").read_text(encoding="utf-8").splitlines()
        if f"| {row} |" in line
    ]
    for written, value in sums.items():
        assert written in line
        number = written.split()[0]
        assert f"{value:.{len(number.partition('.')[2])}f}" == number


def test_the_citation_is_of_this_version_and_read_by_who_looks_for_it():
    citation = yaml.safe_load((TOP / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "title", "message", "authors", "version"} <= citation.keys()
    assert citation["version"] == fastpt.__version__
    assert "(CITATION.cff)" in (TOP / "README.md").read_text(encoding="utf-8")
