import errno
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from culprits import raises

from edgedistill._utils import atomic
from edgedistill.errors import OutputError


def test_bytes_and_text_arrive_unchanged(tmp_path: Path) -> None:
    atomic.write_bytes(tmp_path / "a.bin", b"\x00\r\n\xff")
    atomic.write_text(tmp_path / "a.txt", "é\r\nß\n")
    assert (tmp_path / "a.bin").read_bytes() == b"\x00\r\n\xff"
    assert (tmp_path / "a.txt").read_bytes() == "é\r\nß\n".encode()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.bin", "a.txt"]


def test_json_is_readable_by_any_parser(tmp_path: Path) -> None:
    value = {
        "x": np.float32(0.5),
        "n": np.int64(3),
        "list": np.arange(3),
        "pair": (1, float("nan")),
        "low": -np.inf,
        "name": "crème",
        "flag": np.bool_(True),
    }
    atomic.write_json(tmp_path / "m.json", value)
    text = (tmp_path / "m.json").read_text("utf-8")
    assert "NaN" not in text and "Infinity" not in text and "crème" in text
    assert json.loads(text) == {
        "x": 0.5,
        "n": 3,
        "list": [0, 1, 2],
        "pair": [1, None],
        "low": None,
        "name": "crème",
        "flag": True,
    }


def test_an_unwritable_value_leaves_the_old_file(tmp_path: Path) -> None:
    atomic.write_json(tmp_path / "m.json", {"a": 1})
    with pytest.raises(TypeError):
        atomic.write_json(tmp_path / "m.json", {"a": object()})
    assert json.loads((tmp_path / "m.json").read_text()) == {"a": 1}


def test_a_full_disk_leaves_the_old_file_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "checkpoint.pt"
    atomic.write_bytes(path, b"old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with raises(OutputError, path, os.strerror(errno.ENOSPC)):
        atomic.write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_a_missing_folder_is_a_user_error(tmp_path: Path) -> None:
    path = tmp_path / "absent" / "a.txt"
    with raises(OutputError, path, os.strerror(errno.ENOENT)):
        atomic.write_text(path, "x")


def test_a_body_that_fails_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    with pytest.raises(KeyboardInterrupt), atomic.replacing(path) as temporary:
        assert temporary.parent == tmp_path and temporary.suffix == ".safetensors"
        temporary.write_bytes(b"half")
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


def test_a_new_file_follows_the_umask(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    atomic.write_bytes(tmp_path / "atomic", b"")
    assert (tmp_path / "atomic").stat().st_mode == plain.stat().st_mode


@pytest.mark.skipif(os.name != "posix", reason="makes links")
def test_a_link_stays_and_what_it_names_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "target", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(Path("there") / "target")
    for content in (b"new", b"newer"):
        atomic.write_bytes(link, content)
        assert link.is_symlink() and target.read_bytes() == content
        # What it names need not be there.
        target.unlink()
    assert [p.name for p in tmp_path.iterdir() if p.name != "there"] == ["link"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes in folders")
def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "null").symlink_to(os.devnull)
    (tmp_path / "piped").symlink_to(tmp_path / "pipe")
    before = {path: path.lstat() for path in tmp_path.iterdir()}
    for name, what in (
        ("pipe", "a pipe"),
        ("piped", "a pipe"),
        ("null", "a device"),
        ("folder", "a folder"),
    ):
        for write in (atomic.probe, lambda path: atomic.write_text(path, "x")):
            with raises(OutputError, tmp_path / name, what):
                write(tmp_path / name)
    assert {path: path.lstat() for path in tmp_path.iterdir()} == before


def test_a_probe_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old")
    atomic.probe(tmp_path / "old")
    atomic.probe(tmp_path / "new")
    assert [path.name for path in tmp_path.iterdir()] == ["old"]
    assert (tmp_path / "old").read_text() == "old"
    for path in (tmp_path / "absent" / "new", tmp_path / ("long" * 100)):
        with raises(OutputError, path):
            atomic.probe(path)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_the_file_that_a_command_prints_to_is_refused(tmp_path: Path, stream: str) -> None:
    program = Path(__file__).parent / "programs" / "print_into.py"
    path = tmp_path / "out"
    with path.open("wb") as out:
        to: dict[str, Any] = {stream: out}
        subprocess.run([sys.executable, program, path, stream], check=True, **to)
    assert path.read_text().startswith(f"cannot write {path}: this command's output goes there")
    assert [p.name for p in tmp_path.iterdir()] == ["out"]


def test_json_holds_names_of_files_that_are_not_utf8(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    atomic.write_json(tmp_path / "a.json", {"file": name})
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {"file": name}
