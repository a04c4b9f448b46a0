"""Events as a sensor would give them for pictures: v2e's model of a pixel, in numpy.

Sources: Hu, Liu and Delbruck, "v2e: From Video Frames to Realistic DVS Events", CVPR Workshops
2021, for the pixel; Rebecq, Gehrig and Scaramuzza, "ESIM: an Open Event Camera Simulator", CoRL
2018, for events between two pictures.

A pixel remembers the logarithm of the brightness at its last event.  Where the brightness differs
from that by a threshold, it gives an event and remembers anew.  Between two pictures the logarithm
is taken to change at an even rate, which gives each event its time.  So that this is about true,
pictures have to follow so closely that nothing moves by much more than a pixel:
:func:`in_between` makes them, by optical flow.

- The logarithm is linear below 20 of 255 (``lin_log``), as a pixel's in the dark.
- Each pixel has thresholds of its own for brighter and darker, drawn from N(0.2, 0.03).
- After an event a pixel is blind for the refractory time: what would have been an event then is
  lost, and the reference goes along (ESIM).
- The reference leaks away, which makes brighter events by itself.
- Shot noise makes events of either kind at random, in the dark four times as many as in the light.

What v2e has besides, and this has not: the pixel's low pass by brightness, jitter of the leak.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from asyncmde_ros.events.packets import Events, joined, no_events
from asyncmde_ros.model.geometry import Size

Grey = npt.NDArray[np.uint8] | npt.NDArray[np.float32]

LINEAR_BELOW = 20.0
"""Of 255 (v2e)."""

SMALLEST_THRESHOLD = 0.01
"""v2e's, too: none may be zero or negative."""

SHOT_NOISE_IN_THE_LIGHT = 0.25
"""Of the rate in the dark (v2e)."""

MOST_PICTURES = 24
"""That are put between two; things that move by more pixels from one to the next jump."""

SMALLEST_CHANGE = 1e-9
"""Of a logarithm, between two pictures."""

FAST_SHARE = 98
"""Percentile of the motion that is told; a few wrong vectors do not say how many pictures."""


@dataclass(frozen=True)
class Pixel:
    """What a sensor's pixels are like; the defaults are those of v2e.

    Thresholds and their deviation in the logarithm of brightness; the noise of a pixel in the
    dark and the leak in events per second; the time after an event in which a pixel is blind.
    """

    brighter: float = 0.2
    darker: float = 0.2
    deviation: float = 0.03
    refractory_ns: int = 500_000
    shot_noise_hz: float = 0.001
    leak_hz: float = 0.01

    def __post_init__(self) -> None:
        """Raise ValueError for what no pixel is like."""
        if min(self.brighter, self.darker) < SMALLEST_THRESHOLD:
            raise ValueError(f'thresholds are {SMALLEST_THRESHOLD} or more')
        if min(self.deviation, self.refractory_ns, self.shot_noise_hz, self.leak_hz) < 0:
            raise ValueError('what describes a pixel is not negative')


class StampedGrey(NamedTuple):
    """A picture: (rows, cols) uint8 or float32, 0 to 255, at ``stamp_ns``."""

    grey: Grey
    stamp_ns: int


class _Found(NamedTuple):
    # Events of one kind (n,): pixels, times in ns from the picture before, whether brighter.
    pixels: npt.NDArray[np.intp]
    after_ns: npt.NDArray[np.float64]
    p: npt.NDArray[np.bool_]


