"""What the camera sees: a textured scene in a slow pan, or a video, the same in every run."""

import itertools
from abc import ABC, abstractmethod
from pathlib import Path

import cv2
import numpy as np

from asyncmde_ros.images.codec import RGB
from asyncmde_ros.lab.media.sources import open_video
from asyncmde_ros.model.geometry import Size

SEED = 0
PAN_SHARE = 1 / 320
"""Movement per frame as a share of the width: two pixels at 640, a slow turn of a robot."""

PAN_FRAMES = 150
"""Frames until the camera turns back."""

GRAIN_PX = (64, 16, 4)
"""Sides of the texture's patches: large shapes, corners to track, and fine detail."""

VIDEO_FRAMES = 150
"""Frames of a video that are kept, played forwards and backwards: 140 MB at 640x480."""


class Pictures(ABC):
    """An endless film without jumps; ``at(i)`` is frame i, (H, W, 3) uint8 RGB, contiguous."""

    @abstractmethod
    def at(self, index: int) -> RGB:
        """Return frame ``index`` >= 0."""


class Pan(Pictures):
    """A camera that turns over a seeded texture and back."""

    def __init__(self, image: Size) -> None:
        rows, cols = image
        self._image = image
        self._step = max(1, round(cols * PAN_SHARE))
        self._scene = _texture((rows, cols + self._step * PAN_FRAMES))

    def at(self, index: int) -> RGB:
        left = self._step * bounce(index, PAN_FRAMES + 1)
        return np.ascontiguousarray(self._scene[:, left:left + self._image[1]])


class VideoPictures(Pictures):
    """The first frames of a video, resized, there and back."""

    def __init__(self, path: Path, image: Size) -> None:
        """Raises MediaError where the video cannot be read."""
        with open_video(path) as source:
            self._frames = [
                np.asarray(cv2.resize(frame.image, image[::-1], interpolation=cv2.INTER_AREA),
                           np.uint8)
                for frame in itertools.islice(source, VIDEO_FRAMES)]

    def at(self, index: int) -> RGB:
        return self._frames[bounce(index, len(self._frames))]


class Still(Pictures):
    """A camera before which nothing moves: the first frame of another film, for ever."""

    def __init__(self, film: Pictures) -> None:
        self._picture = film.at(0)

    def at(self, index: int) -> RGB:
        return self._picture


def open_pictures(video: Path | None, image: Size) -> Pictures:
    """Return the film of ``video``, or the generated one where that is None."""
    return Pan(image) if video is None else VideoPictures(video, image)


def bounce(index: int, length: int) -> int:
    """Return 0, 1 .. length - 1 and back for index 0, 1 ..; a jump would be a scene cut."""
    if length == 1:
        return 0
    phase = index % (2 * length - 2)
    return min(phase, 2 * length - 2 - phase)


def _texture(size: Size) -> RGB:
    rng = np.random.default_rng(SEED)
    rows, cols = size
    scene = np.zeros((rows, cols, 3), np.float32)
    for grain in GRAIN_PX:
        patches = rng.random((-(-rows // grain), -(-cols // grain), 3), np.float32)
        scene += np.kron(patches, np.ones((grain, grain, 1), np.float32))[:rows, :cols]
    return (scene * (255 / len(GRAIN_PX))).astype(np.uint8)
