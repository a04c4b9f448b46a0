"""What a moved memory is worth at each pixel, and how much of a glance takes its place.

Two depth maps of one frame: the memory's, sharp, but of an earlier view; and a glance's, of this
frame, but coarse.  Each pixel takes the mean of both that is best if their errors are independent,
weighted by the inverse of their expected squares.  What error to expect of the memory follows from
the images: how unlike the keyframe and the frame look after the motion is undone, whether the
keyframe saw the place at all, and how far the view has moved.  What to expect of the glance
follows from how well one of the keyframe itself agrees with the memory.

All maps here have the size of the small grey images that motion is found on
(:func:`asyncmde_ros.pipeline.motion.small_grey`): evidence is smooth, and a fraction of the
camera's pixels tells as much of it.  The constants were chosen on clips held out of training
(docs/results).
"""

from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np

from asyncmde_ros.pipeline.field import Map
from asyncmde_ros.pipeline.motion import Grey, NormalisedPoints, Warp, centres, sample, source_of

BORDER = 0.02
"""Share of the image's side over which coverage falls to nothing beyond the keyframe's border;
there the moved depth repeats its last pixel."""

NOISE_SIGMA_PX, RESIDUAL_SIGMA_PX, CONTRAST_SIGMA_PX = 0.75, 1.5, 3.0
"""Blurs of the images compared, of their difference, and of the window that contrast is of."""

LEAST_CONTRAST = 6.0
"""In grey levels: what noise and rounding make of a flat wall."""

ALIKE, UNLIKE = 0.1, 0.5
"""Residuals, in units of contrast, up to which nothing is doubted, and from which all is."""

UNCOVERED_DOUBT = 0.9

ABSENT, ABSENT_SPAN = 1.8, 0.9
"""A place is there up to a residual of (ABSENT - 1) * ABSENT_SPAN, gone from twice as much and a
quarter."""

MOST_CHANGE = 1.5

CONTRADICTED, CONTRADICTED_SPAN = 0.2, 0.4
"""Difference of glance and memory, relative to inverse depth, beyond which doubt counts."""

EDGE_SIGMA_PX = 3.0
EDGE_FLOOR, FAR_FLOOR = 0.02, 0.1
NEAR_PERCENTILE, NEAR_SHARE = 95, 0.05
UNSURE, UNSURE_HALF = 0.3, 0.3
"""What confidence loses at most, and the expected relative error that costs it half of that."""

DOUBTED_ERROR, MOVED_ERROR = 0.4, 1.9
"""What the memory is expected to err by, in units of the depth's deviation: where everything is
doubted, and for each short side of the image that the view has moved by."""

GLANCE_ERROR, MISFIT = 0.15, 3.5
"""What a glance is expected to err by: so much, and so many times its misfit at the keyframe."""

DIFFERENCE_SIGMA_PX = 1.5

SURPRISE, SURPRISE_SPAN = 4.0, 2.0
"""How far glance and memory differ, in units of what they do where the memory is sound, before
something else is taken to stand there; and how much more leaves no doubt of it."""

LEAST_SCALE = 0.1
"""Of an alignment: a glance that says the reverse of the memory is not turned over."""

EPS = 1e-6


@dataclass(frozen=True)
class Ingredients:
    """What counts; the evaluation leaves parts out to tell what each is worth.

    ``photometry``: whether the keyframe's picture, moved, looks like this one; without it all that
    the keyframe saw is sound.  ``displacement``: that the memory errs more the farther the view
    moved.  ``misfit``: that a glance errs more where it fits the keyframe badly; without it by the
    same everywhere.  ``surprise``: that where both differ most, and the images do, the glance has
    it.
    """

    photometry: bool = True
    displacement: bool = True
    misfit: bool = True
    surprise: bool = True


ALL = Ingredients()

USUAL_MISFIT = 0.12
"""That of the shipped networks, in the mean over clips: where it is not measured."""


class Alignment(NamedTuple):
    """``scale * glance + shift`` agrees with the memory."""

    scale: float
    shift: float


def coverage(source: NormalisedPoints) -> Map:
    """Return whether each pixel comes from inside of the keyframe's image, in [0, 1]."""
    beyond = np.maximum(np.abs(source.x), np.abs(source.y)) - 1
    return np.where(source.in_front, np.clip(1 - beyond / (2 * BORDER), 0, 1), 0).astype(
        np.float32)


def photometric_residual(keyframe: Grey, grey: Grey, source: NormalisedPoints) -> Map:
    """Return how unlike the keyframe's picture, moved, and this one are, in units of contrast.

    Robust to exposure: what differs by the same amount all over the image is no difference.
    """
    now = grey.astype(np.float32)
    before = sample(_blurred(keyframe.astype(np.float32), NOISE_SIGMA_PX), source)
    difference = before - _blurred(now, NOISE_SIGMA_PX)
    difference -= np.median(difference)
    contrast = _blurred(np.abs(now - _blurred(now, CONTRAST_SIGMA_PX)), CONTRAST_SIGMA_PX)
    return _blurred(np.abs(difference), RESIDUAL_SIGMA_PX) / (contrast + LEAST_CONTRAST)


