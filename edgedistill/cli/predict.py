"""`edgedistill predict`: decisions on image files, printed as they are made."""

import codecs
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import typer

import edgedistill as ed
from edgedistill._utils.printable import printable
from edgedistill._utils.text_files import marked_encoding
from edgedistill.cli.options import Quiet, Runs
from edgedistill.errors import Interrupted, OutputError, UsageError
from edgedistill.runs.lookup import model_file

if TYPE_CHECKING:
    from edgedistill.runtime import Classifier, Prediction

_INTERRUPTED = 130


def predict(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="An exported .onnx file, or a run with one.")
    ],
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
    csv: Annotated[
        Path | None, typer.Option(help="Write the answers to a CSV file instead of printing them.")
    ] = None,
    sort: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Copy every image to DIR/CLASS/ or DIR/unknown/."),
    ] = None,
    runs: Runs = Path("runs"),
    quiet: Quiet = False,
) -> int:
    """Classify images with an exported model. Exit status 1 when some could not be read."""
    if as_json and csv is not None:
        raise UsageError("predict: --json and --csv are two forms of the answers; give one")
    if sort is not None:
        _refuse_within(sort, images)
    classifier = ed.Classifier(
        model_file(model, runs),
        threshold=threshold,
        providers=provider or ["CPUExecutionProvider"],
        threads=threads,
    )
    with _writer(csv, as_json, classifier) as writer:
        return _print_predictions(classifier, images, writer, batch, sort, quiet)


def _refuse_within(folder: Path, sources: Sequence[str]) -> None:
    """Refuse to copy images to where they are being listed."""
    whole = folder.resolve()
    for source in sources:
        if os.path.isdir(source) and whole.is_relative_to(Path(source).resolve()):
            raise UsageError(
                f"--sort {folder}: lies in {source}, whose images are read; choose another"
            )


def _print_predictions(
    classifier: "Classifier",
    images: Sequence[str],
    writer: "_Writer",
    batch: int,
    sort: Path | None,
    quiet: bool,
) -> int:
    """Write one line per image, and print one per image without an answer on stderr.

    Args:
        images: files, folders, glob patterns, and `-` for lines of these on stdin.
        writer: where the answers go.
        sort: folder for copies of the images, by class.
        quiet: leave out the summary and what the folders' listing left out.

    Returns:
        Exit status: 0, 1 when some image has no answer, 130 when interrupted.
    """
    from edgedistill.runtime import UnreadableImage
    from edgedistill.runtime.sorting import copy_sorted

    counts = Counter[str]()

    def fail(reason: str) -> None:
        counts["without an answer"] += 1
        print(f"edgedistill: {_printable(reason)}", file=sys.stderr)

    status = 0
    try:
        writer.begin()
        warn = _silent if quiet else _warn
        paths = ed.find_images(_sources(images, fail), on_problem=fail, on_omission=warn)
        for source, answer in classifier.stream(paths, batch_size=batch):
            if isinstance(answer, UnreadableImage):
                fail(str(answer))
                continue
            counts["known" if answer.known else "unknown"] += 1
            # At once: whoever reads a pipe is waiting for it.
            writer.write(source, answer)
            if sort is not None:
                try:
                    copy_sorted(source, answer.label, sort, classifier.classes)
                except OSError as error:
                    fail(f"{source}: no copy in {sort}: {error.strerror}")
    except BrokenPipeError:
        # As in `| head`: the reader has had enough. The interpreter must not try again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (Interrupted, KeyboardInterrupt):
        status = _INTERRUPTED
    if writer.summary and not quiet:
        kinds = ("known", "unknown", "without an answer")
        print(", ".join(f"{counts[kind]} {kind}" for kind in kinds), file=sys.stderr)
    return status or int(counts["without an answer"] > 0)


class _Writer:
    """JSON lines on stdout."""

    summary = False

    def begin(self) -> None:
        """Write what comes before the first answer."""

    def write(self, source: str, answer: "Prediction") -> None:
        """Write the answer to an image."""
        print(_json(source, answer), flush=True)


