"""Pictures of a camera that is mounted upside down or on its side, turned upright and back.

The foundation model has seen the world upright: its error on the same picture upside down or on
its side is 16 to 40 % larger.
"""

from enum import Enum
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from asyncmde_ros.model.geometry import Size


class Rotation(int, Enum):
    """By how many degrees clockwise an image must be turned to be upright."""

    NONE = 0
    QUARTER = 90
    HALF = 180
    THREE_QUARTERS = 270

    @property
    def inverse(self) -> 'Rotation':
        return Rotation(-self % 360)

    def size(self, image: Size) -> Size:
        """Return the turned size of an image's (rows, cols); turning it back is the same."""
        return (image[1], image[0]) if self % 180 else image

    def turn(self, picture: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return (H, W) or (H, W, C) turned, contiguous; the same array where nothing is."""
        return picture if self is Rotation.NONE else cv2.rotate(picture, _CODES[self])

    def turned_pixels(self, rows: npt.NDArray[np.intp], cols: npt.NDArray[np.intp], image: Size
                      ) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Return where pixels of an image (rows, cols) are once it is turned: rows and cols."""
        high, wide = image
        if self is Rotation.QUARTER:
            return cols, high - 1 - rows
        if self is Rotation.HALF:
            return high - 1 - rows, wide - 1 - cols
        if self is Rotation.THREE_QUARTERS:
            return wide - 1 - cols, rows
        return rows, cols

    def turn_homography(self, homography: npt.NDArray[np.floating]) -> npt.NDArray[np.floating]:
        """Return a homography (3, 3) between images as one between the turned images.

        Both are in normalised coordinates (:mod:`asyncmde_ros.network.warp`), in which a quarter
        turn is one about the origin, whatever the sides: (x, y) becomes (-y, x).
        """
        turn = np.linalg.matrix_power(_QUARTER, self // 90)
        return np.asarray(turn @ homography @ turn.T, homography.dtype)


_QUARTER = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
_CODES = {Rotation.QUARTER: cv2.ROTATE_90_CLOCKWISE, Rotation.HALF: cv2.ROTATE_180,
          Rotation.THREE_QUARTERS: cv2.ROTATE_90_COUNTERCLOCKWISE}
