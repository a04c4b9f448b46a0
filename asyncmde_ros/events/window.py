"""A stream of events by windows of time or of number."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from asyncmde_ros.events.packets import Events, joined
from asyncmde_ros.model.geometry import Size

GAP_NS = 1_000_000_000
"""Without any event for so long a stream begins anew, instead of windows with nothing in them."""

MOST_EVENTS = 1_000_000
"""Of a window; of more, evenly chosen ones stand for all."""

HELD = 4
"""Times MOST_EVENTS that are held at most, while a window's end has not come."""


@dataclass(frozen=True)
class Window:
    """Events from ``begin_ns`` on and before ``end_ns``.

    Of windows of a count, some of the next one's may be of this one's last nanosecond.
    ``begins_anew`` where what was before says nothing about this: at the first one, after a gap,
    and where time went back.  ``thinned`` counts the events that were left out.
    """

    events: Events
    begin_ns: int
    end_ns: int
    begins_anew: bool
    thinned: int = 0


class Windows:
    """Cuts events of a sensor of ``size`` into windows of ``duration_ns`` or of ``count`` events.

    Windows of a duration follow on one another without a gap, with no event in them if there was
    none; the first one begins with the first event.  A window of a count ends with its last
    event, and one that would take longer than GAP_NS with the last event before.
    """

    def __init__(self, size: Size, duration_ns: int | None = None, count: int | None = None,
                 most: int = MOST_EVENTS) -> None:
        """Raise ValueError unless one of both is given, and positive; ``most`` is, too."""
        length = duration_ns if count is None else count
        if length is None or None not in (duration_ns, count) or min(length, most) < 1:
            raise ValueError('a window has a duration or a count, which is positive')
        self._size = size
        self._duration_ns, self._count = duration_ns, count
        self._most = most
        self._start()

    def _start(self) -> None:
        self._held: list[Events] = []
        self._held_count = 0
        self._lost = 0
        self._begin_ns: int | None = None
        self._last_ns = 0
        self._anew = True

    def push(self, events: Events) -> Iterator[Window]:
        """Yield the windows that end with these events, in the order of time.

        Events that begin before the last ones' end, or over GAP_NS after it, begin anew: what is
        held becomes a window that ends there.
        """
        while len(events):
            if self._begin_ns is not None and not (
                    0 <= events.t[0] - self._last_ns <= GAP_NS):
                yield from self.finish()
            gap = np.flatnonzero(np.diff(events.t) > GAP_NS)
            part = events[:gap[0] + 1] if len(gap) else events
            events = events[len(part):]
            if self._begin_ns is None:
                self._begin_ns = int(part.t[0])
            self._last_ns = int(part.t[-1])
            yield from (self._by_time(part) if self._count is None else self._by_count(part))

    def wait(self, now_ns: int) -> Iterator[Window]:
        """Yield the windows of a duration that end by ``now_ns``: all events until then have come.

        None before the first event.
        """
        assert self._duration_ns is not None
        while self._begin_ns is not None and self._begin_ns + self._duration_ns <= now_ns:
            yield self._window(self._begin_ns + self._duration_ns)
            self._last_ns = max(self._last_ns, self._begin_ns)

    @property
    def begin_ns(self) -> int | None:
        """Return where the window that is open begins; None before the first event."""
        return self._begin_ns

    def finish(self) -> Iterator[Window]:
        """Yield what is held as a last window, if anything is; what follows begins anew."""
        if self._held_count:
            yield self._window(self._last_ns + 1)
        self._start()

    def _by_time(self, events: Events) -> Iterator[Window]:
        assert self._begin_ns is not None and self._duration_ns is not None
        while len(events):
            end_ns = self._begin_ns + self._duration_ns
            now = int(np.searchsorted(events.t, end_ns))
            self._hold(events[:now])
            events = events[now:]
            if len(events):
                yield self._window(end_ns)

    def _by_count(self, events: Events) -> Iterator[Window]:
        assert self._count is not None
        while len(events):
            room = self._count - self._held_count - self._lost
            self._hold(events[:room])
            if len(events) >= room:
                yield self._window(int(events.t[room - 1]) + 1)
            events = events[room:]

    def _hold(self, events: Events) -> None:
        room = HELD * self._most - self._held_count
        kept = events[:max(0, room)]
        self._lost += len(events) - len(kept)
        self._held.append(kept)
        self._held_count += len(kept)

    def _window(self, end_ns: int) -> Window:
        assert self._begin_ns is not None
        events = joined(self._held, self._size)
        lost = self._lost
        if len(events) > self._most:
            lost += len(events) - self._most
            events = _evenly(events, self._most)
        window = Window(events, self._begin_ns, end_ns, self._anew, lost)
        self._begin_ns, self._anew = end_ns, False
        self._held, self._held_count, self._lost = [], 0, 0
        return window


def _evenly(events: Events, count: int) -> Events:
    chosen = np.arange(count) * len(events) // count
    return Events(events.x[chosen], events.y[chosen], events.t[chosen], events.p[chosen],
                  events.size)
