"""The one error type a user sees."""


class EdgeDistillError(Exception):
    """A problem the user can fix: one line that says what, where, and what to do.

    The command line prints it on stderr and exits with status 2.
    """
