"""The command line in processes of its own.

Starting Python and importing torch takes seconds, so one process imports everything once and
forks for each command: the commands then run, are killed and end as processes do.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from culprits import Culprit, assert_names

SERVER = Path(__file__).with_name("server.py")


@dataclass(frozen=True)
class Result:
    status: int
    out: str
    err: str

    @property
    def error(self) -> str:
        """The line that says what is wrong; fails when there is not exactly one."""
        lines = [line for line in self.err.splitlines() if line.startswith("edgedistill: ")]
        assert len(lines) == 1, self.err
        assert self.err.splitlines()[-1] == lines[0]
        assert "Traceback" not in self.err and "Warning" not in self.err, self.err
        return lines[0].removeprefix("edgedistill: ")

    def assert_refused(self, *culprits: Culprit) -> None:
        """The command ended with status 2 and one line that names the culprits."""
        assert self.status == 2, self.err
        assert_names(self.error, *culprits)


@dataclass(frozen=True)
class Running:
    pid: int
    ask: Callable[[dict[str, Any]], str]
    out: Path
    err: Path

    def kill(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self) -> Result:
        status = int(self.ask({"wait": self.pid, "flags": 0}))
        out, err = (path.read_text() if path.is_file() else "" for path in (self.out, self.err))
        return Result(status, out, err)

    def wait_for(self, what: Callable[[], bool]) -> None:
        """Until something is there that this process makes."""
        while not what():
            if self.ask({"wait": self.pid, "flags": os.WNOHANG}) and not what():
                raise AssertionError(f"ended without it: {self.err.read_text()}")
            time.sleep(0.01)


class Cli:
    """`start` a command, or call it to its end."""

    def __init__(self, server: subprocess.Popen[str], folder: Path) -> None:
        self._server = server
        self._folder = folder
        self._count = 0

    @staticmethod
    def at(
        number: int,
        path: str | Path,
        nth: int = 1,
        *,
        mark: Path | None = None,
        kind: str = "file",
        stage: str = "",
    ) -> list[Any]:
        """A signal that a command sends itself, so that its moment depends on nothing else.

        It comes just before the `nth` time the command opens, makes, renames or removes a file or
        folder with `path` in its name, or just as a callback hears of something (`kind`
        "callback"), in a stage of the run where one is named. `mark` is a file made first; in it
        is the stage that the run was in.
        """
        return [number, None if mark is None else str(mark), nth, kind, str(path), stage]

    def ask(self, request: dict[str, Any]) -> str:
        assert self._server.stdin and self._server.stdout
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        return self._server.stdout.readline().strip()

    def start(
        self,
        *args: str | Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        out: Path | None = None,
        max_file: int = 0,
        at: list[Any] | None = None,
        count: Sequence[tuple[str, str, str]] = (),
    ) -> Running:
        """`count` names moments (kind, path, stage) as of `at`; their numbers end stderr."""

        self._count += 1
        stdout = out or self._folder / f"{self._count}.out"
        stderr = self._folder / f"{self._count}.err"
        request = {
            "args": [str(a) for a in args],
            "env": dict(env or {}),
            "cwd": str(cwd or self._folder),
            "out": str(stdout),
            "err": str(stderr),
            "max_file": max_file,
            "at": at,
            "count": count,
        }
        return Running(int(self.ask(request)), self.ask, stdout, stderr)

    def __call__(self, *args: str | Path, **options: Any) -> Result:
        return self.start(*args, **options).wait()


@pytest.fixture(scope="session")
def cli(private_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    environment = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
        # Every warning would be seen.
        "PYTHONWARNINGS": "default",
    }
    server = subprocess.Popen(
        [sys.executable, SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert server.stdout and server.stdin
    assert server.stdout.readline().strip() == "ready"
    yield Cli(server, tmp_path_factory.mktemp("cli"))
    server.stdin.close()
    server.wait()


@pytest.fixture
def recipe(tmp_path: Path, tree_of: Callable[..., dict[str, Any]]) -> Callable[..., Path]:
    """Write the tiny recipe with some sections changed."""

    def write(**sections: dict[str, Any]) -> Path:
        path = tmp_path / "tiny.toml"
        path.write_text(tomli_w.dumps(tree_of(**sections)))
        return path

    return write


@pytest.fixture(scope="session")
def finished(
    cli: Any, tree_of: Callable[..., dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Any, Path]:
    """A finished run: its folder, what the command said, and its recipe."""
    folder = tmp_path_factory.mktemp("finished")
    path = folder / "tiny.toml"
    path.write_text(tomli_w.dumps(tree_of()))
    env = {"EDGEDISTILL_CACHE": str(folder / "cache")}
    result = cli("run", path, "--runs", folder / "runs", env=env)
    return folder / "runs" / "tiny-sea-s0", result, path


@pytest.fixture(scope="session")
def built(
    cli: Any, tree_of: Callable[..., dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path, Any]:
    """A recipe, the cache folder that `cache build` filled for it, and what the command said."""
    folder = tmp_path_factory.mktemp("built")
    recipe = folder / "tiny.toml"
    recipe.write_text(tomli_w.dumps(tree_of()))
    cache = folder / "cache"
    return recipe, cache, cli("cache", "build", recipe, env={"EDGEDISTILL_CACHE": str(cache)})


class Cached:
    """A copy of the built cache, and the commands on it."""

    def __init__(self, cli: Any, recipe: Path, folder: Path) -> None:
        self._cli, self.recipe, self.folder = cli, recipe, folder

    def __call__(self, *args: str | Path, command: str = "cache") -> Any:
        return self._cli(command, *args, env={"EDGEDISTILL_CACHE": str(self.folder)})

    @property
    def views(self) -> Path:
        (folder,) = (self.folder / "views").iterdir()
        return folder

    def flip(self, file: Path, at: int) -> None:
        with open(file, "r+b") as handle:
            handle.seek(at)
            byte = handle.read(1)
            handle.seek(at)
            handle.write(bytes([byte[0] ^ 1]))


@pytest.fixture
def cached_of(cli: Any) -> Callable[[Path, Path], Cached]:
    """The commands on the caches that a recipe has in a folder."""
    return lambda recipe, folder: Cached(cli, recipe, folder)


@pytest.fixture
def cached(cli: Any, built: tuple[Path, Path, Any], tmp_path: Path) -> Cached:
    return Cached(cli, built[0], Path(shutil.copytree(built[1], tmp_path / "cache")))
