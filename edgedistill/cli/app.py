"""`edgedistill`: the commands, and how every failure becomes one line and an exit status."""

import os
import signal
import sys
import threading
import warnings
from pathlib import Path
from types import FrameType
from typing import Annotated, NoReturn, TextIO

import typer

from edgedistill import __version__
from edgedistill.cli.bench_command import bench
from edgedistill.cli.extras import needs_extra
from edgedistill.errors import EdgeDistillError, Interrupted, UsageError

app = typer.Typer(
    name="edgedistill",
    help="Distil CLIP into small classifiers that know when to answer unknown.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # Or words in brackets, such as [default: the first], would vanish as markup.
    rich_markup_mode=None,
)
data_app = typer.Typer(help="Look at a dataset.", no_args_is_help=True)
teacher_app = typer.Typer(help="Look at a teacher.", no_args_is_help=True)
app.add_typer(data_app, name="data")
cache_app = typer.Typer(
    help="Stored images and the teacher's embeddings of views.", no_args_is_help=True
)
app.add_typer(teacher_app, name="teacher")
app.add_typer(cache_app, name="cache")

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
    with needs_extra("train"):
        from edgedistill.cli.commands import run_recipe

    sets = list(overrides or [])
    sets += [] if seed is None else [f"seed={seed}"]
    sets += [] if device is None else [f'device="{device}"']
    run_recipe(recipe, sets, name, runs, quiet)


@app.command()
def predict(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="An exported .onnx file.")],
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE...", help="Files, folders, globs; '-' for lines of these on stdin."
        ),
    ],
    threshold: Annotated[
        float | None, typer.Option(help="Least score of a known image [default: the calibrated].")
    ] = None,
    batch: Annotated[int, typer.Option(min=1, help="Images answered at a time.")] = 1,
    threads: Annotated[
        int | None, typer.Option(min=1, max=1024, help="Threads [default: one per physical core].")
    ] = None,
    provider: Annotated[
        list[str] | None,
        typer.Option(help="onnxruntime execution provider, repeatable [default: the CPU's]."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON line per image.")] = False,
) -> int:
    """Classify images with an exported model; exit status 1 when some could not be read."""
    from edgedistill.cli.predict import predict_files

    return predict_files(
        model,
        images,
        as_json=as_json,
        threshold=threshold,
        batch=batch,
        providers=provider or ["CPUExecutionProvider"],
        threads=threads,
    )


@app.command()
def compare(
    names: Annotated[list[str], typer.Argument(metavar="RUN...", help="Run names or folders.")],
    runs: Runs = Path("runs"),
    as_json: AsJson = False,
) -> None:
    """Put finished runs side by side."""
    from edgedistill.cli.compare import compare_runs

    compare_runs(names, runs, as_json)


@app.command()
def export(
    run: Annotated[
        str | None,
        typer.Argument(metavar="[RUN]", help="Run name or folder [default: the newest finished]."),
    ] = None,
    onnx: Annotated[bool, typer.Option("--onnx", help="The format: one ONNX file.")] = False,
    int8: Annotated[
        bool, typer.Option("--int8", help="In int8 where it pays; refused where it costs answers.")
    ] = False,
    max_drop: Annotated[
        float, typer.Option(help="Points of accuracy, acceptance, H-score int8 may lose.")
    ] = 1.0,
    size: Annotated[
        int | None, typer.Option(min=32, max=1024, help="Input side, pixels [default: the run's].")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="The file [default: student[-int8].onnx in the run]."),
    ] = None,
    runs: Runs = Path("runs"),
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Only results and errors.")] = False,
) -> None:
    """Write the student of a finished run as the file a device runs, checked against torch."""
    if not onnx:
        raise UsageError("export: say which format; there is one: --onnx")
    with needs_extra("train"):
        from edgedistill.cli.export import export_run

        # torch.onnx looks for its own needs only when it is called.
        export_run(run, runs, size, output, max_drop if int8 else None, as_json, quiet)


app.command()(bench)


@app.command()
def sweep(
    path: Annotated[Path, typer.Argument(metavar="SWEEP", help="A sweep file (TOML).")],
    engine: Annotated[str, typer.Option(help="What runs the processes: local or ray.")] = "local",
    jobs: Annotated[
        int | None,
        typer.Option(min=1, help="Runs at a time [default: 1; on ray, as many as have room]."),
    ] = None,
    address: Annotated[
        str | None,
        typer.Option(
            help="Ray cluster to use [default: RAY_ADDRESS, or one of this machine alone]."
        ),
    ] = None,
    cpus: Annotated[
        float | None, typer.Option(min=0, help="CPUs of a node for each run on ray [default: 1].")
    ] = None,
    gpus: Annotated[
        float | None,
        typer.Option(min=0, help="GPUs for each run on ray [default: 1 if the cluster has any]."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder that sweep folders lie in.")] = Path("sweeps"),
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="AXIS=VALUE", help="Do these runs of the grid, as in seed=0,1."),
    ] = None,
    dry: Annotated[bool, typer.Option("--dry-run", help="Print the plan and end.")] = False,
) -> int:
    """Run a grid of recipes and collect tables and pictures; started again, it goes on."""
    with needs_extra("train"):
        from edgedistill.cli.sweep import run_sweep
        from edgedistill.sweep.engines import Request

    return run_sweep(path, engine, jobs, out, dry, Request(address, cpus, gpus), only or [])


