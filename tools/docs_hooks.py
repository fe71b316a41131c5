"""What MkDocs does not do by itself.

Links out of docs/ name their file, for the site has no other files; those to a notebook lead to its page. Each notebook
is run, once for each of its versions (build/notebooks keeps what came of it), and becomes a page with its outputs and
an .ipynb beside it.
"""

import hashlib
import json
import posixpath
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from fastpt.files import atomic_write
from tools import notebooks

KEPT = Path(__file__).parents[1] / "build" / "notebooks"
LINK = re.compile(r"\[([^\]]+)\]\(((?:\.\./)+[^)#\s]+)\)")
NOTEBOOK = re.compile(r"(\]\((?:\.\./)*notebooks/\w+)\.py\)")


def on_page_markdown(markdown: str, page: Page, **_) -> str:
    folder = posixpath.dirname(page.file.src_uri)

    def named(link: re.Match) -> str:
        target = posixpath.normpath(posixpath.join(folder, link[2]))
        if not target.startswith("../"):
            return link[0]
        name = f"`{target.removeprefix('../')}`"
        return name if link[1].strip("`") == name.strip("`") else f"{link[1]} ({name})"

    return LINK.sub(named, NOTEBOOK.sub(r"\1.md)", markdown))


def on_files(files: Files, config: MkDocsConfig) -> Files:
    for path in sorted(notebooks.NOTEBOOKS.glob("*.py")):
        cells = _run_once(path)
        for figure in (figure for cell in cells for figure in cell.figures):
            files.append(File.generated(config, f"notebooks/{_name(path.stem, figure)}", abs_src_path=figure))
        files.append(File.generated(config, f"notebooks/{path.stem}.ipynb", content=notebooks.ipynb(path)))
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=_page(path.stem, cells)))
    return files


def _run_once(path: Path) -> list[notebooks.Cell]:
    folder = KEPT / f"{path.stem}-{hashlib.sha256(path.read_bytes()).hexdigest()[:12]}"
    kept = folder / "cells.json"
    if not kept.exists():
        shutil.rmtree(folder, ignore_errors=True)  # what a build that was stopped left
        folder.mkdir(parents=True)
        try:
            cells = notebooks.run(path, folder)
        except RuntimeError as error:
            raise PluginError(str(error)) from None
        with atomic_write(kept, "w") as file:
            json.dump([asdict(cell) for cell in cells], file)
    return [notebooks.Cell(**cell) for cell in json.loads(kept.read_text(encoding="utf-8"))]


def _page(name: str, cells: list[notebooks.Cell]) -> str:
    title, *rest = cells
    head = f"{title.source}\n\n[Download the notebook]({name}.ipynb); the script is `docs/notebooks/{name}.py`.\n"
    return "\n".join([head, *(part for cell in rest for part in _shown(name, cell))])


def _shown(name: str, cell: notebooks.Cell) -> Iterator[str]:
    if cell.kind == "markdown":
        yield f"{cell.source}\n"
        return
    yield f"```python\n{cell.source}\n```\n"
    if cell.printed.strip():
        yield f"```text\n{cell.printed.strip()}\n```\n"
    for figure in cell.figures:
        yield f"![what the cell drew]({_name(name, figure)})\n"


def _name(notebook: str, figure: str) -> str:
    return f"{notebook}-{Path(figure).name}"