class _CSV(_Writer):
    """Rows of a CSV file; names keep the bytes they have in the file system."""

    summary = True

    def __init__(self, file: IO[str]) -> None:
        import csv

        self._file = file
        self._writer = csv.writer(file, lineterminator="\n")

    def begin(self) -> None:
        self._row("image", "label", "known", "score", "threshold", "nearest", "confidence")

    def write(self, source: str, answer: "Prediction") -> None:
        self._row(
            source,
            answer.label or "",
            str(answer.known).lower(),
            answer.score,
            answer.threshold,
            answer.nearest,
            answer.confidence,
        )

    def _row(self, *values: str | float) -> None:
        try:
            self._writer.writerow(values)
            self._file.flush()
        except OSError as error:
            raise OutputError(
                f"--csv {self._file.name}: cannot be written: {error.strerror}"
            ) from error


@contextmanager
def _writer(csv: Path | None, as_json: bool, classifier: "Classifier") -> Iterator[_Writer]:
    """Where the answers go. Raises OutputError for a CSV file that cannot be written."""
    if csv is None:
        yield _Writer() if as_json else _Table(classifier)
        return
    if csv.exists() and csv.suffix.lower() != ".csv":
        raise UsageError(f"--csv {csv}: is there already and no .csv file; choose another name")
    try:
        file = csv.open("w", encoding="utf-8", errors="surrogateescape", newline="")
    except OSError as error:
        raise OutputError(f"--csv {csv}: cannot be written: {error.strerror}") from error
    with file:
        yield _CSV(file)


class _Table(_Writer):
    """Rows as wide as the longest class, so that the first can be printed before the last."""

    summary = True

    def __init__(self, classifier: "Classifier") -> None:
        from edgedistill.runtime.contract import LOWEST

        threshold = classifier.threshold
        self._heading = "score" if threshold <= LOWEST else f"score>={threshold:.4g}"
        names = [_printable(name) for name in classifier.classes]
        self._width = max(len("unknown"), *map(len, names))
        self._score = max(10, len(self._heading))

    def begin(self) -> None:
        print(self._line("label", self._heading, "nearest", "confidence", "image"), flush=True)

    def write(self, source: str, answer: "Prediction") -> None:
        row = self._line(
            "unknown" if answer.label is None else _printable(answer.label),
            f"{answer.score:.4f}",
            _printable(answer.nearest),
            f"{100 * answer.confidence:.1f} %",
            _printable(source),
        )
        print(row, flush=True)

    def _line(self, label: str, score: str, nearest: str, confidence: str, image: str) -> str:
        name = self._width
        return (
            f"{label:<{name}}  {score:>{self._score}}  {nearest:<{name}}  {confidence:>10}  {image}"
        )


def _json(source: str, answer: "Prediction") -> str:
    import json

    # ASCII only, so that every locale prints it and every file name survives.
    return json.dumps(
        {
            "image": source,
            "label": answer.label,
            "known": answer.known,
            "score": answer.score,
            "threshold": answer.threshold,
            "nearest": answer.nearest,
            "probabilities": answer.probabilities,
        }
    )


def _sources(arguments: Sequence[str], fail: Callable[[str], None]) -> Iterator[str]:
    """The arguments, with the lines of stdin in place of `-`."""
    for argument in arguments:
        if argument != "-":
            yield argument
            continue
        for number, line in enumerate(sys.stdin.buffer):
            if number == 0:
                encoding = marked_encoding(line)
                if encoding is not None:
                    fail(f"stdin is {encoding} text; write the list of images as UTF-8")
                    break
                line = line.removeprefix(codecs.BOM_UTF8)
            name = os.fsdecode(line.rstrip(b"\r\n"))
            if "\0" in name:
                fail(f"{name}: names stand one per line; list them with find -print, not -print0")
            elif name:
                yield name


def _silent(message: str) -> None:
    """For --quiet."""


def _warn(message: str) -> None:
    print(f"edgedistill: warning: {_printable(message)}", file=sys.stderr)


def _printable(text: str) -> str:
    return printable(text, sys.stdout.encoding)
