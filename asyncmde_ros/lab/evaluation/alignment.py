"""Scale and shift from a relative prediction to the truth, in inverse depth.

A relative model predicts inverse depth up to an unknown scale and shift.  Both are fitted to the
truth by least squares, either in each frame (AsyncMDE) or once for a sequence (Video Depth
Anything, Chen et al., CVPR 2025, whose protocol also shows flicker as error).  All sums are
float64.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.floating[Any]]
Mask = npt.NDArray[np.bool_]

MIN_DEPTH_M = 1e-3
"""Truth at or below is invalid, and no aligned depth is smaller."""

MIN_INVERSE_DEPTH = 1e-3
"""1/m.  An aligned inverse depth below, or negative, is taken for this, that is 1000 m."""

CONSTANT = 1e-12
"""Relative spread below which a prediction is constant: rounding of float64, far below float32's
own resolution."""


@dataclass(frozen=True)
class ScaleShift:
    """``scale`` p + ``shift`` is inverse depth in 1/m; ``scale`` is negative if p is upside down.
    """

    scale: float
    shift: float


def valid_truth(truth: Array, max_depth_m: float) -> Mask:
    """Return where true depth in metres counts: finite and MIN_DEPTH_M < g < ``max_depth_m``."""
    return (truth > MIN_DEPTH_M) & (truth < max_depth_m)  # NaN compares false


def inverse_truth(truth: Array, mask: Mask) -> npt.NDArray[np.float64]:
    """Return 1 / ``truth`` in 1/m, float64, where ``mask``, and 0 elsewhere."""
    return np.divide(1.0, truth, out=np.zeros(truth.shape), where=mask, dtype=np.float64)


def fit(prediction: Array, inverse_truth: Array, mask: Mask) -> ScaleShift | None:
    """Return the least-squares scale and shift of one frame.

    All arrays have the shape of the depth map: ``prediction`` relative inverse depth,
    ``inverse_truth`` in 1/m, ``mask`` the pixels that count.  A pixel whose prediction or truth
    is not finite cannot be fitted and is left out here; the scores' ``coverage`` tells of it.
    None with fewer than two pixels left.  A constant prediction gives scale 0 and the mean of
    the truth.  Raises ValueError where shapes differ.
    """
    return fit_sequence([(prediction, inverse_truth, mask)])


def fit_sequence(frames: Iterable[tuple[Array, Array, Mask]]) -> ScaleShift | None:
    """Return one scale and shift for all frames' (prediction, inverse truth, mask) together.

    Every valid pixel weighs the same, whichever frame it is of.  Frames are taken one at a time
    and may differ in size; see :func:`fit` for the rest.
    """
    moments = _Moments()
    for prediction, inverse, mask in frames:
        if not prediction.shape == inverse.shape == mask.shape:
            raise ValueError(f'shapes differ: prediction {prediction.shape}, truth '
                             f'{inverse.shape}, mask {mask.shape}')
        usable = mask & np.isfinite(prediction) & np.isfinite(inverse)
        moments = moments.merged(_moments(prediction[usable].astype(np.float64),
                                          inverse[usable].astype(np.float64)))
    return moments.solve()


def to_depth(prediction: Array, scale_shift: ScaleShift, max_depth_m: float
             ) -> npt.NDArray[np.float32]:
    """Return metric depth, float32 metres in [MIN_DEPTH_M, ``max_depth_m``].

    depth = clip(1 / max(s p + t, 1e-3), 1e-3, max_depth_m).  What is not finite in
    ``prediction`` becomes NaN rather than a number that looks like depth.
    """
    predicted = np.where(np.isfinite(prediction), prediction, np.nan).astype(np.float64)
    inverse = np.maximum(scale_shift.scale * predicted + scale_shift.shift, MIN_INVERSE_DEPTH)
    return np.clip(1 / inverse, MIN_DEPTH_M, max_depth_m).astype(np.float32)


@dataclass(frozen=True)
class _Moments:
    """The normal equations, kept about the means: raw sums would cancel.

    ``spread`` is sum (p - mean p)^2 and ``joint`` sum (p - mean p) (g - mean g).
    """

    count: int = 0
    mean_p: float = 0.0
    mean_g: float = 0.0
    spread: float = 0.0
    joint: float = 0.0

    def merged(self, other: '_Moments') -> '_Moments':
        """Return the moments of both sets of pixels (Chan, Golub and LeVeque, 1979)."""
        if self.count == 0 or other.count == 0:
            return self if other.count == 0 else other
        count = self.count + other.count
        step_p, step_g = other.mean_p - self.mean_p, other.mean_g - self.mean_g
        share = other.count / count
        return _Moments(count, self.mean_p + share * step_p, self.mean_g + share * step_g,
                        self.spread + other.spread + self.count * share * step_p * step_p,
                        self.joint + other.joint + self.count * share * step_p * step_g)

    def solve(self) -> ScaleShift | None:
        if self.count < 2:
            return None
        if self.spread <= self.count * (CONSTANT * self.mean_p) ** 2:
            return ScaleShift(0.0, self.mean_g)
        scale = self.joint / self.spread
        return ScaleShift(scale, self.mean_g - scale * self.mean_p)


def _moments(p: npt.NDArray[np.float64], g: npt.NDArray[np.float64]) -> _Moments:
    if p.size == 0:
        return _Moments()
    mean_p, mean_g = float(p.mean()), float(g.mean())
    from_mean = p - mean_p
    return _Moments(p.size, mean_p, mean_g, float(from_mean @ from_mean),
                    float(from_mean @ (g - mean_g)))
