"""Rates and latencies of the last seconds, for whoever watches a running pipeline."""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

WINDOW_S = 5.0


@dataclass(frozen=True)
class Snapshot:
    """The last WINDOW_S seconds, and counts since the start.

    Latency [ms] is from the image's stamp, work from its arrival in the node, both to the depth's
    publication; None where there was no depth.  ``lag_frames`` and ``age_ms`` are the newest
    depth's: frames and time since the keyframe that it rests on.
    """

    input_hz: float
    output_hz: float
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    work_p50_ms: float | None
    work_p99_ms: float | None
    refresh_hz: float
    lag_frames: int | None
    age_ms: float | None
    stale: bool
    answered: dict[str, int]
    dropped: dict[str, int]


class Statistics:
    """What happened to each image; written by one thread, read by any."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` gives seconds that never go back."""
        self.answered: Counter[str] = Counter()
        self.dropped: Counter[str] = Counter()
        self._clock = clock
        self._started = clock()
        self._lock = threading.Lock()
        self._images: deque[float] = deque()
        self._depths: deque[tuple[float, float, float]] = deque()
        self._refreshes: deque[float] = deque()
        self._generation: int | None = None
        self._lag: int | None = None
        self._age_ms: float | None = None
        self._stale = False

    def image(self) -> None:
        """Count an image that arrived."""
        with self._lock:
            self._images.append(self._clock())

    def drop(self, reason: str, images: int = 1) -> None:
        """Count images that gave no depth."""
        with self._lock:
            self.dropped[reason] += images

    def depth(self, source: str, latency_ms: float, work_ms: float, lag_frames: int,
              age_ms: float, stale: bool, generation: int) -> None:
        """Count an image that did; ``generation`` is the keyframe's."""
        with self._lock:
            now = self._clock()
            self.answered[source] += 1
            self._depths.append((now, latency_ms, work_ms))
            if generation != self._generation:
                self._generation = generation
                self._refreshes.append(now)
            self._lag, self._age_ms, self._stale = lag_frames, age_ms, stale

    def snapshot(self) -> Snapshot:
        """Return the figures as of now."""
        with self._lock:
            now = self._clock()
            since = now - WINDOW_S
            while self._images and self._images[0] < since:
                self._images.popleft()
            while self._depths and self._depths[0][0] < since:
                self._depths.popleft()
            while self._refreshes and self._refreshes[0] < since:
                self._refreshes.popleft()
            seconds = min(WINDOW_S, max(now - self._started, 1e-3))
            latency = _percentiles([entry[1] for entry in self._depths])
            work = _percentiles([entry[2] for entry in self._depths])
            return Snapshot(
                len(self._images) / seconds, len(self._depths) / seconds, *latency, *work,
                len(self._refreshes) / seconds, self._lag if self._depths else None,
                self._age_ms if self._depths else None, bool(self._depths) and self._stale,
                dict(self.answered), dict(self.dropped))


def _percentiles(values: list[float]) -> tuple[float | None, float | None]:
    if not values:
        return None, None
    p50, p99 = np.percentile(values, (50, 99))
    return float(p50), float(p99)
