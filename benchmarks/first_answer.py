"""From the start of a process to its first answer, beyond importing onnxruntime: user CPU time.

    python -m benchmarks.first_answer runs/NAME/student.onnx [IMAGE]

Every round starts four processes in turn: onnxruntime and nothing else, `Classifier` with one
image, the command `edgedistill predict`, and onnxruntime again, whose difference to itself is the
noise. Printed, and written to first_answer.json, are medians over the rounds, in milliseconds of
user CPU time of a whole process.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.script import run_script, whole
from edgedistill._utils.atomic import write_json
from edgedistill.bench.machine import machine, moment
from edgedistill.runtime.contract import read_model

IMPORT = "import onnxruntime"
LIBRARY = """
import sys
from edgedistill.runtime import Classifier
Classifier(sys.argv[1], threads=1).predict(sys.argv[2])
"""


def user_seconds(command: list[str]) -> float:
    """User CPU time of a process and what it starts."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    before = os.times().children_user
    subprocess.run(
        command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment
    )
    return os.times().children_user - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("image", type=Path, nargs="?", help="default: one of 640 x 480 pixels")
    parser.add_argument("--rounds", type=whole(1, 1000), default=15)
    parser.add_argument("--out", type=Path, default=Path(__file__).with_suffix(".json"))
    options = parser.parse_args()
    _, info = read_model(options.model)
    before, date = moment(), datetime.now(UTC)
    with tempfile.TemporaryDirectory() as folder:
        image = options.image or Path(folder, "image.jpg")
        if options.image is None:
            drawn = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
            Image.fromarray(drawn).resize((640, 480)).save(image)
        files = [str(options.model), str(image)]
        ways = {
            "import onnxruntime": [sys.executable, "-c", IMPORT],
            "library": [sys.executable, "-c", LIBRARY, *files],
            "command": [sys.executable, "-m", "edgedistill", "predict", "--threads", "1", *files],
            "import onnxruntime again": [sys.executable, "-c", IMPORT],
        }
        for command in ways.values():
            user_seconds(command)  # fills the disk cache
        rounds = [
            [user_seconds(command) for command in ways.values()] for _ in range(options.rounds)
        ]
    milliseconds = {}
    for place, name in enumerate(ways):
        beyond = statistics.median(1000 * (row[place] - row[0]) for row in rounds)
        total = statistics.median(1000 * row[place] for row in rounds)
        milliseconds[name] = {"total": total, "beyond_import": beyond}
        print(f"{name:<26}{total:6.0f} ms, {beyond:5.0f} ms beyond importing onnxruntime")
    write_json(
        options.out,
        {
            "student": info.student,
            "size": info.size,
            "precision": info.precision,
            "machine": machine(before, moment(), date),
            "rounds": options.rounds,
            "milliseconds": milliseconds,
        },
    )


if __name__ == "__main__":
    run_script(main)
