"""A folder of files."""

import errno
import os
import stat
from pathlib import Path

from fastpt.errors import FastptError
from fastpt.storage.kind import Storage, check_size


class Folder(Storage):
    """A folder. Links are followed, but not round in a circle."""

    def names(self) -> list[str]:
        found = []
        for folder, folders, files in os.walk(self.root, followlinks=True, onerror=_unreadable):
            for name in folders:
                inside = Path(folder, name)
                if inside.is_symlink() and Path(folder).resolve().is_relative_to(inside.resolve()):
                    raise FastptError(f"{inside} links back to a folder that it lies in. Take the link away.")
            relative = Path(folder).relative_to(self.root)
            found += [(relative / name).as_posix() for name in files]
        return sorted(found)

    def read(self, name: str) -> bytes:
        # A pipe would be waited for without O_NONBLOCK, for ever.
        descriptor = os.open(self.root / name, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise OSError(errno.EINVAL, "not a regular file")
            check_size(os.fstat(descriptor).st_size)
            return file.read()


def _unreadable(error: OSError) -> None:
    raise FastptError(f"the folder {error.filename} cannot be read ({error.strerror}). Mend its permissions.") from None
