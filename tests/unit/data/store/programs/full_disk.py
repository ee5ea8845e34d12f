"""Builds a folder's store where no file may be larger than 4,000 bytes; prints the error.

python full_disk.py FOLDER CACHE
"""

import resource
import signal
import sys
from pathlib import Path

from edgedistill.data.readers.folder import read_folder
from edgedistill.data.store.image_store import open_store
from edgedistill.errors import EdgeDistillError

index = read_folder(Path(sys.argv[1]))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (4000, 4000))
try:
    open_store(index, 64, Path(sys.argv[2]))
except EdgeDistillError as error:
    print(error)
