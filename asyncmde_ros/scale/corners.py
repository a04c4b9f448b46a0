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
QUALITY = 0.003
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

    def thin(self) -> Index:
        """Keep one corner of each cell, the one that is known for longest; return which."""
        if self._grey is None:
            return np.arange(0)
        _, first = np.unique(_cells(self.pixels, self._grey.shape), return_index=True)
        kept = np.sort(first)
        self.keep(kept)
        return kept

    def renew(self) -> int:
        """Add the strongest corner of each cell that has none, behind the others; return how many.
        """
        if self._grey is None:
            return 0
        strength = cv2.cornerMinEigenVal(self._grey, BLOCK_PX)
        peak = strength == cv2.dilate(strength, np.ones((3, 3), np.uint8))
        rows, cols = np.nonzero(peak & (strength > QUALITY * strength.max()))
        order = np.argsort(-strength[rows, cols], kind='stable')
        found = np.stack([cols[order], rows[order]], axis=1).astype(np.float32)
        found = found[_inside(found, self._grey.shape)]
        cells = _cells(found, self._grey.shape)
        _, best = np.unique(cells, return_index=True)
        best = best[~np.isin(cells[best], _cells(self.pixels, self._grey.shape))]
        self.pixels = np.concatenate([self.pixels, found[best]])
        return len(best)


def _cells(pixels: Pixels, size: Size) -> Index:
    side = -(-max(size) // CELLS)
    across, down = ((pixels + 0.5) // side).astype(np.intp).T
    return np.asarray(down * CELLS + across)


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
