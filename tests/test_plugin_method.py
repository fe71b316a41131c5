"""A tuning method that an installed package brings, from its option to what the results record."""

import json

import numpy as np
import pytest
import yaml


@pytest.fixture
def suite(tmp_path) -> str:
    """Features around three corners of a triangle, of which the third class is far away from the others."""
    rng = np.random.default_rng(0)
    centres = np.array([[0.0, 0.0], [2.0, 0.0], [0.0, 9.0]], np.float32)
    for name, count in (("train", 60), ("test", 30)):
        labels = np.arange(count) % 3
        np.save(tmp_path / f"{name}.npy", centres[labels] + 0.1 * rng.normal(size=(count, 2)))
        np.save(tmp_path / f"{name}_labels.npy", labels)
    train, test = ({"features": f"{one}.npy", "labels": f"{one}_labels.npy"} for one in ("train", "test"))
    (tmp_path / "corners.yaml").write_text(
        yaml.safe_dump({"name": "corners", "id": [{"name": "corners", "train": train, "test": test}]})
    )
    return "corners.yaml"


def test_a_packages_method_is_trained_and_recorded(plugin_fastpt, suite, tmp_path):
    ran = plugin_fastpt(
        "tune", "--suite", suite, "--method", "ncm", "--fractions", "0.5,1", "--epochs", "1", "--out", "r.json"
    )
    assert ran.returncode == 0, ran.stderr
    assert "NCM" in ran.stdout
    results = json.loads((tmp_path / "r.json").read_text())
    assert list(results["methods"]) == ["lp", "ncm"]
    assert results["methods"]["ncm"] == {
        "label": "NCM",
        "colour": "#6b5b95",
        "origin": {"name": "ncm", "distribution": "fastpt-plugin", "version": "0.1"},
        "settings": {"shrink": 0.0},
    }
    mine = [row for row in results["rows"] if row["method"] == "ncm"]
    assert [(row["fraction"], row["shrink"], row["value"]) for row in mine] == [(0.5, 0.0, 1.0), (1.0, 0.0, 1.0)]


def test_its_own_options_count(plugin_fastpt, suite, tmp_path):
    ran = plugin_fastpt(
        "tune", "--suite", suite, "--method", "ncm", "--shrink", "1", "--epochs", "1", "--out", "r.json"
    )
    assert ran.returncode == 0, ran.stderr
    results = json.loads((tmp_path / "r.json").read_text())
    assert results["config"]["shrink"] == 1
    (mine,) = (row for row in results["rows"] if row["method"] == "ncm")
    assert mine["value"] == pytest.approx(1 / 3)  # all means are one, and the answer is always the same


def test_its_option_is_refused_where_it_takes_no_part(plugin_fastpt, suite):
    ran = plugin_fastpt("tune", "--suite", suite, "--lp", "--shrink", "1")
    assert ran.returncode == 1
    assert "shrink is no option of lp. Add one of ncm, or leave it out." in ran.stderr


def test_help_shows_its_options(plugin_fastpt):
    assert "--shrink" in plugin_fastpt("tune", "--help").stdout
