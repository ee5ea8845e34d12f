"""`edgedistill predict`: decisions on image files, printed as they are made."""

import codecs
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import edgedistill as ed
from edgedistill._utils.printable import printable
from edgedistill._utils.text_files import marked_encoding
from edgedistill.errors import Interrupted

if TYPE_CHECKING:
    from edgedistill.runtime import Classifier, Prediction

_INTERRUPTED = 130


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
    classifier = ed.Classifier(
        model,
        threshold=threshold,
        providers=provider or ["CPUExecutionProvider"],
        threads=threads,
    )
    return _print_predictions(classifier, images, as_json, batch)


def _print_predictions(
    classifier: "Classifier", images: Sequence[str], as_json: bool, batch: int
) -> int:
    """Print one line per image on stdout, and one per image without an answer on stderr.

    Args:
        images: files, folders, glob patterns, and `-` for lines of these on stdin.

    Returns:
        Exit status: 0, 1 when some image has no answer, 130 when interrupted.
    """
    from edgedistill.runtime import UnreadableImage

    table = None if as_json else _Table(classifier)
    counts = Counter[str]()

    def fail(reason: str) -> None:
        counts["without an answer"] += 1
        print(f"edgedistill: {_printable(reason)}", file=sys.stderr)

    status = 0
    try:
        if table:
            print(table.header(), flush=True)
        paths = ed.find_images(_sources(images, fail), on_problem=fail, on_omission=_warn)
        for source, answer in classifier.stream(paths, batch_size=batch):
            if isinstance(answer, UnreadableImage):
                fail(str(answer))
                continue
            counts["known" if answer.known else "unknown"] += 1
            # At once: whoever reads a pipe is waiting for it.
            print(table.row(source, answer) if table else _json(source, answer), flush=True)
    except BrokenPipeError:
        # As in `| head`: the reader has had enough. The interpreter must not try again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (Interrupted, KeyboardInterrupt):
        status = _INTERRUPTED
    if table:
        kinds = ("known", "unknown", "without an answer")
        print(", ".join(f"{counts[kind]} {kind}" for kind in kinds), file=sys.stderr)
    return status or int(counts["without an answer"] > 0)


class _Table:
    """Rows as wide as the longest class, so that the first can be printed before the last."""

    def __init__(self, classifier: "Classifier") -> None:
        from edgedistill.runtime.contract import LOWEST

        threshold = classifier.threshold
        self._heading = "score" if threshold <= LOWEST else f"score>={threshold:.4g}"
        names = [_printable(name) for name in classifier.classes]
        self._width = max(len("unknown"), *map(len, names))
        self._score = max(10, len(self._heading))

    def header(self) -> str:
        return self._line("label", self._heading, "nearest", "confidence", "image")

    def row(self, source: str, answer: "Prediction") -> str:
        return self._line(
            "unknown" if answer.label is None else _printable(answer.label),
            f"{answer.score:.4f}",
            _printable(answer.nearest),
            f"{100 * answer.confidence:.1f} %",
            _printable(source),
        )

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


def _warn(message: str) -> None:
    print(f"edgedistill: warning: {_printable(message)}", file=sys.stderr)


def _printable(text: str) -> str:
    return printable(text, sys.stdout.encoding)
