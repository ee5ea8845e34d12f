"""Tables and lines on stdout, with names that a terminal or Rich would read otherwise."""

import io
import json
import re
import sys

import pytest

from edgedistill.cli.tables import print_json, print_lines, print_table

NAME = "disc [old] [/] :cat:"


def test_names_stand_in_tables_and_lines_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(f"title {NAME}", ["class", f"column {NAME}"], [[f"row {NAME}", f"cell {NAME}"]])
    print_lines(f"line {NAME}")
    out = capsys.readouterr().out
    for where in ("title", "column", "row", "cell", "line"):
        assert f"{where} {NAME}" in out


def test_names_that_are_not_utf8_or_have_newlines_are_escaped(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stdout = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
    monkeypatch.setattr(sys, "stdout", stdout)
    print_lines("caf\udce9", "two\nlines")
    print_table("t", ["class"], [["caf\udce9"]])
    stdout.seek(0)
    lines = stdout.read().splitlines()
    assert lines[:2] == [r"caf\udce9", r"two\nlines"]
    assert any(r"caf\udce9" in line for line in lines[2:])


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_json_gives_every_name_back(encoding: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stdout = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", stdout)
    print_json({"name": "caf\udce9 犬 \U0001f415"})
    stdout.seek(0)
    assert json.loads(stdout.read()) == {"name": "caf\udce9 犬 \U0001f415"}


WIDE = ["run", *(f"metric number {n}" for n in range(12))]
CELLS = ["a-run-of-a-long-name-s0", *(f"value-{n}" for n in range(12))]


def screen(monkeypatch: pytest.MonkeyPatch, columns: int) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": str(columns)}.items():
        monkeypatch.setenv(name, value)


def printed(capsys: pytest.CaptureFixture[str]) -> str:
    return re.sub(r"\x1b\[[\d;]*m", "", capsys.readouterr().out)


@pytest.mark.parametrize("terminal", [False, True])
def test_names_and_numbers_of_a_wide_table_are_whole(
    terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if terminal:
        screen(monkeypatch, columns=60)
    print_table("runs", WIDE, [CELLS])
    out = printed(capsys)
    assert all(text in out for text in WIDE + CELLS)
    assert (max(map(len, out.splitlines())) <= 60) == terminal


def test_a_table_that_fits_no_terminal_is_folded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    screen(monkeypatch, columns=120)
    print_table("runs", WIDE, [CELLS] * 20)
    out = printed(capsys)
    assert "…" not in out
    assert max(map(len, out.splitlines())) <= 120
