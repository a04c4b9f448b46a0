"""Which frames the network has no time for."""

import itertools
from collections import deque

MS = 1e-6
"""Milliseconds in a nanosecond."""

LATENCY_PERIODS = 1.15
"""How long a frame may take from its arrival to its depth, in camera periods: 38 ms at 30 Hz."""

LEAST_WAIT_PERIODS = 0.25
"""A frame that has waited no longer than this gets the network even where the network alone takes
longer than all that: a slow machine shows what the network sees as often as it can."""

MOST_IN_A_ROW = 4
"""Even of a camera so fast that frames wait all the time, the network sees one in five."""

INTERVALS = 16
PERIOD_RANK = 4
"""The period is the lower quartile of the last intervals, since frames that were lost leave long
ones."""

SMOOTHING = 0.1


class Overload:
    """Tells a frame that waited too long from one that the network can still answer in time.

    With frames queued behind one another, a machine that is a little too slow for the camera would
    answer each of them later than the one before, or have to drop some.
    """

    def __init__(self) -> None:
        self._received_ns: deque[int] = deque(maxlen=INTERVALS + 1)
        self._network_ms: float | None = None
        self._in_a_row = 0

    def late(self, received_ns: int, began_ns: int) -> bool:
        """Take a frame that arrived at ``received_ns`` and whose turn came at ``began_ns``.

        True if the network has no time for it.
        """
        self._received_ns.append(received_ns)
        if self._network_ms is None or len(self._received_ns) <= INTERVALS:
            return False
        intervals = sorted(b - a for a, b in itertools.pairwise(self._received_ns))
        period_ms = MS * intervals[PERIOD_RANK]
        spare_ms = max(LATENCY_PERIODS * period_ms - self._network_ms,
                       LEAST_WAIT_PERIODS * period_ms)
        return MS * (began_ns - received_ns) > spare_ms and self._in_a_row < MOST_IN_A_ROW

    def extrapolated(self) -> None:
        """Learn that a late frame got depth without the network."""
        self._in_a_row += 1

    def took(self, network_ms: float) -> None:
        """Learn how long a frame took with the network, from its turn to its depth."""
        self._in_a_row = 0
        self._network_ms = (network_ms if self._network_ms is None else
                            SMOOTHING * network_ms + (1 - SMOOTHING) * self._network_ms)
