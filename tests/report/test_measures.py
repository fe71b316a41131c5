from fastpt.report.measures import Measure, measures_of, memorization_of, memorized
from fastpt.runs import read_run
from tests.report.conftest import MEMORIZATION, add_lines, change_provenance, write_run

SHARES = {"clean_fit": 0.9, "mislabeled_memorized": 0.25}


def run_with(root, **evaluation):
    path = write_run(root, rate=0.3)
    measures = {"recall_at_1": "Recall at 1", "recall_at_5": "Recall at 5", "never": "Never measured"}
    change_provenance(path, measures=measures)
    (path / "metrics.jsonl").unlink()
    add_lines(path, {"event": "eval", "step": 9, "epoch": 1.5, **evaluation})
    return read_run(path)


def test_measures_are_called_and_ordered_as_the_provenance_says(tmp_path):
    run = run_with(tmp_path, recall_at_5=0.8, recall_at_1=0.4)
    assert [one.label for one in measures_of([run])] == ["Recall at 1", "Recall at 5"]
    assert measures_of([run])[0].text(0.4) == "40.0\u00a0%"


def test_a_number_that_no_provenance_describes_comes_last_and_is_no_share(tmp_path):
    run = run_with(tmp_path, val_loss=0.5, recall_at_1=0.4, note="odd", broken=None)
    assert measures_of([run])[-1] == Measure("val_loss", "val loss", False)
    assert measures_of([run])[-1].text(1.23456) == "1.23"


def test_what_was_memorised_is_apart_from_what_was_evaluated(tmp_path):
    run = run_with(tmp_path, recall_at_1=0.4, **SHARES)
    assert [one.name for one in measures_of([run])] == ["recall_at_1"]
    assert [one.label for one in memorization_of([run])] == [MEMORIZATION[name] for name in SHARES]
    assert memorized(run) == SHARES
