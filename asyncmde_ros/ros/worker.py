"""A thread that takes what the executor's thread gives it, as soon as that can be used."""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, NamedTuple, TypeVar

from asyncmde_ros.pipeline.priority import lower_this

T = TypeVar('T')

MOST_WAITING = 8
"""Items that wait; of more the oldest go."""

PATIENCE_S = 0.3
"""How long an item may be too early: what it waits for, as a transform, may come after it."""

LOOK_AGAIN_S = 0.02


def drained(items: 'deque[T]') -> list[T]:
    """Return what is there, which another thread may add to, and take it away."""
    found = []
    while items:
        found.append(items.popleft())
    return found


class _Item(NamedTuple, Generic[T]):
    """What came at a time of the monotonic clock."""

    content: T
    arrived_s: float


class Worker(Generic[T]):
    """Calls ``attempt`` with each item; it gives way to threads of usual priority."""

    def __init__(self, name: str, attempt: Callable[[T, bool], bool], in_order: bool = False,
                 clock: Callable[[], float] = time.monotonic) -> None:
        """``attempt(item, patient)`` tells whether the item is done with.

        False asks for another try soon; not ``patient`` it is the last.  ``in_order``: what comes
        after an item that is too early waits for it.
        """
        self._attempt, self._in_order, self._clock = attempt, in_order, clock
        self._new: deque[_Item[T]] = deque(maxlen=MOST_WAITING)
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def offer(self, content: T) -> None:
        """Take an item; returns at once."""
        with self._changed:
            self._new.append(_Item(content, self._clock()))
            self._changed.notify()

    def close(self) -> None:
        """End the thread, whatever waits."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def join(self) -> None:
        """Wait for the thread's end."""
        self._thread.join()

    def _run(self) -> None:
        lower_this()
        early: list[_Item[T]] = []
        while (items := self._next(early)) is not None:
            early = self._try(items)[-MOST_WAITING:]

    def _next(self, early: list[_Item[T]]) -> list[_Item[T]] | None:
        """Return what is to be tried, after what was too ``early``; wait for it; None at the end.
        """
        with self._changed:
            if not self._new and not self._closed:
                self._changed.wait(LOOK_AGAIN_S if early else None)
            items = [*early, *self._new]
            self._new.clear()
            return None if self._closed else items

    def _try(self, items: list[_Item[T]]) -> list[_Item[T]]:
        """Return what was too early."""
        early: list[_Item[T]] = []
        for item in items:
            patient = self._clock() - item.arrived_s < PATIENCE_S
            if (early and self._in_order) or not (
                    self._attempt(item.content, patient) or not patient):
                early.append(item)
        return early
