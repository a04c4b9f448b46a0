"""Which refresh, and which glance, is there at each frame."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from asyncmde_ros.errors import AsyncMDEError
from asyncmde_ros.geometry import Size
from asyncmde_ros.pipeline.motion import Warp
from asyncmde_ros.pipeline.refresh_policy import RefreshPolicy
from asyncmde_ros.pipeline.session import glance_interval_s
from asyncmde_ros.pipeline.slow_path import POLL_S

TIME_TOLERANCE = 1e-6
"""In frames: a refresh that ends exactly at a frame is there for it, whatever rounding says."""


class Background(NamedTuple):
    """Milliseconds that a refresh of each size takes, and a glance, beside everything else."""

    refresh_ms: Mapping[Size, float]
    glance_ms: float


BackgroundAt = Callable[[float, float | None], Background]
"""Of a camera's rate [Hz], and of a stated latency [ms] of the smallest refresh."""


class Sight(NamedTuple):
    """What a frame finds: the keyframe and its refresh's size, and the frame glanced at last."""

    keyframe: int | None = None
    size: Size | None = None
    glance: int | None = None


class Schedule(ABC):
    """Maps every frame of a sequence to what is there for it."""

    name: str

    @abstractmethod
    def keyframes(self, frames: int, latency_ms: Callable[[], float]) -> list[int | None]:
        """Return the keyframe seen by each of ``frames`` frames; None while there is none yet.

        For refreshes that all take ``latency_ms``, where nothing else is stated, and follow one
        another at once.
        """

    @abstractmethod
    def sights(self, steps: Sequence[Warp], sizes: Sequence[Size],
               background: BackgroundAt) -> list[Sight]:
        """Return what each frame finds, where refreshes are of ``sizes`` and there are glances.

        ``steps`` are the frames' steps to those before.
        """


@dataclass(frozen=True)
class Fixed(Schedule):
    """A refresh every ``interval`` frames that is there at once: lag 0 to N - 1.

    The AsyncMDE paper's evaluation (IV-A-2), whose tables average over the cycle.  What is there
    at once costs nothing: refreshes are of the largest size, and every frame is glanced at.
    """

    interval: int

    @property
    def name(self) -> str:  # type: ignore[override]
        return f'fixed:{self.interval}'

    def keyframes(self, frames: int, latency_ms: Callable[[], float]) -> list[int | None]:
        return [index - index % self.interval for index in range(frames)]

    def sights(self, steps: Sequence[Warp], sizes: Sequence[Size],
               background: BackgroundAt) -> list[Sight]:
        return [Sight(index - index % self.interval, max(sizes), index)
                for index in range(len(steps))]


