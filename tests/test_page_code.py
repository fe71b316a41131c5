"""The code blocks of pages are true: `fastpt` commands parse, Python imports what is there, and the shell blocks of
the how-to pages run, on small stand-ins for what they name."""

import ast
import builtins
import importlib.util
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from click.testing import CliRunner

from fastpt import Dataset
from fastpt.cli import main
from tests.conftest import made_up, picture, prepared

TOP = Path(__file__).parents[1]
PAGES = [TOP / "README.md", TOP / "CONTRIBUTING.md", *sorted((TOP / "docs").rglob("*.md"))]


def blocks(page: Path) -> list[tuple[str | None, str]]:
    """The shell blocks of a page, each with why it is not run (a comment above it), if it is not."""
    found, why, lines = [], None, iter(page.read_text(encoding="utf-8").splitlines())
    for line in lines:
        if line.startswith("```"):
            inside = []
            for line_inside in lines:
                if line_inside == "```":
                    break
                inside.append(line_inside)
            if line == "```":
                found.append((why, "\n".join(inside)))
        if line:
            note = re.fullmatch("<!-- not run: (.+) -->", line)
            why = note[1] if note else None
    return found


def commands(page: Path) -> list[list[str]]:
    """The words behind `fastpt` of each command in the shell blocks of a page."""
    text = "\n".join(block for _, block in blocks(page)).replace("\\\n", " ")
    found = []
    for line in re.findall(r"(?:^|\bdo |-m |--module )\s*(?<![./])fastpt ([^;|]+?)(?:;|\||$)", text, re.M):
        words = [word for word in shlex.split(line, comments=True) if word[0] not in "[("]
        found.append(words)
    return found


WRITTEN = [(page, words) for page in PAGES for words in commands(page)]


@pytest.mark.parametrize(
    ("page", "words"), WRITTEN, ids=[f"{page.stem}: {' '.join(words)[:60]}" for page, words in WRITTEN]
)
def test_a_command_on_a_page_parses(monkeypatch, page, words):
    monkeypatch.setattr(click.Command, "invoke", lambda *_: None)
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output


PYTHON = [
    (page, block)
    for page in PAGES
    for block in re.findall(r"^```python\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)
]


@pytest.mark.parametrize(("page", "block"), PYTHON, ids=[page.stem for page, _ in PYTHON])
def test_python_on_a_page_imports_what_is_there(page, block):
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("fastpt"):
            module = importlib.import_module(node.module or "")
            for name in node.names:
                assert hasattr(module, name.name) or importlib.util.find_spec(f"{node.module}.{name.name}")


YOURS = {"README": {"F", "F_test", "y"}, "extend": {"Source", "click"}, "order": {"make_loader"}}


@pytest.mark.parametrize(("page", "block"), PYTHON, ids=[page.stem for page, _ in PYTHON])
def test_python_on_a_page_makes_the_names_that_it_uses(page, block):
    used, made = set(), {*dir(builtins), "__file__", *YOURS.get(page.stem, ())}
    for node in ast.walk(ast.parse(block)):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else made).add(node.id)
        elif isinstance(node, ast.alias):
            made.add(node.asname or node.name.partition(".")[0])
        elif isinstance(node, ast.FunctionDef | ast.ClassDef | ast.ExceptHandler):
            made.add(node.name)
        elif isinstance(node, ast.arg):
            made.add(node.arg)
    assert used <= made


