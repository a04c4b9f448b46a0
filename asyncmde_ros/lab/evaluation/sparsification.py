"""Does trust tell where depth is wrong?  The area under the sparsification error.

Pixels are removed, the least trusted first, and the error of those that are left is followed.  If
trust orders pixels as their errors do, this curve falls like the oracle's, which removes the
largest errors first; the area between the two is the sparsification error (AUSE; Ilg et al.,
Uncertainty Estimates and Multi-Hypotheses Networks for Optical Flow, ECCV 2018).
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from asyncmde_ros.lab.evaluation.alignment import Array, valid_truth

STEPS = 20
"""Of the curve: a twentieth of the pixels is removed at each, and the last twentieth stays."""


class Sparsification(NamedTuple):
    """Areas between a curve and the oracle's, in units of the mean error: 0 is the oracle.

    ``trust`` is that of the map; ``constant`` that of one value everywhere, whose curve is flat.
    """

    trust: float
    constant: float


def sparsification(depth: Array, truth: Array, max_depth_m: float, trust: Array
                   ) -> Sparsification | None:
    """Return the areas for one aligned depth map, or None where nothing can be removed.

    ``depth`` and ``truth`` are (h, w) metres, ``trust`` (h, w), larger is better.  The error is
    |d - g| / g at the pixels that :func:`metrics.score` scores; of these a pixel whose trust is
    not finite counts as the least trusted.  Pixels of equal trust are removed in a random order,
    of which the expected curve is returned.  None without pixels, or without any error.  Raises
    ValueError where shapes differ.
    """
    if not depth.shape == truth.shape == trust.shape:
        raise ValueError(f'shapes differ: depth {depth.shape}, truth {truth.shape}, trust '
                         f'{trust.shape}')
    scored = valid_truth(truth, max_depth_m) & np.isfinite(depth) & (depth > 0)
    g = truth[scored].astype(np.float64)
    error = np.abs(depth[scored].astype(np.float64) - g) / g
    if error.size == 0 or not error.any():
        return None
    given = trust[scored].astype(np.float64)
    oracle = _curve(error, -error)
    by_trust = _curve(error, np.where(np.isfinite(given), given, -np.inf))
    mean = float(error.mean())
    return Sparsification(float((by_trust - oracle).mean()) / mean,
                          float((mean - oracle).mean()) / mean)


def _curve(error: npt.NDArray[np.float64], order: npt.NDArray[np.float64]
           ) -> npt.NDArray[np.float64]:
    """Return the mean error of the pixels that are left at each step; the highest order stays."""
    kinds, kind = np.unique(-order, return_inverse=True)  # the best first
    counts = np.bincount(kind, minlength=kinds.size)
    mean = np.bincount(kind, error, kinds.size) / counts  # of the ties, in expectation
    left = error.size * (1 - np.arange(STEPS) / STEPS)
    ends = np.concatenate(([0], np.cumsum(counts)))
    sums = np.concatenate(([0.0], np.cumsum(mean * counts)))
    return np.interp(left, ends, sums) / left
