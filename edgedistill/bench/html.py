"""`edgedistill bench --report DIR`: a result as one self-contained page."""

from importlib.resources import files
from pathlib import Path
from typing import Any

from edgedistill._utils import atomic
from edgedistill.bench.markdown import to_markdown
from edgedistill.bench.pareto import pareto, points
from edgedistill.bench.result import Model, Result
from edgedistill.bench.sheet import comparisons, grid, notes, sections, setting, share
from edgedistill.errors import OutputError
from edgedistill.report.page import data_uri, environment
from edgedistill.report.style import png

# In the folder of a report; the last only with labelled images.
FILES = ("result.json", "result.md", "report.html", "pareto.png")


def render(result: Result, picture: bytes | None) -> str:
    """The page as text; `picture` is the PNG of `pareto`, None where there is no quality."""
    source = files("edgedistill.bench").joinpath("bench.html.j2").read_text("utf-8")
    names = [model["name"] for model in result["models"]]
    best = [point.name for point in points(result) if point.best]
    return (
        environment()
        .from_string(source)
        .render(
            names=names,
            models=result["models"],
            machine=result["machine"],
            noisy=result["noise"]["verdict"] == "noisy",
            best=best,
            cards=[_card(model, best) for model in result["models"]],
            picture=None if picture is None else data_uri(picture),
            sections=[(section.title, *grid(section, names)) for section in sections(result)],
            compared=comparisons(result),
            baseline=result["baseline"],
            notes=notes(result),
        )
    )


def write_bench_report(folder: Path, result: Result) -> list[Path]:
    """Write report.html, result.json, result.md and, with labelled images, pareto.png.

    Each is written atomically; the folder is created. Without labelled images the plot of an
    earlier report is removed.

    Returns:
        The paths.

    Raises:
        BenchError: the folder cannot be created.
        OutputError: a file cannot be written.
    """
    data, markdown, page, drawn = (folder / name for name in FILES)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not points(result):
            drawn.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(f"--report: {folder}: {error.strerror}; name a folder") from None
    atomic.write_json(data, result)
    atomic.write_text(markdown, to_markdown(result))
    picture = png(pareto(result)) if points(result) else None
    if picture is not None:
        atomic.write_bytes(drawn, picture)
    atomic.write_text(page, render(result, picture))
    return [data, markdown, page, *([] if picture is None else [drawn])]


def _card(model: Model, best: list[str]) -> dict[str, Any]:
    quality, latency = model["quality"], model["latency"][0]
    time = f"{latency['model']['p50_ms']:.3g} ms"
    where = setting(latency["threads"], latency["batch"])
    size = f"{model['bytes'] / 1e6:.1f} MB, {model['contract']['precision']}"
    if quality is None:
        headline, below = time, f"p50 of the model, {where}; {size}"
    else:
        figure = "h_score" if quality["h_score"]["value"] is not None else "accuracy"
        percent = share(quality["h_score"] if figure == "h_score" else quality["accuracy"])
        value, _, interval = percent.partition(" ")
        headline = f"{value} %"
        name = "H-score" if figure == "h_score" else "accuracy"
        below = f"{name} {interval}; {time} p50, {where}; {size}"
    return {
        "name": model["name"],
        "headline": headline,
        "below": below,
        "best": model["name"] in best,
    }
