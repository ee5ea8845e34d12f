"""The files that a benchmark writes: checked before anything is measured, written last."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgedistill._utils.atomic import probe, write_bytes, write_json, write_text
from edgedistill._utils.extras import needs_extra
from edgedistill.bench.markdown import to_markdown
from edgedistill.bench.result import Result
from edgedistill.errors import OutputError, UsageError


@dataclass(frozen=True)
class BenchmarkOutputs:
    """`json`, `markdown`, `plot`: files, and `report`: a folder to write; None for none."""

    json: Path | None = None
    markdown: Path | None = None
    plot: Path | None = None
    report: Path | None = None


def check_outputs(outputs: BenchmarkOutputs, inputs: Sequence[Path], has_data: bool) -> None:
    """Say now what would fail, or destroy something, after minutes of measuring.

    Leaves nothing behind.

    Args:
        inputs: what is read: models, image, recipe.
        has_data: there are labelled images.

    Raises UsageError that names the option.
    """
    if outputs.plot is not None and not has_data:
        raise UsageError("--plot: shows the H-score; give --data RECIPE or FOLDER as well")
    if outputs.plot is not None and outputs.plot.suffix.lower() != ".png":
        raise UsageError(f"--plot {outputs.plot}: writes PNG; name a .png file")
    if outputs.plot is not None or outputs.report is not None:
        with needs_extra("bench", "--plot" if outputs.report is None else "--report"):
            import edgedistill.bench.html  # noqa: F401
    taken = {os.path.realpath(path): "is what is measured" for path in inputs}
    for option, path in _files(outputs):
        reason = taken.setdefault(os.path.realpath(path), f"is also written by {option}")
        if reason != f"is also written by {option}":
            raise UsageError(f"{option}: {path} {reason}; name another file")
        folder = path.parent
        if option.startswith("--report"):
            # The folder is made when it is written.
            folder = next(p for p in (folder, *folder.parents) if p.exists())
            if not folder.is_dir():
                raise UsageError(f"{option}: {folder} is a file; name a folder")
        elif not folder.is_dir():
            raise UsageError(f"{option}: no folder {folder}; make it first")
        try:
            probe(folder / path.name)
        except OutputError as error:
            raise UsageError(f"{option}: {error}") from None


def refuse_images(outputs: BenchmarkOutputs, images: Iterable[Path]) -> None:
    """Refuse to write over images that are judged. Raises UsageError naming the option."""
    files = {os.path.realpath(path): (option, path) for option, path in _files(outputs)}
    for image in images:
        if clash := files.get(os.path.realpath(image)):
            option, path = clash
            raise UsageError(f"{option}: {path} is one of the images of --data; name another file")


def write_outputs(outputs: BenchmarkOutputs, result: Result) -> Iterator[Path]:
    """Write what was asked for; yields every path when it is complete.

    Raises OutputError when the file system refuses.
    """
    if outputs.json is not None:
        write_json(outputs.json, result)
        yield outputs.json
    if outputs.markdown is not None:
        write_text(outputs.markdown, to_markdown(result))
        yield outputs.markdown
    if outputs.plot is not None:
        from edgedistill.bench.pareto import pareto
        from edgedistill.report.style import png

        write_bytes(outputs.plot, png(pareto(result)))
        yield outputs.plot
    if outputs.report is not None:
        from edgedistill.bench.html import write_bench_report

        yield from write_bench_report(outputs.report, result)


def _files(outputs: BenchmarkOutputs) -> list[tuple[str, Path]]:
    """Every file to write, after the option that asks for it."""
    files = [
        (f"--{name} {path}", path)
        for name, path in vars(outputs).items()
        if path is not None and name != "report"
    ]
    if outputs.report is not None:
        from edgedistill.bench.html import FILES

        files += [(f"--report {outputs.report}", outputs.report / name) for name in FILES]
    return files
