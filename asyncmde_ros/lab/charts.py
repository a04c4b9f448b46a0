"""What the project's diagrams share: their look, and how one becomes a PNG.

matplotlib is only imported when something is drawn: the numbers can be had without it.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from asyncmde_ros.errors import AsyncMDEError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Colours of Okabe and Ito, which people with any colour vision tell apart, without the yellow,
# which is lost on white; and two more.
BLUE, VERMILION, GREEN, PURPLE = '#0072B2', '#D55E00', '#009E73', '#CC79A7'
ORANGE, SKY, BLACK, GRAY, BROWN = '#E69F00', '#56B4E9', '#000000', '#7F7F7F', '#8C564B'
COLORS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK, GRAY, BROWN)

_STYLE = {
    'font.size': 9,
    'axes.titlesize': 10,
    'axes.titleweight': 'bold',
    'axes.titlelocation': 'left',
    'axes.spines.top': False,
    'axes.spines.right': False,
    'axes.edgecolor': '#888888',
    'axes.grid': True,
    'axes.axisbelow': True,
    'grid.color': '#e4e4e4',
    'grid.linewidth': 0.8,
    'xtick.color': '#444444',
    'ytick.color': '#444444',
    'legend.frameon': False,
}
_DPI = 130


def require_matplotlib() -> None:
    """Raise an AsyncMDEError that says what to install where matplotlib is missing."""
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise AsyncMDEError(
            'pictures of measurements need matplotlib: pip install ".[eval]" in its source'
        ) from error


@contextmanager
def chart(width_in: float, height_in: float) -> 'Iterator[tuple[Figure, io.BytesIO]]':
    """Lend an empty figure; on leaving, it is in the buffer as a PNG.

    The user's own matplotlib settings are kept out, and so is the library's version, which it
    would write into the file: one input gives one picture.
    """
    require_matplotlib()
    from matplotlib import style
    from matplotlib.figure import Figure
    png = io.BytesIO()
    with style.context(['default', _STYLE]):
        figure = Figure(figsize=(width_in, height_in), layout='constrained')
        yield figure, png
        figure.savefig(png, format='png', dpi=_DPI, metadata={'Software': None})
