"""The options of `edgedistill bench`; what they do is in `edgedistill.cli.bench`."""

from pathlib import Path
from typing import Annotated

import typer


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
        Path | None, typer.Option(help="What the others are compared with [default: the first].")
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
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only results and errors.")] = False,
) -> int:
    """Measure exported files on this machine; exit status 1 when a requirement does not hold."""
    from edgedistill.cli.bench import Request, bench_files
    from edgedistill.cli.bench_outputs import Outputs

    request = Request(
        models=models,
        baseline=baseline,
        data=data,
        threads=threads,
        batch=batch,
        rounds=rounds,
        image=image,
        providers=provider or ["CPUExecutionProvider"],
        outputs=Outputs(json=json, markdown=markdown, plot=plot, report=report),
        require=require or [],
    )
    return bench_files(request, quiet)
