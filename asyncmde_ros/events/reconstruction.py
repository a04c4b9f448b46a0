"""A grey picture from events: what they add up to, with a leak.

The logarithm of brightness at a pixel is the sum of its events' steps.  Errors add up as well, so
what is older counts less, by exp(-age / decay): a high pass of the brightness (Scheerlinck, Barnes
and Mahony, "Continuous-Time Intensity Estimation Using Event Cameras", ACCV 2018, without images).
What does not move fades to grey.
"""

from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from asyncmde_ros.events.packets import check_sensor
from asyncmde_ros.events.window import Window
from asyncmde_ros.model.geometry import Size

Grey = npt.NDArray[np.uint8]
Sums = npt.NDArray[np.float32]

DECAY_NS = 300_000_000
"""By training videos, on which longer ones are worse: docs/events.md."""

CONTRAST = 2.0
"""Deviations from the mean of the sums that become black and white."""

SMALLEST_SPAN = 4.0
"""Steps from black to white at least, so that a few events are not blown up into a picture."""

SETTLING = 0.3
"""Share of the way that black and white go to what a window has: pictures would flicker."""

HOT_EVENTS = 20.0
HOT_TIMES = 10.0
"""A pixel is hot that has had as many events lately, and so many times as many as the median of
the pixels around it."""

AROUND_PX = 5

SEEN_EVENTS = 0.5
"""From as many events on that have not faded a pixel has seen something, if most of those beside
it have as well: a lonely one has noise."""

BESIDE_PX = 3


class Picture(NamedTuple):
    """``grey``: (rows, cols) uint8; ``seen``: which share of its pixels has seen something lately.

    Where next to none has, nothing moves, and the picture says nothing about what is there.
    """

    grey: Grey
    seen: float


class Reconstruction:
    """Pictures of a sensor of ``size`` (rows, cols), window after window."""

    def __init__(self, size: Size, decay_ns: int = DECAY_NS) -> None:
        """``decay_ns``: after how long an event counts 1/e.  Raises ValueError unless positive."""
        check_sensor(size)
        if decay_ns <= 0:
            raise ValueError(f'a decay of {decay_ns} ns: must be positive')
        self._size = size
        self._decay_ns = decay_ns
        self.reset()

    def reset(self) -> None:
        """Forget all that was seen."""
        count = self._size[0] * self._size[1]
        self._brighter = np.zeros(count, np.float32)
        self._darker = np.zeros(count, np.float32)
        self._range: tuple[float, float] | None = None

    @property
    def activity(self) -> Sums:
        """Return how many events of each pixel have not faded, (rows, cols)."""
        return (self._brighter + self._darker).reshape(self._size)

    def add(self, window: Window) -> Picture:
        """Take a window's events; return the picture at its end.  One that begins anew resets."""
        if window.begins_anew:
            self.reset()
        lasted_ns = window.end_ns - window.begin_ns
        for sums, chosen in ((self._brighter, window.events.p), (self._darker, ~window.events.p)):
            sums *= np.float32(np.exp(-lasted_ns / self._decay_ns))
            age_ns = window.end_ns - window.events.t[chosen]
            sums += np.bincount(window.events.pixels[chosen], np.exp(-age_ns / self._decay_ns),
                                len(sums)).astype(np.float32)
        activity = self.activity
        sums = (self._brighter - self._darker).reshape(self._size)
        hot = _hot(activity)
        if hot.any():
            sums = np.where(hot, cv2.medianBlur(sums, AROUND_PX), sums)
        seen = cv2.medianBlur(((activity > SEEN_EVENTS) & ~hot).astype(np.uint8), BESIDE_PX)
        return Picture(self._levels(sums), float(seen.mean()))

    def _levels(self, sums: Sums) -> Grey:
        middle, half = float(sums.mean()), max(CONTRAST * float(sums.std()), SMALLEST_SPAN / 2)
        if self._range is not None:
            middle = self._range[0] + SETTLING * (middle - self._range[0])
            half = self._range[1] + SETTLING * (half - self._range[1])
        self._range = middle, half
        return np.clip(127.5 + (sums - middle) * (127.5 / half), 0, 255).astype(np.uint8)


def _hot(activity: Sums) -> npt.NDArray[np.bool_]:
    if activity.max() < HOT_EVENTS:
        return np.zeros(activity.shape, np.bool_)
    around = cv2.medianBlur(activity, AROUND_PX)
    return np.asarray((activity >= HOT_EVENTS) & (activity > HOT_TIMES * around))
