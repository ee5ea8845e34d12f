"""Writes a file that its own output goes to, and prints the error to that stream.

python print_into.py FILE stdout|stderr
"""

import sys

from edgedistill._utils import atomic
from edgedistill.errors import EdgeDistillError

try:
    atomic.write_text(sys.argv[1], "{}")
except EdgeDistillError as error:
    print(error, file=getattr(sys, sys.argv[2]))
