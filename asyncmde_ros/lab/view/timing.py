"""How old the memory is, what depth costs, and how often the memory is refreshed."""

from collections import deque
from dataclasses import dataclass

WINDOW_NS = 2 * 10**9
"""The refresh rate is over this time of the frames' stamps."""


@dataclass(frozen=True)
class Timing:
    """One frame's figures; None is what the source cannot tell.

    ``lag_frames`` and ``memory_age_ms`` are from the keyframe that the depth rests on to the
    frame.  ``process_ms`` is what the frame cost the pipeline, ``receipt_ms`` the time from its
    stamp to the arrival of its depth, transport included.
    """

    lag_frames: int | None = None
    memory_age_ms: float | None = None
    process_ms: float | None = None
    receipt_ms: float | None = None
    refresh_hz: float | None = None


class RefreshRate:
    """Counts keyframes over the last WINDOW_NS of stamps; starts anew if they go backwards."""

    def __init__(self) -> None:
        self._start_ns = self._last_ns = 0
        self._keyframe_ns: int | None = None
        self._changes: deque[int] = deque()

    def update(self, stamp_ns: int, keyframe_ns: int) -> float | None:
        """Take a frame and its keyframe; return refreshes per second, None before a window."""
        if self._keyframe_ns is None or stamp_ns < self._last_ns:
            self._start_ns = stamp_ns
            self._changes.clear()
        elif keyframe_ns != self._keyframe_ns:
            self._changes.append(stamp_ns)
        self._last_ns, self._keyframe_ns = stamp_ns, keyframe_ns
        while self._changes and self._changes[0] <= stamp_ns - WINDOW_NS:
            self._changes.popleft()
        if stamp_ns - self._start_ns < WINDOW_NS:
            return None
        return len(self._changes) * 1e9 / WINDOW_NS
