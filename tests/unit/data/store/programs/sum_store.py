"""Sum of the first 16 images of a folder's store.

python sum_store.py FOLDER
"""

import sys

import numpy as np

from edgedistill.data.readers.folder import read_folder
from edgedistill.data.store.image_store import open_store

store = open_store(read_folder(sys.argv[1]), 8)
print(store.gather(np.arange(16)).sum())
