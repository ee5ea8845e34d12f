"""Process of one cold start.

    python -m edgedistill.bench.first_answer MODEL IMAGE THREADS PROVIDER...

Classifies one image file with the runtime and prints CPU seconds and peak memory as a line of JSON.
Nothing but the runtime and this file is imported, as on a device. See `edgedistill.bench.process`.
"""

import json
import os
import sys
from pathlib import Path
from types import ModuleType

from edgedistill.errors import EdgeDistillError
from edgedistill.runtime import Classifier

resource: ModuleType | None
try:
    import resource
except ImportError:
    # As on Windows.
    resource = None


def main() -> int:
    """Exit status 0, or 2 after one line on stderr."""
    model, image, threads, *providers = sys.argv[1:]
    try:
        Classifier(model, threads=int(threads), providers=providers).predict(image)
    except EdgeDistillError as error:
        print(error, file=sys.stderr)
        return 2
    print(json.dumps({"user_s": _user(), "peak_bytes": _peak()}), flush=True)
    return 0


def _user() -> float:
    """User CPU time so far, seconds."""
    # Finer than os.times, which every system has.
    return resource.getrusage(resource.RUSAGE_SELF).ru_utime if resource else os.times().user


def _peak() -> int | None:
    """Most resident memory so far, bytes; None where the system does not tell."""
    try:
        # Linux counts the parent's memory into getrusage's maximum of a child; this is our own.
        status = Path("/proc/self/status").read_text()
        return 1024 * int(status.partition("VmHWM:")[2].split()[0])
    except (OSError, IndexError, ValueError):
        pass
    if resource is None:
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else 1024 * most


if __name__ == "__main__":
    sys.exit(main())
