"""docs/start/quickstart.md lists the commands that tools/quickstart runs."""

import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs/start/quickstart.md").read_text()


def test_the_commands_on_the_page_are_those_of_the_script(tmp_path):
    (tmp_path / "tools").mkdir()
    (tmp_path / ".venv/bin").mkdir(parents=True)
    (tmp_path / "tools/quickstart").write_text((ROOT / "tools/quickstart").read_text())
    (tmp_path / "tools/setup").write_text("#!/bin/sh\n")
    (tmp_path / ".venv/bin/fastpt").write_text(f'#!/bin/sh\necho "fastpt $*" >>{tmp_path}/ran\n')
    for name in ("tools/quickstart", "tools/setup", ".venv/bin/fastpt"):
        (tmp_path / name).chmod(0o755)
    env = {"PATH": os.environ["PATH"]}
    subprocess.run([tmp_path / "tools/quickstart"], env=env, check=True, capture_output=True, timeout=60)
    ran = (tmp_path / "ran").read_text().splitlines()
    (served,) = [line for line in ran if "--serve" in line]  # beside the others
    block = re.search(r"## What it runs\n\n```\n(.*?)```", PAGE, re.DOTALL)
    assert block is not None
    assert [line for line in ran if line != served] == block[1].splitlines()
    assert f"`{served}`" in PAGE
