"""Writes the files that `edgedistill run` writes last, without training.

python finish.py FOLDER [FLAG]

Where there is no file FLAG it makes one and fails.
"""

import json
import pathlib
import sys

folder, *flags = map(pathlib.Path, sys.argv[1:])
for flag in flags:
    if not flag.exists():
        flag.touch()
        sys.exit("edgedistill: the disk is full")
folder.mkdir(parents=True, exist_ok=True)
# Runs with names of different lengths have different results.
target = {"domain": "line", "accuracy": len(folder.name) / 4, "h_score": 0.25}
target |= {"oracle_h_score": None}
(folder / "metrics.json").write_text(json.dumps({"target": target, "seconds": 1.0}))
