"""Metres from a relative map and its scale; NaN rather than something wrong."""

import math

import numpy as np
import numpy.typing as npt

from asyncmde_ros.scale.observations import Array, Map

UNCERTAIN = 0.5
"""Relative standard deviation of inverse depth from which on nothing is known: two of them reach
to infinity."""

MILLIMETRES_PER_M = 1000.0
LARGEST_MM = 65535


def metric(relative: Map, a: float, b: float, covariance: Array | None = None,
           largest_m: float = math.inf) -> Map:
    """Return depth (h, w) float32 in metres, 1 / (``a`` relative + ``b``), NaN where unknown.

    Unknown is what is beyond ``largest_m``, behind the camera (inverse depth not above 0), not
    finite in ``relative``, and, with the ``covariance`` (2, 2) of (a, b), where the standard
    deviation of inverse depth, sqrt(r^2 P_aa + 2 r P_ab + P_bb), exceeds UNCERTAIN of it.
    """
    inverse = np.float32(a) * relative + np.float32(b)
    known = (inverse > 0) & (inverse >= 1 / largest_m) & (inverse < math.inf)
    if covariance is not None:
        r = relative.astype(np.float64, copy=False)
        with np.errstate(invalid='ignore', over='ignore'):
            variance = r * (r * covariance[0, 0] + 2 * covariance[0, 1]) + covariance[1, 1]
        known &= variance <= (UNCERTAIN * inverse.astype(np.float64)) ** 2
    return np.divide(1, inverse, out=np.full(relative.shape, np.nan, np.float32), where=known,
                     dtype=np.float32)


def millimetres(depth_m: Map) -> npt.NDArray[np.uint16]:
    """Return depth as 16UC1 (REP-118): millimetres, 0 where unknown or beyond 65.535 m."""
    with np.errstate(invalid='ignore', over='ignore'):
        units = np.rint(depth_m * np.float32(MILLIMETRES_PER_M))
        units[~((units > 0) & (units <= LARGEST_MM))] = 0  # NaN is neither
    return units.astype(np.uint16)
