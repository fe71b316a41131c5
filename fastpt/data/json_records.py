"""Records in JSON: objects that name no key twice."""

import json
from collections import Counter


def parse_record(text: str | bytes) -> dict[str, object]:
    """A record in JSON. Raises ValueError if it is no JSON object, or names a key twice."""
    try:
        return as_record(json.loads(text, object_pairs_hook=unique_keys))
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None


def as_record(value: object) -> dict[str, object]:
    """A value of JSON that is an object. Raises ValueError if it is not."""
    if not isinstance(value, dict):
        raise ValueError(f"found {type(value).__name__}")
    return value


def unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object of JSON. Raises ValueError if two values have one key, of which json would keep the last."""
    found = dict(pairs)
    if len(found) < len(pairs):
        twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {twice!r} stands there twice")
    return found
