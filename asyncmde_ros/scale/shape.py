"""How far a fit to a few places of a map may be from the one that suits all of it.

A map whose shape is wrong by the share e of inverse depth, a field over the cells of the image,
moves a fit (a, b) by G e, with a gain G (2, cells).  A fit to some points has the gain of their
cells, one to the whole map another, and only the difference is an error: with the covariance K
of e it is (G - H) K (G - H)^T.  Points that lie all over the map have little of it; a line
across it has much, as what it says of the shift may be what the network has wrong about the slant
of a wall.  (A Gaussian process as the model's own error: Kennedy and O'Hagan, Bayesian
Calibration of Computer Models, 2001.)
"""

import numpy as np

from asyncmde_ros.scale.observations import CELLS, Array

SHAPE_ERROR = 0.1
"""Standard deviation of what a map has wrong smoothly, as whole walls are turned too little or
too far (Depth Anything V2 Small has an AbsRel of about 0.1)."""

REACH = 0.3 * CELLS
"""Cells over which it does.  Fits to single lines of rendered clips, which by their own residuals
are sure to two per cent, then differ from those to all of the truth by what their covariance
says, in the median."""

NEAREST_ZERO = 0.2
"""Share of the points' mean inverse depth that is the least for any cell: what a wrong fit puts
behind the camera is somewhere."""

FLAT = 1e-9
"""Share of its squares that the variance of a map must have to be more than rounding."""

_APART = np.subtract.outer(np.arange(CELLS), np.arange(CELLS))
KERNEL = np.exp(-(_APART / REACH) ** 2 / 2)
"""Correlation from cell to cell, along a row or a column."""


def gain_of_all(a: float, b: float, whole: Array, mean: float) -> Array:
    """Return the gain (2, cells) of a fit to a whole map, by weighted least squares.

    ``whole`` (cells,) is its :func:`~asyncmde_ros.scale.observations.overview`; weights are 1 over
    the square of inverse depth, 1/m, which has the ``mean`` where something was measured.  Zero
    for a map that is flat.
    """
    known = np.isfinite(whole)
    r = np.where(known, whole, 0)
    p = np.maximum(a * r + b, NEAREST_ZERO * mean)
    weight = known / (p * p)
    rr, r1, one = float(weight @ (r * r)), float(weight @ r), float(weight.sum())
    determinant = rr * one - r1 * r1
    if not determinant > FLAT * rr * one:
        return np.zeros((2, whole.size))
    share = weight * p / determinant
    return np.stack([share * (one * r - r1), share * (rr - r1 * r)])


def straying(gain: Array) -> Array:
    """Return the covariance (2, 2) of (a, b) by the shape's error, of the gain (2, cells)."""
    smooth = KERNEL @ gain.reshape(2, CELLS, CELLS) @ KERNEL
    return np.asarray(SHAPE_ERROR ** 2 * (gain @ smooth.reshape(2, -1).T), np.float64)
