"""Folder and class of every image that a benchmark of a recipe's data uses.

python find_bench_images.py RECIPE CLASS...
"""

import sys

import edgedistill.bench.html
import edgedistill.bench.quality  # noqa: F401
from edgedistill.bench.data import find_images

images = find_images(sys.argv[1], tuple(sys.argv[2:]))
pairs = zip(images.files, images.classes, strict=True)
print(sorted(f"{file.parent.name} {name}" for file, name in pairs))
