"""`edgedistill`: the commands put together."""

from typing import Annotated, NoReturn

import typer

from edgedistill import __version__
from edgedistill.cli import (
    bench,
    cache,
    compare,
    data,
    export,
    init,
    predict,
    pretrain,
    run,
    sweep,
    teacher,
)
from edgedistill.cli.process import run_command

app = typer.Typer(
    name="edgedistill",
    help="Distil CLIP into small classifiers that know when to answer unknown.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Or words in brackets, such as [default: the first], would vanish as markup.
    rich_markup_mode=None,
)
app.command()(init.init)
app.command()(run.run)
app.command()(pretrain.pretrain)
app.command()(predict.predict)
app.command()(compare.compare)
app.command()(export.export)
app.command()(bench.bench)
app.command()(sweep.sweep)
app.add_typer(data.app, name="data")
app.add_typer(teacher.app, name="teacher")
app.add_typer(cache.app, name="cache")


def _version(show: bool) -> None:
    if show:
        print(f"edgedistill {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Distil CLIP into small classifiers that know when to answer unknown."""


def main() -> NoReturn:
    """Entry point of the command."""
    run_command(app)
