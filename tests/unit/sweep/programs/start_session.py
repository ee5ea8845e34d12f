"""Starts its arguments as a program of a session of its own, and waits.

python start_session.py COMMAND...
"""

import subprocess
import sys

subprocess.Popen(sys.argv[1:], start_new_session=True).wait()
