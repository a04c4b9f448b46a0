"""How long each stage takes, which decides what an asynchronous schedule looks like.

Measured on this machine, or stated by a file, so that a result does not depend on the machine.
"""

import dataclasses
import functools
import json
import math
import statistics
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from asyncmde_ros.engine.interface import Engines, Graph
from asyncmde_ros.engine.loader import Model, Threads
from asyncmde_ros.errors import AsyncMDEError, EngineError
from asyncmde_ros.lab import machine
from asyncmde_ros.lab.evaluation.cache import Arrays, stored_arrays
from asyncmde_ros.lab.evaluation.predict import Foundation, MemoryRefresh, nowhere
from asyncmde_ros.lab.evaluation.schedule import Schedule
from asyncmde_ros.lab.evaluation.simulation import BackgroundCosts
from asyncmde_ros.lab.media.frames import ASSUMED_RATE_HZ
from asyncmde_ros.model.geometry import Size, network_size
from asyncmde_ros.pipeline.depth_pipeline import DepthPipeline
from asyncmde_ros.pipeline.fast_path import FastPath
from asyncmde_ros.pipeline.session import glance_size, refresh_sizes
from asyncmde_ros.pipeline.settings import FastPathModel, Settings
from asyncmde_ros.pipeline.slow_path import SlowPathStatus

RUNS = 5
IMAGE: Size = (480, 640)
"""What a file's milliseconds are of: the networks for such an image, by their short side."""

GRAIN_PX, PAN_PX = 12, 8
"""Of the picture that latencies are measured with, and how far it moves in a frame: too far for
the background to rest."""


class Sizes(NamedTuple):
    """Of the networks for one sequence's images: (rows, cols)."""

    network: Size
    refresh: tuple[Size, Size]
    glance: Size

    @classmethod
    def of(cls, network: Size) -> 'Sizes':
        return cls(network, refresh_sizes(network), glance_size(network))


@dataclass(frozen=True)
class Moved:
    """Milliseconds of moved depth's stages: a refresh of each size, a glance, and a frame.

    With ``cores`` they are those of each stage by itself, a refresh or glance on all of so many;
    None where they were measured while everything ran.
    """

    refresh_ms: Mapping[Size, float]
    glance_ms: float
    fast_ms: float
    cores: int | None = None

    def background(self, rate_hz: float, stated_ms: float | None = None) -> BackgroundCosts:
        """Return what the background's stages take beside a camera of ``rate_hz``.

        ``stated_ms`` is what the smallest refresh takes then, whatever else is known.  Raises
        AsyncMDEError where the fast path leaves the background nothing.
        """
        if stated_ms is not None:
            share = stated_ms / self.refresh_ms[min(self.refresh_ms)]
        else:
            share = self._stretch(rate_hz)
        return BackgroundCosts({size: share * ms for size, ms in self.refresh_ms.items()},
                               share * self.glance_ms)

    def _stretch(self, rate_hz: float) -> float:
        """The fast path comes first, and a network on all cores waits for the one it is on."""
        if self.cores is None:
            return 1.0
        left = 1 - self.fast_ms * rate_hz / 1e3
        if left <= 0:
            raise AsyncMDEError(f'at {rate_hz:g} Hz the fast path alone, {self.fast_ms:g} ms a '
                                'frame, takes a core and more: state a lower rate')
        return 1 / left


class SpatialMemory(NamedTuple):
    """Milliseconds of a refresh, and of the fast network, while both run at once."""

    slow_ms: float
    fast_ms: float


class Latencies(ABC):
    """Medians in milliseconds for one sequence's sizes; what nobody asks for is not measured."""

    @functools.cached_property
    def moved(self) -> Moved:
        """Of moved depth."""
        return self._moved()

    @functools.cached_property
    def spatial_memory(self) -> SpatialMemory:
        """Of the spatial memory."""
        return self._spatial_memory()

    @functools.cached_property
    def alone_ms(self) -> float:
        """Of the foundation model with every core to itself: a node without a fast path."""
        return self._alone_ms()

    @abstractmethod
    def _moved(self) -> Moved: ...

    @abstractmethod
    def _spatial_memory(self) -> SpatialMemory: ...

    @abstractmethod
    def _alone_ms(self) -> float: ...

    def known(self) -> dict[str, Any]:
        """Return what was asked for, as JSON can hold it."""
        found: dict[str, Any] = {}
        if 'moved' in self.__dict__:
            moved = self.moved
            found |= {'refresh_ms': {f'{rows}x{cols}': ms for (rows, cols), ms
                                     in moved.refresh_ms.items()},
                      'glance_ms': moved.glance_ms, 'fast_ms': moved.fast_ms,
                      'cores': moved.cores}
        if 'spatial_memory' in self.__dict__:
            found['spatial_memory'] = self.spatial_memory._asdict()
        if 'alone_ms' in self.__dict__:
            found['alone_ms'] = self.alone_ms
        return found


