"""`compare`, `teacher eval` and the real entry point."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w


@pytest.fixture(scope="module")
def runs(
    cli: Any, tree_of: Callable[..., dict[str, Any]], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Two finished runs, `one` and `two`, and an unfinished one, `half`."""
    folder = tmp_path_factory.mktemp("runs")
    recipe = folder / "tiny.toml"
    recipe.write_text(tomli_w.dumps(tree_of(train={"steps": 1})))
    for name, method in (("one", "erm"), ("two", "kd")):
        sets = ["--set", f"method.name={method}"]
        assert cli("run", recipe, *sets, "--runs", folder, "--name", name).status == 0
    (folder / "half").mkdir()
    (folder / "half" / "recipe.toml").write_text("")
    return folder


def test_compare_puts_runs_side_by_side(cli: Any, runs: Path) -> None:
    result = cli("compare", "one", "two", "--runs", runs)
    assert result.status == 0 and result.err == ""
    lines = result.out.splitlines()
    assert any("one" in line and "erm" in line and "sea" in line for line in lines)
    assert any("two" in line and "kd" in line for line in lines)
    assert "H deployed" in result.out and "H oracle" in result.out


def test_compare_has_one_row_for_start_weights_that_runs_share(
    cli: Any, runs: Path, tmp_path: Path
) -> None:
    for name, start in (("a", 0.123), ("b", 0.123), ("c", 0.456)):
        metrics = json.loads((runs / "one" / "metrics.json").read_text())
        target = {**metrics["target"], "accuracy": start}
        metrics["start"] = {"target": target, "openset": {"score": "max_cosine"}}
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text(json.dumps(metrics))
        (tmp_path / name / "recipe.toml").write_text("")
    lines = cli("compare", "--runs", tmp_path).out.splitlines()
    untrained = [line for line in lines if "no training" in line]
    assert len(untrained) == 2
    assert "12.3" in untrained[0] and "45.6" in untrained[1] and "sea" in untrained[0]


def test_compare_takes_folders_and_gives_json(cli: Any, runs: Path) -> None:
    result = cli("compare", runs / "one", "two", "--runs", runs, "--json")
    assert result.status == 0
    metrics = json.loads(result.out)
    assert list(metrics) == [str(runs / "one"), "two"]
    assert metrics["two"] == json.loads((runs / "two" / "metrics.json").read_text())


def test_compare_names_what_is_there(cli: Any, runs: Path) -> None:
    result = cli("compare", "one", "tow", "--runs", runs)
    result.assert_refused("tow", runs, "one, two")


def test_compare_without_names_takes_every_run(cli: Any, runs: Path, tmp_path: Path) -> None:
    result = cli("compare", "--runs", runs, "--json")
    assert result.status == 0
    assert list(json.loads(result.out)) == ["one", "two"]
    assert "half" in result.err
    cli("compare", "--runs", tmp_path).assert_refused(tmp_path)


def test_compare_leaves_unfinished_runs_out_with_a_note(cli: Any, runs: Path) -> None:
    result = cli("compare", "one", "half", "two", "--runs", runs, "--json")
    assert result.status == 0
    assert list(json.loads(result.out)) == ["one", "two"]
    assert "half" in result.err


def test_compare_refuses_an_unfinished_run(cli: Any, runs: Path) -> None:
    result = cli("compare", "half", "--runs", runs)
    result.assert_refused("half", "unfinished")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"target": 3}', "\x00", '{"method": "kd"}'])
def test_compare_refuses_what_are_no_metrics(cli: Any, tmp_path: Path, text: str) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "metrics.json").write_text(text)
    result = cli("compare", "x", "--runs", tmp_path)
    result.assert_refused(tmp_path / "x" / "metrics.json")


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        (None, "seconds", "long"),
        (None, "seconds", math.inf),
        (None, "seconds", True),
        (None, "method", 3),
        ("target", "accuracy", "high"),
        ("target", "auroc", [0.5]),
        ("target", "domain", None),
        ("openset", "score", 0.5),
    ],
)
def test_compare_refuses_values_of_another_kind(
    cli: Any, tmp_path: Path, section: str | None, key: str, value: Any
) -> None:
    metrics: dict[str, Any] = {
        "method": "kd",
        "student": "resnet18",
        "seconds": 3.0,
        "target": {"domain": "sea", "accuracy": 0.5},
        "openset": {"score": "energy"},
    }
    (metrics[section] if section else metrics)[key] = value
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "metrics.json").write_text(json.dumps(metrics))
    result = cli("compare", "x", "--runs", tmp_path)
    result.assert_refused(tmp_path / "x" / "metrics.json")


@pytest.mark.parametrize(
    ("command", "path"),
    [(["teacher", "eval"], "open_clip_config.json"), (["data", "info"], "/store/")],
)
def test_interrupted_with_nothing_to_go_on_with(
    cli: Any,
    tree_of: Callable[..., dict[str, Any]],
    tmp_path: Path,
    command: list[str],
    path: str,
) -> None:
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(tomli_w.dumps(tree_of()))
    env = {"EDGEDISTILL_CACHE": str(tmp_path / "cache")}
    result = cli(*command, recipe, env=env, at=cli.at(signal.SIGINT, path), cwd=tmp_path)
    assert result.status == 130
    assert result.error == "interrupted"


def test_teacher_eval_tells_every_domain(
    cli: Any, tree_of: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(tomli_w.dumps(tree_of()))
    result = cli("teacher", "eval", recipe, "--json")
    assert result.status == 0, result.err
    rows = json.loads(result.out)
    assert [row["domain"] for row in rows] == ["night", "paint", "paper", "sea"]
    assert [row["target"] for row in rows] == [False, False, False, True]
    for row in rows:
        assert 0 <= row["accuracy"] <= 1 and 0 <= row["auroc"] <= 1
        assert (row["images_known"], row["images_unknown"]) == (48, 12)
    table = cli("teacher", "eval", recipe)
    assert table.status == 0
    assert "sea (target)" in table.out and "AUROC" in table.out


def test_teacher_eval_without_weights(
    cli: Any, tree_of: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    recipe = tmp_path / "tiny.toml"
    recipe.write_text(tomli_w.dumps(tree_of(teacher={"model": "local-dir:none"})))
    result = cli("teacher", "eval", recipe)
    result.assert_refused("none", "open_clip_config.json")


@pytest.mark.parametrize("group", [[], ["data"], ["teacher"], ["cache"]])
def test_no_summary_of_a_command_is_cut(cli: Any, group: list[str]) -> None:
    result = cli(*group, "--help", env={"COLUMNS": "80"})
    assert result.status == 0
    summaries = result.out.partition("Commands:")[2]
    assert summaries.strip() and "..." not in summaries


def test_the_shell_completes_commands(cli: Any) -> None:
    typed = {"_EDGEDISTILL_COMPLETE": "complete_bash", "COMP_WORDS": "edgedistill ex"}
    result = cli(env={**typed, "COMP_CWORD": "1"})
    assert result.out.split() == ["export"]


def test_the_module_is_the_command(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "edgedistill", "compare", "x"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1] == "edgedistill: x: no such run in runs"
    imported = {line.split("|")[-1].strip() for line in result.stderr.splitlines()}
    assert "edgedistill.cli.compare" in imported
    assert not imported & {"torch", "numpy", "scipy", "open_clip"}