class Simulator:
    """A sensor of ``size`` (rows, cols) that looks at pictures; the same for the same ``seed``."""

    def __init__(self, size: Size, pixel: Pixel | None = None, seed: int = 0) -> None:
        self._size = size
        self._pixel = pixel or Pixel()
        self._random = np.random.default_rng(seed)
        self._brighter = self._thresholds(self._pixel.brighter)
        self._darker = self._thresholds(self._pixel.darker)
        self._last_ns = np.empty(0)
        self.reset()

    def _thresholds(self, mean: float) -> npt.NDArray[np.float32]:
        count = self._size[0] * self._size[1]
        drawn = self._random.normal(mean, self._pixel.deviation, count)
        return np.maximum(drawn, SMALLEST_THRESHOLD).astype(np.float32)

    def reset(self) -> None:
        """Begin with the next picture, as after a cut; the pixels' thresholds stay."""
        self._stamp_ns: int | None = None
        # How far the logarithm of brightness is above the one that is remembered.
        self._above = np.zeros(self._size[0] * self._size[1], np.float32)
        self._level = np.empty(0, np.float32)
        self._last_ns = np.full(len(self._above), -np.inf)

    def see(self, grey: Grey, stamp_ns: int) -> Events:
        """Return the events since the last picture: after its time and not after ``stamp_ns``.

        ``grey`` is (rows, cols), 0 to 255, as cameras give it (v2e undoes no gamma either).  The
        first one gives none.  Raises ValueError for another size, and for a picture that is not
        after the last one.
        """
        if grey.shape != self._size:
            raise ValueError(f'a picture of {grey.shape} for a sensor of {self._size}')
        level = lin_log(grey).ravel()
        if self._stamp_ns is None:
            self._level, self._stamp_ns = level, stamp_ns
            return no_events(self._size)
        lasted_ns = stamp_ns - self._stamp_ns
        if lasted_ns <= 0:
            raise ValueError(f'a picture at {stamp_ns} ns after one at {self._stamp_ns} ns')
        rise = level - self._level
        rise += self._brighter * np.float32(self._pixel.leak_hz * 1e-9 * lasted_ns)
        found = [*self._crossings(rise, lasted_ns), *self._noise(grey.ravel(), lasted_ns)]
        events = self._in_order(found, self._stamp_ns, stamp_ns)
        self._level, self._stamp_ns = level, stamp_ns
        self._last_ns -= lasted_ns
        return events

    def _crossings(self, rise: npt.NDArray[np.float32], lasted_ns: int) -> Iterator[_Found]:
        """Yield the first, second ... events of each pixel, and bring the references along."""
        before = self._above
        above = before + rise
        count = np.where(above > 0, above / self._brighter, above / self._darker).astype(np.intp)
        pixels = np.flatnonzero(count)
        step = np.where(count > 0, self._brighter, self._darker)[pixels]
        left, sign = np.abs(count[pixels]), np.sign(count[pixels])
        above[pixels] -= sign * left * step
        self._above = above
        start, change = before[pixels].astype(float), rise[pixels].astype(float)
        for number in range(1, int(left.max(initial=0)) + 1):
            here = left >= number
            # Noise may have left a pixel beyond its threshold: that event comes at once.
            way = (number * sign * step - start)[here] * sign[here]
            towards = np.maximum(change[here] * sign[here], SMALLEST_CHANGE)
            at_ns = lasted_ns * np.clip(way / towards, 0, 1)
            which = pixels[here]
            free = at_ns - self._last_ns[which] >= self._pixel.refractory_ns
            which, at_ns = which[free], at_ns[free]
            self._last_ns[which] = at_ns
            yield _Found(which, at_ns, sign[here][free] > 0)

    def _noise(self, grey: Grey, lasted_ns: int) -> Iterator[_Found]:
        """Yield events that nothing was seen for; the reference follows them (v2e)."""
        if not self._pixel.shot_noise_hz:
            return
        light = grey.astype(np.float32) / 255
        expected = (self._pixel.shot_noise_hz / 2 * 1e-9 * lasted_ns
                    * (1 - (1 - SHOT_NOISE_IN_THE_LIGHT) * light))
        drawn = self._random.random(len(expected), np.float32)
        # The smaller a pixel's threshold, the more often it is exceeded.
        for brighter, sign, threshold, nominal in (
                (True, 1, self._brighter, self._pixel.brighter),
                (False, -1, self._darker, self._pixel.darker)):
            chance = expected * (nominal / threshold)
            which = np.flatnonzero(drawn > 1 - chance if brighter else drawn < chance)
            self._above[which] -= sign * threshold[which]
            yield _Found(which, self._random.uniform(0, lasted_ns, len(which)),
                         np.full(len(which), brighter))

    def _in_order(self, found: list[_Found], begin_ns: int, end_ns: int) -> Events:
        found = found or [_Found(np.empty(0, np.intp), np.empty(0), np.empty(0, np.bool_))]
        pixels = np.concatenate([part.pixels for part in found])
        after_ns = np.ceil(np.concatenate([part.after_ns for part in found])).astype(np.int64)
        order = np.argsort(after_ns, kind='stable')
        y, x = np.divmod(pixels[order], self._size[1])
        t = np.clip(begin_ns + after_ns[order], begin_ns + 1, end_ns)
        p = np.concatenate([part.p for part in found])[order]
        return Events(x.astype(np.uint16), y.astype(np.uint16), t, p, self._size)


