"""`edgedistill export`: a finished run to the file a device runs."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from rich.console import Console

from edgedistill.cli.tables import percent, print_json, print_table
from edgedistill.display import Display
from edgedistill.export.finished import find_run, load_finished
from edgedistill.export.graph import OPSET
from edgedistill.export.onnx_file import Exported, export_fp32
from edgedistill.export.verify import TOLERANCE


def export_run(
    name: str | None, runs: Path, size: int | None, output: Path | None, as_json: bool, quiet: bool
) -> None:
    """`edgedistill export [RUN] --onnx`."""
    display = Display(quiet)
    run = load_finished(find_run(name, runs))
    display.note(f"{run.folder.path}: exporting {run.recipe.student.model}")
    done = export_fp32(run, output or run.folder.path / "student.onnx", size)
    if as_json:
        print_json(_summary(done))
    else:
        _print(done)


def _print(done: Exported) -> None:
    found = done.agreement
    rows = [
        ["max |Δprobability|", f"{found.probability:.1e}", f"{TOLERANCE:.0e}"],
        ["max |Δscore|", f"{found.score:.1e}", f"{TOLERANCE:.0e} of the score"],
        ["same label", f"{found.same_label} of {found.images}", "all that are clear"],
        ["other label though clear", f"{found.clear_but_other} of {found.clear}", "0"],
        ["batches, threshold given and left out", "as the contract says", "all"],
        ["onnx checker, full", f"passed, opset {OPSET}", ""],
        ["file size", f"{done.bytes / 1e6:.2f} MB", ""],
    ]
    title = f"onnxruntime {onnxruntime.__version__} beside torch {torch.__version__} on "
    title += f"{found.images} source images"
    print_table(title, ["", "found", "allowed"], rows)
    console = Console(highlight=False, soft_wrap=True)
    limit = done.calibration
    console.print(
        f"threshold   {limit.score} >= {limit.threshold:.4g}, keeps "
        f"{percent(done.metrics['source_val']['known_acceptance'])} % of {limit.images} "
        "source-validation images"
    )
    console.print(f"input       {done.size} x {done.size} RGB, {done.precision}")
    console.print(f"file        {done.path}", markup=False)


def _summary(done: Exported) -> dict[str, Any]:
    return {
        "file": str(done.path),
        "bytes": done.bytes,
        "size": done.size,
        "precision": done.precision,
        "opset": OPSET,
        "threshold": asdict(done.calibration),
        "verified": asdict(done.agreement),
    }
