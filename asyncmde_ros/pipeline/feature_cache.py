"""The double-buffered store between the slow path and the fast path.

Why no reader ever waits or sees half a slot: a slot has one owner at any time.  The writer owns
the back slot from ``begin_write`` to ``publish``; from then on only the reader may touch it, and
the writer gets the *other* slot, but not before the reader has moved its front to the published
one.  That permission is the token ``_writable``, a raw lock used as a binary semaphore: the writer
waits for it, the reader only ever releases it, which cannot block.  ``_pending`` is stored after
the slot's contents and cleared before the token is given back, so between a publish and its swap
nobody else writes it.  ``_front``, which tells the writer what is the other slot, is stored before
the token is given back, and not again until the writer has published.  All of this rests on
Python's attributes being read and written whole and in the order of the program.
"""

import threading
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from asyncmde_ros.engine.interface import Buffer, Fence


@dataclass(frozen=True)
class Keyframe:
    """What a complete slot shows: which frame, how fresh, what it cost."""

    frame_id: int
    stamp_ns: int
    epoch: int
    generation: int
    latency_ms: float


class Slot:
    """One of the two sets of buffers; ``keyframe`` is None until it was first written.

    ``depth`` and ``grey`` are the keyframe's where the memory is a depth map: inverse depth
    (rows, cols) float32 and the small grey image that evidence is found on, uint8; neither is
    written again once it is here.

    On a device the two sides' work on the slot is ordered by fences, which whoever owns it sets:
    ``written`` passes when the writer's last work on it is done, ``read`` when the reader's is.
    """

    def __init__(self, buffers: Mapping[str, Buffer]) -> None:
        self.buffers = buffers
        self.keyframe: Keyframe | None = None
        self.depth: npt.NDArray[np.float32] | None = None
        self.grey: npt.NDArray[np.uint8] | None = None
        self.written: Fence | None = None
        self.read: Fence | None = None


class FeatureCache:
    """Two slots, one writer, one reader."""

    def __init__(self, first: Slot, second: Slot, writable: 'threading.Lock | None' = None
                 ) -> None:
        """``writable``: a lock of a test's own, not yet acquired."""
        self._slots = (first, second)
        self._front: Slot | None = None
        self._pending: Slot | None = None
        self._back: Slot | None = None
        self._generation = 0
        self._writable = writable or threading.Lock()

    def begin_write(self, timeout_s: float) -> Slot | None:
        """Return the slot to fill, or None if the reader did not take the last one in time.

        Only the writer calls this, and ends with :meth:`publish` or :meth:`abandon`.
        """
        if not self._writable.acquire(timeout=timeout_s):
            return None
        self._back = self._slots[0] if self._front is not self._slots[0] else self._slots[1]
        return self._back

    def publish(self, frame_id: int, stamp_ns: int, epoch: int, latency_ms: float) -> Keyframe:
        """Offer the filled slot to the reader as the next generation."""
        if self._back is None:
            raise RuntimeError('publish without begin_write')
        self._generation += 1
        keyframe = Keyframe(frame_id, stamp_ns, epoch, self._generation, latency_ms)
        self._back.keyframe = keyframe
        self._pending, self._back = self._back, None
        return keyframe

    def abandon(self) -> None:
        """Give up a write; the reader keeps what it has and the slot may be written again."""
        if self._back is None:
            raise RuntimeError('abandon without begin_write')
        self._back = None
        self._writable.release()

    def front(self) -> Slot | None:
        """Return the newest complete slot; it is not written before the next call.

        Only the reader calls this.  Never waits.
        """
        pending = self._pending
        if pending is not None:
            self._front = pending
            self._pending = None
            self._writable.release()
        return self._front
