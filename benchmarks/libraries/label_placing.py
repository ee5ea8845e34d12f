"""Collisions of labels in the Pareto plot: the package's placing and adjustText.

    pip install adjustText
    python -m benchmarks.libraries.label_placing

Plots of made-up files, three to sixteen of them, with times near each other or far apart. Counted
are pairs of labels that overlap, pairs of a label and a marker, and labels that leave the axes;
adjustText is run with twelve settings of its forces and margins.
"""

import argparse
from collections.abc import Callable
from importlib import metadata
from itertools import combinations, product
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
from adjustText import adjust_text
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.script import run_script
from edgedistill._utils.atomic import write_json
from edgedistill.bench import pareto
from edgedistill.bench.pareto import Point

Place = Callable[[Axes, list[Point]], None]
STUDENTS = ("resnet18", "efficientnet_b0", "mobilenet_v3_small", "mobilenet_v3_large")
# Files, and the logarithm of the range of their times.
PLOTS = ((3, 0.5), (8, 1.2), (8, 3.0), (16, 2.0))
FORCE_STATIC = ((0.1, 0.2), (0.5, 1.0), (1.0, 2.0))
FORCE_TEXT = ((0.1, 0.2), (0.5, 0.8))
EXPAND = ((1.05, 1.2), (1.3, 1.6))
STEPS = 500


def result(files: int, spread: float) -> Any:
    """As much of a benchmark's result as the plot reads."""
    rng = np.random.default_rng(files)
    models = []
    for number in range(files):
        student, precision = STUDENTS[number // 2 % len(STUDENTS)], ("fp32", "int8")[number % 2]
        quality, ms = rng.uniform(0.6, 0.7), float(np.exp(rng.uniform(0, spread)))
        share = {"value": quality, "low": quality - 0.04, "high": quality + 0.04}
        name = f"{student}-{number // 8 or ''}{precision}.onnx"
        models.append(
            {
                "name": name,
                "path": name,
                "bytes": int(rng.uniform(1.2e6, 45e6)),
                "contract": {"student": student, "method": "scipd", "precision": precision},
                "quality": {"h_score": share, "accuracy": share, "data": "made up", "target": None},
                "latency": [
                    {
                        "threads": 1,
                        "batch": 1,
                        "model": {"p50_ms": ms, "rounds_ms": [0.98 * ms, 1.03 * ms]},
                    }
                ],
            }
        )
    noise = {"limit": 0.05, "settings": [{"model": {"noise": 0.02}}]}
    return {"models": models, "noise": noise}


def by_adjust_text(**settings: Any) -> Place:
    def place(axes: Axes, points: list[Point]) -> None:
        x, y = [p.ms for p in points], [p.quality for p in points]
        labels = [
            axes.text(p.ms, p.quality, pareto.label(p), fontsize=pareto.FONT, zorder=4)
            for p in points
        ]
        markers = axes.scatter(x, y, s=[pareto.area(p.bytes) for p in points], alpha=0)
        adjust_text(labels, ax=axes, objects=markers, iter_lim=STEPS, **settings)

    return place


def collisions(figure: Figure, points: list[Point]) -> dict[str, int]:
    axes = figure.axes[0]
    figure.draw_without_rendering()
    inside = axes.get_window_extent()
    labels = [text.get_window_extent() for text in axes.texts]
    markers = [pareto.marker_box(axes, point) for point in points]
    return {
        "labels": sum(bool(a.overlaps(b)) for a, b in combinations(labels, 2)),
        "markers": sum(bool(a.overlaps(b)) for a, b in product(labels, markers)),
        "outside": sum(
            not (inside.x0 <= b.x0 and b.x1 <= inside.x1 and inside.y0 <= b.y0 <= b.y1 <= inside.y1)
            for b in labels
        ),
    }


def measure(place: Place) -> dict[str, int]:
    """Collisions of a way to place labels, over all plots."""
    total = {"labels": 0, "markers": 0, "outside": 0}
    for files, spread in PLOTS:
        content = result(files, spread)
        with patch.object(pareto, "place_labels", place):
            figure = pareto.pareto(content)
        for kind, count in collisions(figure, pareto.points(content)).items():
            total[kind] += count
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description="Collisions of labels in the Pareto plot.")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("label_placing.json"))
    options = parser.parse_args()
    record: dict[str, Any] = {
        "versions": {name: metadata.version(name) for name in ("adjustText", "matplotlib")},
        "labels": sum(files for files, _ in PLOTS),
        "edgedistill": measure(pareto.place_labels),
        "adjustText": [],
    }
    print("edgedistill", record["edgedistill"])
    for static, text, expand in product(FORCE_STATIC, FORCE_TEXT, EXPAND):
        settings = {"force_static": static, "force_text": text, "expand": expand}
        record["adjustText"].append(settings | measure(by_adjust_text(**settings)))
        print(record["adjustText"][-1], flush=True)
    write_json(options.out, record)


if __name__ == "__main__":
    run_script(main)
