"""Frames without ROS: from video files, cameras and recorded bags."""

import time
from abc import ABC, abstractmethod
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
    misstate by a few; both are None where the source cannot tell.
    """

    rate_hz: float | None
    length: int | None

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
    """Open a video file.  Raises MediaError where it is missing or no frame can be decoded."""
    return _VideoSource(path)


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


class _VideoSource(FrameSource):

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise MediaError(f'{path} is not a file')
        self._capture = cv2.VideoCapture(str(path))
        self.rate_hz = _nominal_rate(self._capture)
        self.length = max(0, int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))) or None
        self._period_ns = round(1e9 / (self.rate_hz or ASSUMED_RATE_HZ))
        self._stamp_ns = -self._period_ns
        self._next = self._read()
        if self._next is None:
            self.close()
            raise MediaError(f'{path} has no frame that OpenCV can decode: is it a video, and '
                             'is it complete?')

    def __iter__(self) -> Iterator[VideoFrame]:
        while self._next is not None:
            frame = self._next
            yield frame
            self._next = self._read()

    def close(self) -> None:
        self._capture.release()
        self._next = None

    def _read(self) -> VideoFrame | None:
        found, bgr = self._capture.read()
        if not found:
            return None
        stamp_ns = round(self._capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)
        if stamp_ns <= self._stamp_ns:  # OpenCV 4.6 gives 0 for a file's last frames
            stamp_ns = self._stamp_ns + self._period_ns
        self._stamp_ns = stamp_ns
        return VideoFrame(stamp_ns, np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8))


class _CameraSource(FrameSource):

    length = None

    def __init__(self, index: int) -> None:
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
