"""Ends at once, with a status and, on stderr, an optional message.

python end.py STATUS [MESSAGE]
"""

import sys

status, *message = sys.argv[1:]
print(*message, file=sys.stderr, sep="", end="\n" if message else "")
sys.exit(int(status))
