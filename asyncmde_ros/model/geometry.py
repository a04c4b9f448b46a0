"""Sizes: of the network's image for a camera's, and of the memory for an image.

And where a pixel lies in an image of any size: normalised coordinates.
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from asyncmde_ros.errors import ImageError

PATCH = 14
"""Side of the foundation model's patches; image sides are multiples of it."""

FINEST = 4
"""Rows and columns of the memory's finest level in a patch."""

Size = tuple[int, int]
"""(rows, cols)"""

AUTO_SIZE = 'auto'
"""In place of a size: whoever uses it chooses."""

MAX_ASPECT = 4
"""Longer images would make networks of any cost; no camera has one."""


def memory_sizes(grid: Size) -> tuple[Size, Size, Size, Size]:
    """Return the (rows, cols) of M1-M4 for a patch grid: 4x, 2x, 1x and, rounded up, 1/2x."""
    rows, cols = grid
    return ((FINEST * rows, FINEST * cols), (2 * rows, 2 * cols), (rows, cols),
            ((rows + 1) // 2, (cols + 1) // 2))


def patch_grid(size: Size) -> Size:
    """Return how many patches an image of ``size`` has; ValueError unless they fit exactly."""
    if any(side <= 0 or side % PATCH for side in size):
        raise ValueError(f'network size {size[0]}x{size[1]}: sides must be multiples of {PATCH}')
    return size[0] // PATCH, size[1] // PATCH


def network_size(image: Size, short_side: int) -> Size:
    """Return the multiple-of-14 size nearest to ``image`` scaled to a short side.

    Source: Depth Anything V2's ``Resize`` (keep the aspect ratio, round each side to the nearest
    multiple).
    """
    scale = short_side / min(image)
    rows, cols = (max(PATCH, PATCH * math.floor(side * scale / PATCH + 0.5)) for side in image)
    return rows, cols


def check_aspect(image: Size) -> None:
    """Raise ImageError for an image that no network should be made for."""
    if max(image) > MAX_ASPECT * min(image):
        raise ImageError('size', f'an image of {image[1]}x{image[0]} is over {MAX_ASPECT} times '
                                 'as long as wide')


def pixels_to_normalised(image: Size) -> npt.NDArray[np.float64]:
    """Return the (3, 3) that takes homogeneous pixels (x, y, 1) to normalised coordinates.

    A pixel's centre is at whole numbers, as K of a CameraInfo has it.  Normalised coordinates run
    from -1 to 1 between the borders of the image (:mod:`asyncmde_ros.network.warp`).
    """
    rows, cols = image
    return np.array([[2 / cols, 0, 1 / cols - 1], [0, 2 / rows, 1 / rows - 1], [0, 0, 1]])


def size_text(size: Sequence[int]) -> str:
    """Return a size as :func:`parse_size` reads it."""
    return f'{size[0]}x{size[1]}'


def parse_size(text: str) -> Size | None:
    """Parse ``HxW``; ``auto`` is None.  ValueError says what is wrong."""
    if text == AUTO_SIZE:
        return None
    rows, separator, cols = text.lower().partition('x')
    if not (separator and rows.isdecimal() and cols.isdecimal()):
        raise ValueError(f'size {text!r}: write {AUTO_SIZE!r} or HxW, for example 252x336')
    size = int(rows), int(cols)
    patch_grid(size)
    return size
