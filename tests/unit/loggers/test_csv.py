from __future__ import annotations

from pathlib import Path

import pytest
from culprits import assert_names, raises

from edgedistill import callbacks
from edgedistill.callbacks import RunEnd
from edgedistill.errors import OutputError
from edgedistill.loggers.csv import CSVLogger
from edgedistill.recipe.schema import LogSection


class Recorder(callbacks.Callback):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def on_warning(self, message: str) -> None:
        self.warnings.append(message)


def logger(folder: Path) -> CSVLogger:
    return CSVLogger(folder, {}, LogSection(to=["csv"]))


@pytest.mark.parametrize(
    "line",
    [
        b"2,train/loss\n",
        b"two,train/loss,0.5\n",
        b"2,train/loss,half\n",
        b"2,train/loss,0.5,0.5\n",
        b'2,"train/loss,0.5\n',
        b"\xff\xfe\0\n",
        b"2,train/lo",
    ],
)
def test_damaged_lines_of_an_earlier_log_are_left_out_with_a_warning(
    tmp_path: Path, line: bytes
) -> None:
    path = tmp_path / "log.csv"
    path.write_bytes(b"step,name,value\n1,train/loss,1.5\n" + line)
    recorder = Recorder()
    with callbacks.reporting([recorder]):
        log = logger(tmp_path)
        log.open()
        log.log(3, {"train/loss": 0.25, "val/accuracy": 0.5})
    (warning,) = recorder.warnings
    assert_names(warning, path, 1)
    assert path.read_text().splitlines() == [
        "step,name,value",
        "1,train/loss,1.5",
        "3,train/loss,0.25",
        "3,val/accuracy,0.5",
    ]


def test_a_sound_log_goes_on_without_a_word(tmp_path: Path) -> None:
    (tmp_path / "log.csv").write_text("step,name,value\n1,train/loss,1.5\n2,train/loss,1.25\n")
    recorder = Recorder()
    with callbacks.reporting([recorder]):
        log = logger(tmp_path)
        log.open()
        # Step 2 is done again.
        log.log(2, {"train/loss": 1.0})
        log.close(RunEnd(tmp_path, "finished"), {})
    assert not recorder.warnings
    assert (tmp_path / "log.csv").read_text().splitlines()[1:] == [
        "1,train/loss,1.5",
        "2,train/loss,1.0",
    ]


def test_a_log_that_cannot_be_read_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "log.csv").touch()

    def denied(*args: object, **kwargs: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", denied)
    with raises(OutputError, tmp_path / "log.csv"):
        logger(tmp_path).open()
