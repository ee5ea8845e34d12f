"""Style of all plots: colours, fonts, and rendering to PNG.

Neither pyplot nor the user's matplotlib settings are used, so the same arrays give the same plot in
every process. Colours are Okabe & Ito's, which stay apart for colour-blind readers.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import is_dataclass
from functools import wraps
from io import BytesIO
from typing import Any, ParamSpec

import matplotlib
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from edgedistill.data.fonts import PLOT_FONT, plot_families

INK, MUTED, GRID = "#1b1f24", "#5c6670", "#e3e6ea"
BLUE, ORANGE, GREEN, VERMILION, PURPLE, SKY = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#B5558C",
    "#56B4E9",
)
STYLE: dict[Any, Any] = {
    "font.family": PLOT_FONT,
    "font.size": 10,
    # A class called "$5_bill" is a name, not a formula.
    "text.parse_math": False,
    "text.color": INK,
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": "#aab2ba",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": GRID,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}

P = ParamSpec("P")


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Decorator of a function that draws a Figure, which it does in `STYLE` alone.

    Letters of its arguments that the style's font lacks are drawn with others of the system; pass
    names through `drawable` for those that none has.
    """

    @wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with matplotlib.rc_context():
            matplotlib.rcdefaults()
            letters = frozenset("".join(_texts((args, kwargs))))
            families = {"font.family": list(plot_families(letters))}
            matplotlib.rcParams.update(STYLE | families)
            return draw(*args, **kwargs)

    return wrapper


def _texts(value: Any) -> Iterator[str]:
    """Every str in nested arguments."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.items():
            yield from _texts(item)
    elif isinstance(value, list | tuple | set | frozenset):
        for entry in value:
            yield from _texts(entry)
    elif is_dataclass(value):
        yield from _texts(vars(value))


def png(figure: Figure, dpi: int = 140) -> bytes:
    """`figure` as the bytes of a PNG file, the same for the same figure."""
    buffer = BytesIO()
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(STYLE)
        FigureCanvasAgg(figure)
        figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    return buffer.getvalue()
