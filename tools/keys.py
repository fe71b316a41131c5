"""Writes docs/keys.md, the keys of every kind of file, from the sections that declare them: python -m tools.keys"""

from pathlib import Path

from fastpt.cli.keys import FILES, describe

BAR = r"\|"
PAGE = Path(__file__).parents[1] / "docs" / "keys.md"
HEAD = """# Keys

What may stand in a recipe (`fastpt train`), a suite (`fastpt tune`) and a study (`fastpt study`). `[]` stands for each
entry of a list or a mapping. `fastpt keys recipe|suite|study [SECTION]` prints the same; this page is written by
`python -m tools.keys`, and a test holds both equal.
"""


def page() -> str:
    """The text of docs/keys.md."""
    return "\n".join([HEAD, *(f"## {file.capitalize()}\n\n{_table(file)}" for file in FILES)])


def _table(file: str) -> str:
    rows = [["key", "type", "default", "meaning"], ["---"] * 4]
    for key in describe(file):
        default = "required" if key.default is None else f"`{key.default}`" if key.default else ""
        rows.append([f"`{key.name}`", key.type, default, key.meaning])
    return "".join(f"| {' | '.join(cell.replace('|', BAR) for cell in row)} |\n" for row in rows)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
