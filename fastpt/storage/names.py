"""File names: which of them are of pictures, which are plain, what of them UTF-8 can hold, what tells them apart."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

JPEG_SUFFIXES = (".jpg", ".jpeg", ".jpe")
IMAGE_SUFFIXES = (*JPEG_SUFFIXES, ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".jp2", ".avif")

SYSTEM_NAMES = frozenset(  # in lower case: of macOS, Windows, Linux and network drives
    {"__macosx", "@eadir", "@tmp", "@synoresource", "@recycle", "#recycle", "#snapshot", "@recently-snapshot"}
    | {"~snapshot", "$recycle.bin", "system volume information", "found.000", "lost+found", "lost.dir"}
    | {"network trash folder", "temporary items", "thumbs.db", "ehthumbs.db", "desktop.ini", "icon\r", "__pycache__"}
)


def is_image(name: str) -> bool:
    """Whether a file of this name is a picture. Hidden files are none."""
    base = name.rpartition("/")[2]
    return not base.startswith(".") and base.lower().endswith(IMAGE_SUFFIXES)


def hidden_part(name: str) -> str | None:
    """The first part of a path that is hidden, or a system's own (`.ipynb_checkpoints`, `@eaDir`), if there is one."""
    parts = name.split("/")
    return next((p for p in parts if (p.startswith(".") and p != "..") or p.lower() in SYSTEM_NAMES), None)


def is_plain(name: str) -> bool:
    """Whether a name can be that of a folder: one that stays where it is put, and that a terminal shows."""
    return name.isprintable() and name not in ("", ".", "..") and "/" not in name


def normalised(name: str) -> str:
    """The name of a file in an archive as a folder would give it: relative, without `.`, `..` and empty parts.

    A `..` that leads out of the archive stays; nothing is ever written under such a name.
    """
    parts: list[str] = []
    for part in name.split("/"):
        if part == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif part not in ("", "."):
            parts.append(part)
    return "/".join(parts)


def is_utf8(name: str) -> bool:
    """Whether UTF-8 can hold the name of a file, whose other bytes Python stands in for by halves of characters."""
    return name.isascii() or not any("\ud800" <= char <= "\udfff" for char in name)


def well_formed(text: str) -> str:
    """The text with U+FFFD for what UTF-8 cannot hold: halves of characters, which JSON and file names may have."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def told_apart(paths: Sequence[Path], parts: int = 1) -> list[str]:
    """The last `parts` parts of each path, and as many more as tell it from the others."""
    names = ["/".join(path.parts[-parts:]) for path in paths]
    most = max((len(path.parts) for path in paths), default=0)
    while parts < most and (twice := {name for name, count in Counter(names).items() if count > 1}):
        parts += 1
        names = [
            "/".join(path.parts[-parts:]) if name in twice else name for path, name in zip(paths, names, strict=True)
        ]
    return names
