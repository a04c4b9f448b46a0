"""Events of one sensor as arrays, and what is done with events that cannot be true."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from asyncmde_ros.model.geometry import Size

Coordinates = npt.NDArray[np.uint16]
Times = npt.NDArray[np.int64]
Polarities = npt.NDArray[np.bool_]

LARGEST_SIDE = 2 ** 14
"""Pixels; formats have room for 2^11 to 2^15, and the largest sensors 1,280."""

LATE_NS = 100_000_000
"""A packet that begins so much before the last event is late; earlier still, time starts anew."""


@dataclass(frozen=True, eq=False)
class Events:
    """Changes of brightness that a sensor of ``size`` (rows, cols) saw, in the order of time.

    All (n,): ``x`` and ``y`` uint16, the column and the row, (0, 0) is at the top left; ``t``
    int64, nanoseconds by a clock of the sensor's own or of whoever stamped them; ``p`` bool, True
    where it became brighter.  n may be 0.  Whoever makes one vouches for order and range, or
    passes a :class:`Sieve`.
    """

    x: Coordinates
    y: Coordinates
    t: Times
    p: Polarities
    size: Size

    def __post_init__(self) -> None:
        """Raise ValueError for arrays of several lengths, and a size that no sensor has."""
        if not len(self.x) == len(self.y) == len(self.t) == len(self.p):
            raise ValueError('x, y, t and p of events are of one length')
        check_sensor(self.size)

    def __len__(self) -> int:
        return len(self.t)

    def __getitem__(self, part: slice) -> 'Events':
        return Events(self.x[part], self.y[part], self.t[part], self.p[part], self.size)

    @property
    def pixels(self) -> npt.NDArray[np.intp]:
        """Where each is in an image (rows, cols) that is laid out row by row: (n,)."""
        return self.y.astype(np.intp) * self.size[1] + self.x


def check_sensor(size: Size) -> None:
    """Raise ValueError unless a sensor can have this many (rows, cols)."""
    if not all(0 < side <= LARGEST_SIDE for side in size):
        raise ValueError(f'a sensor of {size[1]} x {size[0]} pixels: sides are 1 to '
                         f'{LARGEST_SIDE}')


def no_events(size: Size) -> Events:
    return Events(np.empty(0, np.uint16), np.empty(0, np.uint16), np.empty(0, np.int64),
                  np.empty(0, np.bool_), size)


def joined(parts: Sequence[Events], size: Size) -> Events:
    """Return events of one sensor one after the other; none where there are no parts."""
    if not parts:
        return no_events(size)
    if len(parts) == 1:
        return parts[0]
    return Events(np.concatenate([part.x for part in parts]),
                  np.concatenate([part.y for part in parts]),
                  np.concatenate([part.t for part in parts]),
                  np.concatenate([part.p for part in parts]), size)


class Sieve:
    """Lets a stream's packets pass as :class:`Events`, whatever is in them; never raises for that.

    Events outside of the sensor are left out.  Within a packet events are sorted, those of one
    time stay as they came.  Events before the last packet's last one are left out as late; a
    packet that begins over LATE_NS before it is a recording that starts again, or a clock that
    was set: it passes, and its time is before that of the one before, which
    :class:`~asyncmde_ros.events.window.Windows` takes for a new start.  ``faults`` counts events
    ``outside``, ``unsorted`` (those that follow on a later one) and ``late``, and new starts as
    ``restarts``.
    """

    def __init__(self, size: Size) -> None:
        check_sensor(size)
        self.faults: Counter[str] = Counter()
        self._size = size
        self._last_ns: int | None = None

    def sift(self, x: npt.NDArray[np.integer], y: npt.NDArray[np.integer],
             t: npt.NDArray[np.integer], p: npt.NDArray[np.generic]) -> Events:
        """Return the events of a packet that can be true; arrays (n,) of any integers."""
        rows, cols = self._size
        inside = (x >= 0) & (x < cols) & (y >= 0) & (y < rows)
        if not inside.all():
            self.faults['outside'] += int(np.count_nonzero(~inside))
            x, y, t, p = x[inside], y[inside], t[inside], p[inside]
        back = int(np.count_nonzero(t[1:] < t[:-1]))
        if back:
            self.faults['unsorted'] += back
            order = np.argsort(t, kind='stable')
            x, y, t, p = x[order], y[order], t[order], p[order]
        events = Events(x.astype(np.uint16, copy=False), y.astype(np.uint16, copy=False),
                        t.astype(np.int64, copy=False), p.astype(np.bool_, copy=False),
                        self._size)
        return self._in_time(events)

    def _in_time(self, events: Events) -> Events:
        if not len(events):
            return events
        last_ns = self._last_ns
        if last_ns is not None and events.t[0] < last_ns:
            if events.t[0] < last_ns - LATE_NS:
                self.faults['restarts'] += 1
            else:
                late = int(np.searchsorted(events.t, last_ns))
                self.faults['late'] += late
                events = events[late:]
                if not len(events):
                    return events
        self._last_ns = int(events.t[-1])
        return events
