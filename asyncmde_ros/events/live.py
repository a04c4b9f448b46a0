"""Events as they come to pictures at a fixed rate, whether or not something comes.

Windows are cut by the sensor's clock, which neither the network's jitter nor a busy machine bends,
and are stamped by that of the messages' headers, which others know.
"""

from collections import Counter
from typing import NamedTuple

import numpy as np

from asyncmde_ros.events.packets import Events, Sieve, joined
from asyncmde_ros.events.reconstruction import Picture, Reconstruction
from asyncmde_ros.events.window import Window, Windows
from asyncmde_ros.events.words import Raw
from asyncmde_ros.model.geometry import Size

PATIENCE_NS = 100_000_000
"""How much longer than the time itself the events of a window are waited for."""

LATE_FOR_NS = 500_000_000
"""Events that are late for so long are no stragglers: the sensor's time stood still, as that of a
recording that is paused, and all begins anew."""

SLEW = 0.01
"""Of the time that passes, the most by which the two clocks are brought together: far above any
clock's drift, far below the jitter of single messages."""

LEAP_NS = 1_000_000_000
"""Two clocks that are apart by so much more than before have not drifted: one was set."""


class Packet(NamedTuple):
    """A message's events, of a sensor of ``size`` (rows, cols), as they were decoded.

    ``stamp_ns`` is the header's, at which the first event is; None where the times of the events
    are by the header's clock already.
    """

    size: Size
    frame_id: str
    events: Raw
    stamp_ns: int | None = None


class Moment(NamedTuple):
    """What is seen at a window's end, which was at ``stamp_ns`` by the headers' clock.

    ``events`` is how many there were since the last one, ``begins_anew`` as of :class:`Window`;
    ``skipped`` counts windows that ended meanwhile, and whose events are in this one.
    """

    picture: Picture
    stamp_ns: int
    frame_id: str
    events: int
    begins_anew: bool
    skipped: int = 0


class SensorClock:
    """A sensor's clock by that of the headers of its messages, which are stamped unevenly."""

    def __init__(self) -> None:
        self._ahead_ns: int | None = None
        self._last_ns = 0

    def saw(self, event_ns: int, stamp_ns: int) -> None:
        """Take a message: its first event's time, and the header's."""
        ahead_ns = stamp_ns - event_ns
        if self._ahead_ns is None or abs(ahead_ns - self._ahead_ns) > LEAP_NS:
            self._ahead_ns = ahead_ns
        else:
            most = SLEW * max(0, event_ns - self._last_ns)
            self._ahead_ns += int(np.clip(ahead_ns - self._ahead_ns, -most, most))
        self._last_ns = event_ns

    def __call__(self, sensor_ns: int) -> int:
        """Return the header's time of a sensor's."""
        return sensor_ns + (self._ahead_ns or 0)


class LiveEvents:
    """Windows of the events of one topic, ``duration_ns`` each, from the first event on.

    A picture is made when it is asked for, of all windows that have ended by then: whoever is
    late gets fewer of them, and loses no events.  ``faults`` counts what :class:`Sieve` and
    :class:`Windows` left out, and ``events`` all others.
    """

    def __init__(self, duration_ns: int, decay_ns: int) -> None:
        """Raise ValueError unless both are positive."""
        self._duration_ns, self._decay_ns = duration_ns, decay_ns
        self.faults: Counter[str] = Counter()
        self.events = 0
        self.size: Size | None = None
        self._frame_id = ''
        self._newest_ns: int | None = None
        self._arrived_ns = 0
        self._ended: list[Window] = []

    def _start(self, size: Size) -> None:
        self._sieve = Sieve(size)
        self._windows = Windows(size, self._duration_ns)
        self._reconstruction = Reconstruction(size, self._decay_ns)
        self._clock = SensorClock()
        self.size, self._newest_ns, self._ended = size, None, []
        self._late_since_ns: int | None = None

    def push(self, packet: Packet, now_ns: int) -> None:
        """Take a packet, which came at ``now_ns`` of a steady clock.

        One of a sensor of another size begins anew.  Raises ValueError for a size that none has.
        """
        if packet.size != self.size:
            self._start(packet.size)
        self._frame_id = packet.frame_id
        if packet.stamp_ns is not None and len(packet.events.t):
            self._clock.saw(int(packet.events.t[0]), packet.stamp_ns)
        events = self._in_time(self._sifted(packet.events))
        if len(events):
            self._late_since_ns = None
            self.events += len(events)
            self._newest_ns, self._arrived_ns = int(events.t[-1]), now_ns
            self._ended.extend(self._windows.push(events))

    def wait(self, now_ns: int) -> None:
        """End the windows that have passed by ``now_ns``, until which all that came was pushed.

        Time goes on from the newest event's arrival, so that a recording that is played slowly is
        not cut short.
        """
        if self._newest_ns is not None:
            passed_ns = now_ns - self._arrived_ns - PATIENCE_NS
            self._ended.extend(self._windows.wait(self._newest_ns + passed_ns))

    @property
    def waiting(self) -> int:
        """Return how many events the windows have that have ended, and are not in a picture yet.
        """
        return sum(len(window.events) for window in self._ended)

    def look(self) -> Moment | None:
        """Return what is seen at the last window's end; None where none has ended."""
        if not self._ended or self.size is None:
            return None
        ended, self._ended = self._ended, []
        self.faults['thinned'] += sum(window.thinned for window in ended)
        anew = [index for index, window in enumerate(ended) if window.begins_anew]
        since = ended[anew[-1]:] if anew else ended
        whole = Window(joined([window.events for window in since], self.size),
                       since[0].begin_ns, since[-1].end_ns, bool(anew))
        return Moment(self._reconstruction.add(whole), self._clock(whole.end_ns), self._frame_id,
                      len(whole.events), whole.begins_anew, len(ended) - 1)

    def _sifted(self, raw: Raw) -> Events:
        before = Counter(self._sieve.faults)
        events = self._sieve.sift(*raw)
        self.faults += self._sieve.faults - before
        return events

    def _in_time(self, events: Events) -> Events:
        """Leave out events of windows that have ended without them."""
        begin_ns, newest_ns = self._windows.begin_ns, self._newest_ns
        if begin_ns is None or newest_ns is None or not len(events) or not (
                newest_ns <= events.t[0] < begin_ns):
            return events  # where time has gone back they are a new beginning
        if self._late_since_ns is None:
            self._late_since_ns = int(events.t[0])
        if events.t[-1] - self._late_since_ns > LATE_FOR_NS:
            return events
        late = int(np.searchsorted(events.t, begin_ns))
        self.faults['late'] += late
        return events[late:]
