"""How large the next refresh is, and how soon: a small model of error.

A larger image makes a better memory, but an older one, since its refresh takes longer.  Relative
to the smallest size when it is fresh, the error of depth that rests on a memory is

    error(size, age) = base(size) + slope * change * age

where ``change`` is how fast what the camera sees stops looking like the keyframe once the motion
is undone (:attr:`asyncmde_ros.pipeline.evidence.Evidence.change` a second) and ``age`` how many
seconds ago the keyframe was.  Of what was tried it predicts best how errors grow; how far the
image moves hardly does, since a pan costs little (docs/results).  With a refresh that takes d
camera periods the age runs from d to 2 d - 1 of them (:mod:`asyncmde_ros.pipeline.slow_path`).
The size with the least error is next; and where little changes the next refresh may wait, since
the error of an old memory is that of a new one.  Until something was judged, at the start and
after the memory was dropped, the smallest size is next: it is there first.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from asyncmde_ros.model.geometry import Size

GAIN = 0.82
"""Error of a memory whose image has 4/3 the side, both fresh."""

GAIN_RATIO = 4 / 3

SLOPE = 1.1
"""What a unit of change costs, in units of a fresh memory's error, as measured on held-out clips
for depth that is only moved.  From three quarters of it to half as much again chooses alike there,
within 2 %."""

BEARABLE = 0.015
"""Error that a memory may gain by age before a refresh is due."""

SURE = 0.97
"""Mean trust below which something is there that was not."""

LONGEST_INTERVAL_S = 1.0
"""However still it is: what is too small or slow to be seen by its change may come in."""

MEMORY_S = 1.0
"""Time over which motion, period and latencies are remembered."""

SMOOTHING = 0.3
"""Share of the newest refresh in what one is expected to take."""

HYSTERESIS = 0.01
"""Error that another size must save, so that sizes do not alternate for nothing."""

ASSUMED_PERIOD_S = 1 / 30
LONGEST_PERIOD_S = 1.0


@dataclass
class _Seen:
    """What the fast path saw: numbers, each written whole."""

    period_s: float = ASSUMED_PERIOD_S
    change_per_s: float = 0.0
    trust: float = 1.0
    judged: bool = False


class RefreshPolicy:
    """Chooses between sizes.

    One thread tells of every frame, by :meth:`saw`, :meth:`judged` and :meth:`forget`, another
    calls :meth:`took` and :meth:`choose`; any may ask for the interval.
    """

    def __init__(self) -> None:
        self._latency_ms: dict[Size, float] = {}
        self._seen = _Seen()
        self._last_ns: int | None = None
        self._size: Size | None = None

    def saw(self, stamp_ns: int) -> None:
        """Learn of a frame, taken at ``stamp_ns``."""
        last, self._last_ns = self._last_ns, stamp_ns
        if last is None or not 0 < stamp_ns - last <= LONGEST_PERIOD_S * 1e9:
            return
        period_s = (stamp_ns - last) / 1e9
        share = 1 - math.exp(-period_s / MEMORY_S)
        self._seen.period_s += share * (period_s - self._seen.period_s)

    def forget(self) -> None:
        """Take nothing of what was judged for true any longer: the memory was dropped."""
        self._seen = _Seen(self._seen.period_s)

    def judged(self, trust: float, change_per_frame: float) -> None:
        """Learn the mean trust of the newest depth, and how fast what is seen changes."""
        seen = self._seen
        seen.trust, seen.judged = trust, True
        change_per_s = change_per_frame / seen.period_s
        share = 1 - math.exp(-seen.period_s / MEMORY_S)
        # Up at once, since a still camera that begins to move needs a refresh now.
        seen.change_per_s = max(change_per_s,
                                seen.change_per_s + share * (change_per_s - seen.change_per_s))

    def took(self, size: Size, latency_ms: float) -> None:
        """Learn how long a refresh of ``size`` took."""
        known = self._latency_ms.get(size, latency_ms)
        self._latency_ms[size] = known + SMOOTHING * (latency_ms - known)

    def choose(self, sizes: Sequence[Size]) -> Size:
        """Return the size, of those that are there, that leaves the least error."""
        if not self._seen.judged:
            self._size = None
            return min(sizes)
        errors = {size: self._error(size, min(sizes)) for size in sizes}
        best = min(sizes, key=lambda size: errors[size])
        if self._size in errors and errors[self._size] < errors[best] + HYSTERESIS:
            best = self._size
        self._size = best
        return best

    def interval_s(self) -> float:
        """Return how long after the start of a refresh the next one is worth while, at least."""
        if self._seen.trust < SURE:
            return 0.0
        return min(LONGEST_INTERVAL_S, BEARABLE / max(SLOPE * self._seen.change_per_s, 1e-9))

    def interval_after_s(self, last: Size | None, size: Size) -> float:
        """Return how long after the start of a refresh of ``last`` one of ``size`` is worth while.

        At once where another size is better than what there is.
        """
        return self.interval_s() if last == size else 0.0

    def _error(self, size: Size, smallest: Size) -> float:
        seen = self._seen
        periods = max(1, math.ceil(self._latency_ms.get(size, 0.0) / 1e3 / seen.period_s))
        age_s = (1.5 * periods - 0.5) * seen.period_s
        steps = math.log(min(size) / min(smallest)) / math.log(GAIN_RATIO)
        return float(GAIN ** steps + SLOPE * seen.change_per_s * age_s)
