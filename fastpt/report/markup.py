"""The page's tables for other pages: as LaTeX for a paper, as Markdown for a repository."""

from collections.abc import Iterable

from fastpt.report.tables import Table
from fastpt.report.text import NBSP


def markdown(tables: Iterable[Table]) -> str:
    """Tables one below the other, each with its title and note; the best of a row is bold."""
    return "\n\n".join(map(_markdown, tables)) + "\n"


def _markdown(table: Table) -> str:
    lines = [f"**{_plain(table.title)}.** {_plain(table.note)}", "", _row([table.corner, *table.columns])]
    lines.append(_row(["---", *(["---:"] * len(table.columns))]))
    for group in table.groups:
        if len(table.groups) > 1:
            lines.append(_row([f"*{group.label}*", *([""] * len(table.columns))]))
        for row in group.rows:
            cells = [f"**{cell.text}**" if cell.best else cell.text for cell in row.cells]
            lines.append(_row([row.label, *cells]))
    return "\n".join(lines)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(map(_plain, cells))} |"


def _plain(text: str) -> str:
    """What Markdown would act on is written out."""
    return text.replace(NBSP, " ").replace("|", "&#124;").replace("<", "&lt;").replace("_", "\\_")


def latex(table: Table) -> str:
    """A table for a paper, with the rules of booktabs; the best of a row is bold."""
    columns = len(table.columns)
    lines = [rf"\begin{{tabular}}{{l{'r' * columns}}}", r"\toprule"]
    lines.append(" & ".join([_tex(table.corner), *map(_tex, table.columns)]) + r" \\")
    for group in table.groups:
        lines += [r"\midrule", rf"\multicolumn{{{columns + 1}}}{{l}}{{\emph{{{_tex(group.label)}}}}} \\"]
        for row in group.rows:
            cells = [rf"\textbf{{{_tex(cell.text)}}}" if cell.best else _tex(cell.text) for cell in row.cells]
            lines.append(" & ".join([_tex(row.label), *cells]) + r" \\")
    return "\n".join([f"% {table.title}. {table.note}", *lines, r"\bottomrule", r"\end{tabular}", ""])


_TEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "±": r"$\pm$",
    "→": r"$\to$",
    "–": "--",
    "−": "$-$",
    "σ": r"$\sigma$",
    NBSP: "~",
    **{char: f"\\{char}" for char in "&%$#_{}"},
}


def _tex(text: str) -> str:
    return "".join(_TEX.get(char, char) for char in text)