HOW_TO = [page for page in sorted((TOP / "docs" / "howto").glob("*.md")) if any(not why for why, _ in blocks(page))]
CLASSES = [f"class {i}" for i in range(4)]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory) -> Path:
    """A folder in which all that the how-to pages name is there, small: photos, lists, tars, prepared splits, a run."""
    folder = tmp_path_factory.mktemp("workplace")
    names = [f"{i:03d}.jpg" for i in range(40)]
    (folder / "photos").mkdir()
    for i, name in enumerate(names):
        (folder / "photos" / name).write_bytes(picture(i))
    labels = [CLASSES[i % 4] for i in range(40)]
    write_csv(folder / "labels.csv", ["file", "class"], zip(names, labels, strict=True))
    write_csv(folder / "captions.csv", ["id", "caption"], ((name[:3], f"a {i}") for i, name in enumerate(names)))
    rows = [{"image": {"bytes": picture(i), "path": name}, "label": i % 4} for i, name in enumerate(names)]
    (folder / "dataset" / "data").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "dataset" / "data" / "train-00000-of-00001.parquet")
    write_tar(
        folder / "pets.tar", {f"pets/{label}/{name}": name for name, label in zip(names, labels, strict=True)}, folder
    )
    write_tar(folder / "shop.tar", {f"images/{name}": name for name in names}, folder)
    for place in ("shards", "yfcc15m_tars"):
        (folder / place).mkdir()
        write_tar(
            folder / place / "00000.tar", {f"{i:04d}.jpg": name for i, name in enumerate(names)}, folder, texts=True
        )
    for name, classes in (("imagenet", 4), ("mine", 4), ("yfcc15m", 0)):
        for split in ("train", "val"):
            listing = made_up(40, classes, captions=not classes, name=split, is_train=split == "train")
            made = prepared(folder / "made" / name, listing, [0.3] if listing.is_train else [])
            shutil.copytree(made.path, folder / "data" / name / split)
    other = [f"place {i}" for i in range(4)]
    places = replace(made_up(40, special={i: picture(500 + i) for i in range(40)}), classes=other, class_names=other)
    shutil.copytree(prepared(folder / "made" / "places", places).path, folder / "data" / "places" / "train")
    keys = Dataset(folder / "data" / "imagenet" / "train").keys
    write_csv(folder / "annotators.csv", ["key", "label"], ((key, CLASSES[i % 3]) for i, key in enumerate(keys)))
    np.save(folder / "confusion.npy", np.ones((4, 4)))
    (folder / "wordnet.is_a.txt").write_text("".join(f"thing\t{name}\n" for name in CLASSES))
    return folder


def write_csv(path: Path, head: list[str], rows) -> None:
    path.write_text("".join(",".join(row) + "\n" for row in [head, *rows]), encoding="utf-8")


def write_tar(path: Path, members: dict[str, str], folder: Path, texts: bool = False) -> None:
    """A tar of photos, each with a text if there are to be."""
    with tarfile.open(path, "w") as tar:
        for member, name in members.items():
            tar.add(folder / "photos" / name, member)
            if texts:
                info = tarfile.TarInfo(member.replace(".jpg", ".txt"))
                info.size = len(text := f"a picture called {member}".encode())
                tar.addfile(info, io.BytesIO(text))


@pytest.fixture(scope="module")
def trained(workplace) -> Path:
    """The same with a recipe, and a run that was trained by it."""
    recipe = {
        "task": "supervised",
        "data": {"train": "data/mine/train", "val": "data/mine/val", "size": 32, "threads": 1},
        "model": {"name": "test_resnet"},
        "optim": {"name": "adamw", "lr": 0.01},
        "schedule": {"epochs": 2},
        "batch_size": 8,
        "engine": {"precision": "fp32"},
        "checkpoint": {"every_epochs": 1, "keep_best": "top1"},
        "tune": {"suite": "mine.yaml"},
    }
    suite = {"name": "mine", "id": [{"name": "mine", "train": "data/mine/train", "test": "data/mine/val"}]}
    (workplace / "mine.yaml").write_text(yaml.safe_dump(suite))
    (workplace / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    run_block("fastpt train recipe.yaml --run-dir runs/NAME", workplace)
    return workplace


def run_block(block: str, folder: Path) -> None:
    """Run a block of a page as a shell does that ends at what fails."""
    words = f'set -euo pipefail\nfastpt() {{ "{sys.executable}" -m fastpt "$@"; }}\n{block}'
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(TOP)}
    done = subprocess.run(["bash", "-c", words], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{block}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"


@pytest.mark.long
@pytest.mark.parametrize("page", HOW_TO, ids=lambda page: page.stem)
def test_the_blocks_of_a_how_to_page_run(trained, tmp_path, page):
    here = shutil.copytree(trained, tmp_path / "here")
    run = [block for why, block in blocks(page) if not why]
    if any("fastpt prep" in block for block in run):  # as if for the first time
        shutil.rmtree(here / "data")
    if any("fastpt init recipe" in block for block in run):
        (here / "recipe.yaml").unlink()
    for block in run:
        run_block(block.replace("timm:resnet50", "run:runs/NAME"), here)  # whose weights lie elsewhere
