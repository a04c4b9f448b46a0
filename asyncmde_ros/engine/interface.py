"""The one interface behind which hardware lives."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from threading import Event
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from asyncmde_ros.model.patches import Tail


class Precision(str, Enum):
    """What a backend may compute in; warps and trust are float32 either way.

    ``HALF``: the hardware's 16-bit numbers where it has them.  ``AUTO``: 8-bit integers as well,
    for the products that bear it, where that is faster.
    """

    AUTO = 'auto'
    HALF = 'half'
    FP32 = 'fp32'


DEFAULT_PRECISION = Precision.AUTO


class Graph(str, Enum):
    """Which of the networks a compiled graph is."""

    FAST = 'fast'
    SLOW = 'slow'
    FOUNDATION = 'foundation'
    GLANCE = 'glance'
    TRUNK = 'trunk'
    """The fast one without the end of its decoder."""
    TAIL = 'tail'
    """That end."""
    POINTS = 'points'
    """That end at a few blocks of pixels."""


@dataclass(frozen=True)
class Specification:
    """What a backend compiles: a shipped graph, or part of it, with its weights, for one size.

    ``weights`` holds the graph's weight inputs by name, ``shapes`` the shape of each other input;
    ``outputs`` are those wanted.  ``model`` names the configuration, ``size`` is (rows, cols) of
    the network's image.
    """

    graph: Graph
    model: str
    size: tuple[int, int]
    path: Path
    weights: Mapping[str, npt.NDArray[np.floating]] = field(repr=False)
    shapes: Mapping[str, tuple[int, ...]]
    outputs: tuple[str, ...]


Progress = Callable[[str, float], None]
"""Told what is being built and how much of it is done, 0 to 1."""


@dataclass(frozen=True)
class EngineOptions:
    """How to compile: ``threads`` on a CPU; ``cancel`` set ends a build under way.

    ``engines`` is the folder of built engines, None the one in the user's cache.
    """

    precision: Precision = DEFAULT_PRECISION
    threads: int = 1
    engines: Path | None = None
    cancel: Event = field(default_factory=Event)
    progress: Progress = lambda what, fraction: None


class Buffer(ABC):
    """Memory for one tensor, allocated once and bound to engines again and again."""

    handle: Any
    """What the backend passes to its runtime."""

    @property
    @abstractmethod
    def array(self) -> npt.NDArray[Any]:
        """The host's view of it, float32 but for an image of pixels.

        TypeError where the tensor lives on a device alone.
        """

    @abstractmethod
    def read(self) -> npt.NDArray[np.float32]:
        """Return a copy, wherever the tensor lives; not for every frame."""

    @abstractmethod
    def write(self, values: npt.ArrayLike) -> None:
        """Set the tensor, wherever it lives; not for every frame."""


class HostBuffer(Buffer):
    """Memory of the host's."""

    def __init__(self, array: npt.NDArray[Any], handle: Any) -> None:
        self._array, self.handle = array, handle

    @property
    def array(self) -> npt.NDArray[Any]:
        return self._array

    def read(self) -> npt.NDArray[np.float32]:
        return self._array.astype(np.float32)

    def write(self, values: npt.ArrayLike) -> None:
        self._array[...] = values


class Fence:
    """A moment in a device's work that other work of the device can be told to wait for."""


class PendingValidation(Protocol):
    """Hears whether an engine, which a vendor's builder made, has the reference's numbers."""

    def passed(self, errors: Mapping[str, float]) -> None:
        """Remember that its numbers are right, and how far off each was."""

    def failed(self) -> None:
        """Remember that they are wrong."""


class Engine(ABC):
    """A compiled graph: shapes fixed, named tensors in and out.

    ``inputs`` and ``outputs`` map names to shapes.  One engine is used by one thread at a time;
    two engines of a backend may run at once, and may share buffers that neither is writing.
    """

    inputs: Mapping[str, tuple[int, ...]]
    outputs: Mapping[str, tuple[int, ...]]
    pending_validation: PendingValidation | None = None
    """What waits to hear whether the engine's numbers are right; None where nobody doubts them."""
    _prepared = False

    @abstractmethod
    def allocate(self, name: str) -> Buffer:
        """Return a zeroed buffer with the shape of input or output ``name``.

        A new one, but on a device for tensors that the host writes or reads at every run: those
        have one buffer each.
        """

    @abstractmethod
    def run(self, bindings: Mapping[str, Buffer], after: Fence | None = None) -> Fence | None:
        """Compute every output from every input; ``bindings`` must name them all.

        An output's buffer must not be an input's.  ``after``: what on the device must be done
        before this starts.  When this returns the host may read what it can read; the fence is
        for others on the device, None where there is none.  Raises EngineError if the runtime
        fails.
        """

    def prepare(self, bindings: Mapping[str, Buffer]) -> None:
        """Do what the first run with these bindings would take its time for."""
        if not self._prepared:
            self.run(bindings)
            self._prepared = True

    def finite(self, bindings: Mapping[str, Buffer]) -> bool:
        """Tell whether every output of the run that ended is finite."""
        return all(np.isfinite(bindings[name].array).all() for name in self.outputs)

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of an input or output."""
        return self.inputs[name] if name in self.inputs else self.outputs[name]


@dataclass(frozen=True)
class Engines:
    """Both paths, compiled for one image size.

    ``positions`` is the slow graph's resized positional embedding, bound on every run.
    """

    size: tuple[int, int]
    fast: Engine
    slow: Engine
    positions: Buffer


@dataclass(frozen=True)
class SparseEngines:
    """The fast path where no map is asked for: ``trunk`` leaves depth undecoded.

    ``whole`` decodes all of it, ``points`` blocks of pixels, as ``tail`` tells.
    """

    tail: Tail
    trunk: Engine
    whole: Engine
    points: Engine


@dataclass(frozen=True)
class DepthEngine:
    """A whole network from picture to depth, compiled for one image size.

    ``engine`` takes ``image`` and ``positions`` and gives ``depth``.
    """

    size: tuple[int, int]
    engine: Engine
    positions: Buffer
