"""What the background does beside the frames: refreshes by size, and glances."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from asyncmde_ros.lab.bench.statistics import Summary, summarise


@dataclass(frozen=True)
class Moment:
    """The background's counts at ``time_s``, by any clock.

    ``refreshes`` counts by size, ``HxW``.  ``glances`` is None where the memory knows none, and
    ``glance_ms`` is what the last one took.
    """

    time_s: float
    refreshes: Mapping[str, int]
    glances: int | None
    glance_ms: float


@dataclass(frozen=True)
class Background:
    """Figures of ``seconds``; those of glances are None where the memory knows none.

    ``refreshes_by_size`` is without sizes that there was none of.  ``glance_ms`` is of those
    glances that were seen to be the last, one for each moment at most.  ``glance_lag`` counts
    camera frames since the newest glance's was captured; None where that is not told.
    """

    seconds: float
    refreshes_by_size: dict[str, int]
    refresh_hz: float
    glances: int | None
    glances_hz: float | None
    glance_ms: Summary | None
    glance_lag_mean_frames: float | None = None
    glance_lag_max_frames: int | None = None


def background(blocks: Sequence[Sequence[Moment]], lags: Sequence[int] = ()) -> Background | None:
    """Return what was done from the first to the last moment of each block, in all.

    None where no time passes between them.
    """
    ends = [(block[0], block[-1]) for block in blocks if block]
    seconds = sum(last.time_s - first.time_s for first, last in ends)
    if seconds <= 0:
        return None
    refreshes: Counter[str] = Counter()
    for first, last in ends:
        refreshes.update({size: count - first.refreshes.get(size, 0)
                          for size, count in last.refreshes.items()})
    glances = None if ends[-1][1].glances is None else sum(
        (last.glances or 0) - (first.glances or 0) for first, last in ends)
    took_ms = [now.glance_ms for block in blocks for before, now in pairwise(block)
               if now.glances != before.glances]
    return Background(
        seconds, dict(sorted((+refreshes).items())), refreshes.total() / seconds,
        glances, None if glances is None else glances / seconds, summarise(took_ms),
        sum(lags) / len(lags) if lags else None, max(lags) if lags else None)


def within(moments: Sequence[Moment], start_s: float, end_s: float) -> list[Moment]:
    """Return the moments of a time, and the last one before it, which the counts begin with."""
    before = [moment for moment in moments if moment.time_s < start_s][-1:]
    return before + [moment for moment in moments if start_s <= moment.time_s <= end_s]
