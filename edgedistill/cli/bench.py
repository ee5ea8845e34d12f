"""`edgedistill bench`: which of these files to ship on this CPU."""

import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgedistill.atomic import write_bytes, write_json, write_text
from edgedistill.bench import gate
from edgedistill.bench.collect import Answers, Loaded, Plan, collect, load
from edgedistill.bench.machine import cores
from edgedistill.bench.markdown import to_markdown
from edgedistill.bench.picture import describe, write_picture
from edgedistill.bench.result import Result
from edgedistill.bench.table import print_result
from edgedistill.cli.extras import needs_extra
from edgedistill.display import Display
from edgedistill.errors import EdgeDistillError

MOST = 1024


@dataclass(frozen=True)
class Request:
    """What the command line asks for.

    Attributes:
        models: files to measure. baseline: one of them or another file, None for the first.
        data: a recipe or a folder of labelled images, None to measure no answers.
        threads, batch: numbers with commas between.
        rounds: of timing.
        image: the file that times are taken with, None for a generated one.
        providers: onnxruntime execution providers.
        json, markdown, plot: files, and report: a folder to write, None for none.
        require: comparisons that every one of `models` must hold.
    """

    models: Sequence[Path]
    baseline: Path | None
    data: str | None
    threads: str
    batch: str
    rounds: int
    image: Path | None
    providers: Sequence[str]
    json: Path | None
    markdown: Path | None
    plot: Path | None
    report: Path | None
    require: Sequence[str]


def bench_files(request: Request, quiet: bool) -> int:
    """Measure, print, write what was asked for.

    Returns:
        Exit status: 0, 1 when some model does not hold a requirement.

    Raises:
        EdgeDistillError: a file that cannot be measured, read or written; found before the long
            part wherever possible.
    """
    display = Display(quiet)
    requirements = _requirements(request)
    _check_outputs(request)
    threads, batch = numbers("--threads", request.threads), numbers("--batch", request.batch)
    if max(threads) > cores():
        display.warn(f"{max(threads)} threads on {cores()} cores: they wait for each other")
    paths, first = _with_baseline(request.models, request.baseline)
    models = load(paths, request.providers)
    answers = None
    if request.data is not None:
        answers = _answers(request.data, models, models[first].name, request.providers, display)
    with _image(request.image) as (image, described):
        plan = Plan(threads, batch, request.rounds, image, described, request.providers)
        result = collect(models, models[first].name, plan, answers, display)
    print_result(result)
    for written in _write(result, request):
        display.note(f"wrote {written}")
    # A baseline from elsewhere is only what the others are compared with.
    held = [model.name for model in models[len(models) - len(request.models) :]]
    failing = gate.failures(result, requirements, held)
    for line in failing:
        print(f"edgedistill: {line}", file=sys.stderr)
    return int(bool(failing))


def numbers(option: str, text: str) -> list[int]:
    """ "1,2" as numbers, each once. Raises EdgeDistillError for anything but 1..1024."""
    found = []
    for part in text.split(","):
        if not part.strip().isdecimal() or not 1 <= int(part) <= MOST:
            raise EdgeDistillError(
                f"{option} {text}: {part.strip() or 'nothing'!r} is no number from 1 to {MOST}; "
                "write numbers with commas between, such as 1,2"
            )
        found.append(int(part))
    return list(dict.fromkeys(found))


def _requirements(request: Request) -> list[gate.Requirement]:
    found = [gate.parse(text) for text in request.require]
    for requirement in found:
        if requirement.needs_data and request.data is None:
            raise EdgeDistillError(
                f"--require {requirement}: needs labelled images; give --data RECIPE or FOLDER"
            )
    return found


def _check_outputs(request: Request) -> None:
    """Say now what would fail after minutes of measuring."""
    if request.plot is not None and request.data is None:
        raise EdgeDistillError("--plot: shows the H-score; give --data RECIPE or FOLDER as well")
    if request.plot is not None and request.plot.suffix.lower() != ".png":
        raise EdgeDistillError(f"--plot {request.plot}: writes PNG; name a .png file")
    for option, path in (
        ("--json", request.json),
        ("--markdown", request.markdown),
        ("--plot", request.plot),
    ):
        if path is not None and path.is_dir():
            raise EdgeDistillError(f"{option} {path}: is a folder; name a file in it")
        if path is not None and not path.parent.is_dir():
            raise EdgeDistillError(f"{option} {path}: no folder {path.parent}; make it first")
    if request.report is not None and request.report.exists() and not request.report.is_dir():
        raise EdgeDistillError(f"--report {request.report}: is a file; name a folder")
    if request.plot is not None or request.report is not None:
        with needs_extra("bench", "--plot" if request.report is None else "--report"):
            import edgedistill.bench.html  # noqa: F401


def _with_baseline(models: Sequence[Path], baseline: Path | None) -> tuple[list[Path], int]:
    """All files, and the baseline's place; one from elsewhere goes before the models."""
    paths = list(models)
    if baseline is None:
        return paths, 0
    whole = [path.resolve() for path in paths]
    if baseline.resolve() in whole:
        return paths, whole.index(baseline.resolve())
    return [baseline, *paths], 0


def _answers(
    source: str,
    models: Sequence[Loaded],
    baseline: str,
    providers: Sequence[str],
    display: Display,
) -> Answers:
    with needs_extra("bench", "--data"):
        from edgedistill.bench.data import find_images, same_classes
        from edgedistill.bench.quality import answer, judge

        known = same_classes([(model.name, model.info.classes) for model in models])
        images = find_images(source, known)
    for note in images.notes:
        display.note(note)
    answered = answer({model.name: model.path for model in models}, images, providers, display)
    for line in answered.unreadable:
        display.warn(line)
    return Answers(*judge(answered, images, baseline))


@contextmanager
def _image(given: Path | None) -> Iterator[tuple[Path, str]]:
    """The file that times are taken with, and what the result says about it."""
    if given is not None:
        yield given, f"{describe(given)}, {given}"
        return
    with tempfile.TemporaryDirectory() as folder:
        path = write_picture(Path(folder))
        yield path, f"{describe(path)}, generated"


def _write(result: Result, request: Request) -> Iterator[Path]:
    if request.json is not None:
        write_json(request.json, result)
        yield request.json
    if request.markdown is not None:
        write_text(request.markdown, to_markdown(result))
        yield request.markdown
    if request.plot is not None:
        from edgedistill.bench.pareto import pareto, points
        from edgedistill.report.style import png

        if not points(result):
            raise EdgeDistillError(
                f"--plot {request.plot}: {request.data} has no images of known classes that all "
                "models answered, so there is no quality to draw"
            )
        write_bytes(request.plot, png(pareto(result)))
        yield request.plot
    if request.report is not None:
        from edgedistill.bench.html import write_report

        yield from write_report(request.report, result)