class Measured(Latencies):
    """On this machine, now, and once for each model and size: a cached run keeps its schedule."""

    def __init__(self, model: Model, sizes: Sizes, image: Size,
                 engines: Callable[[], Engines]) -> None:
        """``image`` is the camera's size; ``engines`` gives the spatial memory's, compiled."""
        self._model, self._sizes, self._image, self._engines = model, sizes, image, engines

    def _kept(self, what: str, graphs: tuple[Graph, ...], measure: Callable[[], list[float]]
              ) -> list[float]:
        def compute() -> Arrays:
            return {'ms': np.array(measure(), np.float16)}
        model = self._model
        key = {'latency': what, 'sizes': self._sizes, 'image': self._image,
               'precision': model.precision.value, 'backend': model.backend,
               'weights': model.digest(*graphs), 'threads': str((model.threads, model.background)),
               'cpu': machine.describe([]).cpu}
        return [float(value) for value in stored_arrays(key, compute)['ms']]

    def _moved(self) -> Moved:
        smaller, larger, glance, fast = self._kept(
            'moved', (Graph.FOUNDATION, Graph.GLANCE),
            lambda: measure_moved(self._model, self._sizes, self._image))
        return Moved(dict(zip(self._sizes.refresh, (smaller, larger), strict=True)), glance, fast)

    def _spatial_memory(self) -> SpatialMemory:
        return SpatialMemory(*self._kept(
            'spatial_memory', (Graph.FAST, Graph.SLOW),
            lambda: measure_spatial_memory(self._engines())))

    def _alone_ms(self) -> float:
        def measure() -> list[float]:
            every = self._model.threads.fast + self._model.threads.slow
            alone = Foundation(self._model.in_half().with_threads(Threads(every, every)),
                               self._sizes.network)
            picture = _noise(self._sizes.network)
            return [_median_ms(lambda: alone.depth(picture))]
        return self._kept('alone', (Graph.FOUNDATION,), measure)[0]


@dataclass(frozen=True)
class Statement:
    """A file's milliseconds, by the network's short side [px], for images of 4:3."""

    path: Path
    cores: int | None
    refresh_ms: Mapping[int, float]
    glance_ms: Mapping[int, float]
    fast_ms: float
    alone_ms: Mapping[int, float]
    slow_ms: Mapping[int, float]
    memory_fast_ms: Mapping[int, float]


class Stated(Latencies):
    """What a file states, for one sequence's sizes: in proportion to the pixels."""

    def __init__(self, statement: Statement, sizes: Sizes,
                 schedules: Sequence[Schedule] = ()) -> None:
        """Raise AsyncMDEError where the file lacks a size, or a rate of a schedule cannot be."""
        self._file, self._sizes = statement, sizes
        # All of it now: a file that lacks something is to be known before anything slow starts.
        self.__dict__ |= {'moved': self._moved(), 'spatial_memory': self._spatial_memory(),
                          'alone_ms': self._alone_ms()}
        for schedule in schedules:
            schedule.watch(sizes.refresh, self.moved.background)

    def _of(self, what: str, stated: Mapping[int, float], size: Size) -> float:
        side = min(size)
        if side not in stated:
            raise AsyncMDEError(f'{self._file.path}: {what} says nothing of a short side of '
                                f'{side}; it has {", ".join(map(str, sorted(stated))) or "none"}')
        return stated[side] * max(size) / max(network_size(IMAGE, side))

    def _moved(self) -> Moved:
        file = self._file
        return Moved({size: self._of('refresh_ms', file.refresh_ms, size)
                      for size in self._sizes.refresh},
                     self._of('glance_ms', file.glance_ms, self._sizes.glance),
                     file.fast_ms, file.cores)

    def _spatial_memory(self) -> SpatialMemory:
        return SpatialMemory(*(self._of(f'spatial_memory.{name}', stated, self._sizes.network)
                               for name, stated in (('slow_ms', self._file.slow_ms),
                                                    ('fast_ms', self._file.memory_fast_ms))))

    def _alone_ms(self) -> float:
        return self._of('alone_ms', self._file.alone_ms, self._sizes.network)


def read(path: Path) -> Statement:
    """Read a file of latencies.  Raises AsyncMDEError naming what is wrong with it."""
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except OSError as error:
        raise AsyncMDEError(f'--latencies {path}: {error.strerror or error}') from error
    except (ValueError, RecursionError) as error:
        raise AsyncMDEError(f'--latencies {path} is no JSON: {error}') from error
    parts = _members(path, content, '', {'from', 'cores', 'refresh_ms', 'glance_ms', 'fast_ms',
                                         'alone_ms', 'spatial_memory'})
    memory = _members(path, parts['spatial_memory'], 'spatial_memory.', {'slow_ms', 'fast_ms'})
    cores = parts['cores']
    if cores is not None and (isinstance(cores, bool) or not isinstance(cores, int) or cores < 1):
        raise _wrong(path, 'cores', 'how many cores the stages share, or null where the '
                                    'milliseconds were taken while all of them ran')
    if not isinstance(parts['from'], str):
        raise _wrong(path, 'from', 'a text that says on what, and how, they were measured')

    def by_side(name: str, stated: Any) -> dict[int, float]:
        if not isinstance(stated, dict) or not all(side.isdecimal() for side in stated):
            raise _wrong(path, name, 'milliseconds by the short side in pixels, such as '
                                     '{"252": 63}')
        return {int(side): _milliseconds(path, f'{name}.{side}', ms)
                for side, ms in stated.items()}
    return Statement(path, cores, by_side('refresh_ms', parts['refresh_ms']),
                     by_side('glance_ms', parts['glance_ms']),
                     _milliseconds(path, 'fast_ms', parts['fast_ms']),
                     by_side('alone_ms', parts['alone_ms']),
                     by_side('spatial_memory.slow_ms', memory['slow_ms']),
                     by_side('spatial_memory.fast_ms', memory['fast_ms']))


