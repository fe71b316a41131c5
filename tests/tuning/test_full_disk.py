import errno

from click.testing import CliRunner

import fastpt.files
from fastpt.cli import main
from tests.tuning.test_suites import feature_suite


def test_a_full_disk_is_told_in_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    feature_suite(tmp_path)
    suite = tmp_path / "suite.yaml"
    train, test = ({"features": f"{tmp_path}/{x}.npy", "labels": f"{tmp_path}/{x}_y.npy"} for x in ("train", "test"))
    suite.write_text(f"{{name: x, id: [{{name: a, train: {train}, test: {test}}}]}}")

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(fastpt.files.os, "fsync", full)
    out = tmp_path / "out" / "results.json"
    result = CliRunner().invoke(main, ["tune", "--suite", str(suite), "--lp", "--epochs", "1", "--out", str(out)])
    assert result.exit_code == 1
    assert f"{out}: No space left on device" in result.output
    assert list(out.parent.iterdir()) == []
