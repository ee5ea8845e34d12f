"""A driver of one job on a Ray cluster, in a process that may be killed.

python ray_driver.py FOLDER ADDRESS COMMAND...
"""

import pathlib
import sys

from edgedistill.sweep.engines import Job, Request, find_engine

_, name, address, *command = sys.argv
folder = pathlib.Path(name)
with find_engine("ray")(Request(address=address), print) as run:
    job = Job(folder.name, tuple(command), folder, folder / "log")
    for outcome in run([job], None, print):
        print("status", outcome.status)
