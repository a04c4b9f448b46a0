"""Warps that are known."""

import numpy as np

from asyncmde_ros.model.geometry import Size
from asyncmde_ros.pipeline.motion import Warp, still


def sideways(fraction: float, size: Size) -> Warp:
    """The camera turned so that the earlier image moved left by a fraction of its width."""
    homography = np.eye(3, dtype=np.float32)
    homography[0, 2] = 2 * fraction
    return still(size)._replace(homography=homography)