@teacher_app.command("eval")
def teacher_eval(recipe: RecipePath, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Zero-shot accuracy and open-set quality of the recipe's teacher, per domain."""
    with needs_extra("train"):
        from edgedistill.cli.commands import evaluate_teacher

    evaluate_teacher(recipe, list(overrides or []), as_json)


@data_app.command("info")
def data_info(
    source: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="'emoji', a folder domain/class/*, a recipe, or a benchmark's name.",
        ),
    ] = "emoji",
    root: Annotated[
        Path | None, typer.Option(help="Your copy of the benchmark: check it against its paper.")
    ] = None,
    lists: Annotated[
        Path | None, typer.Option(help="Folder of HDG's image lists [default: below --root].")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Count train, val and test for this target domain.")
    ] = None,
    sheet: Annotated[Path, typer.Option(help="Where to write the contact sheet.")] = Path(
        "contact_sheet.png"
    ),
    as_json: AsJson = False,
) -> int:
    """Domains, classes and counts of a dataset, its problem files, and a contact sheet."""
    with needs_extra("train"):
        from edgedistill.cli.data_info import show_data

    return show_data(source, target, sheet, as_json, root, lists)


@cache_app.command("build")
def cache_build(recipe: RecipePath, overrides: Overrides = None) -> None:
    """Store the images and compute the teacher's embeddings that runs of a recipe share."""
    with needs_extra("train"):
        from edgedistill.cli.cache_recipe import build_recipe_caches

    build_recipe_caches(recipe, list(overrides or []))


@cache_app.command("info")
def cache_info(as_json: AsJson = False) -> None:
    """Every cache: what it holds and what it takes on the disk."""
    with needs_extra("train"):
        from edgedistill.cli.cache import show_caches

    show_caches(as_json)


@cache_app.command("verify")
def cache_verify(
    recipe: RecipePath,
    overrides: Overrides = None,
    repair: Annotated[
        bool, typer.Option("--repair", help="Drop what is damaged, so that it is made again.")
    ] = False,
) -> int:
    """Check every byte of what a recipe uses; status 1 if something is damaged."""
    with needs_extra("train"):
        from edgedistill.cli.cache_recipe import verify_recipe_caches

    return verify_recipe_caches(recipe, list(overrides or []), repair)


@cache_app.command("clear")
def cache_clear(
    which: Annotated[
        str | None, typer.Argument(metavar="RECIPE|CACHE", help="A recipe, or a name from info.")
    ] = None,
    overrides: Overrides = None,
    everything: Annotated[bool, typer.Option("--all", help="Remove every cache.")] = False,
) -> None:
    """Remove what a recipe uses, one cache, or all; runs make what they need again."""
    if everything == (which is not None):
        raise typer.BadParameter("give a recipe, the name of a cache, or --all")
    with needs_extra("train"):
        from edgedistill.cli.cache import clear_caches

        if which is not None and which.endswith(".toml"):
            from edgedistill.cli.cache_recipe import clear_recipe_caches

            clear_recipe_caches(Path(which), list(overrides or []))
            return
    clear_caches(which)


# Wrong usage. Newer versions of Typer carry their own copy of click, so click's class is no use.
_UsageError: type[BaseException] = typer.BadParameter.__mro__[1]


def main() -> None:
    """Entry point: 0 done, 1 a check failed, 2 bad input, 130 interrupted (and resumable)."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _interrupt)
    _open_streams()
    sys.unraisablehook = _not_lost
    if not sys.warnoptions:
        # Libraries warn programmers; whoever runs a command can do nothing about it.
        warnings.simplefilter("ignore")
        # Except this package's own to them: an old spelling in a recipe.
        warnings.simplefilter("default", FutureWarning)
        warnings.showwarning = _show_warning
    try:
        status = app(standalone_mode=False)
        # What is still buffered may meet a full disk, which is this command's failure.
        sys.stdout.flush()
    except EdgeDistillError as error:
        _fail(str(error), 2)
    except _UsageError as error:
        usage = _usage(error)
        # Without a command the help has been printed, and the error says nothing.
        if usage is None:
            sys.exit(2)
        _fail(usage, 2)
    except (Interrupted, KeyboardInterrupt) as stop:
        _fail(str(stop) or "interrupted", 130)
    except MemoryError:
        _fail("out of memory; close other programs, or make the task smaller", 2)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _fail(f"{where}{error.strerror or error}", 2)
    sys.exit(status if isinstance(status, int) else 0)


def _open_streams() -> None:
    """Nothing to read and nowhere to write, where whoever started us closed a standard stream."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    print(f"edgedistill: warning: {message}", file=sys.stderr)


def _interrupt(signum: int, frame: FrameType | None) -> NoReturn:
    raise Interrupted


def _not_lost(found: "sys.UnraisableHookArgs") -> None:
    """Ask again for a stop that arrived in a destructor, where Python drops exceptions."""
    if isinstance(found.exc_value, Interrupted):
        threading.Timer(0.01, signal.raise_signal, [signal.SIGTERM]).start()
    else:
        sys.__unraisablehook__(found)


def _usage(error: BaseException) -> str | None:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "edgedistill"
    message = getattr(error, "format_message", lambda: str(error))()
    return f"{message.rstrip('.')}; see {command} --help" if message.strip() else None


def _fail(message: str, status: int) -> NoReturn:
    print("edgedistill: " + " ".join(message.split()), file=sys.stderr)
    try:
        sys.stdout.flush()
    except OSError:
        # The interpreter would try again as it ends, and print a traceback.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(status)
