"""The process of a command: signals, standard streams, and failures as one line and a status."""

import os
import signal
import sys
import threading
import warnings
from types import FrameType
from typing import NoReturn, TextIO

import typer

from edgedistill._utils.extras import needs_extra
from edgedistill.errors import EdgeDistillError, Interrupted

# Wrong usage. Newer versions of Typer carry their own copy of click, so click's class is no use.
_UsageError: type[BaseException] = typer.BadParameter.__mro__[1]


def run_command(app: typer.Typer) -> NoReturn:
    """Do what the arguments ask for and exit.

    Status 0: done, 1: a check failed, 2: bad input, 130: interrupted (and resumable).
    """
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    _open_streams()
    sys.unraisablehook = _raise_again
    if not sys.warnoptions:
        # Libraries warn programmers; whoever runs a command can do nothing about it.
        warnings.simplefilter("ignore")
        # Except this package's own to them: an old spelling in a recipe.
        warnings.simplefilter("default", FutureWarning)
        warnings.showwarning = _show_warning
    try:
        # What a command imports late, of a recipe's method for one, is named like the rest.
        with needs_extra("train"):
            status = app(standalone_mode=False)
        # What is still buffered may meet a full disk, which is this command's failure.
        sys.stdout.flush()
    except EdgeDistillError as error:
        _fail(str(error), 2)
    except _UsageError as error:
        usage = _usage(error)
        # Without a command the help has been printed, and the error says nothing.
        if usage is None:
            sys.exit(2)
        _fail(usage, 2)
    except (Interrupted, KeyboardInterrupt) as stop:
        _fail(str(stop) or "interrupted", 130)
    except MemoryError:
        _fail("out of memory; close other programs, or make the task smaller", 2)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{error.strerror or error}", 2)
    sys.exit(status if isinstance(status, int) else 0)


def _open_streams() -> None:
    """Nothing to read and nowhere to write, where whoever started us closed a standard stream."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    print(f"edgedistill: warning: {message}", file=sys.stderr)


def _interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    raise Interrupted


def _raise_again(unraisable: "sys.UnraisableHookArgs") -> None:
    """Ask again for a stop that arrived in a destructor, where Python drops exceptions."""
    if isinstance(unraisable.exc_value, Interrupted):
        threading.Timer(0.01, signal.raise_signal, [signal.SIGTERM]).start()
    else:
        sys.__unraisablehook__(unraisable)


def _usage(error: BaseException) -> str | None:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "edgedistill"
    message = getattr(error, "format_message", lambda: str(error))()
    return f"{message.rstrip('.')}; see {command} --help" if message.strip() else None


def _fail(message: str, status: int) -> NoReturn:
    print("edgedistill: " + " ".join(message.split()), file=sys.stderr)
    try:
        sys.stdout.flush()
    except OSError:
        # The interpreter would try again as it ends, and print a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)
