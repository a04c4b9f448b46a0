"""Scale and shift of one relative map by what was measured in it, whatever of that is wrong."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from asyncmde_ros.scale.observations import Array, Samples
from asyncmde_ros.scale.shape import gain_of_all, straying

HYPOTHESES = 100
"""Lines through two points that are tried: with 40 % wrong, all are bad with a probability of
4e-20; the pairs are the same every time."""

JUDGES = 200
"""Points that judge a hypothesis; more cost time and say the same."""

_RNG = np.random.default_rng(0)
PAIRS, SINGLES, JUDGING = (_RNG.random(shape) for shape in (
    (2, HYPOTHESES), HYPOTHESES, JUDGES))
"""In [0, 1), of which places among the points are made: to draw anew takes longer than to judge.
"""

MODEL_ERROR = 0.1
"""Share of inverse depth by which a good point may miss the fit because the map's shape is wrong,
before that is known (Depth Anything V2 Small has an AbsRel of about 0.1)."""

MODEL_ERROR_RANGE = 0.01, 0.3

FARTHEST = 0.02
"""Share of the map that may be behind the camera by a hypothesis."""

LOOSE_ERROR = 0.2
"""The same for a hypothesis, which need not be the best: with less, a line that passes most of a
laser scan closely and leaves out a fifth of it beats the one that is roughly right everywhere."""

CUTOFF = 3.0
"""Standard deviations at which a hypothesis gets nothing for a point."""

HUBER = 1.345
"""95 % efficiency for Gaussian errors (Huber, Robust Statistics, 1981)."""

OUTLIER = 4.0
"""Standard deviations from which on a point is left out: gross, or moving."""

ITERATIONS = 10
SETTLED = 1e-3
"""A step of the reweighting that moves the fit by less of its standard deviations, and the share
of the map's error by less of itself, is the last."""

TINY = float(np.finfo(float).tiny)
MEDIAN_TO_SIGMA = 1.4826
"""Standard deviation of a Gaussian over its median absolute deviation."""

DEGENERATE = 0.25
"""Relative standard deviation of ``a`` by the points alone from which on they do not tell the
shift: all are at about one distance, or too few."""

SPREAD = 0.1
"""Standard deviation of the inliers' fitted inverse depth, as a share of its mean, below which
they do not tell the shift either.  The map's own error, MODEL_ERROR, flattens a line that is
fitted by it, to 1 / (1 + (MODEL_ERROR / SPREAD)^2) of its slope (Fuller, Measurement Error
Models, 1987, section 1.1): here to a half.  On rendered clips a larger limit holds a wrong shift
too often."""

FEWEST_CELLS = 4
"""Cells of the image that must have inliers: two fix both values, and two more confirm them."""

Single = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Fit:
    """``a`` relative + ``b`` is inverse depth in 1/m.

    ``covariance`` (2, 2) is of (a, b) by these points, where ``degenerate`` with ``b`` given: then
    only [0, 0] counts.  What the map has wrong elsewhere is in it where the map was given.
    ``inliers`` (n,) tells which points were used; ``residual`` is the standard deviation of
    (measured - fitted) / fitted inverse depth over them.  ``common`` (2, k) is what one standard
    deviation of each of the ``errors`` that points share adds to (a, b); it is not in the
    covariance.
    """

    a: float
    b: float
    covariance: Array
    inliers: npt.NDArray[np.bool_]
    residual: float
    degenerate: bool
    centre: float
    """Mean relative value of the inliers."""
    common: Array
    errors: tuple[tuple[str, int], ...] = ()


def fit(samples: Samples, shift: float, prior: tuple[float, float] | None = None,
        whole: Array | None = None) -> Fit | None:
    """Fit ``a`` and ``b``; where the points do not tell ``b``, ``a`` for the ``shift`` given.

    Minimises sum w_i rho((q_i - a r_i - b) / s_i) with q_i the measured inverse depth, r_i the
    map's value and Huber's rho, by iteratively reweighted least squares (Holland and Welsch,
    1977); what is OUTLIER s_i away is left out.  s_i^2 = sigma_i^2 + (e p_i)^2, with p_i = a r_i
    + b and e the share of inverse depth by which the map's shape errs, estimated from the median
    residual: a depth network errs by a share of the distance, and so counts near and far alike.
    A common error c_i of the points adds (X^T W X)^-1 X^T W c to (a, b), with X the rows (r_i, 1)
    and W the final weights over s_i^2.
    It starts with the best line through two points, or through one with ``shift``, or
    ``prior`` (a, b), by the number of points near it (RANSAC; Fischler and Bolles, 1981), of
    those that leave all but FARTHEST of the ``whole`` map (:func:`overview`) in front of the
    camera, if any does.

    ``a`` is positive.  None where no positive ``a`` fits, or without points.
    """
    if samples.relative.size == 0:
        return None
    farthest = math.nan if whole is None else _farthest(whole)
    start = _consensus(samples, shift, prior, farthest)
    if start is None:
        return None
    found = _refined(samples, start, whole)
    if found is not None:
        return found
    # With the shift given, other points may belong together.
    start = _consensus(samples, shift, held=True)
    return None if start is None else _refined(samples, start, whole, held=True)


def _farthest(whole: Array) -> float:
    """Return the value that FARTHEST of the map is below; NaN where it has none."""
    known = whole[np.isfinite(whole)]
    index = int(FARTHEST * known.size)
    return float(np.partition(known, index)[index]) if known.size else math.nan


