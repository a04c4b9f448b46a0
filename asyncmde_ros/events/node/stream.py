"""A thread that makes pictures of messages, so that no flood of events keeps the node from others.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import NamedTuple

from asyncmde_ros.errors import in_words
from asyncmde_ros.events.live import LiveEvents, Moment
from asyncmde_ros.events.node.decoding import Decoder
from asyncmde_ros.events.window import MOST_EVENTS

MOST_BYTES = 1 << 23
"""Of messages that wait; of more the oldest go.  A quarter of a second of a busy sensor."""

MOST_MESSAGES = 4096

PATIENCE_S = 0.3
"""Longest wait for the thread's end."""

OVERRUN, DAMAGED = 'overrun', 'damaged'
"""Why messages are dropped: newer ones came faster than they could be read; they cannot be."""


class _Letter(NamedTuple):
    kind: str
    serialised: bytes
    arrived_ns: int


class Backlog:
    """Messages that wait to be read: given by one thread, taken by another."""

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._most_bytes = most_bytes
        self._letters: deque[_Letter] = deque()
        self._bytes = 0
        self._passed_ns: int | None = None
        self._changed = threading.Condition()
        self._closed = False

    def put(self, letter: _Letter) -> int:
        """Take a message; return how many older ones were dropped for it."""
        dropped = 0
        with self._changed:
            self._letters.append(letter)
            self._bytes += len(letter.serialised)
            # The newest one stays, whatever its size.
            while len(self._letters) > 1 and (self._bytes > self._most_bytes
                                              or len(self._letters) > MOST_MESSAGES):
                self._bytes -= len(self._letters.popleft().serialised)
                dropped += 1
            self._changed.notify()
        return dropped

    def passed(self, now_ns: int) -> None:
        """Tell that whatever came by now was put."""
        with self._changed:
            self._passed_ns = now_ns
            self._changed.notify()

    def take(self) -> tuple[list[_Letter], int | None] | None:
        """Wait for something; return what waits, all of it, and what :meth:`passed` told since.

        None at the end.
        """
        with self._changed:
            while not (self._letters or self._passed_ns or self._closed):
                self._changed.wait()
            taken = list(self._letters), self._passed_ns
            self._letters.clear()
            self._bytes, self._passed_ns = 0, None
            return None if self._closed else taken

    @property
    def closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        """Let nobody wait for more."""
        with self._changed:
            self._closed = True
            self._changed.notify()


class Heard(NamedTuple):
    """What has come since the start: ``dropped`` messages by reason, ``faults`` events by kind.

    ``trouble`` is what is wrong with the newest message, empty where nothing is.
    """

    messages: int
    events: int
    dropped: Counter[str]
    faults: Counter[str]
    sensor: str
    trouble: str


class EventStream:
    """Reads messages in a thread; keeps the newest picture until somebody fetches it."""

    def __init__(self, decoder: Decoder, live: LiveEvents, ready: Callable[[], None],
                 warn: Callable[[str], None]) -> None:
        """``ready`` is called, by the thread, where there is a picture, and ``warn`` with words.
        """
        self._decoder, self._live = decoder, live
        self._ready, self._warn = ready, warn
        self._backlog = Backlog()
        self._lock = threading.Lock()
        self._moment: Moment | None = None
        self._messages = 0
        self._dropped: Counter[str] = Counter()
        self._trouble = ''
        self._thread = threading.Thread(target=self._run, name='events', daemon=True)
        self._thread.start()

    def offer(self, kind: str, serialised: bytes) -> None:
        """Take a message; returns at once."""
        dropped = self._backlog.put(_Letter(kind, serialised, time.monotonic_ns()))
        with self._lock:
            self._messages += 1
            self._dropped[OVERRUN] += dropped

    def passed(self) -> None:
        """Tell that whatever has come by now was offered; windows end by that, too."""
        self._backlog.passed(time.monotonic_ns())

    def lost(self, messages: int) -> None:
        """Count messages that never came."""
        with self._lock:
            self._dropped[OVERRUN] += messages

    def fetch(self) -> Moment | None:
        """Return the newest picture, once; None where there is none."""
        with self._lock:
            moment, self._moment = self._moment, None
            return moment

    @property
    def heard(self) -> Heard:
        with self._lock:
            size = self._live.size
            return Heard(self._messages, self._live.events, Counter(self._dropped),
                         Counter(self._live.faults),
                         '' if size is None else f'{size[1]}x{size[0]}', self._trouble)

    def close(self) -> None:
        """End the thread; what it is at is not waited for longer than a moment."""
        self._backlog.close()
        self._thread.join(PATIENCE_S)

    def _run(self) -> None:
        while (taken := self._backlog.take()) is not None:
            letters, passed_ns = taken
            for letter in letters:
                self._read(letter)
                if self._live.waiting > MOST_EVENTS:
                    self._look()
            if passed_ns is not None:
                self._live.wait(passed_ns)
            self._look()

    def _read(self, letter: _Letter) -> None:
        trouble = ''
        try:
            self._live.push(self._decoder.packet(letter.kind, letter.serialised),
                            letter.arrived_ns)
        except Exception as error:  # whatever a message holds, the thread goes on
            trouble = in_words(error)
            self._warn(f'events dropped: {trouble}')
        with self._lock:
            self._trouble = trouble
            self._dropped[DAMAGED] += bool(trouble)

    def _look(self) -> None:
        """Keep what is seen now; of one that nobody has fetched it takes over what it was for."""
        moment = self._live.look()
        if moment is None:
            return
        with self._lock:
            before, self._moment = self._moment, moment
            if before is not None:
                self._moment = moment._replace(
                    skipped=moment.skipped + before.skipped + 1,
                    events=moment.events + before.events,
                    begins_anew=moment.begins_anew or before.begins_anew)
        if not self._backlog.closed:
            self._ready()
