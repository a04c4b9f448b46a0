"""From a relative map and what was measured in it to the scale of that moment."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from asyncmde_ros.scale.filter import WANDER, ScaleFilter, Wander
from asyncmde_ros.scale.fit import Fit, fit, median
from asyncmde_ros.scale.history import History
from asyncmde_ros.scale.observations import Array, Map, Measurement, overview, sample

TOLERANCE_S = 0.05
"""Farther apart, an observation and a map do not show the same: something that moves at 2 m/s is
0.1 m elsewhere."""

MOST_WAITING = 100
"""Measurements that are newer than the newest map: their image is on its way, or is not."""

STRIDE = 8
"""Every eighth row and column are enough for a median."""


@dataclass(frozen=True, eq=False)
class Scale:
    """What is known of 1/m = ``a`` relative + ``b`` at a moment.

    ``covariance`` (2, 2) is of (a, b).  ``age_s`` is how long ago the newest observation was
    that was believed.  Of this moment's ``observations`` that lie in the image, ``inliers`` were
    used; 0 where none was believed.  ``residual`` is the inliers' standard deviation from the
    fit as a share of inverse depth, None without any.  ``degenerate``: they did not tell the
    shift, which is held.  ``sources`` spoke when observations were last believed.
    """

    a: float
    b: float
    covariance: Array
    age_s: float
    observations: int
    inliers: int
    residual: float | None
    degenerate: bool
    sources: tuple[str, ...]


class ScaleEstimator:
    """Takes each map with its observations, in the order of time; not thread-safe."""

    def __init__(self, wander: Wander = WANDER, tolerance_s: float = TOLERANCE_S) -> None:
        """``tolerance_s``: observations that are farther from a map in time are left out."""
        self._wander, self._tolerance_s = wander, tolerance_s
        self._start()

    def _start(self) -> None:
        self._filter = ScaleFilter(self._wander)
        self._history = History()
        self._waiting: list[Measurement] = []
        self._stamp_s: float | None = None
        self._believed_s = 0.0
        self._sources: tuple[str, ...] = ()

    def update(self, stamp_s: float, relative: Map, measurements: Sequence[Measurement],
               refreshed: bool = False) -> Scale | None:
        """Return the scale at ``stamp_s``; None where nothing was ever measured.

        ``relative`` (h, w) is relative inverse depth, NaN where unknown.  ``refreshed``: it comes
        from another keyframe than the last one, and so may have another scale.
        ``measurements`` are what is new: each is looked at in the map of its own moment, of which
        those of the last half second are kept; what is newer than the map waits for the next.
        Without any the scale is held, and its covariance grows.  Time that goes back starts
        anew.  ValueError for a map that is not two-dimensional.
        """
        if relative.ndim != 2:
            raise ValueError(f'a map of shape {relative.shape}: must be (rows, cols)')
        if self._stamp_s is not None and stamp_s < self._stamp_s:
            self._start()
        typical = _typical(relative)
        elapsed_s = 0.0 if self._stamp_s is None else stamp_s - self._stamp_s
        self._stamp_s = stamp_s
        self._filter.predict(elapsed_s, typical)
        relation = self._history.add(stamp_s, relative, refreshed)
        if refreshed:
            self._filter.refresh(relation, typical)
        measured = [(moment, one.seen_in(moment.relative))
                    for one in self._timely(stamp_s, measurements)
                    if abs((moment := self._history.nearest(one.stamp_s)).stamp_s - one.stamp_s)
                    <= self._tolerance_s]
        samples = sample(measured)
        before = self._filter.state
        found = fit(samples, before[1] if before else 0.0, before, overview(relative))
        if found is not None and self._filter.update(found, typical):
            self._believed_s = max(one.stamp_s for _, one in measured)
            self._sources = tuple(dict.fromkeys(one.source for _, one in measured))
        else:
            found = None
        return self._scale(stamp_s, samples.relative.size, found)

    def _timely(self, stamp_s: float, measurements: Sequence[Measurement]) -> list[Measurement]:
        """Return what is no newer than the map, of what waited too; keep the rest."""
        found = [*self._waiting, *measurements]
        self._waiting = [one for one in found if one.stamp_s > stamp_s][-MOST_WAITING:]
        return [one for one in found if one.stamp_s <= stamp_s]

    def _scale(self, stamp_s: float, observations: int, found: Fit | None) -> Scale | None:
        state = self._filter.state
        if state is None:
            return None
        return Scale(*state, self._filter.covariance, stamp_s - self._believed_s, observations,
                     0 if found is None else int(np.count_nonzero(found.inliers)),
                     None if found is None else found.residual,
                     found is not None and found.degenerate, self._sources)


def _typical(relative: Map) -> float:
    """Return the median magnitude of the map's values but 0, and 0 where it has no other.

    More than half of a map may be sky, which is 0.
    """
    values = np.abs(relative[::STRIDE, ::STRIDE])
    values = values[(values > 0) & (values < np.inf)]
    return median(values) if values.size else 0.0
