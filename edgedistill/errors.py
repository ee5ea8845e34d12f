"""What ends a command early: a problem the user can fix, and a request to stop."""


class EdgeDistillError(Exception):
    """A problem the user can fix: one line that says what, where, and what to do.

    The command line prints it on stderr and exits with status 2.
    """


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM; the message says where the work stopped.

    Not a KeyboardInterrupt, which Typer swallows, nor an Exception, which libraries catch.
    """
