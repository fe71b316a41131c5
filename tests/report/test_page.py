import dataclasses
import html
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import pytest

from fastpt.errors import FastptError
from fastpt.report.markup import latex, markdown
from fastpt.report.page import write_report
from fastpt.report.tables import Cell, Group, Row, Table
from fastpt.runs import read_provenance, read_recipe, read_runs
from fastpt.runs.records import write_records
from tests.conftest import made_up, prepared
from tests.report.conftest import METHODS, add_lines, change_provenance, tune_results, write_run

SETS = [("id", "textures", "textures-test"), ("id", "shapes", "shapes-test"), ("ood", "photo", "art")]


def results(level=0.7, seeds=1, spectra=False, **more):
    def methods():
        return {method: [level + 0.02 * i + 0.01 * n for n in range(seeds)] for i, method in enumerate(METHODS)}

    return {**tune_results({where: methods() for where in SETS}, spectra), **more}


def page(tmp_path, *runs, **options):
    out = tmp_path / "out" / "report.html"
    write_report(read_runs(runs), out, **options)
    return out.read_text()


def words(text):
    """What a reader sees: no markup, one kind of space."""
    text = re.sub(r"<(style|svg).*?</\1>", " ", text, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", text)).split())


class Resources(HTMLParser):
    """Everything that a browser would load, and the tags that are open at the end."""

    def __init__(self, text):
        super().__init__()
        self.loaded, self.scripts = [], 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.scripts += tag in ("script", "iframe", "object", "embed", "link")
        self.loaded += [value for name, value in attrs if name in ("src", "href", "xlink:href", "srcset", "data")]


def test_three_rates_of_two_tasks_are_compared(tmp_path):
    runs = [write_run(tmp_path, rate=rate, tune=results(0.7 - rate, 3, True)) for rate in (0.0, 0.05, 0.3)]
    runs += [
        write_run(tmp_path, "demo_clip", rate, task="clip", tune=results(0.5 - rate / 2, 3, True))
        for rate in (0.0, 0.3)
    ]
    text = page(tmp_path, *runs)
    seen = words(text)
    assert "demo_resnet and demo_clip at 0, 5 and 30 % noise" in seen
    assert "Each has one pre-training seed: differences between noise rates may be chance." in seen
    assert "from clean to 30 % symmetric pre-training, the average accuracy of LP goes from 71.0 to 41.0 % ID" in seen
    assert "textures 71.0 ± 2.5 73.0 ± 2.5 75.0 ± 2.5" in seen
    assert "photo → art" in seen
    assert "over 3 seeds of the head: it says nothing of another pre-training" in seen
    assert text.count("<svg") == 4 + 4 + 2 * 3 + 5 + 2 * 3 + 8 + 2
    # rates, relations, spectra, stages, curves; spectra and training by rate
    assert "<b>75.0 ± 2.5</b>" in text


def test_one_run_claims_no_effect_of_noise(tmp_path):
    seen = words(page(tmp_path, write_run(tmp_path, rate=0.05, tune=results())))
    assert "this page shows what the run reached, not what the noise did" in seen
    assert "One rate only: points, no trend." in seen
    assert "One seed: small differences may be chance." in seen
    assert "goes from" not in seen


def test_several_pretraining_seeds_are_told(tmp_path):
    runs = [
        write_run(tmp_path, rate=rate, seed=seed, tune=results(0.6 + 0.02 * seed))
        for rate in (0, 0.3)
        for seed in (0, 1)
    ]
    seen = words(page(tmp_path, *runs))
    assert "Each has 2 pre-training seeds; ± is a 95 % confidence interval over them." in seen
    assert "textures 61.0 ± 12.7 63.0 ± 12.7 65.0 ± 12.7" in seen


def test_nothing_is_loaded_and_no_script_is_there(tmp_path):
    found = Resources(page(tmp_path, write_run(tmp_path, rate=0.05, tune=results(spectra=True))))
    assert found.scripts == 0
    assert all(value.startswith(("data:", "#")) for value in found.loaded)


def test_the_same_runs_give_the_same_bytes(tmp_path):
    run = write_run(tmp_path, rate=0.3, tune=results(spectra=True))
    assert page(tmp_path / "a", run) == page(tmp_path / "b", run)


EVIL = "<img src=x onerror=alert(1)>\x1b[31m\u202e$x$"


def test_text_from_data_is_escaped_everywhere(tmp_path):
    tune = results(spectra=True, missing=[{"set": EVIL, "reason": EVIL}], suite=EVIL)
    for row in (*tune["rows"], *tune["spectra"]):
        row |= {"set": EVIL, "test": row["test"] + EVIL}
    for row in tune["rows"]:
        row["method"] = row["method"].replace("mlp", EVIL)
    run = write_run(tmp_path, rate=0.05, name="<b>run")
    (run / "tune").mkdir()
    (run / "tune" / "demo.json").write_text(json.dumps(tune))
    noise = {**read_provenance(run)["noise"], "plan": EVIL, "kind": EVIL}
    change_provenance(run, recipe=EVIL, git=EVIL, command=EVIL, seed=EVIL, versions={EVIL: EVIL}, noise=noise)
    add_lines(run, {"event": "eval", "step": 200, "split": EVIL, EVIL: 0.5})
    text = page(tmp_path, run, files=True)
    assert "<img" not in text
    assert "<b>run" not in text
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e]", text)
    assert "&lt;img src=x onerror=alert(1)&gt;$x$" in text
    assert all(path.parent == tmp_path / "out" / "report_files" for path in (tmp_path / "out").rglob("*.svg"))


