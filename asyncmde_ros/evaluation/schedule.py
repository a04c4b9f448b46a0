"""Which keyframe the memory shows at each frame."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

from asyncmde_ros.errors import AsyncMDEError

TIME_TOLERANCE = 1e-6
"""In frames: a refresh that ends exactly at a frame is there for it, whatever rounding says."""


class Schedule(ABC):
    """Maps every frame of a sequence to the frame that the memory shows then."""

    name: str

    @abstractmethod
    def keyframes(self, frames: int) -> list[int | None]:
        """Return the keyframe seen by each of ``frames`` frames; None while there is none yet."""


@dataclass(frozen=True)
class Every(Schedule):
    """Each frame is its own keyframe: no memory, no lag."""

    name: str = 'every'

    def keyframes(self, frames: int) -> list[int | None]:
        return list(range(frames))


@dataclass(frozen=True)
class Fixed(Schedule):
    """A refresh every ``interval`` frames that is there at once: lag 0 to N - 1.

    The AsyncMDE paper's evaluation (IV-A-2), whose tables average over the cycle.
    """

    interval: int

    @property
    def name(self) -> str:  # type: ignore[override]
        return f'fixed:{self.interval}'

    def keyframes(self, frames: int) -> list[int | None]:
        return [index - index % self.interval for index in range(frames)]


@dataclass(frozen=True)
class Asynchronous(Schedule):
    """The real thing: a camera at ``rate_hz`` and a foundation model that takes ``latency_ms``.

    Exactly what the pipeline does (FeatureCache, SlowPath): a refresh starts with the frame that
    has just arrived; its result becomes the front slot at the first frame after it is done; and
    that frame, the newest, is where the next refresh starts, since only then is a slot free.  So
    with d = ceil(latency x rate) the lag runs from d to 2 d - 1.
    """

    rate_hz: float
    latency_ms: float

    @property
    def name(self) -> str:  # type: ignore[override]
        return f'async:{self.rate_hz:g}'

    @property
    def delay(self) -> int:
        """Frames from the start of a refresh to the first frame that sees it, at least 1."""
        return max(1, math.ceil(self.latency_ms * self.rate_hz / 1e3 - TIME_TOLERANCE))

    def keyframes(self, frames: int) -> list[int | None]:
        d = self.delay
        return [None if index < d else (index // d - 1) * d for index in range(frames)]


def parse(text: str, latency_ms: float) -> Schedule:
    """Parse ``fixed:N`` or ``async:RATE[:LATENCY_MS]``; ``latency_ms`` is used where unstated.

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
            schedule = Asynchronous(float(rate), float(stated) if stated else latency_ms)
            if all(0 < value < math.inf for value in (schedule.rate_hz, schedule.latency_ms)):
                return schedule
    except ValueError:
        pass
    raise AsyncMDEError(f'schedule {text!r}: write fixed:N (every N frames) or async:HZ or '
                        'async:HZ:MS (camera rate, latency of the foundation model)')
