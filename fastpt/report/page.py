"""Renders the page: the parts are made in the other files, here they are put in order."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from fastpt.errors import FastptError
from fastpt.files import atomic_write
from fastpt.printable import block, finite, mapping, one_line
from fastpt.report import StepCost, dynamics, feature_tables, figures, rows, summary, tables, trends, verdicts
from fastpt.report.apart import Comparison, compared, facts, in_short
from fastpt.report.claims import Answer, Arm, Declaration, Progress, answers, arms
from fastpt.report.compare import DOMAINS, Accuracies, Family, accuracies, families, suites
from fastpt.report.effects import Effect, effects
from fastpt.report.figures import Figure
from fastpt.report.forest import forest_figure, overview_figure
from fastpt.report.markup import latex, markdown
from fastpt.report.methods import on_dark
from fastpt.report.out_files import replace_files
from fastpt.report.paper import COMPARED, claims
from fastpt.report.pictures import grids
from fastpt.report.plots import themed
from fastpt.report.tables import Table
from fastpt.report.template import render
from fastpt.report.text import duration, rate
from fastpt.runs import Run


@dataclass(frozen=True)
class SuiteResults:
    """What one suite of downstream sets says about the runs."""

    name: str
    findings: list[str]
    answers: list[tuple[str, Arm, list[Answer], Progress]]  # suite, arm, answers to its claims
    answer: str | None  # how many claims have which verdict
    interim: list[str]  # of each arm, why nothing is judged yet
    overview_figures: list[Figure]
    claims_tables: list[Table]
    forest_figures: list[Figure]
    verdicts: list[tuple[str, str]]  # of which claim, and what was found
    effects: list[tuple[str, Family, list[Effect]]]
    effects_tables: list[Table]
    effect_figures: list[Figure]
    rate_figures: list[Figure]
    spectrum_figures: list[Figure]
    tables: list[tuple[str, Family, Accuracies]]  # suite, family, numbers
    averages_tables: list[Table]
    accuracy_tables: list[Table]
    measures_tables: list[Table]
    features_tables: list[Table]
    in_short: str  # how it was measured
    facts: list[tuple[str, str]]  # the whole of that
    missing: list[str]
    without: list[str]  # runs that have no results under this suite


def write_report(
    runs: Sequence[Run],
    out: Path,
    files: bool = False,
    costs: Sequence[StepCost] | None = None,
    declaration: Declaration | None = None,
) -> list[str]:
    """Write the page `out` that compares the runs, of which there is one at least; return what is to be heeded.

    The page needs nothing beside it: style, figures (inline SVG) and pictures (data: URIs) are inside, and no script.
    What a run lacks (tuning results, the end of training, pictures) is said on the page. With `files`, the figures are
    also written as .svg, the numbers as .csv and the tables as .tex into `<out stem>_files/` beside the page. `costs`
    are those of a study's steps; without, each training's cost is shown. `declaration` has the study's claims; without,
    the paper's are asked of the runs that are there. The same runs give the same bytes. Raises FastptError if `out` is
    no name of a page, or if two runs or two of their results are the same replicate.
    """
    if out.is_dir():
        raise FastptError(
            f"{out} is a folder, but the report is one file. Name the file, such as {out / 'report.html'}."
        )
    if out.suffix not in (".html", ".htm"):  # which is that of other files, and of folders
        raise FastptError(f"{out} is no name of a page. Give --out one that ends in .html.")
    comparison = compared(runs)
    runs = comparison.runs
    groups = families(runs)
    declaration = declaration or Declaration()
    results = [_suite_results(runs, groups, suite, declaration, comparison) for suite in suites(runs)]
    trained = [figure for index, family in enumerate(groups) if (figure := trends.training_trend(family, index))]
    curves = trained + [
        figure for index, family in enumerate(groups) if (figure := figures.curve_figure(family, index))
    ]
    told = [section for index, family in enumerate(groups) if (section := dynamics.section(family, index))]
    out.parent.mkdir(parents=True, exist_ok=True)
    costs = costs or [StepCost(run.name, "train", run.seconds, run.bytes) for run in runs]
    _write(out, _render(comparison, groups, results, declaration, curves, told, costs))
    # Without --files, those of a page that was here before go, too.
    texts = _files(comparison, results, curves, told, costs) if files else {}
    return comparison.warnings + replace_files(out.with_name(f"{out.stem}_files"), texts)


def _suite_results(
    runs: Sequence[Run], groups: list[Family], suite: str, declaration: Declaration, comparison: Comparison
) -> SuiteResults:
    numbers = [
        (suite, family, table)
        for family in groups
        for domain in DOMAINS
        if (table := accuracies(family, suite, domain))
    ]
    averages = [
        tables.averages_table(family, [table for _, owner, table in numbers if owner is family]) for family in groups
    ]
    pairs = [*COMPARED, *((one.method, one.minus) for one in declaration.claims if one.minus)]
    found = [(suite, family, effects(family, suite, [*dict.fromkeys(pairs)])) for family in groups]
    answered = [
        (suite, arm, mine, declaration.progress_of(arm, runs, arm.lacking(suite, [one.claim for one in mine])))
        for family in groups
        for arm in arms(family)
        for asked in [declaration.asked_of(runs, suite) if declaration.claims else claims(arm, suite)]
        if (mine := answers(arm, suite, asked, declaration.votes, declaration.family_of(arm)))
        and (declaration.claims or any(one.sd is not None for one in mine))  # else there is no spread to judge by
    ]
    every = [(arm, one, progress) for _, arm, mine, progress in answered for one in mine]
    made = [(family, f"{suite}-{index}") for index, family in enumerate(groups)]

    def draw_all(draw: Callable) -> list[Figure]:
        return [figure for family, number_ in made if (figure := draw(family, suite, number_))]

    by_fraction = [
        figure
        for family, number_ in made
        for domain in DOMAINS
        if (figure := figures.fraction_figure(family, suite, domain, number_))
    ]
    return SuiteResults(
        suite,
        summary.findings(groups, suite),
        answered,
        verdicts.in_short([(one, progress) for _, one, progress in every]) if every else None,
        [
            f"{arm.label}: {told}" if len(answered) > 1 else told
            for _, arm, _, progress in answered
            if (told := verdicts.interim(progress))
        ],
        [
            figure
            for index, (_, arm, mine, progress) in enumerate(answered)
            if (figure := overview_figure(arm, mine, progress, f"{suite}-{index}"))
        ],
        [table for _, arm, mine, progress in answered for table in verdicts.tables(arm, mine, progress)],
        [
            figure
            for index, (_, arm, mine, _) in enumerate(answered)
            if (figure := forest_figure(arm, mine, f"{suite}-{index}"))
        ],
        [
            (verdicts.title(one, progress, arm.label if len(answered) > 1 else None), verdicts.sentence(one, progress))
            for arm, one, progress in every
        ],
        found,
        [table for _, family, mine in found if (table := tables.effects_table(family, mine))],
        [
            figure
            for index, (_, family, mine) in enumerate(found)
            if (figure := trends.effect_figure(family, mine, f"{suite}-{index}"))
        ],
        draw_all(figures.rate_figure) + by_fraction,
        draw_all(trends.spectrum_trend)
        + draw_all(figures.relation_figure)
        + draw_all(figures.spectrum_figure)
        + draw_all(figures.stage_figure),
        numbers,
        [table for table in averages if table],
        [tables.accuracy_table(family, table) for _, family, table in numbers],
        [table for family in groups if (table := rows.measures_table(family, suite))],
        [
            table
            for family in groups
            for pair in feature_tables.FEATURE_PAIRS
            if (table := feature_tables.features_table(family, suite, pair))
        ]
        + [table for family in groups if (table := feature_tables.similarity_table(family, suite))],
        in_short(comparison.suites[suite]),
        facts(comparison.suites[suite]),
        [*tables.missing_sets(runs, suite), *tables.missing_fractions(groups, suite)],
        [run.name for run in runs if all(one_line(tune["suite"]) != suite for tune in run.tunes)],
    )


def _render(
    comparison: Comparison,
    groups: list[Family],
    results: list[SuiteResults],
    declaration: Declaration,
    curves: list[Figure],
    told: list[dynamics.Section],
    costs: Sequence[StepCost],
) -> str:
    runs = comparison.runs
    variables = {method.colour: f"method-{index}" for index, method in enumerate(groups[0].methods.values())}
    return render(
        "page.html",
        variables=[(name, colour, on_dark(colour)) for colour, name in variables.items()],
        headline=summary.headline(runs),
        opening=summary.opening(runs, groups),
        problems=[(one_line(one.step), [f"{one.kind} failed"]) for one in costs if one.state == "failed"]
        + [(run.name, run.problems) for run in runs if run.problems],
        run_rows=[tables.run_cells(run) for run in runs],
        differences=comparison.differences,
        any_apart=any(one.role == "setting" for one in comparison.differences),
        results=results,
        declared=declaration.note,
        unanswered=verdicts.unanswered(declaration.claims, [one for result in results for one in result.answers]),
        curves=curves,
        dynamics=told,
        trained=[table for family in groups if (table := trends.training_table(family))],
        memorization=[table for family in groups if (table := tables.memorization_table(family))],
        costs=[tables.cost_summary(costs), tables.cost_table(costs)] if len(costs) > 1 else [tables.cost_table(costs)],
        grids=grids(runs),
        most_rows=tables.MOST_ROWS,
        any_noise=any(run.noise for run in runs),
        provenance=[_provenance(run) for run in runs],
        themed=partial(themed, variables=variables),
        figure_number=count(1).__next__,
        table_number=count(1).__next__,
    )


def _provenance(run: Run) -> dict[str, Any]:
    """What it takes to make a run again: facts in order, the command, the resolved recipe."""
    noise = run.noise or {}
    realised = finite(noise.get("realised_rate"))
    facts = [
        ("Recipe", run.recipe_name),
        ("Seed", run.seed),
        ("Git commit", ", then ".join(map(str, run.over_starts("git"))) or None),
        ("Training data", run.data.get("train")),
        ("samples_id", run.provenance.get("samples_id")),
        ("Noise plan", noise.get("plan") if noise else "none: clean targets"),
        ("Noise rate", f"{rate(run.rate)} asked" + (f", {rate(realised)} realised" if realised else "")),
        ("Noise plan sha256", noise.get("array_sha256") if noise else None),
        ("Versions", "; then ".join(map(_versions, run.over_starts("versions"))) or None),
        ("Processes", ", then ".join(map(str, run.over_starts("world_size"))) or None),
        ("Machine", ", then ".join(map(str, run.over_starts("machine"))) or None),
        ("Device", ", then ".join(map(str, run.over_starts("device"))) or None),
        ("Precision", ", then ".join(map(str, run.over_starts("precision"))) or None),
    ]
    for tune in run.tunes:
        facts.append((f"Tuned on {tune['suite']}: weights sha256", mapping(tune.get("encoder")).get("weights_sha256")))
        spent = [f"{part} {duration(finite(value))}" for part, value in mapping(tune.get("seconds")).items()]
        facts.append((f"Tuned on {tune['suite']}: time", ", ".join(spent) or None))
    command = "\n".join(map(str, run.over_starts("command")))
    recipe = yaml.safe_dump(run.recipe, sort_keys=False, allow_unicode=True) if run.recipe else ""
    return {
        "name": run.name,
        "facts": [(one_line(name), one_line(value)) for name, value in facts if value is not None],
        "command": block(command) if command else None,
        "recipe": block(recipe),
    }


def _versions(versions: Any) -> str:
    if isinstance(versions, dict):
        return ", ".join(f"{name} {version}" for name, version in versions.items())
    return json.dumps(versions)


def _write(path: Path, text: str) -> None:
    with atomic_write(path, "w") as file:
        file.write(text)


def _files(
    comparison: Comparison,
    results: list[SuiteResults],
    curves: list[Figure],
    told: list[dynamics.Section],
    costs: Sequence[StepCost],
) -> dict[str, str]:
    """For a paper, by file name: the figures as SVG, the numbers as CSV, the tables as LaTeX (booktabs)."""
    drawn = [
        *curves,
        *(figure for section in told for figure in section.figures),
        *(
            figure
            for result in results
            for figure in (
                *result.overview_figures,
                *result.effect_figures,
                *result.rate_figures,
                *result.forest_figures,
                *result.spectrum_figures,
            )
        ),
    ]
    texts: dict[str, str] = {}

    def add(stem: str, suffix: str, text: str) -> None:
        stem = "".join(char if char.isalnum() or char in "-_." else "_" for char in stem)
        while stem + suffix in texts:  # of another suite, whose name has other signs
            stem += "_"
        texts[stem + suffix] = text

    for figure in drawn:
        for name, svg in figure.panels.items():
            add(name, ".svg", svg)
    texts |= tables.csv_files(comparison.runs, [table for result in results for table in result.tables])
    texts["rows.csv"] = rows.rows_csv(comparison.runs)
    texts["steps.csv"] = tables.steps_csv(costs)
    texts["fields.csv"] = tables.fields_csv(comparison)
    texts["claims.csv"] = verdicts.csv([one for result in results for one in result.answers])
    texts["effects.csv"] = tables.effects_csv([one for result in results for one in result.effects])
    for number_, section in enumerate(told, 1):
        add(f"table-dynamics-{number_}", ".tex", latex(section.table))
    said = [table for family in families(comparison.runs) if (table := trends.training_table(family))]
    for result in results:
        made = [*result.averages_tables, *result.accuracy_tables, *result.features_tables, *result.effects_tables]
        made += [*result.claims_tables, *result.measures_tables]
        said += [*result.claims_tables, *result.averages_tables, *result.effects_tables, *result.accuracy_tables]
        for number_, table in enumerate(made, 1):
            add(f"table-{result.name}-{number_}", ".tex", latex(table))
    texts["tables.md"] = markdown(said)
    return texts
