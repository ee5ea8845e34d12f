"""Launcher of a program that gets SIGTERM when its parent dies: `pdeathsig.py PROGRAM ARGUMENT...`.

For programs that a Ray worker starts: Linux asks them to save and end, however the worker dies
(prctl(2), PR_SET_PDEATHSIG, which outlives exec). On other systems they run to their end, and the
next one waits for the lock of the run. Standard library only, so that it starts at once.
"""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Ask for the signal, and replace this process."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
