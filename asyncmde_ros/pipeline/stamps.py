"""When frames were captured: jumps between them, and how old they make a memory."""

import logging
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from asyncmde_ros.model.geometry import Size
from asyncmde_ros.pipeline.feature_cache import Keyframe
from asyncmde_ros.pipeline.upright import Rotation

logger = logging.getLogger(__name__)

MAX_GAP_NS = 10 * 10**9
"""After a longer pause the memory shows another time, whatever it shows."""


class Jump(str, Enum):
    """Why a frame does not go on from the one before."""

    BACK_IN_TIME = 'back_in_time'
    PAUSED = 'paused'
    RESIZED = 'resized'
    TURNED = 'turned'


SENTENCES = {Jump.BACK_IN_TIME: 'time went backwards', Jump.PAUSED: 'the camera paused',
             Jump.RESIZED: 'the image size changed', Jump.TURNED: 'the rotation changed'}
"""What the log says of each."""


class Capture(NamedTuple):
    """How a frame was captured: when, its (rows, cols), and how far it is turned to be upright."""

    stamp_ns: int
    image: Size
    rotation: Rotation


def jump(before: Capture | None, now: Capture) -> Jump | None:
    """Return why ``now`` does not go on from ``before``, None where it does."""
    if before is None:
        return None
    if now.stamp_ns < before.stamp_ns:
        return Jump.BACK_IN_TIME
    if now.stamp_ns - before.stamp_ns > MAX_GAP_NS:
        return Jump.PAUSED
    if now.image != before.image:
        return Jump.RESIZED
    return Jump.TURNED if now.rotation is not before.rotation else None


class MemoryAge:
    """How old a keyframe is at the newest frame.

    By the stamps, or, where they stand still, by the clock since the keyframe came into use.
    """

    def __init__(self, clock_s: Callable[[], float]) -> None:
        """``clock_s`` gives seconds that never go back."""
        self._clock_s = clock_s
        self._stamp_ns: int | None = None
        self._stamps_advance = True
        self._warned = False
        self._generation = 0
        self._since_s = 0.0

    def saw(self, stamp_ns: int) -> None:
        """Take the newest frame's stamp."""
        self._stamps_advance = stamp_ns != self._stamp_ns
        self._stamp_ns = stamp_ns
        if not self._stamps_advance and not self._warned:
            self._warned = True
            logger.warning('the stamps of the images do not advance: the age of the memory is '
                           'told by the clock instead')

    def used(self, keyframe: Keyframe) -> None:
        """Note that depth rests on ``keyframe`` now."""
        if keyframe.generation != self._generation:
            self._generation, self._since_s = keyframe.generation, self._clock_s()

    def forget(self) -> None:
        """Take the next keyframe for another, whatever its generation."""
        self._generation = 0

    def seconds(self, keyframe: Keyframe) -> float:
        """Return the age of ``keyframe``; there was a frame."""
        assert self._stamp_ns is not None
        age_s = (self._stamp_ns - keyframe.stamp_ns) / 1e9
        if not self._stamps_advance and keyframe.generation == self._generation:
            age_s = max(age_s, self._clock_s() - self._since_s)
        return age_s
