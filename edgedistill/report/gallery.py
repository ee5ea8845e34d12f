"""Contact sheets of answered images, as matplotlib Figures. No meaning rests on colour alone."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from edgedistill.data.fonts import drawable
from edgedistill.report.data import AnsweredImages, Kind, SampleImages, kinds
from edgedistill.report.style import BLUE, GREEN, INK, MUTED, ORANGE, PURPLE, VERMILION, styled

_KIND_STYLE = {
    Kind.CORRECT: (GREEN, "✓"),
    Kind.MISCLASSIFIED: (VERMILION, "✗"),
    Kind.FALSE_REJECT: (ORANGE, "✗"),
    Kind.TRUE_REJECT: (BLUE, "✓"),
    Kind.FALSE_ACCEPT: (PURPLE, "✗"),
}
# Orange letters on white would be hard to read.
_DARK_ORANGE = "#9a6a00"
_COLUMNS, _TILE, _HEADER, _CAPTION = 8, 1.3, 0.42, 0.66


class _Group(NamedTuple):
    heading: str
    color: str
    rows: Sequence[int]


@styled
def labelled_answers(samples: SampleImages | None, known: Sequence[str]) -> Figure:
    """Test images with their true class and answer, grouped by the kind of answer."""
    every = [] if samples is None else kinds(samples.labels, samples.predictions, samples.accepted)
    groups = [
        _Group(f"{_KIND_STYLE[kind][1]} {kind.value}", _KIND_STYLE[kind][0], rows)
        for kind in Kind
        if (rows := [row for row, its_kind in enumerate(every) if its_kind is kind])
    ]

    def caption(row: int) -> tuple[str, ...]:
        assert samples is not None
        answer = known[int(samples.predictions[row])] if samples.accepted[row] else "unknown"
        return (
            shorten(samples.names[row], 17),
            f"→ {shorten(answer, 18)}",
            f"score {samples.scores[row]:.3g}",
        )

    return _sheet(samples, groups, caption)


@styled
def unlabelled_answers(samples: AnsweredImages | None, known: Sequence[str]) -> Figure:
    """Images without labels and their answers: accepted ones, then rejected ones.

    The class under a rejected image is the one it would have been answered with.
    """
    accepted = [] if samples is None else samples.accepted.tolist()
    groups = [
        _Group(heading, color, rows)
        for heading, color, wanted in (
            ("Accepted: answered with a class", BLUE, True),
            ("Rejected: answered with unknown", ORANGE, False),
        )
        if (rows := [row for row, value in enumerate(accepted) if value is wanted])
    ]

    def caption(row: int) -> tuple[str, ...]:
        assert samples is not None
        nearest = shorten(known[int(samples.predictions[row])], 17)
        answer = nearest if samples.accepted[row] else "unknown"
        rest = "" if samples.accepted[row] else f"nearest: {shorten(nearest, 10)}"
        return answer, f"score {samples.scores[row]:.3g}", rest

    return _sheet(samples, groups, caption)


def _sheet(
    samples: AnsweredImages | None,
    groups: Sequence[_Group],
    caption: Callable[[int], tuple[str, ...]],
) -> Figure:
    lines = sum(-(-len(group.rows) // _COLUMNS) for group in groups)
    width = _COLUMNS * (_TILE + 0.12) + 0.2
    height = max(len(groups) * _HEADER + lines * (_TILE + _CAPTION) + 0.1, 0.8)
    figure = Figure(figsize=(width, height))
    if samples is None or not groups:
        figure.text(0.5, 0.5, "no images to show", ha="center", va="center", color=MUTED)
        return figure
    # One Axes in inches under all tiles: one for each would cost seconds, most of them for ticks.
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    axes.set(xlim=(0, width), ylim=(0, height), autoscale_on=False)
    y = height - 0.05
    for heading, color, rows in groups:
        figure.text(
            0.16 / width,
            (y - 0.26) / height,
            heading,
            color=_DARK_ORANGE if color == ORANGE else color,
            fontsize=11,
            fontweight="bold",
        )
        y -= _HEADER
        for number, row in enumerate(rows):
            column = number % _COLUMNS
            if number and column == 0:
                y -= _TILE + _CAPTION
            x = 0.16 + column * (_TILE + 0.12)
            image = samples.images[row]
            tall, wide = (_TILE * side / max(image.shape[:2]) for side in image.shape[:2])
            left, bottom = x + (_TILE - wide) / 2, y - (_TILE + tall) / 2
            axes.imshow(image, extent=(left, left + wide, bottom, bottom + tall), aspect="auto")
            frame = Rectangle((left, bottom), wide, tall, fill=False, edgecolor=color, linewidth=3)
            axes.add_patch(frame)
            for line, text in enumerate(caption(row)):
                figure.text(
                    (x + _TILE / 2) / width,
                    (y - _TILE - 0.19 - 0.155 * line) / height,
                    text,
                    ha="center",
                    fontsize=8,
                    fontweight="bold" if line == 0 else "normal",
                    color=MUTED if line == 2 else INK,
                )
        y -= _TILE + _CAPTION
    return figure


def shorten(text: str, width: int) -> str:
    """A name on one line of at most `width` characters, underscores as spaces.

    Letters that no font has are escaped, also beyond the width.
    """
    text = drawable(" ".join(str(text).replace("_", " ").split()))
    return text if len(text) <= width else text[: width - 1].rstrip() + "…"
