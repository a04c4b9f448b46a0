"""Depth from events without any training: pictures of what they add up to, and the pipeline."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from asyncmde_ros.events.reconstruction import Picture, Reconstruction
from asyncmde_ros.events.window import Window
from asyncmde_ros.images.codec import RGB
from asyncmde_ros.pipeline.results import DepthResult

LEAST_SEEN = 0.02
"""Share of a sensor's pixels that have had events lately, below which nothing is said of depth:
nothing moves, or next to nothing does."""

Process = Callable[[RGB, int], DepthResult]
"""As ``DepthPipeline.process``."""


class Sight:
    """Whether a sensor sees enough to tell depth; one that stands still does not."""

    def __init__(self) -> None:
        self.blind = True

    def look(self, picture: Picture, begins_anew: bool) -> bool:
        """Take the next window's picture; return whether what is known is to be forgotten.

        It is where a window ``begins_anew``, and where the sensor becomes blind: it may have been
        carried away meanwhile.
        """
        before, self.blind = self.blind, picture.seen < LEAST_SEEN
        return begins_anew or (self.blind and not before)


class EventDepth(NamedTuple):
    """The picture of a window's end, and its depth; None where too little was seen to tell."""

    picture: Picture
    result: DepthResult | None


class DepthOfEvents:
    """Gives each window's picture to a pipeline that takes them for a camera's."""

    def __init__(self, reconstruction: Reconstruction, process: Process,
                 reset: Callable[[], None]) -> None:
        """``process`` and ``reset`` are a ``DepthPipeline``'s."""
        self._reconstruction = reconstruction
        self._process, self._reset = process, reset
        self._sight = Sight()

    def see(self, window: Window) -> EventDepth:
        """Return the depth at a window's end.

        Where too few pixels have had events the pipeline is not asked.
        """
        picture = self._reconstruction.add(window)
        if self._sight.look(picture, window.begins_anew):
            self._reset()
        if self._sight.blind:
            return EventDepth(picture, None)
        return EventDepth(picture, self._process(as_rgb(picture), window.end_ns))


def as_rgb(picture: Picture) -> RGB:
    """Return (rows, cols, 3) uint8."""
    return np.repeat(picture.grey[..., None], 3, axis=2)
