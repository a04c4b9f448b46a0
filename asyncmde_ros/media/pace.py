"""When the frames of a recording are due."""

import time
from collections.abc import Callable

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

    def early_s(self, stamp_ns: int) -> float:
        """Return how long it is until the next frame is due; negative if it is late.

        Where stamps go back, or leap, the pace starts anew with this frame, which is due now.
        """
        now = self._clock()
        if self._last_ns is None or not 0 <= stamp_ns - self._last_ns <= LEAP_NS:
            self._started, self._first_ns = now, stamp_ns
        self._last_ns = stamp_ns
        return self._started + (stamp_ns - self._first_ns) / 1e9 - now
