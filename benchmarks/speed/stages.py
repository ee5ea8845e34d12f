"""One run of `edgedistill`, with the seconds of its stages.

    python -m benchmarks.speed.stages SECONDS.json run recipes/mobilenet_scipd.toml --name x

Runs the command in this process and times the calls that make up its stages; `end_to_end.py` uses
it. What is in no stage, imports above all, is in none of the numbers.
"""

import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgedistill.cli.app import main as edgedistill
from edgedistill.run import pipeline

# Functions of `edgedistill.run.pipeline` by the stage they belong to.
STAGES = {
    "find or draw images": ("load_problem",),
    "load teacher and student": ("find_teacher", "load_texts", "build_student"),
    "decode": ("decode",),
    "cache": ("teach",),
    "train": ("_train",),
    "evaluate": ("save_student", "predict", "calibrate_on", "measure"),
    "evaluate the teacher": ("measure_teacher",),
    "report": ("report_data", "write_report"),
}


def timed(call: Callable[..., Any], stage: str, seconds: dict[str, float]) -> Callable[..., Any]:
    """The function, adding the time it takes to its stage."""

    def run(*args: Any, **options: Any) -> Any:
        start = time.perf_counter()
        try:
            return call(*args, **options)
        finally:
            seconds[stage] += time.perf_counter() - start

    return run


def main() -> None:
    out = Path(sys.argv.pop(1))
    seconds: dict[str, float] = defaultdict(float)
    for stage, names in STAGES.items():
        for name in names:
            setattr(pipeline, name, timed(getattr(pipeline, name), stage, seconds))
    try:
        edgedistill()
    finally:
        out.write_text(json.dumps(seconds), encoding="utf-8")


if __name__ == "__main__":
    main()
