"""The background thread that refreshes the memory."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from asyncmde_ros.errors import in_words
from asyncmde_ros.model.geometry import Size
from asyncmde_ros.pipeline.clock import REAL, Clock
from asyncmde_ros.pipeline.feature_cache import FeatureCache
from asyncmde_ros.pipeline.mailbox import Mailbox
from asyncmde_ros.pipeline.priority import lower_this
from asyncmde_ros.pipeline.refresher import Refresher

logger = logging.getLogger(__name__)

POLL_S = 0.1
"""How soon a wait notices that the thread should stop."""


@dataclass(frozen=True)
class Frame:
    """A camera image at network size, on its way to the slow path."""

    id: int
    stamp_ns: int
    epoch: int
    rgb: npt.NDArray[np.uint8]


class SlowPathState(str, Enum):
    """What the thread is doing."""

    WAITING = 'waiting'
    RUNNING = 'running'
    DISABLED = 'disabled'
    FAILED = 'failed'
    STOPPED = 'stopped'


@dataclass
class SlowPathStatus:
    """Counters for diagnostics; written by the slow path only."""

    state: SlowPathState = SlowPathState.WAITING
    refreshes: int = 0
    failures: int = 0
    last_error: str = ''
    failing: bool = False
    """Whether the last refresh failed; so it stays while the next is tried."""
    latency_ms: float = 0.0
    size: Size | None = None
    """The network's size of the last refresh."""
    refreshes_of: dict[Size, int] = field(default_factory=dict)
    """``refreshes`` by the network's size."""
    stamp_ns: int | None = None
    """When the last refresh's frame was captured."""
    running_since: float | None = None
    """When the refresh under way began, by :attr:`Clock.seconds`."""


class RefreshPlan(NamedTuple):
    """The next refresh: what computes it, and how long after the start of the last one."""

    refresher: Refresher
    interval_s: float = 0.0


class SlowPath:
    """Runs a network on the newest frame, again and again."""

    def __init__(self, cache: FeatureCache, mailbox: Mailbox[Frame],
                 plan: Callable[[], RefreshPlan | None], name: str = 'slow_path',
                 turn: 'threading.Lock | None' = None, clock: Clock = REAL) -> None:
        """``plan`` returns what to do next, None to rest; it is called from the thread.

        ``turn`` is held while a network runs, by all that take turns on the same cores.
        """
        self.status = SlowPathStatus()
        self._cache = cache
        self._mailbox = mailbox
        self._plan = plan
        self._turn = turn or threading.Lock()
        self._clock = clock
        self._title = name.replace('_', ' ')
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._main, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self, timeout_s: float | None) -> bool:
        """Ask the thread to end; True once it has, False if it is still busy after the time."""
        self._stop.set()
        self._mailbox.close()
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def count_on_from(self, earlier: SlowPathStatus) -> None:
        """Go on with the counts of the slow path that this one replaces; before the start."""
        self.status.refreshes, self.status.failures = earlier.refreshes, earlier.failures
        self.status.refreshes_of = dict(earlier.refreshes_of)
        self.status.last_error = earlier.last_error

    def hangs(self) -> bool:
        """Tell whether no refresh is to be expected any more: one stalled, or the thread died."""
        since = self.status.running_since
        return (since is not None and self._clock.seconds() - since > self._clock.stall_s) or not (
            self._thread.is_alive() or self._stop.is_set())

    def _main(self) -> None:
        lower_this()
        last: float | None = None
        while not self._stop.is_set():
            try:
                plan = self._plan()
                if plan is None:
                    self.status.state = SlowPathState.DISABLED
                    self.status.failing = False
                    self._stop.wait(POLL_S)
                    continue
                if last is not None and plan.interval_s > 0:
                    early = last + plan.interval_s - self._clock.seconds()
                    if early > 0:
                        self.status.state = SlowPathState.WAITING
                        self._stop.wait(min(early, POLL_S))
                        continue
                last = self._refresh(plan.refresher) or last
            except Exception as error:  # whatever went wrong, the robot keeps its fast path
                self.status.failures += 1
                self.status.failing = True
                self.status.last_error = in_words(error)
                self.status.state = SlowPathState.FAILED
                logger.error('%s: %s; trying again in %g s', self._title, in_words(error),
                             self._clock.refresh_retry_s)
                self._stop.wait(self._clock.refresh_retry_s)
        self.status.state = SlowPathState.STOPPED

    def _refresh(self, refresher: Refresher) -> float | None:
        """Fill and publish one slot; return when its computation started.

        None if there was no frame, no free slot or no turn yet.
        """
        self.status.state = SlowPathState.WAITING
        slot = self._cache.begin_write(POLL_S)
        if slot is None:
            return None
        # Before the frame is chosen, so that it is the newest.
        if not self._turn.acquire(timeout=POLL_S):
            self._cache.abandon()
            return None
        try:
            frame = self._mailbox.take(POLL_S)
            if frame is None:
                self._cache.abandon()
                return None
            self.status.state = SlowPathState.RUNNING
            started = self.status.running_since = self._clock.seconds()
            refresher.fill(frame.rgb, slot)
        except Exception:
            self._cache.abandon()
            raise
        finally:
            self.status.running_since = None
            self._turn.release()
        self.status.latency_ms = 1e3 * (self._clock.seconds() - started)
        size = self.status.size = refresher.size
        self.status.stamp_ns = frame.stamp_ns
        self.status.refreshes_of[size] = self.status.refreshes_of.get(size, 0) + 1
        self.status.refreshes += 1
        self.status.failing = False
        logger.debug('refreshed from frame %d in %.0f ms', frame.id, self.status.latency_ms)
        self._cache.publish(frame.id, frame.stamp_ns, frame.epoch, self.status.latency_ms)
        return started
