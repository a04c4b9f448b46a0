"""Corners of a picture, followed from one to the next; as many in each part of it."""

import cv2
import numpy as np
import numpy.typing as npt

from asyncmde_ros.model.geometry import Size
from asyncmde_ros.scale.observations import CELLS

Grey = npt.NDArray[np.uint8]
Index = npt.NDArray[np.intp]
Pixels = npt.NDArray[np.float32]

WINDOW_PX = 11
LEVELS = 3
STEPS = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 15, 0.01)
"""Of each search: at most so many, until one is shorter than so many pixels."""

RETURN_PX = 0.3
"""Followed on and back again, a corner is where it was within this, or it is lost."""

BLOCK_PX = 5
QUALITY = 0.01
"""Smallest strength of a corner as a share of the strongest one's (Shi and Tomasi, CVPR 1994)."""

BORDER_PX = WINDOW_PX // 2 + 1
"""Nearer to the picture's border half of the window is not in it."""


class CornerTracker:
    """Follows at most one corner for each of CELLS cells along the picture's longer side.

    Pyramidal Lucas-Kanade from picture to picture (Bouguet, 2000), there and back.  All pictures
    are of one size; not thread-safe.
    """

    def __init__(self) -> None:
        self.pixels = np.zeros((0, 2), np.float32)
        """(n, 2), (x, y) in the newest picture, centres of pixels at whole numbers."""
        self._grey: Grey | None = None

    def follow(self, grey: Grey) -> Index:
        """Look for the corners in the next picture (rows, cols); return which are still there."""
        before, self._grey = self._grey, grey
        if before is None or not len(self.pixels):
            return np.arange(len(self.pixels))
        moved, found = _moved(before, grey, self.pixels)
        back, confirmed = _moved(grey, before, moved)
        good = found & confirmed & _inside(moved, grey.shape)
        good &= np.abs(back - self.pixels).max(axis=1) <= RETURN_PX
        kept = np.flatnonzero(good)
        self.pixels = moved[kept]
        return kept

    def keep(self, index: Index) -> None:
        """Forget all corners but these."""
        self.pixels = self.pixels[index]

    def renew(self) -> int:
        """Add the strongest corner of each cell that has none, behind the others; return how many.
        """
        if self._grey is None:
            return 0
        strength = cv2.cornerMinEigenVal(self._grey, BLOCK_PX)
        rows, cols = strength.shape
        side = -(-max(rows, cols) // CELLS)
        peak = strength == cv2.dilate(strength, np.ones((3, 3), np.uint8))
        peak &= strength > QUALITY * strength.max()
        inner = np.zeros_like(peak)
        inner[BORDER_PX:rows - BORDER_PX, BORDER_PX:cols - BORDER_PX] = True
        down, across = -(-rows // side), -(-cols // side)
        cells = np.zeros((down * side, across * side), np.float32)
        cells[:rows, :cols] = np.where(peak & inner, strength, 0)
        cells = cells.reshape(down, side, across, side).swapaxes(1, 2).reshape(-1, side * side)
        taken_x, taken_y = ((self.pixels + 0.5) // side).astype(np.intp).T
        cells[taken_y * across + taken_x] = 0
        best = cells.argmax(axis=1)
        free = np.flatnonzero(cells[np.arange(len(cells)), best])
        at = np.stack([free % across * side + best[free] % side,
                       free // across * side + best[free] // side], axis=1)
        self.pixels = np.concatenate([self.pixels, at.astype(np.float32)])
        return len(free)


def _moved(grey: Grey, following: Grey, pixels: Pixels
           ) -> tuple[Pixels, npt.NDArray[np.bool_]]:
    # The stub does not know that the points to begin with may be None.
    moved, found, _ = cv2.calcOpticalFlowPyrLK(  # type: ignore[call-overload]
        grey, following, pixels[:, None], None, winSize=(WINDOW_PX, WINDOW_PX),
        maxLevel=LEVELS, criteria=STEPS)
    return moved[:, 0], found.ravel() == 1


def _inside(pixels: Pixels, size: Size) -> npt.NDArray[np.bool_]:
    rows, cols = size
    x, y = pixels.T
    return np.asarray((x >= BORDER_PX) & (x <= cols - 1 - BORDER_PX)
                      & (y >= BORDER_PX) & (y <= rows - 1 - BORDER_PX))
