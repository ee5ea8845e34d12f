"""A run that works until there is a file `go`; each start leaves a file, a stop the file `saved`.

python wait_for_file.py FOLDER
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
(folder / f"start{len(list(folder.glob('start*')))}").touch()
while not (folder / "go").exists():
    time.sleep(0.02)
(folder / "done").touch()
