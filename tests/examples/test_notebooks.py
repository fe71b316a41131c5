"""The notebooks of docs/notebooks run from nothing, cell by cell, and open in Jupyter."""

import json

import nbformat
import pytest

from tools import notebooks

EVERY = sorted(notebooks.NOTEBOOKS.glob("*.py"))


@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "made"),
    [("noise_at_a_glance", ["confusion.png", "mislabelled.png"]), ("folder_to_report", ["report.html"])],
)
def test_a_notebook_runs(tmp_path, name, made):
    cells = notebooks.run(notebooks.NOTEBOOKS / f"{name}.py", tmp_path)
    assert [file for file in made if not (tmp_path / file).stat().st_size] == []
    assert any(cell.printed for cell in cells)


def test_each_cell_has_what_it_printed_and_drew(tmp_path):
    path = tmp_path / "two.py"
    draw = "import matplotlib.pyplot as plt\nplt.plot([1, 2])\nprint('two', x)"
    path.write_text(f"# %%\nx = 1\nprint('one')\n\n# %% [markdown]\n# Text.\n\n# %%\n{draw}\n", encoding="utf-8")
    first, text, second = notebooks.run(path, tmp_path)
    assert (first.printed, first.figures, text.source) == ("one\n", (), "Text.")
    assert (second.printed, len(second.figures)) == ("two 1\n", 1)


def test_a_cell_that_fails_is_named(tmp_path):
    path = tmp_path / "fails.py"
    path.write_text("# %%\nx = 1\n\n# %%\nx / 0\n", encoding="utf-8")
    with pytest.raises(RuntimeError, match=r"fails.py failed in code cell 2(?s:.*)ZeroDivisionError"):
        notebooks.run(path, tmp_path)


@pytest.mark.parametrize("path", EVERY, ids=lambda path: path.stem)
def test_a_notebook_opens_in_jupyter(path):
    nbformat.validate(json.loads(notebooks.ipynb(path)))
    kinds = [cell.kind for cell in notebooks.read(path)]
    assert kinds[0] == "markdown"
    assert "code" in kinds
