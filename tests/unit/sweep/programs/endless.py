"""A run that works until it is stopped, and then saves: files `started` and `saved`.

python endless.py FOLDER
"""

import pathlib
import signal
import sys
import time

folder = pathlib.Path(sys.argv[1])


def stop(*_: object) -> None:
    (folder / "saved").touch()
    sys.exit(130)


signal.signal(signal.SIGTERM, stop)
(folder / "started").touch()
time.sleep(3600)
