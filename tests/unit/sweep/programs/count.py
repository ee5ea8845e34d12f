"""Prints how many processes are at work in a folder, this one among them.

python count.py FILE_OF_THIS_PROCESS
"""

import pathlib
import sys

mine = pathlib.Path(sys.argv[1])
mine.touch()
print(len(list(mine.parent.glob("*.on"))))
mine.unlink()
