"""Run a program until it ends or stdin does: `python leash.py PROGRAM ARGUMENT...`.

Whoever started this holds the other end of stdin. When that process dies, however it dies, the
system closes it, and the program is asked to save and end instead of living on unknown to anyone.
The program's output goes to stderr; its exit status, negative for a signal, is written to stdout.

Ray kills the children of a worker that ends outright, before they could save. So this is no child
of it, nor in its process group: what is started returns at once and leaves another at work.
Standard library only, so that it starts at once.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading

# A run saves and ends within a step of being asked to.
PATIENCE_SECONDS = 300.0


def main() -> None:
    """Leave a process of its own that runs the program."""
    if hasattr(os, "fork"):
        if os.fork():
            os._exit(0)
        os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    program = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=sys.stderr)
    threading.Thread(target=_watch, args=(program,), daemon=True).start()
    status = program.wait()
    # Nobody may be left to be told.
    with contextlib.suppress(OSError):
        os.write(sys.stdout.fileno(), f"{status}\n".encode())
    os._exit(0)


def _watch(program: "subprocess.Popen[bytes]") -> None:
    sys.stdin.buffer.read()
    program.terminate()
    try:
        program.wait(PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        program.kill()


if __name__ == "__main__":
    main()
