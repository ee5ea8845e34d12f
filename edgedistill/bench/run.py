"""The function `edgedistill.benchmark`: which of these files to ship on this CPU."""

from __future__ import annotations

import tempfile
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from edgedistill._utils.cpus import available_cpus
from edgedistill._utils.extras import needs_extra
from edgedistill.bench import gate
from edgedistill.bench.collect import BenchSettings, Loaded, QualityResult, collect, load
from edgedistill.bench.outputs import BenchmarkOutputs, check_outputs, refuse_images, write_outputs
from edgedistill.bench.picture import describe_image, write_picture
from edgedistill.bench.result import Result
from edgedistill.callbacks import Callback, CallbackList, LoggingCallback, reporting
from edgedistill.errors import UsageError

CPU = ("CPUExecutionProvider",)
# By Unicode category. Bytes of another encoding are lone surrogates in Python.
_UNWRITABLE = {
    "Cs": "is not UTF-8",
    "Cc": "has control characters",
    "Zl": "has line breaks",
    "Zp": "has line breaks",
}


@dataclass(frozen=True)
class Benchmark:
    """The results of measuring exported files.

    Attributes:
        result: figures of every file, comparisons with the baseline, and the machine.
        failures: a line for every requirement that a model does not hold.
        outputs: the files that `write` writes.
    """

    result: Result
    failures: tuple[str, ...]
    outputs: BenchmarkOutputs

    def write(self) -> Iterator[Path]:
        """Write the outputs that were asked for; yields every path when it is complete.

        Raises OutputError when the file system refuses.
        """
        return write_outputs(self.outputs, self.result)


def benchmark(
    models: Sequence[str | Path],
    *,
    data: str | None = None,
    baseline: str | Path | None = None,
    threads: Sequence[int] = (1,),
    batch: Sequence[int] = (1,),
    rounds: int = 10,
    image: str | Path | None = None,
    providers: Sequence[str] = CPU,
    require: Sequence[str] = (),
    outputs: BenchmarkOutputs | None = None,
    callbacks: Iterable[Callback] | None = None,
) -> Benchmark:
    """Measure exported files on this machine: size, latency, memory, and quality of the answers.

    Args:
        models: the .onnx files.
        data: a recipe, whose target domain is answered, or a folder of labelled images class/*;
            None to measure no answers.
        baseline: what the others are compared with, one of `models` or another file; the first
            in fp32 when None, or the first where none is.
        threads, batch: thread counts, and images answered at a time; every pair is timed.
        rounds: of timing, 6 or more.
        image: the file that times are taken with; a generated 640 x 480 JPEG when None.
        providers: onnxruntime execution providers; the models run on these alone.
        require: comparisons that every one of `models` must hold: "h_score>=0.6".
        outputs: what `Benchmark.write` will write; checked here, before the minutes of measuring.
        callbacks: what hears of the progress; a `LoggingCallback` when None.

    Raises:
        ModelFileError: a file is not one that `export` writes.
        UsageError: arguments do not go together.
        BenchError: a requirement is no comparison, or no image of `data` can be read.
        DataError: `data` is no such recipe or folder, or has other classes.

    Examples:
        >>> measured = ed.benchmark(["student.onnx"], rounds=6, require=["size_mb<=50"])
        >>> measured.failures
        ()
    """
    outputs = outputs or BenchmarkOutputs()
    with reporting([LoggingCallback()] if callbacks is None else callbacks) as active:
        requirements = _requirements(require, data)
        paths = [Path(path) for path in models]
        if not paths:
            raise UsageError("models: there are none; give the exported files to measure")
        first = None if baseline is None else Path(baseline)
        timed = None if image is None else Path(image)
        inputs = [*paths, *(path for path in (first, timed) if path)]
        inputs += [] if data is None else [Path(data).expanduser()]
        for path in inputs:
            _refuse_unwritable(f"{str(path)!r}: this path", [str(path)])
        check_outputs(outputs, inputs, data is not None)
        if max(threads) > available_cpus():
            active.on_warning(
                f"{max(threads)} threads on {available_cpus()} cores: they wait for each other"
            )
        whole, position = _with_baseline(paths, first)
        loaded = load(whole, providers)
        for model in loaded:
            info = model.info
            texts = (*info.classes, info.student, info.method, info.precision, info.score)
            _refuse_unwritable(f"{model.path}: its metadata", texts)
        if baseline is None:
            precisions = [model.info.precision for model in loaded]
            position = precisions.index("fp32") if "fp32" in precisions else 0
        reference = loaded[position].name
        answers = None
        if data is not None:
            answers = _answers(data, loaded, reference, providers, outputs, active)
            _check_answers(answers, reference, data, outputs, requirements)
        with _image(timed) as (file, described):
            plan = BenchSettings(threads, batch, rounds, file, described, providers)
            result = collect(loaded, reference, plan, answers, active)
    # A baseline from elsewhere is only what the others are compared with.
    names = [model.name for model in loaded[len(loaded) - len(paths) :]]
    return Benchmark(result, tuple(gate.failures(result, requirements, names)), outputs)


