"""Picture of the package's floors, drawn from its imports.

Rows are the floors of the import-linter contract in pyproject.toml, boxes the packages on them with
their lines of code, arrows the imports between packages. An arrow that two others imply is left
out, and so are those to the lowest floors, which every package may import; an import that climbs is
always drawn, in red.

    python docs/scripts/architecture.py        # rewrites docs/explanation/architecture.svg
"""

from __future__ import annotations

import ast
import json
import sys
import textwrap
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

import grimp
import matplotlib

matplotlib.use("svg")

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch

ROOT = Path(__file__).resolve().parents[2]
# The checkout that this file lies in, whichever one is installed.
sys.path.insert(0, str(ROOT))

PICTURE = ROOT / "docs/explanation/architecture.svg"

# Floors that every package may import: arrows to them would say nothing.
COMMON = frozenset({"registries", "callbacks", "_utils", "errors"})
INK, PALE, LINE, CLIMB = "#1f2933", "#eef2f6", "#7b8794", "#d64545"

# Sizes in inches across and floors down; the caption's in characters.
WIDTH, HEIGHT, FIRST_COLUMN, CAPTION = 1.4, 0.58, 2.3, 68

Import = tuple[str, str]


@dataclass(frozen=True)
class Architecture:
    """Floors and imports of the package.

    `floors` runs from the top down, each floor the names of its packages or modules; `lines` and
    `summaries` (first sentence of the docstring) are by name; `imports` holds every pair
    (importer, imported) of two names.
    """

    floors: tuple[tuple[str, ...], ...]
    lines: Mapping[str, int]
    summaries: Mapping[str, str]
    imports: frozenset[Import]

    @property
    def climbs(self) -> frozenset[Import]:
        """Imports of a package on a higher floor, or of a neighbour on the same floor."""
        floor = {name: row for row, names in enumerate(self.floors) for name in names}
        return frozenset(
            (importer, imported)
            for importer, imported in self.imports
            if floor[imported] <= floor[importer] and not {importer, imported} <= COMMON
        )

    @property
    def arrows(self) -> frozenset[Import]:
        """Imports that go down and that no chain of others implies, without those of `COMMON`."""
        down = {pair for pair in self.imports - self.climbs if pair[1] not in COMMON}
        return frozenset(pair for pair in down if not _reaches(down - {pair}, *pair))


def read_architecture(root: Path = ROOT) -> Architecture:
    """The floors of pyproject.toml's contract, and the imports of edgedistill/ under `root`."""
    with (root / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["id"] == "floors")
    package = root / "edgedistill"
    files = {name: _files(package, name) for layer in layers for name in _names(layer)}
    floors = tuple(
        tuple(name for name in _names(layer) if files[name] and name != "__main__")
        for layer in layers
    )
    names = {name for floor in floors for name in floor}
    return Architecture(
        floors=tuple(floor for floor in floors if floor),
        lines={name: sum(map(_line_count, files[name])) for name in names},
        summaries={name: _summary(files[name][0]) for name in names},
        imports=frozenset(_imports(names)),
    )


def draw_architecture(architecture: Architecture, path: Path = PICTURE) -> None:
    """Write the picture as SVG; the same architecture gives the same bytes."""
    floors = architecture.floors
    with matplotlib.rc_context(
        {"svg.fonttype": "none", "svg.hashsalt": "architecture", "font.family": "sans-serif"}
    ):
        figure = plt.figure(figsize=(10, 0.58 * len(floors) + 0.6), facecolor="white")
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, 10), ylim=(len(floors) - 0.3, -0.85))
        axes.axis("off")
        places = {
            name: (_column(position), float(row))
            for row, names in enumerate(floors)
            for position, name in enumerate(names)
        }
        _draw_arrows(axes, sorted(architecture.arrows), places, LINE)
        _draw_arrows(axes, sorted(architecture.climbs), places, CLIMB)
        for name, (x, y) in places.items():
            _draw_box(axes, name, architecture.lines[name], x, y)
        for row, names in enumerate(floors):
            text = _caption([architecture.summaries[name] for name in names])
            axes.text(4.8, row, text, va="center", fontsize=8.5, color=INK, linespacing=1.4)
        count = len(architecture.climbs)
        axes.text(
            0.15,
            -0.62,
            "Arrows are imports, without those that others imply and those of "
            f"{', '.join(sorted(COMMON & places.keys()))}. "
            + (f"Imports that climb: {count}, in red." if count else "No import climbs."),
            fontsize=8.5,
            color=CLIMB if count else LINE,
        )
        metadata = {"Date": None, "Creator": None, "Description": describe(architecture)}
        figure.savefig(path, format="svg", metadata=metadata)
        plt.close(figure)


