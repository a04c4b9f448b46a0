"""What a refresh computes: the features of a keyframe, or its depth."""

import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt

from asyncmde_ros.engine.interface import Buffer, DepthEngine, Engine, Engines
from asyncmde_ros.errors import EngineError
from asyncmde_ros.model.geometry import Size
from asyncmde_ros.model.graph_tensors import KEYFRAME
from asyncmde_ros.model.preprocess import shrink, write_image
from asyncmde_ros.pipeline.feature_cache import Slot
from asyncmde_ros.pipeline.motion import small_grey

Picture = npt.NDArray[np.uint8]

WARM_UP_RUNS = 2
"""The first run of an engine takes longer than those after it."""


def make_slot(engine: Engine) -> Slot:
    """Return a cache slot with a buffer for every part of a keyframe's features."""
    return Slot({name: engine.allocate(name) for name in KEYFRAME})


class Refresher(ABC):
    """Fills a cache slot from a picture; ``size`` is the network's (rows, cols)."""

    size: Size

    @abstractmethod
    def fill(self, picture: Picture, slot: Slot) -> None:
        """Compute ``slot`` from a picture.  Raises EngineError, then the slot is worth nothing."""

    @abstractmethod
    def prepare(self, slots: Iterable[Slot]) -> None:
        """Do before the start what the first refreshes would take their time for."""


class FeatureRefresher(Refresher):
    """Fills the buffers that the fast network fuses: M1-M4, and the light features."""

    def __init__(self, engines: Engines) -> None:
        self.size = engines.size
        self._engine, self._positions = engines.slow, engines.positions
        self._image = engines.slow.allocate('image')

    def _bindings(self, slot: Slot) -> dict[str, Buffer]:
        return {'image': self._image, 'positions': self._positions, **slot.buffers}

    def fill(self, picture: Picture, slot: Slot) -> None:
        write_image(picture, self._image.array)
        bindings = self._bindings(slot)
        slot.written = self._engine.run(bindings, after=slot.read)
        if not self._engine.finite(bindings):
            raise EngineError('the foundation model gave features that are not finite')

    def prepare(self, slots: Iterable[Slot]) -> None:
        for slot in slots:
            self._engine.prepare(self._bindings(slot))


class DepthRefresher(Refresher):
    """Fills a slot with a picture's depth and its small grey image.

    ``latency_ms`` is what that took when nothing else ran.
    """

    def __init__(self, network: DepthEngine,
                 resize: Callable[[Picture, Size], Picture] = shrink) -> None:
        """``resize`` brings a picture to the network's size."""
        self.size = network.size
        self.latency_ms = 0.0
        self._engine, self._resize = network.engine, resize
        self._bindings = {'image': network.engine.allocate('image'),
                          'positions': network.positions,
                          'depth': network.engine.allocate('depth')}

    def depth(self, picture: Picture) -> npt.NDArray[np.float32]:
        """Return a picture's inverse depth (rows, cols) at the network's size."""
        write_image(self._resize(picture, self.size), self._bindings['image'].array)
        self._engine.run(self._bindings)
        depth = np.asarray(self._bindings['depth'].read()[0, 0], np.float32)
        if not np.isfinite(depth).all():
            raise EngineError('the foundation model gave depth that is not finite')
        return depth

    def fill(self, picture: Picture, slot: Slot) -> None:
        slot.depth, slot.grey = self.depth(picture), small_grey(picture)

    def prepare(self, slots: Iterable[Slot]) -> None:
        """Warm up, and measure."""
        nothing = np.zeros((*self.size, 3), np.uint8)
        took_ms = []
        for _ in range(WARM_UP_RUNS):
            started = time.perf_counter()
            self.depth(nothing)
            took_ms.append(1e3 * (time.perf_counter() - started))
        self.latency_ms = statistics.median(took_ms[1:])
