"""Sensors' messages become measurements, in a thread of its own: none ever delays depth."""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from asyncmde_ros.errors import in_words
from asyncmde_ros.pipeline.priority import lower_this
from asyncmde_ros.ros.sensors import Message, measurement
from asyncmde_ros.ros.transforms import Transforms
from asyncmde_ros.scale.lens import Lens
from asyncmde_ros.scale.observations import Array, Measurement

MOST_WAITING = 8
"""Messages of which the transform is awaited; of more the oldest go."""

MOST_READY = 32
PATIENCE_S = 0.3
"""How long a message waits for the transform of its moment, which may come after it."""

LOOK_AGAIN_S = 0.02
NO_TF = 'tf2_ros is not installed, and the sensor is not in the camera\'s frame'


class View(NamedTuple):
    """How the newest image was seen: by which lens, in which frame."""

    lens: Lens
    frame: str


class _Letter(NamedTuple):
    """A message that came at a time of the monotonic clock."""

    source: str
    message: Message
    arrived_s: float


class Measuring:
    """Takes messages from the executor's thread; what they say is fetched with the next image."""

    def __init__(self, transforms: Transforms | None,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self._transforms, self._clock = transforms, clock
        self._view: View | None = None
        self._letters: deque[_Letter] = deque(maxlen=MOST_WAITING)
        self._ready: deque[Measurement] = deque(maxlen=MOST_READY)
        self._changed = threading.Condition()
        self._closed = False
        self.troubles: dict[str, str] = {}
        """Why a source's newest message said nothing, by source; empty where it did."""
        self._thread = threading.Thread(target=self._run, name='measuring', daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def join(self) -> None:
        """Wait for the thread's end."""
        self._thread.join()

    def look(self, view: View) -> None:
        """Say how images are seen from now on."""
        self._view = view

    def offer(self, source: str, message: Message) -> None:
        """Take a message; returns at once."""
        with self._changed:
            self._letters.append(_Letter(source, message, self._clock()))
            self._changed.notify()

    def take(self) -> list[Measurement]:
        """Return what was measured since the last time; returns at once."""
        found = []
        while self._ready:
            found.append(self._ready.popleft())
        return found

    def _run(self) -> None:
        lower_this()
        early: list[_Letter] = []
        while (letters := self._next(early)) is not None:
            early = [letter for letter in letters if not self._read(letter)][-MOST_WAITING:]

    def _next(self, early: list[_Letter]) -> list[_Letter] | None:
        """Return what is to be read, after what was too ``early``; wait for it; None at the end.
        """
        with self._changed:
            if not self._letters and not self._closed:
                self._changed.wait(LOOK_AGAIN_S if early else None)
            letters = [*early, *self._letters]
            self._letters.clear()
            return None if self._closed else letters

    def _read(self, letter: _Letter) -> bool:
        """Make a measurement of a message, or drop it; False where it is too early for that."""
        patient = self._clock() - letter.arrived_s < PATIENCE_S
        view = self._view
        if view is None:
            return not patient
        pose = self._pose(view.frame, letter.message)
        if pose is None:
            if not patient:
                self.troubles[letter.source] = (
                    NO_TF if self._transforms is None else
                    f'tf does not tell where {letter.message.header.frame_id or "(no frame)"} '
                    f'is from {view.frame or "(no frame)"} at the stamps of its messages')
            return not patient
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
