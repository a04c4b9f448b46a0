"""When the frames of a recording are due."""

import enum
import math
import statistics
import time
from collections.abc import Callable, Sequence
from itertools import pairwise

LEAP_NS = 10 * 10**9
"""A longer gap between two frames is no pause worth waiting for: a clock was set, say."""


class Pace:
    """Plays stamps at the pace that they were taken at, from the first one on."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` gives seconds that never go back."""
        self._clock = clock
        self._started = 0.0
        self._first_ns = 0
        self._last_ns: int | None = None
        self._before_ns = 0

    @property
    def played_s(self) -> float:
        """How much was played up to the last frame, leaps not counted."""
        return (self._before_ns + (self._last_ns or 0) - self._first_ns) / 1e9

    def early_s(self, stamp_ns: int) -> float:
        """Return how long it is until the next frame is due; negative if it is late.

        Where stamps go back, or leap, the pace starts anew with this frame, which is due now.
        """
        now = self._clock()
        if self._last_ns is None or not 0 <= stamp_ns - self._last_ns <= LEAP_NS:
            self._before_ns += (self._last_ns or 0) - self._first_ns
            self._started, self._first_ns = now, stamp_ns
        self._last_ns = stamp_ns
        return self._started + (stamp_ns - self._first_ns) / 1e9 - now


class PlaybackClock(enum.Enum):
    """Whose times a recording is played by; the value says what is wrong with the headers'."""

    HEADERS = ''
    UNSTAMPED = 'are zero'
    STILL = 'do not advance'
    SLOW = 'advance far too slowly'
    FAST = 'advance far too fast'


CAMERA_INTERVALS_NS = (1e9 / 240, 1e9)
"""Between two images of nearly any camera."""

MOST_RATIO = 30
"""Recordings are made of others that are played slower or faster, but hardly by more."""

SLOWEST_REPLAY = 200
"""By this much and more only a wrong unit is slower: the next one is a thousand times as large."""

DATED_NS = 10**18
"""From September 2001 on: a time in a wrong unit, or since a start, is hardly ever there."""


def typical_interval_ns(times_ns: Sequence[int]) -> float:
    """Return the median of the intervals, or their mean where times come in bursts, else 0."""
    intervals = [later - earlier for earlier, later in pairwise(times_ns)]
    if not intervals:
        return 0
    median = statistics.median(intervals)
    return max(0, median if median > 0 else (times_ns[-1] - times_ns[0]) / len(intervals))


def clock_of(times_ns: Sequence[tuple[int, int]]) -> PlaybackClock:
    """Tell whose times to go by, from the first images' (header's stamp, time of recording).

    The headers' are the better ones where they make sense.  A recording that was made of a slow
    or fast replay, or written in one go, has times that differ from them as a wrong unit does:
    then those are believed that a camera might have.
    """
    stamped = [times for times in times_ns if times[0]]
    if len(stamped) * 2 < len(times_ns):
        return PlaybackClock.UNSTAMPED
    if len(stamped) < 2:
        return PlaybackClock.HEADERS
    recorded_ns = typical_interval_ns([received_ns for _, received_ns in stamped])
    if recorded_ns <= 0:
        return PlaybackClock.HEADERS  # there is nothing better
    intervals = [later - earlier for (earlier, _), (later, _) in pairwise(stamped)]
    stamp_ns = statistics.median(intervals)
    if stamp_ns <= 0 or intervals.count(0) * 3 >= len(intervals):  # of whole seconds, say
        return PlaybackClock.STILL
    ratio = stamp_ns / recorded_ns
    if 1 / MOST_RATIO <= ratio <= MOST_RATIO:
        return PlaybackClock.HEADERS
    if ratio * SLOWEST_REPLAY > 1 and _strangeness(stamp_ns) <= _strangeness(recorded_ns):
        return PlaybackClock.HEADERS
    if ratio > 1 and all(DATED_NS <= stamp_ns <= received_ns for stamp_ns, received_ns in stamped):
        return PlaybackClock.HEADERS  # pictures of a slow camera, written in one go afterwards
    return PlaybackClock.SLOW if ratio < 1 else PlaybackClock.FAST


def _strangeness(interval_ns: float) -> float:
    """Return how far outside a camera's range an interval is, as a logarithm."""
    shortest, longest = CAMERA_INTERVALS_NS
    return max(0.0, math.log(shortest / interval_ns), math.log(interval_ns / longest))
