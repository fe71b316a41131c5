"""Which file of a source the row of a list means, and what to say where none is."""

import posixpath
import unicodedata
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from urllib.parse import unquote

from fastpt.printable import plural
from fastpt.storage.kind import Storage
from fastpt.storage.names import is_image

ZEROS = "with zeros before its number"
WAYS: dict[str, tuple[Callable[[str], str], Callable[[str], str]]] = {  # how names are alike: of a row's, of a file's
    "in another case": (str.casefold, str.casefold),
    "without URL encoding": (unquote, str),
    "with another suffix": (lambda name: posixpath.splitext(name)[0], lambda name: posixpath.splitext(name)[0]),
    "without its row's suffix": (str, lambda name: posixpath.splitext(name)[0]),
    "in another folder": (lambda name: _base(name), posixpath.basename),
    "in another folder, with a suffix": (lambda name: _base(name), lambda name: _stem(name)),
    ZEROS: (lambda name: _stem(name).lstrip("0"), lambda name: _stem(name).lstrip("0")),
}


def _base(name: str) -> str:
    """The last part of a name that a row has, which Windows may have written."""
    return posixpath.basename(name.replace("\\", "/"))


def _stem(name: str) -> str:
    return posixpath.splitext(posixpath.basename(name))[0]


@dataclass(frozen=True)
class Match:
    """A file whose name is like the one that a row has."""

    file: str
    how: str  # a key of WAYS


Alike = Mapping[str, Match]  # by what a row names


@dataclass
class PictureNames:
    """The files that the rows of lists may name."""

    there: set[str]  # the names of all files
    roots: list[str]  # absolute paths of the folders they are in
    otherwise: dict[str, str] = field(default_factory=dict)  # the last row whose picture is written in another way
    count: int = 0  # of such rows

    def find(self, name: str, folder: str) -> str | None:
        """The file that a row names, in a list that lies in `folder` (absolute on disk, relative in an archive)."""
        if name in self.there:
            return name
        plain = posixpath.normpath(name.strip().replace("\\", "/"))
        path = posixpath.normpath(posixpath.join(folder, plain))
        paths = [plain, path, *(path[len(root) + 1 :] for root in self.roots if path.startswith(f"{root}/"))]
        file = next((path for path in paths if path in self.there), None)
        if file is None:
            file = next((found for path in paths if (found := self._in_unicode.get(_form(path)))), None)
        if file is not None:
            self.count += 1
            self.otherwise = {name: file}
        return file

    @cached_property
    def _in_unicode(self) -> dict[str, str]:
        """Files by the one form in which Unicode writes their name, if only one has it."""
        forms = Counter(_form(name) for name in self.there if not name.isascii())
        return {form: name for name in self.there if not name.isascii() and forms[form := _form(name)] == 1}

    def warnings(self) -> list[str]:
        """What to say of rows that write a name in another way."""
        return [
            f"{plural(self.count, 'name')} of pictures in rows differ from the files', such as {name!r} for {file!r}"
            for name, file in self.otherwise.items()
        ]

    def alike(self, missing: Sequence[str]) -> Alike:
        """Files whose names are like those that are missing, in a pass over all of them."""
        found: dict[str, Match] = {}
        for how, (of_row, of_file) in WAYS.items():
            wanted = {of_row(name): name for name in missing if name not in found}
            for file in sorted(self.there) if wanted else ():
                if name := wanted.get(of_file(file)):
                    found.setdefault(name, Match(file, how))
        return found


def _form(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def no_picture(
    files: Storage, missing: Sequence[str], alike: Alike, path_column: str | None, pattern: str | None
) -> str:
    """What to say if no row "names a picture of ...": an example of both, and what may cure it.

    Rows name the `missing` pictures by a column of paths or by a pattern of columns.
    """
    name = next((name for name in missing if name in alike), missing[0])
    file = alike[name].file if name in alike else next(filter(is_image, files.names()), None)
    field = f"{{{path_column}}}" if path_column else str(pattern)
    if "://" in name:
        cure = "That is an address. Fetch the pictures first, and name the files."
    elif file is None or name not in alike:
        cure = f"Name another --path-column, or --image-pattern says how names are made of columns: 'images/{field}'."
    elif file.startswith(name) or file.endswith(f"/{name}") or f"/{name}." in file:
        cure = f"--image-pattern '{field.join(file.rsplit(name, 1))}' makes the one of the other."
    elif alike[name].how == ZEROS and path_column:
        zeros = f"{{{path_column}:0>{len(_stem(file))}}}"
        cure = f"--image-pattern '{file.replace(_stem(file), zeros)}' writes the zeros."
    elif name.replace("\\", "/").endswith(f"/{file}"):
        folder = name[: -len(file)]
        absolute = name[0] == "/" or name[1:2] == ":"
        cure = f"Take {folder} off all names." if absolute else f"Give the folder that holds {folder} as --source."
    else:
        cure = f"It is there {alike[name].how}. Mend the list."
    has = f"has {file}" if file else "has no pictures"
    return f"names a picture of {files.root}. The first names {name}, the source {has}. {cure}"
