"""A contestant's process: `python -m tools.bench.worker MODULE:FUNCTION PACKAGE`, spoken to in lines of JSON.

The first line in is the function's keyword arguments. It makes what is measured, imports, compiling and start of
workers included, and returns a function without arguments, which each further line runs once. That returns how much was
done, or, where the clock is its own, what was measured. Each line out begins with MARK.
"""

import importlib
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

MARK = "bench: "
WARM = 0.01  # share of the pages of files that were thrown out of the page cache


def main(call: str, package: str) -> None:
    arguments = json.loads(sys.stdin.readline())
    cold = arguments.pop("cold", None)  # a folder that is thrown out of the page cache before each round
    answer: dict[str, Any] = {"version": _version(package)}
    try:
        module, _, name = call.partition(":")
        run: Callable[[], float] = getattr(importlib.import_module(module), name)(**arguments)
        _say(answer)
        for _ in sys.stdin:
            if cold:
                _drop(Path(cold))
            began = time.perf_counter()
            found = run()
            _say({"found": found, "seconds": time.perf_counter() - began})
    except ModuleNotFoundError as error:
        _say({**answer, "missing": f"not installed ({error.name})"})
    except Exception as error:  # of whatever library: the others go on
        traceback.print_exc()
        _say({**answer, "missing": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"})


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(f"\n{MARK}{json.dumps(answer)}\n")
    sys.stdout.flush()


def _drop(folder: Path) -> None:
    """Throw the files of a folder out of the page cache. Raises RuntimeError if some stay, as what is mapped does."""
    from tools.bench.page_cache import resident

    files = [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size]
    for path in files:
        with path.open("rb") as file, suppress(OSError):
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    if (share := resident(files)) > WARM:
        raise RuntimeError(f"{share:.0%} of its files stay in the page cache")


if __name__ == "__main__":
    main(*sys.argv[1:])
