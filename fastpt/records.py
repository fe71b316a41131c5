"""Text files that people read and that tell whether they changed: YAML with its sum in the last line, lines of JSON
with a sum each."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import xxhash
import yaml

from fastpt.errors import DamagedData
from fastpt.files import atomic_write

SEAL = "# sha256 of all above: "
SUM = "xxh3"


def write_sealed_yaml(path: Path, value: Mapping[str, Any]) -> None:
    """Write a mapping as YAML, its SHA-256 in a comment at the end."""
    text = yaml.safe_dump(dict(value), sort_keys=False)
    with atomic_write(path, "w") as file:
        file.write(f"{text}{SEAL}{_sha256(text)}\n")


def read_sealed_yaml(path: Path) -> dict[str, Any]:
    """Read what `write_sealed_yaml` wrote. Raises OSError, DamagedData if it changed."""
    from fastpt.config import parse_yaml  # it brings pydantic, which help shall not wait for

    try:
        text, _, seal = path.read_bytes().decode().rpartition(SEAL)
        if seal == f"{_sha256(text)}\n":
            return parse_yaml(text)
        why = "its content does not match the sha256 in its last line" if text else "its last line has no sha256"
    except UnicodeDecodeError as error:
        why = f"it does not parse ({error})"
    raise DamagedData(f"{path} is damaged: {why}. Restore it or make it anew.")


def sealed_line(event: Mapping[str, Any]) -> str:
    """A mapping as a line of JSON, with the xxh3-64 of all else in it as `xxh3`."""
    return json.dumps({**event, SUM: _xxh3(event)}) + "\n"


def read_sealed_line(line: str) -> dict[str, Any] | None:
    """The mapping that `sealed_line` was given; None if the line is not as it was."""
    try:
        event = json.loads(line)
        return event if event.pop(SUM) == _xxh3(event) else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _xxh3(event: Mapping[str, Any]) -> str:
    return xxhash.xxh3_64_hexdigest(json.dumps(event).encode())
