import re
from dataclasses import replace

import numpy as np
import pytest

from fastpt.errors import FastptError
from fastpt.report.preview import _bins, write_preview
from tests.conftest import made_up, prepared


@pytest.fixture
def page(captioned, tmp_path):
    write_preview(captioned, captioned.noise_plans(), 5, tmp_path / "page.html")
    return (tmp_path / "page.html").read_text()


def test_it_shows_every_plan_with_pictures_rates_and_one_matrix_for_labels(page):
    assert page.count("data:image/jpeg;base64,") == 15  # 5 clean, 5 of each plan
    assert "symmetric noise of labels, seed 0: 20\u00a0% asked, 20\u00a0% realised (8 of 40 samples)" in page
    assert "swap noise of captions" in page
    assert page.count('<table class="matrix">') == 1
    cells = [int(cell) for cell in re.findall(r"--share: \d+\">(\d+)<", page)]
    assert sum(cells) == 8


def test_it_is_self_contained(page):
    assert "default-src 'none'" in page
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    assert "<script" not in page


def test_text_from_data_is_escaped(tmp_path):
    evil = "<script>alert(1)</script>\x1b[31m & \u202e"
    split = replace(made_up(8, captions=True), captions=[f"{evil} {i}" for i in range(8)], class_names=[evil] * 4)
    dataset = prepared(tmp_path, split, [0.5])
    write_preview(dataset, dataset.noise_plans(), 8, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "<script" not in page
    assert "\x1b" not in page
    assert "\u202e" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_many_classes_are_put_together(tmp_path):
    dataset = prepared(tmp_path, made_up(80, classes=40), [0.5])
    write_preview(dataset, dataset.noise_plans(), 2, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "Classes by number of samples" in page
    assert "classes 0–2" in page


@pytest.mark.parametrize("values", [[64, 96, 70.5], [0.12, 0.19], [3, 4], [200, 500, 499], [1, 100_000]])
def test_bins_have_round_edges_and_hold_every_value(values):
    bins = _bins(np.array(values), " px")
    assert sum(count for _, count in bins) == len(values)
    assert len(bins) <= 14
    assert all(len(name) <= len("1e+05–1.1e+05 px") for name, _ in bins)


def test_a_plan_is_also_named_by_its_rate_and_clean_shows_none(tmp_path):
    dataset = prepared(tmp_path, made_up(80), [0.25, 0.5])
    write_preview(dataset, [0.5, None], 2, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "symmetric-0.5-seed0" in page
    assert "symmetric-0.25-seed0" not in page


def test_a_plan_that_is_not_there_and_a_folder_as_target_are_refused(labelled, tmp_path):
    with pytest.raises(FastptError, match="no noise plan 'mine'"):
        write_preview(labelled, ["mine"], 2, tmp_path / "page.html")
    with pytest.raises(FastptError, match="is a folder"):
        write_preview(labelled, [], 2, tmp_path)