def lin_log(grey: Grey) -> npt.NDArray[np.float32]:
    """Return the natural logarithm of brightness from 0 to 255, linear below LINEAR_BELOW (v2e).

    Both parts meet there; at 0 it is 0.
    """
    brightness = np.asarray(grey, np.float32)
    dark = brightness * np.float32(np.log(LINEAR_BELOW) / LINEAR_BELOW)
    return np.where(brightness <= LINEAR_BELOW, dark,
                    np.log(np.maximum(brightness, LINEAR_BELOW))).astype(np.float32)


def in_between(before: StampedGrey, after: StampedGrey, size_px: float = 1.0
               ) -> Iterator[StampedGrey]:
    """Yield pictures, uint8, so that things move by ``size_px`` at most; ``after`` is the last.

    Dense flow by DIS (Kroeger et al., 2016) from one uint8 picture to the other tells how many
    are needed, at most MOST_PICTURES.  A picture at the share s of the time mixes both, moved:
    (1 - s) before(x - s flow(x)) + s after(x + (1 - s) flow(x)).
    """
    first, last = (np.asarray(picture.grey, np.uint8) for picture in (before, after))
    flow = np.zeros((*first.shape, 2), np.float32)
    cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST).calc(first, last, flow)
    motion_px = float(np.percentile(np.hypot(flow[..., 0], flow[..., 1]), FAST_SHARE))
    steps = int(min(max(1, np.ceil(motion_px / size_px)), MOST_PICTURES))
    for number in range(1, steps):
        share = number / steps
        grey = cv2.addWeighted(_moved(first, flow, -share), 1 - share,
                               _moved(last, flow, 1 - share), share, 0)
        yield StampedGrey(np.asarray(grey, np.uint8),
                          before.stamp_ns + (after.stamp_ns - before.stamp_ns) * number // steps)
    yield after


def _moved(picture: npt.NDArray[np.uint8], flow: npt.NDArray[np.float32], share: float
           ) -> npt.NDArray[np.uint8]:
    """Return what a picture has at x + share flow(x)."""
    rows, cols = picture.shape
    x, y = (np.float32(share) * flow[..., axis] for axis in range(2))
    x += np.arange(cols, dtype=np.float32)
    y += np.arange(rows, dtype=np.float32)[:, None]
    return np.asarray(cv2.remap(picture, x, y, cv2.INTER_LINEAR,
                                borderMode=cv2.BORDER_REPLICATE), np.uint8)


def simulated(pictures: Iterable[StampedGrey], simulator: Simulator) -> Iterator[Events]:
    """Yield the events between each two pictures that follow on one another: one less than those.

    The pictures are uint8, and their times rise.  Raises ValueError as ``Simulator.see`` does.
    """
    begun = False
    for before, after in pairwise(pictures):
        if not begun:
            simulator.see(before.grey, before.stamp_ns)
            begun = True
        parts = [simulator.see(picture.grey, picture.stamp_ns)
                 for picture in in_between(before, after)]
        yield joined(parts, before.grey.shape)