@dataclass(frozen=True)
class Asynchronous(Schedule):
    """The real thing: a camera at ``rate_hz`` and a foundation model that takes its time.

    Exactly what the pipeline does (FeatureCache, SlowPath): a refresh starts with the frame that
    has just arrived; its result becomes the front slot at the first frame after it is done; and
    that frame, the newest, is where the next refresh starts, since only then is a slot free.  So
    with d = ceil(latency x rate) the lag runs from d to 2 d - 1.  ``stated_ms`` is the latency,
    whatever was measured, of the smallest refresh; the others take as much longer as they do.
    """

    rate_hz: float
    stated_ms: float | None = None

    @property
    def name(self) -> str:  # type: ignore[override]
        return f'async:{self.rate_hz:g}'

    def delay(self, latency_ms: float) -> int:
        """Frames from the start of a refresh to the first frame that sees it, at least 1."""
        return max(1, math.ceil(latency_ms * self.rate_hz / 1e3 - TIME_TOLERANCE))

    def keyframes(self, frames: int, latency_ms: Callable[[], float]) -> list[int | None]:
        d = self.delay(latency_ms() if self.stated_ms is None else self.stated_ms)
        return [None if index < d else (index // d - 1) * d for index in range(frames)]

    def sights(self, steps: Sequence[Warp], sizes: Sequence[Size],
               background: BackgroundAt) -> list[Sight]:
        refresh_ms, glance_ms = background(self.rate_hz, self.stated_ms)
        policy = RefreshPolicy()
        for size in sizes:
            policy.took(size, refresh_ms[size])

        def refresh() -> Job:
            size = policy.choose(sizes)
            return Job(size, refresh_ms[size] / 1e3, policy.interval_s())

        def glance() -> Job:
            return Job(None, glance_ms / 1e3, glance_interval_s(policy))
        refreshes = BackgroundThread(refresh, TIME_TOLERANCE / self.rate_hz)
        glances = BackgroundThread(glance, TIME_TOLERANCE / self.rate_hz)
        seen = []
        for index, step in enumerate(steps):
            now_s = index / self.rate_hz
            for thread in (refreshes, glances):
                thread.until(now_s)
            policy.saw(round(1e9 * now_s), step)
            for thread in (refreshes, glances):
                thread.frame(index, now_s)
            seen.append(Sight(refreshes.shown, refreshes.size, glances.shown))
        return seen


class Job(NamedTuple):
    """What a background thread does next: of a size, for how long, how long after the last."""

    size: Size | None
    takes_s: float
    interval_s: float


class BackgroundThread:
    """A background thread in simulated time: :class:`SlowPath` and its :class:`FeatureCache`.

    Told of each frame in turn by :meth:`until`, then :meth:`frame`.  ``shown`` is the frame whose
    result is in the front slot, None before the first, and ``size`` the result's.
    """

    def __init__(self, plan: Callable[[], Job], tolerance_s: float) -> None:
        """``plan`` tells what comes next; what differs by ``tolerance_s`` is at the same time."""
        self.shown: int | None = None
        self.size: Size | None = None
        self._plan, self._tolerance_s = plan, tolerance_s
        self._newest = self._taken = -1
        self._started_s = -math.inf
        self._looks_s = 0.0  # when it asks for its plan
        self._next: Job | None = None  # what it does as soon as there are a slot and a frame
        self._doing: tuple[int, Size | None] | None = None
        self._ends_s: float | None = None  # when that is done
        self._done: tuple[int, Size | None] | None = None  # what waits for the next frame's swap

    def until(self, now_s: float) -> None:
        """Let the time before the frame at ``now_s`` pass."""
        self._run(now_s - self._tolerance_s)
        if self._ends_s is not None and self._ends_s <= now_s + self._tolerance_s:
            self._publish()

    def frame(self, index: int, now_s: float) -> None:
        """Show frame ``index``: what is done is swapped to the front, and the slot is free."""
        self._newest = index
        if self._done is not None:
            self.shown, self.size = self._done
            self._done = None
        if self._next is not None:
            self._start(now_s)
        self._run(now_s + self._tolerance_s)

    def _run(self, end_s: float) -> None:
        while True:
            if self._ends_s is not None:
                if self._ends_s > end_s:
                    return
                self._publish()
            elif self._next is None and self._looks_s <= end_s:
                self._look()
            else:
                return

    def _publish(self) -> None:
        assert self._ends_s is not None
        self._done, self._looks_s, self._ends_s = self._doing, self._ends_s, None

    def _look(self) -> None:
        job = self._plan()
        early_s = self._started_s + job.interval_s - self._looks_s
        if early_s > self._tolerance_s:
            self._looks_s += min(early_s, POLL_S)
            return
        self._next = job
        self._start(self._looks_s)

    def _start(self, at_s: float) -> None:
        if self._next is None or self._done is not None or self._newest == self._taken:
            return
        self._doing = self._newest, self._next.size
        self._taken, self._started_s = self._newest, at_s
        self._ends_s, self._next = at_s + self._next.takes_s, None


def parse(text: str) -> Schedule:
    """Parse ``fixed:N`` or ``async:RATE[:LATENCY_MS]``.

    Raises AsyncMDEError naming what is wrong.
    """
    kind, _, rest = text.partition(':')
    try:
        if kind == 'fixed':
            interval = int(rest)
            if interval >= 1:
                return Fixed(interval)
        elif kind == 'async':
            rate, _, stated = rest.partition(':')
            schedule = Asynchronous(float(rate), float(stated) if stated else None)
            numbers = schedule.rate_hz, schedule.stated_ms
            if all(number is None or 0 < number < math.inf for number in numbers):
                return schedule
    except ValueError:
        pass
    raise AsyncMDEError(f'schedule {text!r}: write fixed:N (every N frames) or async:HZ or '
                        'async:HZ:MS (camera rate, latency of the foundation model)')
