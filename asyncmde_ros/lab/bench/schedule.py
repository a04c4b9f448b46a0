"""When a camera shows which frame, and which frames a busy consumer misses."""

import time
from collections.abc import Iterator

from asyncmde_ros.lab.bench.options import BenchOptions


class SimulatedCamera:
    """A camera whose consumer holds one frame, the newest, as a ROS subscription of depth 1.

    ``captured`` counts frames that the camera showed, ``dropped`` those that a newer one replaced
    before the consumer came for them.
    """

    def __init__(self, options: BenchOptions) -> None:
        self.captured = 0
        self.dropped = 0
        self._period_s = options.period_s
        self._started = time.monotonic()

    def __iter__(self) -> Iterator[tuple[int, float]]:
        """Wait for each frame; yield its index and how many seconds ago it was captured."""
        while True:
            wait = self.captured * self._period_s - self._elapsed()
            if wait > 0:
                time.sleep(wait)
            newest = max(self.captured, int(self._elapsed() / self._period_s))
            self.dropped += newest - self.captured
            self.captured = newest + 1
            yield newest, max(0.0, self._elapsed() - newest * self._period_s)

    def stamp_ns(self, index: int) -> int:
        """Return when frame ``index`` was captured."""
        return round((self._started + index * self._period_s) * 1e9)

    def _elapsed(self) -> float:
        return time.monotonic() - self._started
