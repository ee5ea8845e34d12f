"""`edgedistill export`: a finished run to the file a device runs."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from rich.console import Console

from edgedistill._utils.console import Display
from edgedistill.cli.tables import percent, print_json, print_table
from edgedistill.errors import UsageError
from edgedistill.export.build import Exported, Int8, export_fp32, export_int8
from edgedistill.export.finished import load_finished
from edgedistill.export.onnx.graph import OPSET
from edgedistill.export.verify import TOLERANCE
from edgedistill.run.folder import RunFolder
from edgedistill.run.lookup import find_run

# A file a twentieth faster is not worth another calibration.
_WORTH = 0.95


def export_run(
    name: str | None,
    runs: Path,
    size: int | None,
    output: Path | None,
    max_drop: float | None,
    as_json: bool,
    quiet: bool,
) -> None:
    """`edgedistill export [RUN] --onnx`; `max_drop` in points asks for int8, None for fp32."""
    display = Display(quiet)
    run = load_finished(RunFolder(find_run(name, runs)))
    folder = run.folder.path
    if max_drop is None:
        display.note(
            f"{folder}: exporting {run.recipe.student.model}, then checking it on source images"
        )
        done = export_fp32(run, output or folder / "student.onnx", size)
    else:
        if max_drop < 0:
            raise UsageError("--max-drop: give the points int8 may lose, 0 or more")
        display.note(
            f"{folder}: exporting {run.recipe.student.model}, choosing what to compute in int8, "
            "then timing both files"
        )
        target = output or folder / "student-int8.onnx"
        done = export_int8(run, target, size, max_drop / 100)
    if as_json:
        print_json(_summary(done))
    else:
        _print(done)


def _print(done: Exported) -> None:
    found = done.agreement
    share = f"{found.same_label} of {found.images}"
    title = f"onnxruntime {onnxruntime.__version__} beside torch {torch.__version__} on "
    validation = min(done.calibration.images, found.images)
    title += f"{validation} source-validation"
    if found.images > validation:
        title += f" and {found.images - validation} training"
    title += " images"
    if done.int8 is None:
        rows = [
            ["max |Δprobability|", f"{found.probability:.1e}", f"{TOLERANCE:.0e}"],
            ["max |Δscore|", f"{found.score:.1e}", f"{TOLERANCE:.0e} of the score"],
            ["same label", share, "all that are clear"],
            ["other label though clear", f"{found.clear_but_other} of {found.clear}", "0"],
        ]
    else:
        rows = [
            ["max |Δprobability|", f"{found.probability:.1e}", "no limit in int8"],
            ["same label", share, "no limit in int8"],
        ]
    rows += [
        ["batches, threshold given and left out", "as the contract says", ""],
        ["onnx checker, full", f"passed, opset {OPSET}", ""],
        ["file size", f"{done.bytes / 1e6:.2f} MB", ""],
    ]
    print_table(title, ["", "found", "allowed"], rows)
    if done.int8 is not None:
        _print_int8(done.int8, done.calibration.images)
    limit = done.calibration
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        f"threshold   {limit.score} >= {limit.threshold:.4g}, keeps "
        f"{percent(done.metrics['source_val']['known_acceptance'])} % of {limit.images} "
        f"source-validation images ({percent(limit.target_keep_rate)} % asked for)"
    )
    console.print(f"input       {done.size} x {done.size} RGB, {done.precision}")
    if done.int8 is not None:
        console.print(f"verdict     {verdict(done.int8.time_ratio)}")
    console.print(f"file        {done.path}", markup=False)


def _print_int8(int8: Int8, validation: int) -> None:
    rows = [
        [rate.name, percent(rate.fp32), percent(rate.int8), f"{100 * rate.drop:.1f}"]
        for rate in int8.drops
    ]
    seen = f"{validation} source-validation images"
    if int8.unknown:
        seen += f" and {int8.unknown} source images of unknown classes"
    else:
        seen += "; no H-score, as the sources have no image of an unknown class"
    nodes = f"{int8.nodes} nodes in int8"
    if int8.kept_float:
        nodes += f" ({int8.kept_float} more would be faster and cost too many answers)"
    print_table(f"{nodes}, on {seen}, %", ["", "fp32", "int8", "points lost"], rows)


def verdict(time_ratio: float) -> str:
    """Which file is the better one on a CPU where int8 takes `time_ratio` of fp32's time."""
    took = f"int8 takes {time_ratio:.2f} of fp32's time here (one image, one thread)"
    if time_ratio > _WORTH:
        return f"fp32 is the better file on such a CPU: {took}"
    return f"int8 is the faster file on such a CPU: {took}"


def _summary(done: Exported) -> dict[str, Any]:
    told = {
        "file": str(done.path),
        "bytes": done.bytes,
        "size": done.size,
        "precision": done.precision,
        "opset": OPSET,
        "threshold": asdict(done.calibration),
        "verified": asdict(done.agreement),
    }
    if done.int8 is None:
        return told
    return {**told, "int8": asdict(done.int8), "verdict": verdict(done.int8.time_ratio)}
