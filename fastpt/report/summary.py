"""What the page says in words: what was compared, what was found, and how far that carries."""

from collections.abc import Sequence

from fastpt.printable import one_line, plural
from fastpt.report.compare import DOMAINS, Accuracies, Condition, Family, accuracies, ends
from fastpt.report.paper import LP, NMTUNE
from fastpt.report.text import NBSP, listing, percent, rate
from fastpt.runs import Run


def headline(runs: Sequence[Run]) -> str:
    recipes = list(dict.fromkeys(run.recipe_name for run in runs))
    rates = sorted({run.rate for run in runs if run.rate is not None})
    if len(runs) == 1:
        return f"{recipes[0]}, {'clean' if runs[0].noise is None else f'with {rate(runs[0].rate)} noise'}"
    return f"{listing(recipes)} at {listing([rate(value).removesuffix(f'{NBSP}%') for value in rates])}{NBSP}% noise"


def opening(runs: Sequence[Run], groups: Sequence[Family]) -> str:
    """What was compared, in one or two sentences, and what that allows to be said."""
    if len(runs) == 1:
        run, condition = runs[0], groups[0].conditions[0]
        return (
            f"One run of {run.recipe_name} ({run.model}, {condition.label}, seed {one_line(run.seed)}). With nothing "
            "to compare it to, this page shows what the run reached, not what the noise did."
        )
    parts = [f"{family.label} ({', '.join(_counted(one) for one in family.conditions)})" for family in groups]
    sizes = sorted({len(condition.runs) for family in groups for condition in family.conditions})
    if all(len(family.conditions) == 1 for family in groups):
        end = "No recipe was run under more than one noise plan, so nothing here shows the effect of noise."
    elif sizes == [1]:
        end = "Each has one pre-training seed: differences between noise rates may be chance."
    else:
        seeds = plural(sizes[0], "pre-training seed") if len(sizes) == 1 else f"{sizes[0]} to {sizes[-1]} seeds"
        end = f"Each has {seeds}; ± is a 95 % confidence interval over them."
    return f"{plural(len(runs), 'run')} of {plural(len(groups), 'recipe')}: {listing(parts)}. {end}"


def _counted(one: Condition) -> str:
    """'clean', 'clean × 24' where conditions differ in their number of runs."""
    return f"{one.name}{NBSP}×{NBSP}{len(one.runs)}" if one.seeds else one.name


def findings(groups: Sequence[Family], suite: str) -> list[str]:
    """What was measured, a sentence or two for each family; the whole of it is in the table of averages."""
    return [sentence for family in groups if (sentence := _finding(family, suite))]


def _finding(family: Family, suite: str) -> str | None:
    found = [accuracies(family, suite, domain) for domain in DOMAINS]
    tables = [table for table in found if table and table.averages]
    if not tables:
        return None
    methods = [method for method in (LP, NMTUNE) if all(method in table.methods for table in tables)]
    first, last = ends(family, tables[0].conditions)
    if first is last:
        words = [f"{family.methods[method].label} {_each(tables, method, [last])}" for method in methods]
        return f"{family.label}, average accuracy: {'; '.join(words)}." if words else None
    words = [
        f"that of {family.methods[method].label} goes from {_each(tables, method, [first, last])}" for method in methods
    ]
    where = f"{family.label}: from {first.name} to {last.name} pre-training, the average accuracy"
    return f"{where} {'; '.join(words).removeprefix('that ')}." if words else None


def _each(tables: Sequence[Accuracies], method: str, conditions: Sequence[Condition]) -> str:
    """'71.9 to 66.8 % ID and 54.9 to 42.5 % OOD'."""
    parts = []
    for table in tables:
        cells = [table.cell(condition, None, method) for condition in conditions]
        values = " to ".join(percent(cell.mean) if cell else "–" for cell in cells)
        parts.append(f"{values}{NBSP}%{NBSP}{DOMAINS[table.domain]}")
    return listing(parts)
