"""Pictures for people: events, and depth at points."""

import cv2
import numpy as np
import numpy.typing as npt

from asyncmde_ros.events.packets import Events
from asyncmde_ros.images.codec import RGB
from asyncmde_ros.images.picture import colorize

PAPER, BRIGHTER, DARKER = (24, 24, 24), (255, 110, 80), (90, 150, 255)

POINTS_ACROSS = 32
"""Of the grid at which depth is asked for."""

DOT_SHARE = 0.35
"""Radius of a point, of the distance between two."""

DIMMED = 3
FARTHEST, NEAREST = 2, 98
"""Percentiles of depth that the ends of the colours stand for."""


def draw_events(events: Events) -> RGB:
    """Return (rows, cols, 3): the pixels' last events, red where brighter, blue where darker."""
    picture = np.full((*events.size, 3), PAPER, np.uint8)
    colours = np.array([DARKER, BRIGHTER], np.uint8)
    picture[events.y, events.x] = colours[events.p.astype(np.intp)]
    return picture


def query_points(size: tuple[int, int], across: int = POINTS_ACROSS) -> npt.NDArray[np.intp]:
    """Return a grid of pixels (n, 2), (row, column), with ``across`` of them in a row."""
    step = max(1, size[1] // across)
    rows, cols = (np.arange(step // 2, side, step) for side in size)
    return np.stack(np.meshgrid(rows, cols, indexing='ij'), axis=-1).reshape(-1, 2)


def draw_depth(grey: npt.NDArray[np.uint8], inverse_depth: npt.NDArray[np.float32] | None,
               across: int = POINTS_ACROSS) -> RGB:
    """Return the picture, dimmed, with points of ``inverse_depth`` on it: red near, blue far.

    ``inverse_depth`` is (rows, cols) like ``grey``; None draws no points.
    """
    picture = np.repeat(grey[..., None] // DIMMED, 3, axis=2)
    if inverse_depth is None:
        return picture
    points = query_points(grey.shape, across)
    asked = inverse_depth[points[:, 0], points[:, 1]]
    low, high = np.nanpercentile(asked, (FARTHEST, NEAREST))
    colours = colorize(asked[None], float(low), float(high))[0]
    radius = max(1, round(DOT_SHARE * grey.shape[1] / across))
    for (row, col), colour in zip(points.tolist(), colours.tolist(), strict=True):
        cv2.circle(picture, (col, row), radius, colour, cv2.FILLED, cv2.LINE_AA)
    return picture
