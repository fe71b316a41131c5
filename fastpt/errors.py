"""The one kind of failure that is told to the user in a line instead of a traceback."""


class FastptError(Exception):
    """Something the user can mend. The message says what was wrong, what was found, and what to do."""

    exit_code = 1  # of the command line


class Preempted(FastptError):
    """The work was asked to end by SIGTERM, and what was done of it has been saved."""

    exit_code = 75  # sysexits' EX_TEMPFAIL: try again later
