"""Scores of single depth maps, against the truth and against the foundation model."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from asyncmde_ros.lab.evaluation import alignment
from asyncmde_ros.lab.evaluation.alignment import Array, Mask
from asyncmde_ros.model.geometry import Size

DELTA = 1.25
"""Base of the delta thresholds (Eigen et al., NeurIPS 2014)."""

EDGE_STEP = 0.1
"""Relative step between neighbouring true depths that makes a discontinuity; sensor noise and
slanted surfaces stay below."""

EDGE_REACH_PX = 3
"""Pixels of the depth map around a discontinuity that count as near it."""

FARTHEST = 0.05
"""Share of the 95th percentile of the teacher's inverse depth below which a pixel is too far."""

PERCENTILE = 95.0


@dataclass(frozen=True)
class FrameScores:
    """Scores of one aligned depth map, or means of them; None is undefined, not zero.

    ``absrel`` is mean |d - g| / g; ``rmse`` is in metres; ``delta1`` to ``delta3`` are shares of
    pixels with max(d / g, g / d) < 1.25, 1.25^2, 1.25^3 (Eigen et al., NeurIPS 2014); for the
    edges see :func:`score`.  ``pixels`` were scored, and ``coverage`` is their share of the
    pixels with valid truth: below 1 the prediction has holes.
    """

    absrel: float | None
    rmse: float | None
    delta1: float | None
    delta2: float | None
    delta3: float | None
    edge_absrel: float | None
    edge_sharpness: float | None
    pixels: int
    coverage: float | None


@dataclass(frozen=True)
class TeacherScores:
    """Closeness to the foundation model: see :func:`scores_against_teacher`."""

    absrel: float | None
    delta1: float | None
    pixels: int
    coverage: float | None


def resize_to(prediction: Array, shape: Size) -> npt.NDArray[np.float32]:
    """Resize (h, w) relative inverse depth to ``shape`` (rows, cols), bilinearly (INTER_LINEAR).

    Done before the alignment, so that scale and shift are those of the pixels that are scored.
    A NaN spreads to the pixels that its neighbourhood interpolates.
    """
    prediction = prediction.astype(np.float32, copy=False)
    if prediction.shape == tuple(shape):
        return prediction
    return np.asarray(cv2.resize(prediction, shape[::-1], interpolation=cv2.INTER_LINEAR),
                      np.float32)


def score(depth: Array, truth: Array, max_depth_m: float, mask: Mask | None = None
          ) -> FrameScores:
    """Score aligned depth against the truth, both (h, w) metres.

    Pixels count where 1e-3 < truth < ``max_depth_m`` (:func:`alignment.valid_truth`) and, if
    given, ``mask``; of them those are scored where ``depth`` is finite and positive, the rest
    lowers ``coverage``.  Where none is left, the scores are None.

    A depth discontinuity lies between two valid 4-neighbours whose true depths differ by more
    than 10 % of the smaller, the depth-ratio contours of Depth Pro (Bochkovskii et al., ICLR
    2025).  ``edge_absrel`` is the AbsRel of all scored pixels at most 3 px, along rows and
    columns, from either side of one.  ``edge_sharpness`` is the median, over the
    discontinuities with both sides scored, of |log d_i - log d_j| / |log g_i - log g_j|: 1 is as
    steep as the truth, near 0 is blurred, or sharp but a pixel or more beside it.

    Raises ValueError where shapes differ.
    """
    valid = alignment.valid_truth(truth, max_depth_m)
    if mask is not None:
        valid = valid & mask
    if depth.shape != truth.shape or valid.shape != truth.shape:
        raise ValueError(f'shapes differ: depth {depth.shape}, truth {truth.shape}, '
                         f'mask {valid.shape}')
    scored = valid & np.isfinite(depth) & (depth > 0)
    pixels, coverage = _counts(scored, valid)
    if pixels == 0:
        return FrameScores(None, None, None, None, None, None, None, 0, coverage)

    d, g = depth[scored].astype(np.float64), truth[scored].astype(np.float64)
    error = np.abs(d - g)
    ratio = np.maximum(d / g, g / d)
    edges = _discontinuities(truth, valid)
    near = _near(edges, truth.shape)[scored]
    return FrameScores(
        absrel=float(np.mean(error / g)),
        rmse=float(np.sqrt(np.mean(error ** 2))),
        delta1=float(np.mean(ratio < DELTA)),
        delta2=float(np.mean(ratio < DELTA ** 2)),
        delta3=float(np.mean(ratio < DELTA ** 3)),
        edge_absrel=float(np.mean((error / g)[near])) if near.any() else None,
        edge_sharpness=_sharpness(depth, truth, scored, edges),
        pixels=pixels, coverage=coverage)