@pytest.mark.parametrize("missing", ["recipe.yaml", "provenance.json", "metrics.jsonl", "tune"])
def test_a_run_that_lacks_something_is_reported_with_what_it_has(tmp_path, missing):
    whole = write_run(tmp_path, rate=0.3, tune=results())
    spoilt = write_run(tmp_path, rate=0.05, tune=None if missing == "tune" else results())
    if missing != "tune":
        (spoilt / missing).unlink()
    seen = words(page(tmp_path, whole, spoilt))
    expected = "no tuning results" if missing == "tune" else f"{missing} is missing"
    assert f"demo_resnet-symmetric-0.05-seed0-s0 : {expected}" in seen


@pytest.mark.parametrize(("seeds", "judged"), [(1, False), (2, True)])
def test_a_page_begins_with_the_claims_only_where_the_runs_can_tell_a_spread(tmp_path, seeds, judged):
    runs = [
        write_run(tmp_path, rate=rate, seed=seed, tune=results(0.7 - rate + 0.01 * seed))
        for rate in (0.0, 0.3)
        for seed in range(seeds)
    ]
    seen = words(page(tmp_path, *runs))
    assert bool(re.search(r"\d claims: ", seen)) == judged
    assert ("Table 1. Claims" in seen) == judged
    assert "Measured demo_resnet: from clean to 30 % symmetric pre-training" in seen


@pytest.mark.parametrize(("tune", "asked"), [({}, " --suite NAME"), ({"suite": "demo"}, "")])
def test_a_run_that_was_not_tuned_says_what_tunes_it_as_its_recipe_would(tmp_path, tune, asked):
    run = write_run(tmp_path)
    write_records(run, {**read_recipe(run), "tune": tune}, read_provenance(run))
    assert f"`fastpt tune --run {run}{asked}` adds them" in read_runs([run])[0].problems[-1]


def test_nothing_tuned_and_nothing_logged_is_said(tmp_path):
    run = write_run(tmp_path)
    (run / "metrics.jsonl").write_text("")
    seen = words(page(tmp_path, run))
    assert "None of these runs was tuned" in seen
    assert "None of these runs has a training log" in seen
    assert "All runs were trained on clean targets" in seen


@pytest.mark.parametrize(
    "spoil",
    [
        {"rows": None, "spectra": None, "missing": None, "seconds": None, "encoder": None},
        {"rows": [None, 1, {}], "spectra": [{}, {"stage": "encoder", "singular_values": [0, "x", None]}]},
        {"rows": [{"domain": "id", "set": "a", "method": "lp", "value": None}], "seconds": {"fit": "long"}},
    ],
)
def test_odd_tuning_results_do_not_fail_the_page(tmp_path, spoil):
    assert "No accuracy was measured." in words(page(tmp_path, write_run(tmp_path, tune=results(**spoil))))


def test_figures_and_tables_come_as_files_when_asked_for(tmp_path):
    run = write_run(tmp_path, rate=0.05, tune=results(spectra=True))
    assert not (tmp_path / "out" / "report_files").exists()
    page(tmp_path, run, files=True)
    files = {path.name: path.read_text() for path in (tmp_path / "out" / "report_files").iterdir()}
    assert files["accuracy.csv"].splitlines()[1].startswith("demo,demo_resnet,5 % symmetric,id,textures,textures-test")
    assert files["runs.csv"].startswith("Run,Task,Model")
    svgs = [text for name, text in files.items() if name.endswith(".svg")]
    assert svgs
    assert not any("var(--" in text for text in svgs)
    assert "**ID: demo" in files["tables.md"]
    assert files["table-demo-1.tex"].startswith("% ID: demo_resnet. In percent")


def test_latex_escapes_what_latex_would_act_on_and_marks_the_best():
    rows = [Row("a_b & c", [Cell("70.0 ± 1.0", best=True), Cell("–")]), Row("photo → art", [Cell("5 %"), Cell(r"\x")])]
    lines = latex(Table("Title", ["LP", "MLP"], [Group("30 % noise", rows)], "Note.")).splitlines()
    assert lines == [
        "% Title. Note.",
        r"\begin{tabular}{lrr}",
        r"\toprule",
        r"Set & LP & MLP \\",
        r"\midrule",
        r"\multicolumn{3}{l}{\emph{30 \% noise}} \\",
        r"a\_b \& c & \textbf{70.0 $\pm$ 1.0} & -- \\",
        r"photo $\to$ art & 5 \% & \textbackslash{}x \\",
        r"\bottomrule",
        r"\end{tabular}",
    ]


