"""A camera that OpenCV opens."""

import time
from collections import Counter
from collections.abc import Iterator

import cv2
import numpy as np

from asyncmde_ros.errors import MediaError
from asyncmde_ros.lab.media.frames import MAX_RATE_HZ, FrameSource, VideoFrame


class CameraSource(FrameSource):

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
