"""Builds a folder's store and stalls at the image 3.png, after a line that says so.

python stall.py FOLDER
"""

import sys
import time
from pathlib import Path
from typing import Any

import edgedistill.data.store.image_store as store
from edgedistill.data.readers.folder import read_folder

decode = store._decode


def stall(path: Path, size: int) -> Any:
    if path.name == "3.png":
        print("decoding", flush=True)
        time.sleep(3600)
    return decode(path, size)


store._decode = stall
store.open_store(read_folder(sys.argv[1]), 8)