def describe(architecture: Architecture) -> str:
    """What the picture shows, without the lines of code, as JSON; the SVG holds it too."""
    return json.dumps(
        {
            "floors": architecture.floors,
            "arrows": sorted(architecture.arrows),
            "climbs": sorted(architecture.climbs),
        }
    )


def description(path: Path = PICTURE) -> str:
    """The JSON of `describe` that a picture holds."""
    tree = ElementTree.parse(path)
    return tree.findtext(".//{http://purl.org/dc/elements/1.1/}description") or ""


def _names(layer: str) -> list[str]:
    """The names of one line of the contract: `"report | export"`, `"(api)"`."""
    return layer.replace("|", " ").replace(":", " ").replace("(", " ").replace(")", " ").split()


def _files(package: Path, name: str) -> list[Path]:
    """The Python files of a module or package, its own docstring's file first."""
    module = package / f"{name}.py"
    if module.exists():
        return [module]
    first = package / name / "__init__.py"
    return [first, *sorted(set((package / name).rglob("*.py")) - {first})] if first.exists() else []


def _line_count(path: Path) -> int:
    return len(path.read_text(encoding="utf-8").splitlines())


def _summary(path: Path) -> str:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.split("\n\n")[0].replace("\n", " ").replace("`", "").split(". ")[0].rstrip(".")


def _imports(names: Iterable[str]) -> set[Import]:
    graph = grimp.build_graph("edgedistill", exclude_type_checking_imports=True)
    known = set(names)
    pairs = set()
    for importer in graph.modules:
        for imported in graph.find_modules_directly_imported_by(importer):
            pair = (_package(importer), _package(imported))
            if pair[0] != pair[1] and known.issuperset(pair):
                pairs.add(pair)
    return pairs


def _package(module: str) -> str:
    return module.partition(".")[2].partition(".")[0]


def _reaches(imports: set[Import], start: str, end: str) -> bool:
    """Whether a chain of imports leads from `start` to `end`."""
    waiting, visited = [start], {start}
    while waiting:
        current = waiting.pop()
        if current == end:
            return True
        reached = {imported for importer, imported in imports if importer == current} - visited
        visited |= reached
        waiting.extend(reached)
    return False


def _caption(summaries: Sequence[str]) -> str:
    """Two lines at most: one summary wrapped, or the first words of each of several."""
    if len(summaries) == 1:
        return "\n".join(
            textwrap.wrap(
                summaries[0], CAPTION, max_lines=2, break_on_hyphens=False, placeholder=" …"
            )
        )
    return "\n".join(textwrap.shorten(text, CAPTION, placeholder=" …") for text in summaries)


def _column(position: int) -> float:
    """The centre of a box; neighbours on a floor stand to the right of the first."""
    return FIRST_COLUMN + position * (WIDTH + 0.2)


def _draw_box(axes: Axes, name: str, lines: int, x: float, y: float) -> None:
    axes.add_patch(
        FancyBboxPatch(
            (x - WIDTH / 2, y - HEIGHT / 2),
            WIDTH,
            HEIGHT,
            boxstyle="round,pad=0,rounding_size=0.08",
            facecolor=PALE,
            edgecolor=INK,
            linewidth=1,
            mutation_aspect=1.4,
        )
    )
    axes.text(x, y - 0.09, name, ha="center", va="center", fontsize=10, weight="bold", color=INK)
    count = f"{lines / 1000:.1f}k" if lines >= 1000 else f"{round(lines, -1)}"
    axes.text(x, y + 0.16, f"{count} lines", ha="center", va="center", fontsize=7, color=INK)


def _draw_arrows(
    axes: Axes,
    arrows: Sequence[Import],
    places: Mapping[str, tuple[float, float]],
    color: str,
) -> None:
    for importer, imported in arrows:
        (x0, y0), (x1, y1) = places[importer], places[imported]
        if 0 < y1 - y0 <= 1:
            start, end, bend = (x0, y0 + HEIGHT / 2), (x1, y1 - HEIGHT / 2), 0.0
        else:
            # Past the boxes between them, or round the corner to a second column.
            side = 1 if max(x0, x1) > FIRST_COLUMN else -1
            down = 1 if y1 > y0 else -1
            start, end = (x0 + side * WIDTH / 2, y0 + 0.1), (x1 + side * WIDTH / 2, y1 - 0.1)
            if x1 > x0:
                end = (x1, y1 - down * HEIGHT / 2)
            elif x1 < x0:
                start = (x0, y0 + down * HEIGHT / 2)
            bend = -0.45 * side * down
        axes.add_patch(
            FancyArrowPatch(
                start,
                end,
                arrowstyle="-|>",
                mutation_scale=9,
                connectionstyle=f"arc3,rad={bend}",
                color=color,
                linewidth=1.1,
            )
        )


if __name__ == "__main__":
    draw_architecture(read_architecture())
