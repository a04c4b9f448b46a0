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
    inverse = np.multiply(relative, np.float32(a), dtype=np.float32)
    inverse += np.float32(b)
    known = inverse > 0
    if largest_m < math.inf:
        known &= inverse >= (1 / largest_m if largest_m > 0 else math.inf)
    known &= inverse < math.inf
    if covariance is not None:
        known &= _certain(relative, inverse, covariance)
    with np.errstate(divide='ignore', invalid='ignore'):
        depth = np.divide(1, inverse, out=inverse)
    np.copyto(depth, np.nan, where=~known)
    return depth


def _certain(relative: Map, inverse: Map, covariance: Array) -> npt.NDArray[np.bool_]:
    """Return where the variance is within the limit.

    It is P_aa (r - r0)^2 + v0, least at r0 = -P_ab / P_aa, where it is v0 = P_bb - P_ab^2 / P_aa.
    In that form nothing cancels, and 32 bits do.
    """
    scale, both, shift = (float(covariance[at]) for at in ((0, 0), (0, 1), (1, 1)))
    best = -both / scale if scale > 0 else 0.0
    least = max(shift + both * best, 0.0)
    with np.errstate(invalid='ignore', over='ignore'):
        spread = relative - np.float32(best)
        spread *= np.float32(math.sqrt(max(scale, 0.0)) / UNCERTAIN)
        spread *= spread
        spread += np.float32(least / UNCERTAIN ** 2)
        return np.asarray(spread <= inverse * inverse, bool)


def deviation(relative: Map, depth_m: Map, covariance: Array) -> Map:
    """Return the standard deviation of metric depth that is the scale's, in metres.

    To first order, with z = 1 / (a r + b): z^2 sqrt(r^2 P_aa + 2 r P_ab + P_bb).
    """
    scale, both, shift = (float(covariance[at]) for at in ((0, 0), (0, 1), (1, 1)))
    r = relative.astype(np.float64)
    variance = np.maximum(r * r * scale + 2 * r * both + shift, 0)
    return np.asarray(np.square(depth_m, dtype=np.float64) * np.sqrt(variance), np.float32)


def millimetres(depth_m: Map) -> npt.NDArray[np.uint16]:
    """Return depth as 16UC1 (REP-118): millimetres, 0 where unknown or beyond 65.535 m."""
    with np.errstate(invalid='ignore', over='ignore'):
        units = np.rint(depth_m * np.float32(MILLIMETRES_PER_M))
        units[~((units > 0) & (units <= LARGEST_MM))] = 0  # NaN is neither
    return units.astype(np.uint16)
