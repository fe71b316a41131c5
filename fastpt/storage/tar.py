"""WebDataset tars, read where they lie: the files of one sample share a key and differ in suffix."""

import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fastpt.errors import FastptError
from fastpt.storage.names import IMAGE_SUFFIXES, well_formed


@contextmanager
def open_tar(path: Path) -> Iterator[tarfile.TarFile]:
    """An uncompressed tar. Raises FastptError if it cannot be opened, or read further inside the `with`."""
    try:
        with tarfile.open(path, "r:") as tar:
            yield tar
    except (OSError, tarfile.TarError) as error:
        raise FastptError(f"{path} cannot be read as a .tar ({error}). Fetch it anew, or leave it out.") from None


def keyed_files(tar: tarfile.TarFile) -> Iterator[tuple[str, str, tarfile.TarInfo]]:
    """(key, suffix, file) of each regular file of a tar, as they lie.

    The key is the name up to the first dot of its last part, below the tar's own stem, since tars may repeat keys; the
    suffix is the rest in lower case. Raises FastptError if two files are pictures of one key.
    """
    path = Path(tar.name)
    pictures: dict[str, str] = {}
    for file in tar:
        folder, _, base = file.name.rpartition("/")
        stem, dot, rest = base.partition(".")
        if not file.isreg() or not stem:
            continue
        key = well_formed("/".join(filter(None, (path.stem, folder, stem))))
        suffix = f"{dot}{rest}".lower()
        if suffix in IMAGE_SUFFIXES:
            if key in pictures:
                raise FastptError(
                    f"{path} has two pictures of one key: {pictures[key]} and {file.name}. Take one out, or rename it."
                )
            pictures[key] = file.name
        yield key, suffix, file
