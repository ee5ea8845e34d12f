"""The process that exports one run of a sweep, so that several can be at work at a time.

python -m edgedistill.sweep.export_task SWEEP_FOLDER RUN fp32|int8
"""

import signal
import sys
import warnings
from pathlib import Path
from types import FrameType
from typing import NoReturn

from edgedistill._utils.locks import lock
from edgedistill.errors import EdgeDistillError, SweepError
from edgedistill.runs.folder import RunFolder
from edgedistill.sweep.engines import Job
from edgedistill.sweep.exports import export_and_evaluate
from edgedistill.sweep.folder import SweepFolder


def export_job(name: str, folder: SweepFolder, int8: bool) -> Job:
    """A job of an engine: `export_and_evaluate` of a run, with the run's log."""
    python = (sys.executable, "-m", __name__)
    command = (*python, str(folder.path), name, "int8" if int8 else "fp32")
    return Job(name, command, folder.run(name), folder.log(name))


def main() -> NoReturn:
    """Exit 0 with the files and their answers written, 2 after one line, 143 when stopped."""
    # An exit like any other: no temporary file stays.
    signal.signal(signal.SIGTERM, _stop)
    warnings.simplefilter("ignore")
    place, name, precision = sys.argv[1:]
    folder = SweepFolder(Path(place))
    try:
        # A sweep that is started after a kill waits for what the killed one has left at work.
        advice = "make the sweep's folder writable"
        with lock(RunFolder(folder.run(name)).lock, SweepError, advice):
            export_and_evaluate(name, folder, precision == "int8")
    except EdgeDistillError as error:
        print(f"edgedistill: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(2)
    sys.exit(0)


def _stop(signum: int, frame: FrameType | None) -> NoReturn:
    sys.exit(128 + signum)


if __name__ == "__main__":
    main()
