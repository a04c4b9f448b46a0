"""What the pipeline says of a frame and of itself."""

import time
from dataclasses import dataclass
from enum import Enum

import numpy as np
import numpy.typing as npt

from asyncmde_ros.model.geometry import Size
from asyncmde_ros.pipeline.feature_cache import Keyframe
from asyncmde_ros.pipeline.points import ImageField, PointDepth, nothing
from asyncmde_ros.pipeline.slow_path import SlowPathStatus
from asyncmde_ros.pipeline.upright import Rotation


class PipelineState(str, Enum):
    """Why there is depth, or why not.

    There is (``ready``), a refresh is awaited, there is no memory and the slow path is switched
    off, engines for this image size are being built, or the memory is too old.
    """

    READY = 'ready'
    WAITING_FOR_MEMORY = 'waiting_for_memory'
    SLOW_PATH_OFF = 'slow_path_off'
    BUILDING = 'building'
    MEMORY_STALE = 'memory_stale'


class DepthSource(str, Enum):
    """Where a frame's depth is from.

    The fast network's, a keyframe's that was moved and mended, or the network's last one, moved
    (``warped``).
    """

    NETWORK = 'network'
    MEMORY = 'memory'
    WARPED = 'warped'


@dataclass(frozen=True)
class Timings:
    """Milliseconds spent on one frame, by part."""

    prepare_ms: float = 0.0
    motion_ms: float = 0.0
    fast_ms: float = 0.0
    finish_ms: float = 0.0

    @property
    def total_ms(self) -> float:
        return self.prepare_ms + self.motion_ms + self.fast_ms + self.finish_ms


class Stopwatch:
    """Measures the parts of one frame, in the order of :class:`Timings`."""

    def __init__(self) -> None:
        self._last_s = time.perf_counter()
        self._laps_ms: list[float] = []

    def lap(self) -> None:
        """End a part."""
        now_s = time.perf_counter()
        self._laps_ms.append(1e3 * (now_s - self._last_s))
        self._last_s = now_s

    @property
    def timings(self) -> Timings:
        return Timings(*self._laps_ms)


@dataclass(frozen=True)
class DepthResult:
    """What one frame gave.

    ``depth``: (H, W) float32, affine-invariant inverse depth, larger is nearer, unitless; None
    while depth is withheld, with the reason in ``state``, and where no map was asked for.
    ``trust``: (rows, cols) float32 in [0, 1], how far the depth of each pixel is to be trusted.
    Both are of the image as it was given, whatever the rotation; so is :meth:`at`, for single
    pixels.  ``lag`` counts frames since ``keyframe``, the frame that the
    memory shows; ``source`` tells what gave the depth; ``stale`` whether the keyframe is older
    than the settings want.
    """

    state: PipelineState
    stamp_ns: int
    depth: npt.NDArray[np.float32] | None = None
    trust: npt.NDArray[np.float32] | None = None
    keyframe: Keyframe | None = None
    lag: int | None = None
    source: DepthSource = DepthSource.NETWORK
    stale: bool = False
    timings: Timings = Timings()
    field: ImageField | None = None

    def at(self, points: npt.ArrayLike) -> PointDepth:
        """Return depth and trust at pixels (n, 2) of the image, as (x, y): :meth:`ImageField.at`.

        NaN while depth is withheld.  Later frames change nothing of it.
        """
        return nothing(len(np.asarray(points))) if self.field is None else self.field.at(points)


@dataclass(frozen=True)
class PipelineStatus:
    """For diagnostics; ``slow_path`` and ``glance`` are live and go on counting.

    ``engine``: what computes; ``glance`` is None where there are no glances; ``rotation`` is that
    of the last frame.
    """

    state: PipelineState
    engine: str
    size: Size
    slow_path: SlowPathStatus
    glance: SlowPathStatus | None
    motion_failures: int
    resets: int
    cuts: int
    restarts: int
    rotation: Rotation = Rotation.NONE
