"""Hand the newest item to a slower consumer.

Why nothing is lost, doubled or slept through: everything is read and written under one lock, and a
consumer that waits has given it up in the same step in which it began to wait.  The lock is held
for a few assignments at a time, so nobody ever waits for more than those.
"""

import threading
import time
from typing import Generic, TypeVar

T = TypeVar('T')


class Mailbox(Generic[T]):
    """A one-place queue in which the latest item wins.

    ``put`` never waits for the consumer; an item that was not taken in time is dropped and
    counted in ``replaced``.
    """

    def __init__(self, changed: threading.Condition | None = None) -> None:
        """``changed``: a condition of a test's own."""
        self.replaced = 0
        self._item: T | None = None
        self._closed = False
        self._changed = changed or threading.Condition()

    def put(self, item: T) -> None:
        """Offer ``item``, replacing one that still waits; ignored once closed."""
        with self._changed:
            if self._closed:
                return
            if self._item is not None:
                self.replaced += 1
            self._item = item
            self._changed.notify()

    def take(self, timeout_s: float | None = None) -> T | None:
        """Wait for an item and remove it; None after ``timeout_s`` or once closed."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        with self._changed:
            while self._item is None and not self._closed:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    return None
                self._changed.wait(left)
            item, self._item = self._item, None
            return item

    def clear(self) -> None:
        """Drop the waiting item, if any."""
        with self._changed:
            self._item = None

    def close(self) -> None:
        """Wake the consumer for good; what waits is dropped."""
        with self._changed:
            self._closed = True
            self._item = None
            self._changed.notify_all()
