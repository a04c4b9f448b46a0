"""The parameters of queries."""

import re
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from asyncmde_ros.model.geometry import Size
from asyncmde_ros.pipeline.declaration import parameter

NONE = 'none'

MOST_POINTS = 20_000
"""Of one query: what takes a few milliseconds."""


class Grid(NamedTuple):
    """Points in even columns and rows, each in the middle of its part of the image."""

    cols: int
    rows: int

    def points(self, image: Size) -> npt.NDArray[np.float64]:
        """Return the pixels (rows * cols, 2), as (x, y), row by row, in an image (rows, cols)."""
        y, x = (side * (np.arange(count) + 0.5) / count - 0.5
                for side, count in zip(image, (self.rows, self.cols), strict=True))
        return np.stack([part.ravel() for part in np.meshgrid(x, y)], axis=1)


def parse_grid(text: str) -> Grid | None:
    """Return the grid that a text names; ValueError where it names none."""
    if text.strip() in (NONE, ''):
        return None
    found = re.fullmatch(r'(\d+)\s*[xX]\s*(\d+)', text.strip())
    grid = Grid(*map(int, found.groups())) if found else None
    if grid is None or not grid.cols * grid.rows:
        raise ValueError(f'{text!r} is no grid: write columns x rows, as in 8x6, or {NONE}')
    if grid.cols * grid.rows > MOST_POINTS:
        raise ValueError(f'{text!r} has {grid.cols * grid.rows} points: there may be up to '
                         f'{MOST_POINTS}')
    return grid


@dataclass(frozen=True)
class QuerySettings:
    """What can be changed at any time; each field is declared with what it does."""

    grid: Grid | None = parameter(
        None, 'query.grid',
        'Columns x rows of points, evenly spread over the image, whose depth is published on '
        'query/depth with every frame: 8x6, or 10x1 for a bumper of ten rays. none: no grid.',
        text=NONE, parse=parse_grid)