def _members(path: Path, content: Any, prefix: str, names: set[str]) -> dict[str, Any]:
    if not isinstance(content, dict):
        raise _wrong(path, prefix.rstrip('.') or 'it',
                     f'an object with {", ".join(sorted(names))}')
    given = set(content)
    for wrong, what in ((names - given, 'is missing'), (given - names, 'is unknown')):
        if wrong:
            raise AsyncMDEError(f'--latencies {path}: {prefix}{min(wrong)} {what}; there are '
                                f'{", ".join(prefix + name for name in sorted(names))}')
    return content


def _milliseconds(path: Path, name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < math.inf:
        raise _wrong(path, name, 'milliseconds above 0')
    return float(value)


def _wrong(path: Path, name: str, wanted: str) -> AsyncMDEError:
    return AsyncMDEError(f'--latencies {path}: {name} must be {wanted}')


def measure_spatial_memory(engines: Engines) -> list[float]:
    """Return [slow, fast] milliseconds, each path with its share of the cores."""
    picture = _noise(engines.size)
    fast, held = FastPath(engines.fast), MemoryRefresh(engines).refresh(picture, 0)
    other = MemoryRefresh(engines)  # another's buffers: the fast path reads the first one's
    settings, fast_ms, done = Settings(), [], threading.Event()
    nothing = nowhere(engines.size)

    def drive() -> None:
        while not done.is_set():
            started = time.perf_counter()
            fast.step(picture, held, nothing, nothing, settings.temporal_smoothing,
                      settings.gate_temperature)
            fast_ms.append(1e3 * (time.perf_counter() - started))

    thread = threading.Thread(target=drive, name='fast_path')
    thread.start()
    try:
        slow_ms = _median_ms(lambda: other.refresh(picture, 0))
    finally:
        done.set()
        thread.join()
    return [slow_ms, statistics.median(fast_ms)]


class _Watched:
    """Collects what a background thread's runs take, as far as they are of one size."""

    def __init__(self, status: SlowPathStatus, size: Size) -> None:
        self.ms: list[float] = []
        self._status, self._size, self._counted = status, size, status.refreshes

    def look(self) -> None:
        """Take the newest run, if there is one; raise EngineError where the last one failed."""
        status = self._status
        if status.failing:
            raise EngineError(f'no latency can be measured: {status.last_error}')
        if status.refreshes > self._counted:
            self._counted = status.refreshes
            if status.size == self._size:
                self.ms.append(status.latency_ms)


def measure_moved(model: Model, sizes: Sizes, image: Size) -> list[float]:
    """Return milliseconds of the smaller and larger refresh, a glance and a frame.

    The pipeline itself is run, at camera rate and on a picture that moves.
    """
    scene = cv2.resize(_noise((image[0] // GRAIN_PX + 1, 2 * image[1] // GRAIN_PX + 1)),
                       (2 * image[1], image[0]), interpolation=cv2.INTER_CUBIC)
    settings = Settings(cut_trust=0.0, cut_similarity=-1.0)
    refresh_ms, fast_ms = [], []
    with DepthPipeline(model, settings, sizes.network,
                       fast_path=FastPathModel.GLANCE) as pipeline:
        glance_status = pipeline.status.glance
        assert glance_status is not None
        glances = _Watched(glance_status, sizes.glance)
        started, frame = time.monotonic(), 0
        for size in sizes.refresh:
            pipeline.settings = dataclasses.replace(settings, refresh_size=size)
            refreshes = _Watched(pipeline.status.slow_path, size)
            while len(refreshes.ms) <= RUNS:
                left = frame * PAN_PX % image[1]
                shown = np.ascontiguousarray(scene[:, left:left + image[1]])
                result = pipeline.process(shown, round(frame * 1e9 / ASSUMED_RATE_HZ))
                if result.depth is not None:
                    fast_ms.append(result.timings.total_ms)
                refreshes.look()
                glances.look()
                frame += 1
                time.sleep(max(0.0, started + frame / ASSUMED_RATE_HZ - time.monotonic()))
            refresh_ms.append(statistics.median(refreshes.ms[1:]))  # the first one warms up
    return [*refresh_ms, statistics.median(glances.ms), statistics.median(fast_ms)]


def _noise(size: Size) -> Any:
    return np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)


def _median_ms(work: Callable[[], object]) -> float:
    times = []
    for _ in range(RUNS + 1):
        started = time.perf_counter()
        work()
        times.append(1e3 * (time.perf_counter() - started))
    return statistics.median(times[1:])  # the first one warms up
