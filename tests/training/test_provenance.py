"""Which commit is recorded as that of the code: the package's own checkout's, or none."""

import os
import subprocess

import pytest

from fastpt.training.provenance import _commit

OURS = '[project]\nname = "fastpt"\n'


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch):
    """No settings of this machine's git, whose `safe.directory` may allow everything."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", "/dev/null")


def git(folder, *words) -> str:
    command = ["git", "-C", str(folder), "-c", "user.name=me", "-c", "user.email=me@example.org", *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def repository(folder, project=OURS) -> str:
    """Make a repository of a package of code; its commit."""
    (folder / "fastpt").mkdir(parents=True)
    (folder / "fastpt" / "code.py").write_text("1\n")
    (folder / "pyproject.toml").write_text(project)
    for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        git(folder, *words)
    return git(folder, "rev-parse", "HEAD")


def test_a_checkout_has_its_commit(tmp_path):
    assert _commit(tmp_path / "ours") is None
    commit = repository(tmp_path / "ours")
    assert _commit(tmp_path / "ours") == commit


@pytest.mark.parametrize("file", ["fastpt/code.py", "fastpt/new.py"], ids=["changed", "added"])
def test_code_that_was_changed_or_added_is_told(tmp_path, file):
    commit = repository(tmp_path)
    (tmp_path / "notes.txt").write_text("of no code")
    assert _commit(tmp_path) == commit
    (tmp_path / file).write_text("2\n")
    assert _commit(tmp_path) == f"{commit}-dirty"


def test_a_repository_that_holds_the_package_is_not_asked(tmp_path):
    repository(tmp_path / "lab", '[project]\nname = "lab"\n')
    assert _commit(tmp_path / "lab") is None  # installed at its top, by `pip install --target .`
    below = tmp_path / "lab" / "third_party" / "fastpt"
    below.mkdir(parents=True)
    (below / "pyproject.toml").write_text(OURS)
    assert _commit(below) is None


def test_a_repository_that_the_environment_names_is_not_asked(tmp_path, monkeypatch):
    """Git's hooks and `git rebase --exec` run with GIT_DIR set."""
    commit = repository(tmp_path / "ours")
    repository(tmp_path / "others")
    (tmp_path / "others" / "fastpt" / "code.py").write_text("2\n")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "others" / ".git"))
    monkeypatch.setenv("GIT_WORK_TREE", str(tmp_path / "others"))
    assert _commit(tmp_path / "ours") == commit


def test_a_checkout_that_cannot_be_asked_says_so(tmp_path, monkeypatch):
    repository(tmp_path)
    (tmp_path / ".git" / "HEAD").unlink()
    assert (_commit(tmp_path) or "").startswith("unknown: git could not be asked (fatal: not a git repository")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "No such file" in (_commit(tmp_path) or "")
