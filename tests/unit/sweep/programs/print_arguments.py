"""Prints its arguments and ends with status 7.

python print_arguments.py ARGUMENT...
"""

import sys

print(sys.argv[1:])
sys.exit(7)