def _refuse_unwritable(what: str, texts: Iterable[str]) -> None:
    """Text of another encoding, as file names may be, can be neither printed nor written.

    Control characters could, but would break the lines of a table or move the cursor.
    """
    for text in texts:
        for character in text:
            if why := _UNWRITABLE.get(unicodedata.category(character)):
                raise UsageError(f"{what} {why}, so no result can hold it; rename it")


def _requirements(texts: Sequence[str], data: str | None) -> list[gate.Requirement]:
    requirements = [gate.parse(text) for text in texts]
    for requirement in requirements:
        if requirement.needs_data and data is None:
            raise UsageError(
                f"--require {requirement}: needs labelled images; give --data RECIPE or FOLDER"
            )
    return requirements


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
    data: str,
    models: Sequence[Loaded],
    baseline: str,
    providers: Sequence[str],
    outputs: BenchmarkOutputs,
    callbacks: CallbackList,
) -> QualityResult:
    with needs_extra("bench", "--data"):
        from edgedistill.bench.data import find_images, same_classes
        from edgedistill.bench.quality import answer, evaluate_answers

        known = same_classes([(model.name, model.info.classes) for model in models])
        images = find_images(data, known)
    refuse_images(outputs, images.files)
    for note in images.notes:
        callbacks.on_note(note)
    paths = {model.name: model.path for model in models}
    answered = answer(paths, images, providers, callbacks)
    for line in answered.unreadable:
        callbacks.on_warning(line)
    return QualityResult(*evaluate_answers(answered, images, baseline))


def _check_answers(
    answers: QualityResult,
    baseline: str,
    data: str,
    outputs: BenchmarkOutputs,
    requirements: Sequence[gate.Requirement],
) -> None:
    """Refuse what the images cannot answer, before the minutes of timing."""
    quality = answers.quality[baseline]
    domains = (of_model["own_target"] or "" for of_model in answers.quality.values())
    names = (quality["target"] or "", *domains, *quality["unknown_classes"])
    _refuse_unwritable(f"--data {data}: the name of a class or domain", names)
    gate.refuse_unanswerable(requirements, quality)
    if outputs.plot is not None and not quality["known"]:
        raise UsageError(
            f"--plot {outputs.plot}: {data} has no images of known classes that can be read, "
            "so there is no quality to draw"
        )


@contextmanager
def _image(given: Path | None) -> Iterator[tuple[Path, str]]:
    """The file that times are taken with, and what the result says about it."""
    if given is not None:
        yield given, f"{describe_image(given)}, {given}"
        return
    with tempfile.TemporaryDirectory() as folder:
        path = write_picture(Path(folder))
        yield path, f"{describe_image(path)}, generated"
