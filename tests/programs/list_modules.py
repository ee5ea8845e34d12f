"""Imports a module and prints the names of all that were imported with it.

python list_modules.py MODULE
"""

import importlib
import sys

importlib.import_module(sys.argv[1])
print(*sys.modules)
