"""What a moved memory is worth at each pixel, and what replaces it where it is worth little.

All maps here have the size of the small grey images that motion is found on
(:func:`asyncmde_ros.pipeline.motion.small_grey`): evidence is smooth, and a fraction of the
camera's pixels tells as much of it.
"""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from asyncmde_ros.geometry import Size
from asyncmde_ros.pipeline.motion import Grey, Warp, resample, source_of

Map = npt.NDArray[np.float32]
"""(rows, cols) float32."""

BORDER = 0.02
"""Share of the image's side over which coverage falls to nothing beyond the keyframe's border;
there the moved depth repeats its last pixel."""

NOISE_SIGMA_PX, RESIDUAL_SIGMA_PX, CONTRAST_SIGMA_PX = 0.75, 1.5, 3.0
"""Blurs of the images compared, of their difference, and of the window that contrast is of."""

LEAST_CONTRAST = 6.0
"""In grey levels: what noise and rounding make of a flat wall."""

RESIDUAL_NONE, RESIDUAL_SPAN = 0.36, 0.9
"""The residual, in units of contrast, up to which a pixel is trusted whole; and how much more
leaves nothing."""

DISAGREEMENT_SIGMA_PX = 1.5
DISAGREEMENT_NONE, DISAGREEMENT_SPAN = 3.0, 2.0
"""How far glance and memory differ, in units of what they usually do, before the glance counts at
all; and how much more makes it count whole."""

REWEIGHTED = 2
"""Times that an alignment is fitted again."""

LEAST_SCALE = 0.1
"""Of an alignment: a glance that says the reverse of the memory is not turned over."""

EPS = 1e-6


@dataclass(frozen=True)
class Ingredients:
    """What counts as evidence; the evaluation leaves parts out to tell what each is worth.

    ``photometry``: whether the keyframe's picture, moved, looks like this one; without it all that
    the keyframe saw is trusted.  ``disagreement``: that a glance takes over only where it differs
    from the memory by more than usual; without it wherever the memory is not trusted.
    """

    photometry: bool = True
    disagreement: bool = True


ALL = Ingredients()


class Alignment(NamedTuple):
    """``scale * glance + shift`` agrees with the memory."""

    scale: float
    shift: float


def coverage(warp: Warp, size: Size) -> Map:
    """Return whether each pixel comes from inside of the keyframe's image, in [0, 1]."""
    x, y, in_front = source_of(warp, size)
    beyond = np.maximum(np.abs(x), np.abs(y)) - 1
    return np.where(in_front, np.clip(1 - beyond / (2 * BORDER), 0, 1), 0).astype(np.float32)


def photometric_residual(keyframe: Grey, grey: Grey, warp: Warp) -> Map:
    """Return how unlike the keyframe's picture, moved, and this one are, in units of contrast.

    Robust to exposure: what differs by the same amount all over the image is no difference.
    """
    now = grey.astype(np.float32)
    before = cv2.GaussianBlur(keyframe.astype(np.float32), (0, 0), NOISE_SIGMA_PX)
    difference = resample(np.asarray(before, np.float32), warp) - _blurred(now, NOISE_SIGMA_PX)
    difference -= np.median(difference)
    contrast = _blurred(np.abs(now - _blurred(now, CONTRAST_SIGMA_PX)), CONTRAST_SIGMA_PX)
    return _blurred(np.abs(difference), RESIDUAL_SIGMA_PX) / (contrast + LEAST_CONTRAST)


def trust(keyframe: Grey, grey: Grey, warp: Warp, of: Ingredients = ALL) -> Map:
    """Return the evidence for the moved memory, in [0, 1]: seen by the keyframe, and alike."""
    if not of.photometry:
        return coverage(warp, grey.shape)
    residual = photometric_residual(keyframe, grey, warp)
    alike = np.clip(1 - (residual - RESIDUAL_NONE) / RESIDUAL_SPAN, 0, 1)
    return np.asarray(coverage(warp, grey.shape) * alike, np.float32)


def align(glance: Map, memory: Map, weight: Map) -> Alignment:
    """Fit the glance's scale and shift to the memory, robustly, weighted by ``weight``.

    Least squares, again with a weight that falls with the residual (Cauchy's): what moved by
    itself and looks alike by chance must not pull the rest.
    """
    found = _least_squares(glance, memory, weight)
    for _ in range(REWEIGHTED):
        residual = np.abs(found.scale * glance + found.shift - memory)
        usual = float((residual * weight).sum()) / (float(weight.sum()) + EPS) + EPS
        found = _least_squares(glance, memory, weight / (1 + np.square(residual / usual)))
    return found


def _least_squares(glance: Map, memory: Map, weight: Map) -> Alignment:
    total = float(weight.sum()) + EPS
    mean = float((weight * glance).sum()) / total
    target = float((weight * memory).sum()) / total
    spread = float((weight * np.square(glance - mean)).sum())
    together = float((weight * (glance - mean) * (memory - target)).sum())
    scale = max(LEAST_SCALE, together / max(spread, EPS))
    return Alignment(scale, target - scale * mean)


def kept_share(memory: Map, glance: Map, trusted: Map, of: Ingredients = ALL) -> Map:
    """Return the share of the memory at each pixel, the rest being the aligned ``glance``'s.

    The glance is coarser than the memory and errs more, so it takes over only where the evidence
    for the memory is poor and the two differ by more than they usually do.
    """
    if not of.disagreement:
        return trusted
    difference = np.abs(_blurred(glance - memory, DISAGREEMENT_SIGMA_PX))
    usual = float((difference * trusted).sum()) / (float(trusted.sum()) + EPS) + EPS
    surprise = np.clip((difference / usual - DISAGREEMENT_NONE) / DISAGREEMENT_SPAN, 0, 1)
    return np.asarray(1 - (1 - trusted) * surprise, np.float32)


def _blurred(values: Map, sigma_px: float) -> Map:
    return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma_px), np.float32)
