"""The last maps, whose moment a late measurement may be of, in the present map's values."""

import math
from collections import deque
from typing import NamedTuple

import numpy as np

from asyncmde_ros.scale.observations import Array, Map, PastMap

HISTORY_S = 0.5
"""A lidar's driver and tf are seldom later than that."""

LONGEST_SIDE = 400
"""Pixels of a kept map's longer side: half a second of them takes some 10 MB."""

GRID = 32
"""Samples along the longer side by which two maps are compared."""

FEWEST = 20
"""Samples without which nothing is said."""

PAIRS = 500
ROUNDS = 4
OUTLIER = 3.0
"""Standard deviations from which on a pixel moved, or has another shape in the other map."""

MEDIAN_TO_SIGMA = 1.4826
LEAST_CORRELATION = 0.9
"""Of two maps of one scene; on rendered and real clips it is 0.98 and above at each refresh."""


class Relation(NamedTuple):
    """A value r of the new map was ``gain`` r + ``offset`` in the old one; ``gain`` > 0."""

    gain: float
    offset: float


class History:
    """The maps of the last HISTORY_S, in order of time."""

    def __init__(self) -> None:
        self._moments: deque[PastMap] = deque()

    def add(self, stamp_s: float, relative: Map, refreshed: bool) -> Relation | None:
        """Keep a map; return how its values relate to those of the map before, where they can be.

        Without ``refreshed`` they are the same.  None where no map was shortly before, or where
        both do not show one scene: what was before is forgotten then.
        """
        kept = thinned(relative)
        while self._moments and stamp_s - self._moments[0].stamp_s > HISTORY_S:
            self._moments.popleft()
        relation = self._relation(kept, refreshed)
        if relation is None:
            self._moments.clear()
        elif refreshed:
            gain, offset = relation
            self._moments = deque(
                moment._replace(gain=moment.gain / gain, offset=(moment.offset - offset) / gain)
                for moment in self._moments)
        self._moments.append(PastMap(stamp_s, kept, 1.0, 0.0))
        return relation

    def nearest(self, stamp_s: float) -> PastMap:
        """Return the moment nearest in time; there is one."""
        return min(self._moments, key=lambda moment: abs(moment.stamp_s - stamp_s))

    def _relation(self, relative: Map, refreshed: bool) -> Relation | None:
        if not self._moments:
            return None
        if not refreshed:
            return Relation(1.0, 0.0)
        before = self._moments[-1].relative
        return relate(before, relative) if before.shape == relative.shape else None


def thinned(relative: Map) -> Map:
    """Return a copy of every so manieth row and column, no longer than LONGEST_SIDE."""
    step = math.ceil(max(relative.shape) / LONGEST_SIDE)
    return relative[::step, ::step].copy()


def relate(old: Map, new: Map) -> Relation | None:
    """Return how two maps (h, w) of one scene relate; None where they do not.

    The standard deviation and the mean of both are made equal, of the pixels that then agree.
    Regression of one on the other would take a part of the slope for noise, and a chain of
    refreshes would shrink the scale each time; this errs to neither side (the reduced major axis;
    Fuller, Measurement Error Models, 1987, section 1.3).
    """
    step = max(1, max(old.shape) // GRID)
    pairs = np.stack([old[::step, ::step].ravel(), new[::step, ::step].ravel()]).astype(float)
    pairs = pairs[:, np.isfinite(pairs).all(axis=0)]
    if pairs.shape[1] < FEWEST:
        return None
    relation = _start(pairs)
    agreeing = pairs
    for _ in range(ROUNDS):
        if relation is None:
            return None
        error = np.abs(pairs[0] - relation.gain * pairs[1] - relation.offset)
        agreeing = pairs[:, error <= OUTLIER * MEDIAN_TO_SIGMA * np.median(error)]
        relation = _of(agreeing.mean(axis=1), agreeing.std(axis=1))
    if relation is None or np.corrcoef(agreeing)[0, 1] < LEAST_CORRELATION:
        return None
    return relation


def _start(pairs: Array) -> Relation | None:
    """Return the median of the slopes between samples, and of the offsets with it.

    (Theil, 1950; Sen, 1968: up to 29 % of the samples may be anything.)  Of the random pairs those
    count that differ most in the new map, as noise tells the slope of the others.
    """
    one, other = np.random.default_rng(0).integers(0, pairs.shape[1], (2, PAIRS))
    old, new = pairs[:, one] - pairs[:, other]
    far = np.abs(new) > np.median(np.abs(new))
    if not far.any():
        return None
    gain = float(np.median(old[far] / new[far]))
    return Relation(gain, float(np.median(pairs[0] - gain * pairs[1]))) if gain > 0 else None


def _of(middle: Array, width: Array) -> Relation | None:
    """Return what makes both (old, new) middles and widths equal; None for what is flat."""
    if not (width > 0).all():
        return None
    gain = float(width[0] / width[1])
    return Relation(gain, float(middle[0] - gain * middle[1]))
