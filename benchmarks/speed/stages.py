"""One run of `edgedistill`, with the seconds of its stages.

    python -m benchmarks.speed.stages SECONDS.json run recipes/mobilenet_scipd.toml --name x

Runs the command in this process and times its stages by a callback; `end_to_end.py` uses it. Work
outside the stages, imports above all, is in none of the numbers.
"""

import json
import sys
import time
from pathlib import Path

from edgedistill import callbacks
from edgedistill.callbacks import Callback, RunEnd, Stage
from edgedistill.cli.app import main as edgedistill


class StageTimer(Callback):
    """Adds up the seconds of each stage.

    Attributes:
        seconds: stage -> seconds so far.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._stage: Stage | None = None
        self._began = 0.0

    def on_stage(self, stage: Stage) -> None:
        self._turn(stage)

    def on_end(self, end: RunEnd) -> None:
        self._turn(None)

    def _turn(self, stage: Stage | None) -> None:
        now = time.perf_counter()
        if self._stage is not None:
            name = self._stage.value
            self.seconds[name] = self.seconds.get(name, 0.0) + now - self._began
        self._stage, self._began = stage, now


def main() -> None:
    out = Path(sys.argv.pop(1))
    timer = StageTimer()
    callbacks.register(timer)
    try:
        edgedistill()
    finally:
        out.write_text(json.dumps(timer.seconds), encoding="utf-8")


if __name__ == "__main__":
    main()
