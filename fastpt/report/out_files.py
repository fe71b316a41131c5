"""The folder of files beside a page: what a report writes there replaces what one wrote there before."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from fastpt.files import atomic_write, file_sha256, write_json
from fastpt.printable import mapping

WRITTEN = "files.json"
"""Names and sums of what the last report wrote into the folder."""


def replace_files(folder: Path, texts: Mapping[str, str]) -> list[str]:
    """Write files by name into `folder`; those that a report wrote before and this one does not go, as an empty folder.

    Files of others stay, and ours that were changed since: a line for each of these.
    """
    before, kept = _before(folder), []
    for name, sha256 in before.items():
        path = folder / name
        if name in texts or not path.is_file():
            continue
        if file_sha256(path) == sha256:
            path.unlink()
        else:
            kept.append(f"{path} is of a report before, was changed since, and stays")
    if not texts:
        if before:
            (folder / WRITTEN).unlink(missing_ok=True)
            if not any(folder.iterdir()):
                folder.rmdir()
        return kept
    folder.mkdir(exist_ok=True)
    for name, text in texts.items():
        with atomic_write(folder / name, "w") as file:
            file.write(text)
    write_json(folder / WRITTEN, {name: hashlib.sha256(text.encode()).hexdigest() for name, text in texts.items()})
    return kept


def _before(folder: Path) -> dict[str, str]:
    try:
        known = mapping(json.loads((folder / WRITTEN).read_bytes()))
    except (OSError, ValueError, RecursionError):
        return {}
    return {name: sha256 for name, sha256 in known.items() if Path(name).name == name}
