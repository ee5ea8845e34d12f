"""`edgedistill init`: a first recipe for one's own images."""

from pathlib import Path
from typing import Annotated

import typer

import edgedistill as ed
from edgedistill.cli.options import Quiet


def init(
    data: Annotated[str, typer.Argument(help="A folder or .csv file of your images.")],
    teacher: Annotated[
        str | None,
        typer.Option(help="MODEL or MODEL/PRETRAINED of open_clip, or a folder [default: none]."),
    ] = None,
    student: Annotated[str, typer.Option(help="Network to train.")] = "mobilenet_v3_small",
    weights: Annotated[
        str | None, typer.Option(help="Start weights [default: ImageNet's, if they can be had].")
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(help="Domain to hold out, or a folder without classes [default: none]."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Recipe to write [default: DATA.toml].")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a recipe.")] = False,
    quiet: Quiet = False,
) -> None:
    """Look at your images and write a short recipe for them."""
    import shlex

    from edgedistill.cli.tables import print_lines

    scaffold = ed.init(
        data,
        teacher=teacher,
        student=student,
        weights=weights,
        target=target,
        out=out,
        force=force,
        callbacks=[ed.ConsoleCallback(quiet)],
    )
    rows = [*scaffold.facts, ("recipe", str(scaffold.path))]
    rows.append(("next", f"edgedistill run {shlex.quote(str(scaffold.path))}"))
    print_lines(*(f"{heading:<12}{line}" for heading, line in rows))
