"""`edgedistill`: the commands, and how every failure becomes one line and an exit status."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import click
import typer

from edgedistill import __version__
from edgedistill.errors import EdgeDistillError

app = typer.Typer(
    name="edgedistill",
    help="Distil CLIP into small classifiers that know when to answer unknown.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
data_app = typer.Typer(help="Look at a dataset.", no_args_is_help=True)
teacher_app = typer.Typer(help="Look at a teacher.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(teacher_app, name="teacher")

RecipePath = Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe (TOML).")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a field: --set train.lr=0.05"),
]
Runs = Annotated[Path, typer.Option("--runs", help="Folder that run folders lie in.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


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


@app.command()
def run(
    recipe: RecipePath,
    overrides: Overrides = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Seed of the run.")] = None,
    name: Annotated[
        str | None, typer.Option(help="Run folder name [default: RECIPE-TARGET-sSEED].")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="auto, cpu, cuda, cuda:1, mps [default: the recipe's].")
    ] = None,
    runs: Runs = Path("runs"),
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only results and errors.")] = False,
) -> None:
    """Distil, calibrate, evaluate and report; started again, it goes on where it stopped."""
    with _training_extra():
        from edgedistill.cli.commands import run_recipe

    sets = list(overrides or [])
    sets += [] if seed is None else [f"seed={seed}"]
    sets += [] if device is None else [f'device="{device}"']
    run_recipe(recipe, sets, name, runs, quiet)


@app.command()
def compare(
    names: Annotated[list[str], typer.Argument(metavar="RUN...", help="Run names or folders.")],
    runs: Runs = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Put finished runs side by side."""
    from edgedistill.cli.compare import compare_runs

    compare_runs(names, runs, as_json)


@teacher_app.command("eval")
def teacher_eval(recipe: RecipePath, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Zero-shot accuracy and open-set quality of the recipe's teacher, per domain."""
    with _training_extra():
        from edgedistill.cli.commands import evaluate_teacher

    evaluate_teacher(recipe, list(overrides or []), as_json)


@data_app.command("info")
def data_info(
    source: Annotated[
        str, typer.Argument(metavar="DATA", help="'emoji', a folder domain/class/*, or a recipe.")
    ] = "emoji",
    target: Annotated[
        str | None, typer.Option(help="Count train, val and test for this target domain.")
    ] = None,
    sheet: Annotated[Path, typer.Option(help="Where to write the contact sheet.")] = Path(
        "contact_sheet.png"
    ),
    as_json: AsJson = False,
) -> None:
    """Domains, classes and counts of a dataset, its problem files, and a contact sheet."""
    with _training_extra():
        from edgedistill.cli.data_info import show_data

    show_data(source, target, sheet, as_json)


@contextmanager
def _training_extra() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("edgedistill"):
            raise
        raise EdgeDistillError(
            f'{error.name} is not installed; this command needs: pip install "edgedistill[train]"'
        ) from None


def main() -> None:
    """Entry point: 0 done, 1 a check failed, 2 bad input, 130 interrupted (and resumable)."""
    try:
        status = app(standalone_mode=False)
        sys.exit(status if isinstance(status, int) else 0)
    except EdgeDistillError as error:
        _fail(str(error), 2)
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "edgedistill"
        _fail(f"{error.format_message().rstrip('.')}; see {command} --help", 2)
    except click.exceptions.Exit as stop:
        sys.exit(stop.exit_code)
    except (KeyboardInterrupt, click.exceptions.Abort):
        _fail("interrupted; the same command goes on where this one stopped", 130)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{error.strerror or error}", 2)


def _fail(message: str, status: int) -> None:
    print("edgedistill: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(status)
