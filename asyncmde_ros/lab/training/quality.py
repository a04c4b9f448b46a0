"""Which samples are worth learning from: two scores of an inverse depth map.

After AnyDepth, "Depth Estimation Made Easy" (arXiv 2601.02760, appendix A.2), which scores depth;
here it is inverse depth, which is what the networks give and learn.
"""

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

Map = npt.NDArray[np.floating]

BINS = 20
"""Source: AnyDepth, A.2.1, as the weights below."""

UNIFORMITY_WEIGHT = 0.5
CONCENTRATION_WEIGHT = 0.3
RANGE_WEIGHT = 0.2
TOLERATED_SHARE = 2 / BINS
"""Of pixels in the fullest bin, without loss of score."""

WORST_SHARE = 0.5

OUTLIERS = 1.0
"""Per cent of the pixels at either end that the range leaves out."""

CONSTANT = 1e-5
"""A range this small, relative to the values, is rounding of a constant in float32."""

EDGES = 0.1
"""The share of pixels, those with the largest gradients, that may be edges.  Source: A.2.2."""

WINDOW_PX = 7
FLAT = 0.0005
"""A mean gradient of a window, in ranges per pixel, that is not yet one."""


@dataclass(frozen=True)
class Thresholds:
    """The least that a sample needs, each in [0, 1]; ``valid`` is the share of finite pixels.

    ``valid`` is AnyDepth's.  It drops the lowest fifth by each score; that would be the street
    scenes here, half of them sky (0.20).  The defaults drop what no scene looks like: of Depth
    Anything V2 ViT-S's depth of 1198 photographs, none by ``distribution`` and 7 by
    ``continuity``, most of them flat pictures whose depth is the network's own unrest.
    """

    valid: float = 0.2
    distribution: float = 0.15
    continuity: float = 0.55


def depth_distribution_score(inverse_depth: Map) -> float:
    """Return how evenly (H, W) fills its range, in [0, 1]; 0 for a constant, 1 for a ramp.

    AnyDepth's weighted sum of three (equations 7 to 9): exp(-chi^2 / N) against the uniform
    histogram, a penalty on the fullest bin, and the share of bins that are not empty.  The range
    is between percentiles, so that a few outliers do not squeeze the rest into one bin; pixels
    outside of it count for the outermost bins.  What is not finite is left out.
    """
    values = inverse_depth[np.isfinite(inverse_depth)].astype(np.float64)
    limits = _range(values)
    if limits is None:
        return 0.0
    counts, _ = np.histogram(values.clip(*limits), BINS, limits)
    shares = counts / values.size
    uniformity = np.exp(-BINS * ((shares - 1 / BINS) ** 2).sum())
    excess = (shares.max() - TOLERATED_SHARE) / (WORST_SHARE - TOLERATED_SHARE)
    return float(UNIFORMITY_WEIGHT * uniformity
                 + CONCENTRATION_WEIGHT * (1 - np.clip(excess, 0, 1))
                 + RANGE_WEIGHT * np.count_nonzero(counts) / BINS)


def gradient_continuity_score(inverse_depth: Map) -> float:
    """Return how far neighbouring gradients of (H, W) agree, in [0, 1]; about 0.1 for noise.

    As in AnyDepth, the tenth of the pixels with the largest gradients passes for edges and the
    rest is judged.  Its score 1 / (1 + CV) of the magnitudes is not used: independent noise is
    as strong everywhere, and got more (0.69) than most photographs (0.54).  Ours is the mean
    over the judged pixels of |sum of the window's gradients| / sum of their lengths: 1 where all
    point the same way.  Where it is flat nothing disagrees: a constant scores 1.  What is not
    finite is left out.
    """
    depth = inverse_depth.astype(np.float64)
    finite = np.isfinite(depth)
    limits = _range(depth[finite])
    if limits is None:
        return 1.0
    low, high = limits
    # Between the limits, so that outliers cannot make edges of their own.
    depth = (np.where(finite, depth, low).clip(low, high) - low) / (high - low)
    judged = finite[1:, 1:] & finite[:-1, 1:] & finite[1:, :-1]
    if not judged.any():
        return 0.0
    across, down = np.diff(depth, axis=1)[1:], np.diff(depth, axis=0)[:, 1:]
    length = np.hypot(across, down)
    judged &= length <= np.quantile(length[judged], 1 - EDGES)
    x, y, total = (cv2.blur(part * judged, (WINDOW_PX, WINDOW_PX))
                   for part in (across, down, length))
    agreement = (np.hypot(x, y) + FLAT) / (total + FLAT)
    return min(1.0, float(agreement[judged].mean()))


def reason_to_drop(inverse_depth: Map, thresholds: Thresholds) -> str | None:
    """Return why (H, W) is not worth learning from, or None where it is."""
    scores = {'valid': float(np.isfinite(inverse_depth).mean())}
    if scores['valid'] >= thresholds.valid:
        scores['distribution'] = depth_distribution_score(inverse_depth)
        scores['continuity'] = gradient_continuity_score(inverse_depth)
    for name, score in scores.items():
        if score < (least := getattr(thresholds, name)):
            return f'{name} {score:.3f} is below {least:g}'
    return None


def _range(values: npt.NDArray[np.float64]) -> tuple[float, float] | None:
    """Return (low, high) without the outliers, or None where all are as good as one value."""
    if not values.size:
        return None
    low, high = np.percentile(values, (OUTLIERS, 100 - OUTLIERS))
    return (float(low), float(high)) if high - low > CONSTANT * max(abs(low), abs(high)) else None
