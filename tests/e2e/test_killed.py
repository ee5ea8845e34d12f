"""A run that is killed in any stage and started again ends with the bytes of an undisturbed one."""

from __future__ import annotations

import json
import random
import signal
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from edgedistill.callbacks import Stage


class Moment(NamedTuple):
    """When to kill: see `at` of the command line's fixture."""

    kind: str
    path: str
    stage: str


STAGES = tuple(stage.value for stage in Stage)
# In every stage: as a callback hears of something, and as any file is opened, made or renamed.
MOMENTS = {stage: (Moment("callback", "", stage), Moment("file", "", stage)) for stage in STAGES}


def visible(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir() if not p.name.startswith(".")}


class Killed:
    """A run that is killed again and again, and what it must end with all the same."""

    def __init__(self, cli: Any, finished: tuple[Path, Any, Path], folder: Path) -> None:
        self._cli = cli
        self._whole, _, self._recipe = finished
        self._folder = folder
        self._count = 0
        # Kills by the stage that the pipeline was in.
        self.kills: Counter[str] = Counter()
        self._renew()

    def _renew(self) -> None:
        """A run folder and a cache of its own, so that the cache's building is killed too."""
        self._count += 1
        self.run = self._folder / f"runs{self._count}" / "x"
        self._env = {"EDGEDISTILL_CACHE": str(self._folder / f"cache{self._count}")}
        self._args = ["run", self._recipe, "--runs", self.run.parent, "--name", "x"]

    def start(self, moment: Moment, nth: int) -> None:
        """Start it, and have it killed the nth time there is such a moment; it may end before."""
        kind, path, stage = moment
        mark = self._folder / "killed"
        at = self._cli.at(signal.SIGKILL, path, nth, mark=mark, kind=kind, stage=stage)
        result = self._cli(*self._args, env=self._env, at=at)
        assert result.status in (-signal.SIGKILL, 0), result.err
        if result.status:
            self.kills[mark.read_text()] += 1
        if (self.run / "metrics.json").exists():
            assert visible(self.run) == visible(self._whole)
            self._check()
            self._renew()

    def end(self) -> None:
        result = self._cli(*self._args, env=self._env)
        assert result.status == 0, result.err
        self._check()

    def _check(self) -> None:
        for name in ("student.safetensors", "history.csv", "openset.json"):
            assert (self.run / name).read_bytes() == (self._whole / name).read_bytes(), name
        ours, whole = (
            {k: v for k, v in metrics.items() if "seconds" not in k}
            for metrics in (
                json.loads((f / "metrics.json").read_text()) for f in (self.run, self._whole)
            )
        )
        assert ours == whole


def test_killed_in_every_stage_and_resumed_ends_with_the_same_bytes(
    cli: Any, finished: tuple[Path, Any, Path], tmp_path: Path
) -> None:
    killed = Killed(cli, finished, tmp_path)
    for path, nth in {"/store/": 5, "/views/": 6, "checkpoint.pt": 3, "openset.json": 1}.items():
        killed.start(Moment("file", path, ""), nth)
    killed.start(Moment("callback", "", "evaluate"), 1)
    killed.start(Moment("file", "report.html", ""), 1)
    assert killed.kills == Counter(STAGES)
    killed.end()
    cache = tmp_path / "cache1"
    assert not list(cache.glob("**/.*.tmp*"))
    assert not [p for p in killed.run.iterdir() if ".tmp" in p.name]


@pytest.fixture(scope="module")
def counts(
    cli: Any, finished: tuple[Path, Any, Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[tuple[str, str], int]:
    """How many moments of each stage and kind an uninterrupted run has."""
    folder = tmp_path_factory.mktemp("counted")
    env = {"EDGEDISTILL_CACHE": str(folder / "cache")}
    moments = {(stage, m.kind): m for stage, kinds in MOMENTS.items() for m in kinds}
    args = ["run", finished[2], "--runs", folder, "--name", "x"]
    result = cli(*args, env=env, count=list(moments.values()))
    assert result.status == 0, result.err
    counts = dict(zip(moments, json.loads(result.err.splitlines()[-1]), strict=True))
    assert all(counts.values()), counts
    return counts


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2))
def test_killed_at_random_moments_and_resumed_ends_with_the_same_bytes(
    cli: Any,
    finished: tuple[Path, Any, Path],
    counts: dict[tuple[str, str], int],
    tmp_path: Path,
    seed: int,
) -> None:
    killed, draw = Killed(cli, finished, tmp_path), random.Random(seed)
    # Where a run has gone on too far for another moment of a stage, it ends and is made anew.
    for stage in [stage for stage in STAGES for _ in range(2)]:
        before = killed.kills[stage]
        while killed.kills[stage] == before:
            moment = draw.choice(MOMENTS[stage])
            killed.start(moment, draw.randint(1, counts[stage, moment.kind]))
    assert killed.kills == Counter(dict.fromkeys(STAGES, 2))
    killed.end()
