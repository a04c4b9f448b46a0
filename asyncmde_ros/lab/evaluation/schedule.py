"""Which refresh, and which glance, is there at each frame."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from asyncmde_ros.errors import AsyncMDEError
from asyncmde_ros.lab.evaluation.simulation import (
    TIME_TOLERANCE,
    BackgroundCosts,
    Sight,
    Simulation,
    Watch,
)
from asyncmde_ros.model.geometry import Size

BackgroundAt = Callable[[float, float | None], BackgroundCosts]
"""Of a camera's rate [Hz], and of a stated latency [ms] of the smallest refresh."""


class Schedule(ABC):
    """Maps every frame of a sequence to what is there for it."""

    name: str
    takes_time: bool
    """Whether refreshes take as long as on a real machine."""

    @abstractmethod
    def alone(self) -> 'Schedule | None':
        """Return that of a foundation model with the whole machine to itself.

        None where refreshes take no time: it would be there for every frame.
        """

    @abstractmethod
    def keyframes(self, frames: int, latency_ms: Callable[[], float]) -> list[int | None]:
        """Return the keyframe seen by each of ``frames`` frames; None while there is none yet.

        For refreshes that all take ``latency_ms``, where nothing else is stated, and follow one
        another at once.
        """

    @abstractmethod
    def watch(self, sizes: Sequence[Size], background: BackgroundAt) -> Watch:
        """Begin with the first frame, where refreshes are of ``sizes`` and there are glances."""


@dataclass(frozen=True)
class Fixed(Schedule):
    """A refresh every ``interval`` frames that is there at once: lag 0 to N - 1.

    The AsyncMDE paper's evaluation (IV-A-2), whose tables average over the cycle.  What is there
    at once costs nothing: refreshes are of the largest size, and every frame is glanced at.
    """

    interval: int
    takes_time = False

    @property
    def name(self) -> str:  # type: ignore[override]
        return f'fixed:{self.interval}'

    def alone(self) -> None:
        return None

    def keyframes(self, frames: int, latency_ms: Callable[[], float]) -> list[int | None]:
        return [index - index % self.interval for index in range(frames)]

    def watch(self, sizes: Sequence[Size], background: BackgroundAt) -> Watch:
        return _AtOnce(self.interval, max(sizes))


class _AtOnce(Watch):
    def __init__(self, interval: int, size: Size) -> None:
        self._interval, self._size, self._index = interval, size, -1

    def frame(self) -> Sight:
        self._index += 1
        return Sight(self._index - self._index % self._interval, self._size, self._index)


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
    takes_time = True

    @property
    def name(self) -> str:  # type: ignore[override]
        return f'async:{self.rate_hz:g}'

    def alone(self) -> 'Asynchronous':
        return Asynchronous(self.rate_hz)

    def delay(self, latency_ms: float) -> int:
        """Frames from the start of a refresh to the first frame that sees it, at least 1."""
        return max(1, math.ceil(latency_ms * self.rate_hz / 1e3 - TIME_TOLERANCE))

    def keyframes(self, frames: int, latency_ms: Callable[[], float]) -> list[int | None]:
        d = self.delay(latency_ms() if self.stated_ms is None else self.stated_ms)
        return [None if index < d else (index // d - 1) * d for index in range(frames)]

    def watch(self, sizes: Sequence[Size], background: BackgroundAt) -> Watch:
        return Simulation(self.rate_hz, sizes, background(self.rate_hz, self.stated_ms))


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
