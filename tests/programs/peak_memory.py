"""The command line; the last line of stderr is the process's peak memory in kB.

Read from /proc: the peak of getrusage is inherited from the process that started this one.
"""

import re
import sys
from pathlib import Path

from edgedistill.cli.app import main

try:
    main()
finally:
    peak = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    print("peak", peak[1] if peak else "unknown", file=sys.stderr)
