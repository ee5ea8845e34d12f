"""`edgedistill bench`: which of these files to ship on this CPU."""

import os
import re
import sys
import tempfile
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgedistill._utils.console import Display
from edgedistill.bench import gate
from edgedistill.bench.collect import Answers, Loaded, Plan, collect, load
from edgedistill.bench.machine import cores
from edgedistill.bench.picture import describe, write_picture
from edgedistill.bench.result import Result
from edgedistill.bench.table import print_result
from edgedistill.cli.bench_outputs import Outputs, check_outputs, keep_images, write_outputs
from edgedistill.cli.extras import needs_extra
from edgedistill.errors import EdgeDistillError, UsageError

MOST = 1024
# By Unicode category. Bytes of another encoding are lone surrogates in Python.
_UNWRITABLE = {
    "Cs": "is not UTF-8",
    "Cc": "has control characters",
    "Zl": "has line breaks",
    "Zp": "has line breaks",
}
# Of a wrong argument, in its error message.
_SHOWN = 40


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
        outputs: what to write.
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
    outputs: Outputs
    require: Sequence[str]


def bench_files(request: Request, quiet: bool) -> int:
    """Measure, write what was asked for, print. A reader that leaves early is no failure.

    Returns:
        Exit status: 0, 1 when some model does not hold a requirement.

    Raises:
        EdgeDistillError: a file that cannot be measured, read or written; found before the long
            part wherever possible.
    """
    display = Display(quiet)
    requirements = _requirements(request)
    threads, batch = numbers("--threads", request.threads), numbers("--batch", request.batch)
    inputs = [*request.models, *(path for path in (request.baseline, request.image) if path)]
    inputs += [] if request.data is None else [Path(request.data).expanduser()]
    for path in inputs:
        _refuse_unwritable(f"{str(path)!r}: this path", [str(path)])
    check_outputs(request.outputs, inputs, request.data is not None)
    if max(threads) > cores():
        display.warn(f"{max(threads)} threads on {cores()} cores: they wait for each other")
    paths, first = _with_baseline(request.models, request.baseline)
    models = load(paths, request.providers)
    for model in models:
        info = model.info
        said = (*info.classes, info.student, info.method, info.precision, info.score)
        _refuse_unwritable(f"{model.path}: its metadata", said)
    answers = None
    if request.data is not None:
        answers = _answers(request, models, models[first].name, display)
        plot, quality = request.outputs.plot, answers.quality[models[first].name]
        domains = (found["own_target"] or "" for found in answers.quality.values())
        names = (quality["target"] or "", *domains, *quality["unknown_classes"])
        _refuse_unwritable(f"--data {request.data}: the name of a class or domain", names)
        gate.refuse_unanswerable(requirements, quality)
        if plot is not None and not quality["known"]:
            raise UsageError(
                f"--plot {plot}: {request.data} has no images of known classes that can be read, "
                "so there is no quality to draw"
            )
    with _image(request.image) as (image, described):
        plan = Plan(threads, batch, request.rounds, image, described, request.providers)
        result = collect(models, models[first].name, plan, answers, display)
    # Before anything is printed, which whoever reads a pipe may not wait for.
    try:
        for written in write_outputs(request.outputs, result):
            display.note(f"wrote {written}")
    except EdgeDistillError:
        _print(result)
        raise
    # A baseline from elsewhere is only what the others are compared with.
    held = [model.name for model in models[len(models) - len(request.models) :]]
    failing = gate.failures(result, requirements, held)
    _print(result)
    for line in failing:
        print(f"edgedistill: {line}", file=sys.stderr)
    return int(bool(failing))


def _print(result: Result) -> None:
    try:
        print_result(result)
    except BrokenPipeError:
        # As in `| head`: the reader has had enough. The interpreter must not try again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def numbers(option: str, text: str) -> list[int]:
    """ "1,2" as numbers, each once. Raises EdgeDistillError for anything but 1..1024."""
    found = []
    for part in map(str.strip, text.split(",")):
        # Python refuses to read thousands of digits.
        if not re.fullmatch("[0-9]{1,4}", part) or not 1 <= int(part) <= MOST:
            what = repr(_short(part)) if part else "nothing"
            raise UsageError(
                f"{option} {_short(text) or repr(text)}: {what} is no number from 1 to {MOST}; "
                "write numbers with commas between, such as 1,2"
            )
        found.append(int(part))
    return list(dict.fromkeys(found))


def _short(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _refuse_unwritable(what: str, texts: Iterable[str]) -> None:
    """Text of another encoding, as file names may be, can be neither printed nor written.

    Control characters could, but would break the lines of a table or move the cursor.
    """
    for text in texts:
        for character in text:
            if why := _UNWRITABLE.get(unicodedata.category(character)):
                raise UsageError(f"{what} {why}, so no result can hold it; rename it")


def _requirements(request: Request) -> list[gate.Requirement]:
    found = [gate.parse(text) for text in request.require]
    for requirement in found:
        if requirement.needs_data and request.data is None:
            raise UsageError(
                f"--require {requirement}: needs labelled images; give --data RECIPE or FOLDER"
            )
    return found


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
    request: Request, models: Sequence[Loaded], baseline: str, display: Display
) -> Answers:
    assert request.data is not None
    with needs_extra("bench", "--data"):
        from edgedistill.bench.data import find_images, same_classes
        from edgedistill.bench.quality import answer, evaluate_answers

        known = same_classes([(model.name, model.info.classes) for model in models])
        images = find_images(request.data, known)
    keep_images(request.outputs, images.files)
    for note in images.notes:
        display.note(note)
    paths = {model.name: model.path for model in models}
    answered = answer(paths, images, request.providers, display)
    for line in answered.unreadable:
        display.warn(line)
    return Answers(*evaluate_answers(answered, images, baseline))


@contextmanager
def _image(given: Path | None) -> Iterator[tuple[Path, str]]:
    """The file that times are taken with, and what the result says about it."""
    if given is not None:
        yield given, f"{describe(given)}, {given}"
        return
    with tempfile.TemporaryDirectory() as folder:
        path = write_picture(Path(folder))
        yield path, f"{describe(path)}, generated"
