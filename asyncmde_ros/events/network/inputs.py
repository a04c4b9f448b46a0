"""What our stem reads of a window: its own events, and what all until its end have added up to."""

import numpy as np

from asyncmde_ros.events.network.config import ADDED_UP
from asyncmde_ros.events.reconstruction import CONTRAST, Reconstruction
from asyncmde_ros.events.representation import Grid, voxel_grid
from asyncmde_ros.events.window import Window
from asyncmde_ros.model.geometry import Size


class StemInput:
    """Inputs of a sensor of ``size`` (rows, cols), window after window.

    It forgets what :class:`Reconstruction` forgets, at a window that begins anew: so must
    whoever keeps the network's memory.
    """

    def __init__(self, size: Size, bins: int) -> None:
        self._bins = bins
        self._reconstruction = Reconstruction(size)

    def add(self, window: Window) -> Grid:
        """Take a window's events; return (bins + ADDED_UP, rows, cols) float32.

        Behind the voxel grid comes the picture of the sums at the window's end, from -CONTRAST
        (black) to CONTRAST, and log(1 + n) of the n events of a pixel that have not faded.
        """
        rows, cols = window.events.size
        found = np.empty((self._bins + ADDED_UP, rows, cols), np.float32)
        found[:self._bins] = voxel_grid(window.events, self._bins)
        picture = self._reconstruction.add(window)
        found[self._bins] = CONTRAST * (picture.grey / np.float32(127.5) - 1)
        found[self._bins + 1] = np.log1p(self._reconstruction.activity)
        return found
