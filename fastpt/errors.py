"""What the user can mend, told in a line instead of a traceback. A script tells the kinds apart by class or exit code.

1  FastptError    anything else that the user can mend
2  RecipeError    what was written is wrong: a recipe, a suite, a study (and, by click, the command line)
3  DamagedData    a file is not what was written into it
75 Preempted      asked to end by SIGTERM, and saved: run the same command again
"""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

LISTED = 30  # names in one message


class FastptError(Exception):
    """Something the user can mend. The message says what was wrong, what was found, and what to do."""

    exit_code = 1  # of the command line


class RecipeError(FastptError):
    """A recipe, suite or study that cannot be followed. The message names each key that is wrong."""

    exit_code = 2


class DamagedData(FastptError):
    """A file that is not what was written into it: changed, cut short, or another one in its place."""

    exit_code = 3


class Preempted(FastptError):
    """The work was asked to end by SIGTERM, and what was done of it has been saved."""

    exit_code = 75  # sysexits' EX_TEMPFAIL: try again later


def suggestion(name: str, known: Iterable[str], most: int = 1, prefix: str = "") -> str:
    """What to say behind an unknown `name`: the nearest of the `known` ones behind `prefix`, or else the first ones."""
    known = list(dict.fromkeys(known))
    near = [prefix + one for one in difflib.get_close_matches(name, known, n=most, cutoff=0.4)]
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"known here: {', '.join(known[:LISTED]) or 'none'}{' and others' if len(known) > LISTED else ''}."


class Problems:
    """What several checks say, to be told at once."""

    def __init__(self) -> None:
        self._errors: list[FastptError] = []

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Keep a FastptError that is raised within."""
        try:
            yield
        except FastptError as error:
            self._errors.append(error)

    def tell(self) -> None:
        """Raise what was noted: one error as it is, several as one of a line each, and of the class they share."""
        if not self._errors:
            return
        if len(self._errors) == 1:
            raise self._errors[0]
        classes = {type(error) for error in self._errors}
        raise (classes.pop() if len(classes) == 1 else FastptError)("\n".join(map(str, self._errors)))
