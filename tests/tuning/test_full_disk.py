import errno
import os
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

import fastpt.files
from fastpt.cli import main
from tests.tuning.test_suites import feature_suite


@pytest.mark.parametrize("full_folder", ["out", "cache"])
def test_a_full_disk_is_told_in_one_line_and_leaves_nothing(tmp_path, monkeypatch, full_folder):
    feature_suite(tmp_path)
    suite = tmp_path / "suite.yaml"
    train, test = ({"features": f"{tmp_path}/{x}.npy", "labels": f"{tmp_path}/{x}_y.npy"} for x in ("train", "test"))
    suite.write_text(f"{{name: x, id: [{{name: a, train: {train}, test: {test}}}]}}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder, fsync = str(tmp_path / full_folder), os.fsync

    def full(descriptor: int) -> None:
        if str(Path(f"/proc/self/fd/{descriptor}").readlink()).startswith(folder):
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    monkeypatch.setattr(fastpt.files.os, "fsync", full)
    out = tmp_path / "out" / "results.json"
    result = CliRunner().invoke(main, ["tune", "--suite", str(suite), "--lp", "--epochs", "1", "--out", str(out)])
    assert result.exit_code == 1
    lines = [line for line in result.output.splitlines() if not line.startswith("tune: ")]
    assert len(lines) == 1
    assert lines[0].startswith(f"Error: {folder}/")
    assert re.search(r"\.(json|parquet): No space left on device", lines[0])
    assert [path for path in (tmp_path / full_folder).rglob("*") if path.is_file()] == []
