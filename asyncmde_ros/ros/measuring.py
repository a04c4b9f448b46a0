"""Sensors' messages become measurements, in a thread of its own: none ever delays depth."""

from collections import deque
from typing import NamedTuple

import numpy as np

from asyncmde_ros.errors import in_words
from asyncmde_ros.ros.sensors import Message, measurement
from asyncmde_ros.ros.transforms import Transforms
from asyncmde_ros.ros.worker import Worker, drained
from asyncmde_ros.scale.lens import Lens
from asyncmde_ros.scale.observations import Array, Measurement

MOST_READY = 32
NO_TF = 'tf2_ros is not installed, and the sensor is not in the camera\'s frame'


class ImageView(NamedTuple):
    """How the newest image was seen: by which lens, in which frame."""

    lens: Lens
    frame: str


class _Letter(NamedTuple):
    source: str
    message: Message


class Measuring:
    """Takes messages from the executor's thread; what they say is fetched with the next image."""

    def __init__(self, transforms: Transforms | None) -> None:
        self._transforms = transforms
        self._view: ImageView | None = None
        self._ready: deque[Measurement] = deque(maxlen=MOST_READY)
        self.troubles: dict[str, str] = {}
        """Why a source's newest message said nothing, by source; not there where it did."""
        self._worker = Worker('measuring', self._read)

    def close(self) -> None:
        """End the thread."""
        self._worker.close()

    def join(self) -> None:
        """Wait for the thread's end."""
        self._worker.join()

    def look(self, view: ImageView) -> None:
        """Say how images are seen from now on."""
        self._view = view

    def offer(self, source: str, message: Message) -> None:
        """Take a message; returns at once."""
        self._worker.offer(_Letter(source, message))

    def take(self) -> list[Measurement]:
        """Return what was measured since the last time; returns at once."""
        return drained(self._ready)

    def _read(self, letter: _Letter, patient: bool) -> bool:
        """Make a measurement of a message; False where it is too early for that."""
        view = self._view
        if view is None:
            return False
        pose = self._pose(view.frame, letter.message)
        if pose is None:
            if not patient:
                self.troubles[letter.source] = (
                    NO_TF if self._transforms is None else
                    f'tf does not tell where {letter.message.header.frame_id or "(no frame)"} '
                    f'is from {view.frame or "(no frame)"} at the stamps of its messages')
            return False
        try:
            self._ready.append(measurement(letter.message, letter.source, view.lens, pose))
            self.troubles.pop(letter.source, None)
        except Exception as error:  # whatever a message holds, the thread goes on
            self.troubles[letter.source] = in_words(error)
        return True

    def _pose(self, camera: str, message: Message) -> Array | None:
        if message.header.frame_id == camera:
            return np.eye(4)
        if self._transforms is None:
            return None
        return self._transforms.pose(camera, message.header.frame_id, message.header.stamp)
