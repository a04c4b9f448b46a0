"""Which frames the network has no time for."""

from collections import deque

import numpy as np

MS = 1e-6
"""Milliseconds in a nanosecond."""

LATENCY_PERIODS = 1.15
"""How long a frame may take from its arrival to its depth, in camera periods: 38 ms at 30 Hz."""

LEAST_WAIT_PERIODS = 0.25
"""A frame that has waited no longer than this gets the network even where the network alone takes
longer than all that: a slow machine shows what the network sees as often as it can."""

INTERVALS = 16
PERIOD_QUANTILE = 0.25
"""The period is a low quantile of the last intervals, since frames that were lost leave long ones.
"""

SMOOTHING = 0.1


class Overload:
    """Tells a frame that waited too long from one that the network can still answer in time.

    With frames queued behind one another, a machine that is a little too slow for the camera would
    answer each of them later than the one before, or have to drop some.
    """

    def __init__(self) -> None:
        self._received_ns: deque[int] = deque(maxlen=INTERVALS + 1)
        self._network_ms: float | None = None

    def hurry(self, received_ns: int, now_ns: int) -> bool:
        """Take a frame that arrived at ``received_ns``; True if the network has no time for it."""
        self._received_ns.append(received_ns)
        if self._network_ms is None or len(self._received_ns) <= INTERVALS:
            return False
        period_ms = MS * float(np.quantile(np.diff(self._received_ns), PERIOD_QUANTILE))
        spare_ms = max(LATENCY_PERIODS * period_ms - self._network_ms,
                       LEAST_WAIT_PERIODS * period_ms)
        return MS * (now_ns - received_ns) > spare_ms

    def took(self, network_ms: float) -> None:
        """Learn how long a frame took with the network, from its turn to its depth."""
        self._network_ms = (network_ms if self._network_ms is None else
                            SMOOTHING * network_ms + (1 - SMOOTHING) * self._network_ms)