def _consensus(samples: Samples, shift: float, prior: tuple[float, float] | None = None,
               farthest: float = math.nan, held: bool = False) -> tuple[float, float] | None:
    """Return the (a, b) that most points are near to; with ``held``, among those with ``shift``.

    Of those by which the value ``farthest`` is in front of the camera, if there are any.
    """
    r, q = samples.relative, samples.inverse_depth
    single = _drawn(r.size, SINGLES)
    lines = np.full((2, len(single) + (0 if held else HYPOTHESES + (prior is not None))), shift)
    with np.errstate(divide='ignore', invalid='ignore', over='ignore'):
        lines[0, :len(single)] = (q[single] - shift) / r[single]
        if not held:
            first, second = (PAIRS * r.size).astype(np.intp)
            pairs = lines[:, len(single):len(single) + HYPOTHESES]
            pairs[0] = (q[second] - q[first]) / (r[second] - r[first])
            pairs[1] = q[first] - pairs[0] * r[first]
            if prior is not None:
                lines[:, -1] = prior
    lines = lines[:, np.isfinite(lines).all(axis=0) & (lines[0] > 0)]
    if not lines.size:
        return None
    in_front = lines[0] * farthest + lines[1] > 0
    if in_front.any():
        lines = lines[:, in_front]
    judges = _drawn(r.size, JUDGING)
    cost = _costs(lines.astype(np.float32), *(column[judges].astype(np.float32) for column in (
        r, q, samples.sigma, samples.weight)))
    a, b = lines[:, np.argmin(cost)].tolist()
    return a, b


def _drawn(count: int, draws: Array) -> npt.NDArray[np.intp]:
    """Return which of ``count`` points are drawn: all, or one of each part of as many."""
    if count <= len(draws):
        return np.arange(count)
    return ((np.arange(len(draws)) + draws) * (count / len(draws))).astype(np.intp)


def _costs(lines: Single, r: Single, q: Single, sigma: Single, weight: Single) -> Single:
    """Return for each line (a, b) of (2, m) how badly n points fit.

    In place and in 32 bits, as it is most of the work, and only which is least counts.
    """
    a, b = lines[:, :, None]
    p = a * r
    p += b
    behind = p <= 0
    error = q - p
    with np.errstate(over='ignore', invalid='ignore'):
        error *= error
        p *= p
        p *= np.float32(LOOSE_ERROR ** 2)
        p += sigma ** 2 + np.finfo(np.float32).tiny
        error /= p
    error[behind] = np.inf  # as wrong as can be
    # Of what is too large for 32 bits, and then NaN, fmin makes the cutoff.
    return np.asarray(np.fmin(error, np.float32(CUTOFF ** 2), out=error) @ weight)


def _refined(samples: Samples, start: tuple[float, float], whole: Array | None,
             held: bool = False) -> Fit | None:
    """Return the reweighted least squares from ``start``; None where they do not tell both.

    With ``held``, b stays that of ``start``, and None is where a does not come out positive.
    """
    r, q = samples.relative, samples.inverse_depth
    a, b = start
    share = MODEL_ERROR
    noise = samples.sigma ** 2
    terms = np.stack([r * r, r, np.ones_like(r), r * q, q], axis=1)
    p = a * r + b
    for _ in range(ITERATIONS):
        last = a, b, share
        variance = np.maximum(noise + (share * p) ** 2, TINY)
        distance = np.abs(q - p) / np.sqrt(variance)
        inliers = (p > 0) & (distance < OUTLIER)
        weight = samples.weight * inliers * (HUBER / (np.maximum(distance, HUBER) * variance))
        rr, r1, one, rq, q1 = (weight @ terms).tolist()
        determinant = rr if held else rr * one - r1 * r1
        if not determinant > 0:
            return None
        if held:
            a = (rq - b * r1) / rr
        else:
            a, b = (one * rq - r1 * q1) / determinant, (rr * q1 - r1 * rq) / determinant
        if not (math.isfinite(a) and math.isfinite(b) and a > 0):
            return None
        p = a * r + b
        near = np.flatnonzero(inliers & (p > 0))
        if not near.size:
            return None
        error = median(np.abs(q[near] / p[near] - 1))
        share = min(max(MEDIAN_TO_SIGMA * error, MODEL_ERROR_RANGE[0]), MODEL_ERROR_RANGE[1])
        more, higher = a - last[0], b - last[1]
        if (more * more * rr + 2 * more * higher * r1 + higher * higher * one <= SETTLED ** 2
                and abs(share - last[2]) <= SETTLED * share):
            break
    covariance = (np.array([[1 / rr, 0.0], [0.0, 0.0]]) if held else
                  np.array([[one, -r1], [-r1, rr]]) / determinant)
    common = np.zeros((2, len(samples.errors)))
    if samples.common is not None:
        common = covariance @ (terms[:, 1:3].T @ (weight[:, None] * samples.common))
    used = samples.weight * inliers
    total = float(used.sum())
    middle = float(used @ p) / total
    if not held and (covariance[0, 0] > (DEGENERATE * a) ** 2 or total < FEWEST_CELLS
                     or float(used @ (p - middle) ** 2) < total * (SPREAD * middle) ** 2):
        return None
    if whole is not None and samples.cell is not None:
        gain = covariance @ [np.bincount(samples.cell, some, whole.size)
                             for some in (weight * p * r, weight * p)]
        if not held:
            gain -= gain_of_all(a, b, whole, middle)
        covariance += straying(gain)
    miss = (q[inliers] - p[inliers]) / p[inliers]
    residual = math.sqrt(float(samples.weight[inliers] @ miss ** 2) / total)
    return Fit(a, b, covariance, inliers, residual, held, float(used @ r) / total, common,
               samples.errors)


def median(values: Array) -> float:
    """Return what ``np.median`` does of values without NaN, in a third of the time."""
    half = values.size // 2
    if values.size % 2:
        return float(np.partition(values, half)[half])
    middle = np.partition(values, (half - 1, half))[half - 1:half + 1]
    return float(middle[0] + middle[1]) / 2