class Evidence(NamedTuple):
    """What the images say of a memory that was moved: maps of one size.

    ``source``: where each pixel comes from; ``coverage``: whether the keyframe saw the place;
    ``residual``: how unlike both look.
    """

    source: NormalisedPoints
    coverage: Map
    residual: Map

    @property
    def soundness(self) -> Map:
        """Return the evidence that the moved memory is right, in [0, 1]."""
        alike = 1 - np.clip((self.residual - ALIKE) / (UNLIKE - ALIKE), 0, 1)
        return np.asarray((1 - UNCOVERED_DOUBT * (1 - self.coverage)) * alike, np.float32)

    @property
    def presence(self) -> Map:
        """Return whether what was seen is there at all, in [0, 1].

        More lenient: small differences tell little of how wrong depth is.
        """
        return np.asarray(self.coverage * np.clip(ABSENT - self.residual / ABSENT_SPAN, 0, 1),
                          np.float32)

    @property
    def change(self) -> float:
        """Return how much of what is seen has changed: the mean residual beyond noise."""
        return float(np.clip(self.residual - ALIKE, 0, MOST_CHANGE).mean())


def look(keyframe: Grey, grey: Grey, warp: Warp) -> Evidence:
    """Compare the keyframe's picture, moved, with this one."""
    source = source_of(warp, grey.shape)
    return Evidence(source, coverage(source), photometric_residual(keyframe, grey, source))


def displacement(source: NormalisedPoints) -> float:
    """Return how far an image moved in the mean, as a share of its short side."""
    rows, cols = source.x.shape
    x, y = centres((rows, cols))
    moved = np.hypot((source.x - x) * (cols / 2), (source.y - y) * (rows / 2))
    return float(np.where(source.in_front, moved, cols).mean() / min(rows, cols))


def align(glance: Map, memory: Map, weight: Map) -> Alignment:
    """Fit the glance's scale and shift to the memory by least squares weighted by ``weight``."""
    mean, target = _mean(glance, weight), _mean(memory, weight)
    spread = _mean(np.square(glance - mean), weight)
    together = _mean((glance - mean) * (memory - target), weight)
    scale = max(LEAST_SCALE, together / max(spread, EPS))
    return Alignment(scale, target - scale * mean)


def difference(glance: Map, memory: Map) -> Map:
    """Return how far an aligned glance and the memory are apart, in the memory's units."""
    return np.abs(_blurred(glance - memory, DIFFERENCE_SIGMA_PX))


def misfit(glance: Map, memory: Map, weight: Map) -> float:
    """Return what an aligned glance differs from the memory by, in units of its deviation."""
    scale, shift = align(glance, memory, weight)
    found = difference(scale * glance + shift, memory)
    return _mean(found, weight) / (float(memory.std()) + EPS)


def surprise(apart: Map, soundness: Map) -> Map:
    """Return where a glance differs from the memory as it does nowhere else, in [0, 1].

    ``apart`` is their :func:`difference`.  Something came, or was uncovered: errors of the
    expected size would not do that.
    """
    usual = _mean(apart, soundness) + EPS
    return np.asarray(np.clip((apart / usual - SURPRISE) / SURPRISE_SPAN, 0, 1), np.float32)


def glance_share(soundness: Map, moved: float, glance_misfit: float, surprising: Map) -> Map:
    """Return the aligned glance's share of each pixel, in [0, 1]; the memory has the rest.

    ``soundness`` is :attr:`Evidence.soundness`, ``moved`` :func:`displacement` since the keyframe,
    ``glance_misfit`` :func:`misfit` where no motion blurs it, at the keyframe, and ``surprising``
    :func:`surprise`, which counts as far as the memory is not sound.
    """
    of_memory = np.square(DOUBTED_ERROR * (1 - soundness) + MOVED_ERROR * moved)
    of_glance = (GLANCE_ERROR + MISFIT * glance_misfit) ** 2
    expected = of_memory / (of_memory + of_glance)
    return np.asarray(np.maximum(expected, (1 - soundness) * surprising), np.float32)


def contradiction(apart: Map, memory: Map) -> Map:
    """Return where a glance says something else than the memory, in [0, 1].

    ``apart`` is their :func:`difference`, which counts by how near the memory is.
    """
    near = max(float(np.percentile(memory, NEAR_PERCENTILE)), EPS)
    relative = apart / (np.maximum(memory, 0) + FAR_FLOOR * near)
    return np.asarray(np.clip((relative - CONTRADICTED) / CONTRADICTED_SPAN, 0, 1), np.float32)


def confidence(depth: Map) -> Map:
    """Return how far inverse depth of one image is to be trusted by itself, in [0.7, 1].

    Monocular depth errs at depth edges, where a pixel more or less is another object, and, in
    relative terms, far away, where inverse depth is small.  This orders pixels by their error; by
    how much it lies below one means little.
    """
    near = max(float(np.percentile(depth, NEAR_PERCENTILE)), EPS)
    depth = np.maximum(depth, 0)
    log = np.log(depth + NEAR_SHARE * near)
    edge = np.hypot(*(cv2.Sobel(log, cv2.CV_32F, *axes, scale=1 / 8) for axes in ((1, 0), (0, 1))))
    expected = (_blurred(edge, EDGE_SIGMA_PX) + EDGE_FLOOR) / (depth / near + FAR_FLOOR)
    return np.asarray(1 - UNSURE * expected / (expected + UNSURE_HALF), np.float32)


def _mean(values: Map, weight: Map) -> float:
    return float((values * weight).sum()) / (float(weight.sum()) + EPS)


def _blurred(values: Map, sigma_px: float) -> Map:
    return np.asarray(cv2.GaussianBlur(values, (0, 0), sigma_px), np.float32)
