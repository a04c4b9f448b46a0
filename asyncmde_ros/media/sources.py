"""Frames without ROS: from video files, cameras and recorded bags."""

import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import cv2
import numpy as np

from asyncmde_ros.errors import MediaError
from asyncmde_ros.media.codec import RGB

MAX_RATE_HZ = 1000.0
"""A file that claims more has no meaningful rate (some containers report their time base)."""

ASSUMED_RATE_HZ = 30.0
"""Stands for the rate of a source that does not tell it."""


@dataclass(frozen=True)
class VideoFrame:
    """``image`` is (H, W, 3) uint8 RGB, perhaps read-only; ``stamp_ns`` is its capture time.

    The time's origin is the source's: the start of a video, the epoch for cameras and bags.
    """

    stamp_ns: int
    image: RGB


class FrameSource(ABC):
    """A single pass over frames, in the order of capture; a context manager.

    ``rate_hz`` is the nominal rate and ``length`` the number of frames, which containers may
    misstate by a few; both are None where the source cannot tell.  ``dropped`` counts the frames
    that could not be decoded and were left out, by a short fixed word for the reason.
    """

    rate_hz: float | None
    length: int | None
    dropped: Counter[str]

    @abstractmethod
    def __iter__(self) -> Iterator[VideoFrame]:
        """Yield the frames.  Raises MediaError where the source breaks off."""

    @abstractmethod
    def close(self) -> None:
        """Release the file or device, which gives no frames from then on."""

    def __enter__(self) -> 'FrameSource':
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.close()


def open_video(path: Path) -> FrameSource:
    """Open a video file of any kind that FFmpeg decodes.

    Frames are the stored pixels, turned upright as the file asks, in 8 bits: interlaced ones
    are shown as they are, pixels that are not square are not stretched, and high dynamic range
    is not mapped.  Stamps are the file's own; where one is missing or does not rise, it follows
    the one before by a period.  What cannot be decoded is left out, with a warning, and so is
    what rests on it; a file that ends before its time is named in a warning, too.  Raises
    MediaError where the file is missing or no frame can be decoded.
    """
    from asyncmde_ros.media.video import VideoSource  # only videos need PyAV
    return VideoSource(path)


def open_camera(index: int) -> FrameSource:
    """Open the camera that OpenCV numbers ``index``.  Raises MediaError where it cannot."""
    return _CameraSource(index)


def open_bag(path: Path, topic: str | None) -> FrameSource:
    """Open a ROS 2 bag: its folder, or a single .mcap or .db3 file, zstd-compressed or not.

    ``topic`` may be None where the bag has one image topic (Image or CompressedImage).  Frames
    are stamped by their headers, or by the recorder where those make no sense.  Damaged images
    are dropped with a warning, and of what a killed recorder left all that is complete is read.
    Raises MediaError naming the image topics where ``topic`` is not one of them, for a bag that
    cannot be read, and where no image, or none of the first thirty, has a supported encoding.
    """
    from asyncmde_ros.media.bag import BagSource  # only bags need rosbags
    return BagSource(path, topic)


class _CameraSource(FrameSource):

    length = None

    def __init__(self, index: int) -> None:
        self.dropped = Counter()
        self._name = f'camera {index}'
        self._capture = cv2.VideoCapture(index)
        if not self._capture.isOpened():
            raise MediaError(f'{self._name} cannot be opened: is it connected, unused by another '
                             'program, and open to this user (on Linux: the video group)?')
        # A queue in the driver would only make frames old.
        self._capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        self.rate_hz = _nominal_rate(self._capture)

    def __iter__(self) -> Iterator[VideoFrame]:
        while self._capture.isOpened():
            grabbed = self._capture.grab()
            stamp_ns = time.time_ns()  # before decoding, which takes its time
            found, bgr = self._capture.retrieve() if grabbed else (False, None)
            if not found or bgr is None:
                raise MediaError(f'{self._name} stopped giving images')
            yield VideoFrame(stamp_ns, np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8))

    def close(self) -> None:
        self._capture.release()


def _nominal_rate(capture: cv2.VideoCapture) -> float | None:
    rate_hz = float(capture.get(cv2.CAP_PROP_FPS))
    return rate_hz if 0 < rate_hz <= MAX_RATE_HZ else None
