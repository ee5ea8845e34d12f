"""`edgedistill bench`: exported files measured on this machine."""

import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import edgedistill as ed
from edgedistill.cli.options import Quiet
from edgedistill.errors import OutputError, UsageError

if TYPE_CHECKING:
    from edgedistill.bench.result import Result

_MOST = 1024
# Of a wrong argument, in its error message.
_SHOWN = 40


def bench(
    models: Annotated[list[Path], typer.Argument(metavar="MODEL...", help="Exported .onnx files.")],
    data: Annotated[
        str | None,
        typer.Option(
            metavar="RECIPE|FOLDER", help="Labelled images: a recipe's target, or class/*.jpg."
        ),
    ] = None,
    threads: Annotated[str, typer.Option(help="Thread counts, such as 1,2.")] = "1",
    batch: Annotated[str, typer.Option(help="Images answered at a time, such as 1,8.")] = "1",
    rounds: Annotated[
        int, typer.Option(min=6, max=1000, help="Rounds of timing; more tell closer files apart.")
    ] = 10,
    image: Annotated[
        Path | None, typer.Option(help="The file timed [default: a 640 x 480 JPEG, generated].")
    ] = None,
    baseline: Annotated[
        Path | None,
        typer.Option(help="What the others are compared with [default: the first in fp32]."),
    ] = None,
    provider: Annotated[
        list[str] | None,
        typer.Option(help="onnxruntime execution provider, repeatable [default: the CPU's]."),
    ] = None,
    json: Annotated[Path | None, typer.Option(help="Write the result as JSON.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write tables as Markdown.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Write latency against H-score as PNG; needs --data.")
    ] = None,
    report: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write all of it, with a page, to a folder.")
    ] = None,
    require: Annotated[
        list[str] | None,
        typer.Option(metavar="EXPR", help='What every MODEL must hold, repeatable: "p50_ms<=5".'),
    ] = None,
    quiet: Quiet = False,
) -> int:
    """Measure exported files on this machine. Exit status 1 when a requirement does not hold."""
    callback = ed.ConsoleCallback(quiet)
    measured = ed.benchmark(
        models,
        data=data,
        baseline=baseline,
        threads=_numbers("--threads", threads),
        batch=_numbers("--batch", batch),
        rounds=rounds,
        image=image,
        providers=provider or ["CPUExecutionProvider"],
        require=require or [],
        outputs=ed.BenchmarkOutputs(json=json, markdown=markdown, plot=plot, report=report),
        callbacks=[callback],
    )
    # Before anything is printed, which whoever reads a pipe may not wait for.
    try:
        for path in measured.write():
            callback.on_note(f"wrote {path}")
    except OutputError:
        _print(measured.result)
        raise
    _print(measured.result)
    for line in measured.failures:
        print(f"edgedistill: {line}", file=sys.stderr)
    return int(bool(measured.failures))


def _print(result: "Result") -> None:
    from edgedistill.bench.table import print_result

    try:
        print_result(result)
    except BrokenPipeError:
        # As in `| head`: the reader has had enough. The interpreter must not try again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _numbers(option: str, text: str) -> list[int]:
    """ "1,2" as numbers, each once. Raises UsageError for anything but 1..1024."""
    chosen = []
    for part in map(str.strip, text.split(",")):
        # Python refuses to read thousands of digits.
        if not re.fullmatch("[0-9]{1,4}", part) or not 1 <= int(part) <= _MOST:
            what = repr(_short(part)) if part else "nothing"
            raise UsageError(
                f"{option} {_short(text) or repr(text)}: {what} is no number from 1 to {_MOST}; "
                "write numbers with commas between, such as 1,2"
            )
        chosen.append(int(part))
    return list(dict.fromkeys(chosen))


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
