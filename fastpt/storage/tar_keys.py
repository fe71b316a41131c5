"""The samples of a WebDataset tar: the files of one sample share a key and differ in suffix."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from fastpt.errors import FastptError
from fastpt.storage.names import IMAGE_SUFFIXES, hidden_part, well_formed
from fastpt.storage.tar import Tar

ENDING = re.compile(r"(\.tar(\.(gz|bz2|xz|zst))?|\.t(gz|bz2?|xz|zst)|\.[^.]*)$", re.IGNORECASE)


class Keyed(NamedTuple):
    """A file of a sample. `suffix` is in lower case, with its dot; `name` is that of the file in its tar."""

    key: str
    suffix: str
    name: str
    is_picture: bool


def keyed_files(tar: Tar, image_member: str | None = None) -> Iterator[Keyed]:
    """The files of a tar, as they lie, by the key of their sample. Files whose base name begins with a dot are none.

    The picture is the file whose suffix is one of a picture, or `image_member` if that is given. Raises FastptError if
    two files are pictures of one key, have one key and suffix, or are told apart only by what is not UTF-8.
    """
    wanted = IMAGE_SUFFIXES if image_member is None else (f".{image_member.lstrip('.').lower()}",)
    pictures: dict[str, Keyed] = {}
    there: dict[tuple[str, str], str] = {}
    for name in tar.where:
        key, suffix = split_key(tar, name)
        if not key:
            continue
        file = Keyed(key, suffix, name, suffix in wanted)
        if file.is_picture and (other := pictures.setdefault(key, file)) is not file:
            suffixes = sorted({file.suffix[1:], other.suffix[1:]})
            choice = (
                f"Choose one (--image-member {' or '.join(suffixes)}), or rename" if len(suffixes) > 1 else "Rename"
            )
            raise FastptError(f"{tar.root} has two pictures of one key: {other.name} and {name}. {choice} one.")
        if (other := there.setdefault((key, suffix), name)) != name:
            raise FastptError(f"{tar.root} has two files {suffix} of one key: {other!a} and {name!a}. Rename one.")
        yield file


def tar_stem(path: Path) -> str:
    """The name of a tar without its suffix, `.tar` or that of a packed one: the same for both."""
    return ENDING.sub("", path.name) or path.stem


def split_key(tar: Tar, name: str) -> tuple[str, str]:
    """Key and suffix of a file of a tar; the key is "" for hidden files, which belong to no sample.

    The key is the name up to the first dot of its last part, below the tar's own stem, since tars may repeat keys. The
    suffix is the rest, in lower case.
    """
    folder, _, base = name.rpartition("/")
    stem, dot, rest = base.partition(".")
    key = "" if hidden_part(name) or not stem else "/".join(filter(None, (tar_stem(tar.root), folder, stem)))
    return well_formed(key), f"{dot}{rest}".lower()


def no_picture(key: str, suffixes: list[str]) -> list[tuple[str, str]]:
    """What is left out, and why, where a key has files of these suffixes and none is its picture.

    A dot in a base name ends its key, so `a.b.jpg` is a file `.b.jpg` of the key `a`: each such file is named.
    """
    dotted = [suffix for suffix in suffixes if suffix.endswith(IMAGE_SUFFIXES)]
    return [
        (f"{key}{suffix}", f"no picture: its key ends at the first dot (--image-member {suffix[1:]} would take it)")
        for suffix in dotted
    ] or [(key, "no picture")]
