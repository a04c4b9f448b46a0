"""The background of a node in simulated time: what each frame finds, and when work starts."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from asyncmde_ros.model.geometry import Size
from asyncmde_ros.pipeline.refresh_policy import RefreshPolicy
from asyncmde_ros.pipeline.session import glance_interval_s
from asyncmde_ros.pipeline.slow_path import POLL_S

TIME_TOLERANCE = 1e-6
"""In frames: a refresh that ends exactly at a frame is there for it, whatever rounding says."""


class BackgroundCosts(NamedTuple):
    """Milliseconds that a refresh of each size takes, and a glance, beside everything else.

    ``in_turn``: they run one at a time, on the same cores.
    """

    refresh_ms: Mapping[Size, float]
    glance_ms: float
    in_turn: bool = True


class Sight(NamedTuple):
    """What a frame finds: the keyframe and its refresh's size, and the frame glanced at last."""

    keyframe: int | None = None
    size: Size | None = None
    glance: int | None = None


class Watch(ABC):
    """Tells what each frame finds, one after the other."""

    @abstractmethod
    def frame(self) -> Sight:
        """Return what the next frame finds."""

    def judged(self, trust: float, change_per_frame: float) -> None:  # noqa: B027, as usual
        """Learn that depth's mean trust, in [0, 1], and how fast what is seen changes."""


class Job(NamedTuple):
    """What a background thread does next: of a size, for how long, how long after the last."""

    size: Size | None
    takes_s: float
    interval_s: float


class Turn:
    """What threads that use the same cores pass to one another; ``free_s`` is when it is free."""

    def __init__(self) -> None:
        self.free_s = -math.inf


class BackgroundThread:
    """A background thread in simulated time: :class:`SlowPath` and its :class:`FeatureCache`.

    ``shown`` is the frame whose result is in the front slot, None before the first, and ``size``
    the result's.  :func:`pass_time` moves it.
    """

    def __init__(self, plan: Callable[[], Job], tolerance_s: float,
                 turn: Turn | None = None) -> None:
        """``plan`` tells what comes next; what differs by ``tolerance_s`` is at the same time."""
        self.shown: int | None = None
        self.size: Size | None = None
        self.computed: Size | None = None  # of what was begun last
        self.ready_s = 0.0  # since when it has a slot and a frame: who waits longest is next
        self._plan, self._tolerance_s = plan, tolerance_s
        self._turn = turn or Turn()
        self._newest = self._taken = -1
        self._started_s = -math.inf
        self._looks_s = 0.0  # when it asks for its plan
        self._next: Job | None = None  # what it does as soon as there are slot, frame and turn
        self._doing: tuple[int, Size | None] | None = None
        self._ends_s: float | None = None  # when that is done
        self._done: tuple[int, Size | None] | None = None  # what waits for the next frame's swap

    def due_s(self) -> float:
        """Return when something happens here next, infinity where that depends on a frame."""
        if self._ends_s is not None:
            return self._ends_s
        if self._next is None:
            return self._looks_s
        return max(self._turn.free_s, self.ready_s) if self._can_start() else math.inf

    def act(self) -> None:
        """Let that happen."""
        if self._ends_s is not None:
            self._publish()
        elif self._next is None:
            self._look()
        else:
            self._start(self.due_s())

    def publish_by(self, end_s: float) -> None:
        """Have what is done by ``end_s`` wait for the swap."""
        if self._ends_s is not None and self._ends_s <= end_s:
            self._publish()

    def show(self, index: int, now_s: float) -> None:
        """Show frame ``index``: what is done is swapped to the front, and the slot is free."""
        if not self._can_start():
            self.ready_s = now_s
        self._newest = index
        if self._done is not None:
            self.shown, self.size = self._done
            self._done = None

    def _publish(self) -> None:
        assert self._ends_s is not None
        self._done, self._looks_s, self._ends_s = self._doing, self._ends_s, None

    def _look(self) -> None:
        job = self._plan()
        early_s = self._started_s + job.interval_s - self._looks_s
        if early_s > self._tolerance_s:
            self._looks_s += min(early_s, POLL_S)
            return
        self._next, self.ready_s = job, self._looks_s

    def _can_start(self) -> bool:
        return self._done is None and self._newest != self._taken

    def _start(self, at_s: float) -> None:
        assert self._next is not None
        self._doing = self._newest, self._next.size
        self.computed = self._next.size
        self._taken, self._started_s = self._newest, at_s
        self._ends_s = self._turn.free_s = at_s + self._next.takes_s
        self._next = None


def pass_time(threads: Sequence[BackgroundThread], index: int, rate_hz: float) -> None:
    """Let ``threads`` do what they do until frame ``index`` comes, show it, and let them begin."""
    now_s, tolerance_s = index / rate_hz, TIME_TOLERANCE / rate_hz
    _until(threads, now_s - tolerance_s)
    for thread in threads:
        thread.publish_by(now_s + tolerance_s)
    for thread in threads:
        thread.show(index, now_s)
    _until(threads, now_s + tolerance_s)


def _until(threads: Sequence[BackgroundThread], end_s: float) -> None:
    while True:
        first = min(threads, key=lambda thread: (thread.due_s(), thread.ready_s))
        if first.due_s() > end_s:
            return
        first.act()


class Simulation(Watch):
    """Both background threads in simulated time, and the policy that they follow."""

    def __init__(self, rate_hz: float, sizes: Sequence[Size], background: BackgroundCosts) -> None:
        self._rate_hz, self._sizes, self._background = rate_hz, sizes, background
        self._index = -1
        self._policy = RefreshPolicy()
        for size in sizes:
            self._policy.took(size, background.refresh_ms[size])
        turn = Turn() if background.in_turn else None
        self._refreshes, self._glances = (
            BackgroundThread(plan, TIME_TOLERANCE / rate_hz, turn)
            for plan in (self._refresh, self._glance))

    def _refresh(self) -> Job:
        size = self._policy.choose(self._sizes)
        return Job(size, self._background.refresh_ms[size] / 1e3,
                   self._policy.interval_after_s(self._refreshes.computed, size))

    def _glance(self) -> Job:
        return Job(None, self._background.glance_ms / 1e3, glance_interval_s(self._policy))

    def frame(self) -> Sight:
        self._index += 1
        self._policy.saw(round(1e9 * self._index / self._rate_hz))
        pass_time((self._refreshes, self._glances), self._index, self._rate_hz)
        return Sight(self._refreshes.shown, self._refreshes.size, self._glances.shown)

    def judged(self, trust: float, change_per_frame: float) -> None:
        self._policy.judged(trust, change_per_frame)
