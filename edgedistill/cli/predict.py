"""`edgedistill predict`: decisions on image files, printed as they are made."""

import glob
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from edgedistill.errors import Interrupted
from edgedistill.runtime import Classifier, Prediction, UnreadableImage
from edgedistill.runtime.contract import LOWEST
from edgedistill.runtime.preprocess import is_image

_INTERRUPTED = 130


def predict_files(
    model: Path,
    images: Sequence[str],
    *,
    as_json: bool,
    threshold: float | None,
    batch: int,
    providers: Sequence[str],
    threads: int | None,
) -> int:
    """Print one line per image on stdout, and one per image without an answer on stderr.

    Args:
        images: files, folders, glob patterns, and `-` for lines of these on stdin.

    Returns:
        Exit status: 0, 1 when some image has no answer, 130 when interrupted.

    Raises:
        EdgeDistillError: the model, the threshold or the provider is of no use.
    """
    classifier = Classifier(model, threshold=threshold, providers=providers, threads=threads)
    table = None if as_json else _Table(classifier)
    counts = Counter[str]()

    def fail(why: str) -> None:
        counts["without an answer"] += 1
        print(f"edgedistill: {_shown(why)}", file=sys.stderr)

    status = 0
    try:
        if table:
            print(table.header(), flush=True)
        for source, answer in classifier.stream(_files(images, fail), batch_size=batch):
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
        said = ("known", "unknown", "without an answer")
        print(", ".join(f"{counts[what]} {what}" for what in said), file=sys.stderr)
    return status or int(counts["without an answer"] > 0)


class _Table:
    """Rows as wide as the longest class, so that the first can be printed before the last."""

    def __init__(self, classifier: Classifier) -> None:
        limit = classifier.threshold
        self._heading = "score" if limit <= LOWEST else f"score>={limit:.4g}"
        names = [_shown(name) for name in classifier.classes]
        self._width = max(len("unknown"), *map(len, names))
        self._score = max(10, len(self._heading))

    def header(self) -> str:
        return self._line("label", self._heading, "nearest", "confidence", "image")

    def row(self, source: str, answer: Prediction) -> str:
        return self._line(
            "unknown" if answer.label is None else _shown(answer.label),
            f"{answer.score:.4f}",
            _shown(answer.nearest),
            f"{100 * answer.confidence:.1f} %",
            _shown(source),
        )

    def _line(self, label: str, score: str, nearest: str, confidence: str, image: str) -> str:
        name = self._width
        return (
            f"{label:<{name}}  {score:>{self._score}}  {nearest:<{name}}  {confidence:>10}  {image}"
        )


def _json(source: str, answer: Prediction) -> str:
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


def _files(arguments: Sequence[str], fail: Callable[[str], None]) -> Iterator[str]:
    """The files that are meant, one by one; a folder that gives none is reported to `fail`."""
    for argument in arguments:
        if argument == "-":
            for line in sys.stdin.buffer:
                name = os.fsdecode(line.rstrip(b"\r\n"))
                if "\0" in name:
                    fail(
                        f"{name}: names stand one per line; list them with find -print, not -print0"
                    )
                elif name:
                    yield from _expand(name, fail)
        else:
            yield from _expand(argument, fail)


def _expand(name: str, fail: Callable[[str], None]) -> Iterator[str]:
    matches = [name]
    # An existing file is itself, even with brackets in its name.
    if glob.has_magic(name) and not os.path.lexists(name):
        matches = sorted(glob.glob(name, recursive=True))
        if not matches:
            fail(f"{name}: nothing matches")
    for match in matches:
        if os.path.isdir(match):
            # `**` matches the folders as well as what lies in them.
            if len(matches) == 1 or "**" not in name:
                yield from _in_folder(match, fail)
        else:
            yield match


def _in_folder(folder: str, fail: Callable[[str], None]) -> Iterator[str]:
    """Image files below a folder, sorted at every level; hidden ones are left out."""
    found = False

    def denied(error: OSError) -> None:
        nonlocal found
        found = True
        fail(f"{error.filename}: {error.strerror}")

    for parent, folders, files in os.walk(folder, onerror=denied):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in filter(is_image, sorted(files)):
            found = True
            yield os.path.join(parent, file)
    if not found:
        fail(f"{folder}: no image files in this folder")


def _shown(text: str) -> str:
    """Text that cannot move the cursor, break the line or fail to print."""
    encoding = sys.stdout.encoding or "ascii"
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return shown.encode(encoding, "backslashreplace").decode(encoding)