def mean_of_defined(values: Iterable[float | None], factor: float = 1.0) -> float | None:
    """Return ``factor`` times the mean of what is not None, None where nothing is."""
    defined = [value for value in values if value is not None]
    return factor * float(np.mean(defined)) if defined else None


def mean_scores(scores: Iterable[FrameScores]) -> FrameScores:
    """Return every score's mean over the frames in which it is defined, None if in none.

    Every frame weighs the same, whatever its number of pixels; ``pixels`` is their sum.
    """
    scores = list(scores)

    def mean(get: Callable[[FrameScores], float | None]) -> float | None:
        return mean_of_defined(map(get, scores))

    return FrameScores(
        absrel=mean(lambda s: s.absrel), rmse=mean(lambda s: s.rmse),
        delta1=mean(lambda s: s.delta1), delta2=mean(lambda s: s.delta2),
        delta3=mean(lambda s: s.delta3), edge_absrel=mean(lambda s: s.edge_absrel),
        edge_sharpness=mean(lambda s: s.edge_sharpness),
        pixels=sum(s.pixels for s in scores), coverage=mean(lambda s: s.coverage))


def scores_against_teacher(prediction: Array, teacher: Array) -> TeacherScores:
    """Score a prediction by its closeness to the foundation model's, both relative inverse depth.

    Shapes agree; units are the teacher's own and cancel.  The prediction is fitted to the
    teacher by scale and shift, then AbsRel and delta1 compare the depths 1 / inverse depth.
    Both are taken where the teacher's inverse depth exceeds 5 % of its 95th percentile, because
    depth beyond (sky) is a division by almost nothing and would drown the rest; the fitted
    prediction is floored at the same value for the same reason.  Coverage is the share of those
    pixels in which the prediction is finite.  Where that percentile is not above 0, nothing is
    near and everything is None.  Raises ValueError where shapes differ.
    """
    if prediction.shape != teacher.shape:
        raise ValueError(f'shapes differ: prediction {prediction.shape}, teacher {teacher.shape}')
    known = np.isfinite(teacher)
    floor = FARTHEST * float(np.percentile(teacher[known], PERCENTILE)) if known.any() else 0.0
    valid = known & (teacher > floor) & (floor > 0)
    scored = valid & np.isfinite(prediction)
    pixels, coverage = _counts(scored, valid)
    fitted = alignment.fit(prediction, teacher, scored)
    if fitted is None:
        return TeacherScores(None, None, pixels, coverage)
    reference = teacher[scored].astype(np.float64)
    inverse = fitted.scale * prediction[scored].astype(np.float64) + fitted.shift
    ratio = reference / np.maximum(inverse, floor)  # predicted depth over the teacher's
    return TeacherScores(absrel=float(np.mean(np.abs(ratio - 1))),
                         delta1=float(np.mean(np.maximum(ratio, 1 / ratio) < DELTA)),
                         pixels=pixels, coverage=coverage)


def _counts(scored: Mask, valid: Mask) -> tuple[int, float | None]:
    pixels, wanted = int(np.count_nonzero(scored)), int(np.count_nonzero(valid))
    return pixels, pixels / wanted if wanted else None


Pairs = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]
"""Flat indices of the two sides of each discontinuity."""


def _discontinuities(truth: Array, valid: Mask) -> Pairs:
    index = np.arange(truth.size).reshape(truth.shape)
    first = np.concatenate([index[:, :-1].ravel(), index[:-1].ravel()])
    second = np.concatenate([index[:, 1:].ravel(), index[1:].ravel()])
    both = valid.ravel()[first] & valid.ravel()[second]
    first, second = first[both], second[both]
    a, b = (truth.ravel()[side].astype(np.float64) for side in (first, second))
    steep = np.abs(a - b) > EDGE_STEP * np.minimum(a, b)
    return first[steep], second[steep]


def _near(edges: Pairs, shape: tuple[int, ...]) -> Mask:
    at_edge = np.zeros(shape, np.uint8)
    for side in edges:
        at_edge.ravel()[side] = 1
    reach = 2 * EDGE_REACH_PX + 1
    return cv2.dilate(at_edge, np.ones((reach, reach), np.uint8)).astype(bool)


def _sharpness(depth: Array, truth: Array, scored: Mask, edges: Pairs) -> float | None:
    first, second = edges
    both = scored.ravel()[first] & scored.ravel()[second]
    first, second = first[both], second[both]
    if first.size == 0:
        return None
    steps = [np.abs(np.log(values.ravel()[first].astype(np.float64) / values.ravel()[second]))
             for values in (depth, truth)]
    return float(np.median(steps[0] / steps[1]))