def test_tables_come_as_markdown_too():
    rows = [Row("a_b | c", [Cell("70.0 ± 1.0", best=True), Cell("< 0.001")])]
    lines = markdown([Table("Title", ["LP", "MLP"], [Group("30 % noise", rows)], "Note.")]).splitlines()
    assert lines == [
        "**Title.** Note.",
        "",
        "| Set | LP | MLP |",
        "| --- | ---: | ---: |",
        r"| a\_b &#124; c | **70.0 ± 1.0** | &lt; 0.001 |",
    ]


def test_noisy_samples_show_clean_and_shown_class(tmp_path):
    names = ["teapot", "fish", "<b>owl</b>", "sea\u202eanemone"]
    dataset = prepared(tmp_path / "data" / "demo", made_up(40, class_names=names), [0.5])
    (plan,) = dataset.noise_plans()
    noise = dataset.noise_plan(plan).provenance()
    run = write_run(tmp_path, plan=noise, train="data/demo/train", samples_id=dataset.samples_id)
    text = page(tmp_path, run)
    pairs = re.findall(r"<dt>clean</dt><dd><bdi>(.*?)</bdi>.*?class=\"shown\"><bdi>(.*?)</bdi>", text, re.DOTALL)
    assert len(pairs) == text.count("data:image/jpeg;base64,") == 12
    assert all(before != after for before, after in pairs)
    assert {name for pair in pairs for name in pair} <= {"teapot", "fish", "&lt;b&gt;owl&lt;/b&gt;", "seaanemone"}
    assert "12 of 20 samples with a changed target" in words(text)


def test_noisy_samples_show_captions_for_clip(tmp_path):
    split = made_up(40, captions=True)
    split = dataclasses.replace(split, captions=[f"<i>caption {i}</i>" for i in range(40)])
    dataset = prepared(tmp_path / "data" / "caps", split, [0.2])
    (plan,) = [name for name in dataset.noise_plans() if name.startswith("swap")]
    noise = dataset.noise_plan(plan, of="captions").provenance()
    run = write_run(tmp_path, task="clip", plan=noise, train="data/caps/train", samples_id=dataset.samples_id)
    text = page(tmp_path, run)
    assert "<i>" not in text
    assert text.count("&lt;i&gt;caption") >= 16
    assert text.count("data:image/jpeg;base64,") == 8


def test_samples_of_other_data_are_not_shown(tmp_path):
    dataset = prepared(tmp_path / "data" / "demo", made_up(40), [0.5])
    noise = dataset.noise_plan(dataset.noise_plans()[0]).provenance()
    text = page(tmp_path, write_run(tmp_path, plan=noise, train="data/demo/train"))
    assert "data:image" not in text
    assert "no longer holds the samples of the run" in words(text)


def test_pictures_that_are_gone_are_said_to_be(tmp_path):
    seen = words(page(tmp_path, write_run(tmp_path, rate=0.05)))
    assert "No pictures: data/demo/train does not exist" in seen


def test_out_may_not_be_a_folder(tmp_path):
    with pytest.raises(FastptError, match="is a folder, but the report is one file"):
        write_report(read_runs([write_run(tmp_path)]), tmp_path)


def test_importing_the_report_is_light():
    code = (
        "import sys, fastpt.report; print([m for m in ('matplotlib', 'jinja2', 'numpy', 'torch') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_differs_comes_first_and_each_suite_says_what_it_is_of(tmp_path):
    flipped = {**results(0.4), "config": {"label_noise": 0.6}}
    right = {**results(0.7), "config": {"label_noise": 0.0}}
    runs = [write_run(tmp_path, tune=right), write_run(tmp_path, rate=0.3, tune=flipped)]
    seen = words(page(tmp_path, *runs))
    assert seen.index("Table 1. What differs between these runs") < seen.index("Measured")
    assert "label_noise · shown apart" in seen.replace(" shown", " · shown")
    for share in ("0 %", "60 %"):
        assert f"Suite demo [label_noise {share}]" in seen[seen.index("Measured") :]
    assert "goes from" not in seen
    assert "60 % of the training labels flipped" in seen


def test_runs_that_differ_in_noise_and_seed_have_no_table_of_what_differs(tmp_path):
    runs = [write_run(tmp_path, rate=rate, seed=seed, tune=results()) for rate in (0, 0.3) for seed in (0, 1)]
    assert "What differs" not in page(tmp_path, *runs)


def test_a_page_is_written_over_nothing_but_pages(tmp_path):
    run = write_run(tmp_path)
    for name in ("metrics.jsonl", "recipe.yaml", "provenance.json"):
        before = (run / name).read_bytes()
        with pytest.raises(FastptError, match="no name of a page"):
            write_report(read_runs([run]), run / name)
        assert (run / name).read_bytes() == before


def test_heads_on_a_smaller_share_of_the_data_than_others_are_said_to_be_in_no_table(tmp_path):
    few = results(0.4)
    for row in few["rows"]:
        row["fraction"] = 0.1
    runs = [write_run(tmp_path, tune=results()), write_run(tmp_path, rate=0.3, tune=few)]
    assert "s0: no head on 100 % of the data, of which the tables are" in words(page(tmp_path, *runs))
