"""What /diagnostics says of the events, beside what it says of their depth."""

import time
from collections import deque
from collections.abc import Callable

from diagnostic_msgs.msg import DiagnosticStatus, KeyValue

from asyncmde_ros.events.node.stream import Heard
from asyncmde_ros.ros.statistics import WINDOW_S
from asyncmde_ros.ros.tokens import dropped_key

BLIND = 'blind'
"""Why a window has no depth, beside the reasons of images."""

NOTHING_MOVES = ('no depth: next to nothing moves before the sensor, which then sees nothing; '
                 'what was known is forgotten')
NO_EVENTS = 'no depth: no events come'


class Rates:
    """Messages, events and windows a second, of the last WINDOW_S."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` gives seconds that never go back."""
        self._clock = clock
        self._counts: deque[tuple[float, tuple[int, ...]]] = deque([(clock(), (0, 0, 0))])

    def of(self, messages: int, events: int, windows: int) -> tuple[float, ...]:
        """Take the counts since the start; return the rates [Hz], in their order."""
        now = self._clock()
        counts = messages, events, windows
        self._counts.append((now, counts))
        while len(self._counts) > 2 and self._counts[1][0] <= now - WINDOW_S:
            self._counts.popleft()
        since, before = self._counts[0]
        return tuple((after - earlier) / max(now - since, 1e-3)
                     for after, earlier in zip(counts, before, strict=True))


def diagnose_events(name: str, heard: Heard, rates: tuple[float, ...], message: str,
                    seen: float | None, trouble: str) -> DiagnosticStatus:
    """Return the state of a node's events.

    ``rates`` are those of :class:`Rates`; ``message`` is the kind that is listened to; ``seen``
    the share of pixels that have seen something lately; ``trouble``: why nothing comes.
    """
    said = trouble or (f'messages are dropped: {heard.trouble}' if heard.trouble else '')
    if not said and not rates[1]:
        said = 'no events'
    values = {
        'message_type': message, 'sensor': heard.sensor, 'messages_hz': f'{rates[0]:.1f}',
        'events_hz': f'{rates[1]:.0f}', 'windows_hz': f'{rates[2]:.1f}',
        'seen_percent': '' if seen is None else f'{100 * seen:.1f}',
        **{dropped_key(f'messages_{reason}'): str(count)
           for reason, count in sorted(heard.dropped.items())},
        **{f'events_{fault}': str(count) for fault, count in sorted(heard.faults.items())}}
    return DiagnosticStatus(
        level=DiagnosticStatus.WARN if said else DiagnosticStatus.OK, name=f'{name}: events',
        message=said or f'{rates[1] / 1e6:.2f} million events a second',
        values=[KeyValue(key=key, value=value) for key, value in values.items()])
