"""Holds the lock of a run's folder, as POSIX systems lock, until its input ends.

python hold.py FOLDER
"""

import fcntl
import pathlib
import sys

folder = pathlib.Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
with open(folder / ".lock", "w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()
