"""Engines without networks, for tests of the parts around them."""

import time
from collections.abc import Callable, Mapping
from threading import Event

import numpy as np

from asyncmde_ros.engine.choice import CPU_SHORT_SIDE
from asyncmde_ros.engine.interface import (
    Buffer,
    DepthEngine,
    Engine,
    Engines,
    Fence,
    HostBuffer,
    SparseEngines,
)
from asyncmde_ros.engine.loader import Threads
from asyncmde_ros.model.geometry import Size, memory_sizes, patch_grid
from asyncmde_ros.model.graph_tensors import KEYFRAME, STATE, fast_shapes
from asyncmde_ros.model.patches import SIDE, TAILS

CHANNELS = 2


class Ahead:
    """A clock that a test may put forward.

    Its seconds run with the real ones, ``by_s`` ahead; its nanoseconds are ``now_ns``.
    """

    def __init__(self) -> None:
        self.by_s = 0.0
        self.now_ns = 0

    def seconds(self) -> float:
        return time.monotonic() + self.by_s

    def nanoseconds(self) -> int:
        return self.now_ns


class FakeEngine(Engine):
    """Calls ``compute`` with every array; records which buffers each run was given."""

    def __init__(self, inputs: dict[str, tuple[int, ...]], outputs: dict[str, tuple[int, ...]],
                 compute: Callable[[Mapping[str, np.ndarray]], None] = lambda arrays: None
                 ) -> None:
        self.inputs, self.outputs = inputs, outputs
        self.compute = compute
        self.runs: list[dict[str, Buffer]] = []

    def allocate(self, name: str) -> Buffer:
        return HostBuffer(np.zeros(self.shape(name), np.float32), None)

    def run(self, bindings: Mapping[str, Buffer], after: Fence | None = None) -> None:
        assert set(bindings) == {*self.inputs, *self.outputs}
        given = [id(bindings[name].array) for name in self.inputs]
        written = [id(bindings[name].array) for name in self.outputs]
        assert not set(given) & set(written), 'an output is also an input'
        assert len(set(written)) == len(written), 'two outputs share a buffer'
        self.runs.append(dict(bindings))
        self.compute({name: buffer.array for name, buffer in bindings.items()})


def fake_engines(size: Size) -> Engines:
    """Engines with the real graphs' names and shapes; m1 and depth are the image's mean."""
    shapes = fast_shapes(size, CHANNELS)

    def slow(arrays: Mapping[str, np.ndarray]) -> None:
        arrays['m1'][...] = arrays['image'].mean()

    def fast(arrays: Mapping[str, np.ndarray]) -> None:
        arrays['depth'][...] = arrays['m1'].mean()
        arrays['share'][...] = 1

    fast_engine = FakeEngine(
        shapes, {'depth': shapes['a2'], 'share': shapes['a2'],
                 **{f'next_{name}': shapes[name] for name in STATE}}, fast)
    slow_engine = FakeEngine(
        {'image': (1, 3, *size), 'positions': (1, *patch_grid(size), 4)},
        {name: shapes[name] for name in KEYFRAME}, slow)
    return Engines(size, fast_engine, slow_engine, slow_engine.allocate('positions'))


def fake_sparse_engines(size: Size, at_once: int = 4) -> SparseEngines:
    """Engines that decode each pixel by itself: the first feature of a pixel near it."""
    tail, shapes, finest = TAILS['light'], fast_shapes(size, CHANNELS), fine_size(size)

    def trunk(arrays: Mapping[str, np.ndarray]) -> None:
        arrays['undecoded'][...] = arrays['m1'].mean()
        arrays['share'][...] = 1

    def whole(arrays: Mapping[str, np.ndarray]) -> None:
        rows, cols = (np.floor(np.arange(2 * side) * ((side - 1) / (2 * side - 1))).astype(int)
                      for side in finest)
        arrays['depth'][0, 0] = arrays['undecoded'][0, rows[:, None], cols, 0]

    def points(arrays: Mapping[str, np.ndarray]) -> None:
        middle = arrays['patches'][:, tail.margin:-tail.margin, tail.margin:-tail.margin, 0]
        # Of each pixel of a block the first row and column that have a weight.
        down, across = ((arrays[name][:, 1:-1] > 0).argmax(axis=2)
                        for name in ('down1', 'across1'))
        blocks = np.arange(len(middle))[:, None, None]
        arrays['depth'][...] = middle[blocks, down[:, :, None], across[:, None, :]]
    undecoded = (1, *finest, CHANNELS)
    return SparseEngines(
        tail,
        FakeEngine(shapes, {'share': shapes['a2'],
                            **{f'next_{name}': shapes[name] for name in STATE},
                            'undecoded': undecoded}, trunk),
        FakeEngine({'undecoded': undecoded}, {'depth': (1, 1, *tail.size(finest))}, whole),
        FakeEngine(tail.shapes(at_once, CHANNELS), {'depth': (at_once, SIDE, SIDE)}, points))


def fine_size(size: Size) -> Size:
    """Return the size of the memory's finest level."""
    return memory_sizes(patch_grid(size))[0]


def fake_depth_engine(size: Size) -> DepthEngine:
    """A whole network whose depth is the image's mean."""
    def whole(arrays: Mapping[str, np.ndarray]) -> None:
        arrays['depth'][...] = arrays['image'].mean()
    engine = FakeEngine({'image': (1, 3, *size), 'positions': (1, *patch_grid(size), 4)},
                        {'depth': (1, 1, *size)}, whole)
    return DepthEngine(size, engine, engine.allocate('positions'))


class FakeModel:
    """Stands for :class:`Model`; ``compiled`` lists the sizes asked for."""

    short_side = CPU_SHORT_SIDE
    on_gpu = False
    background = Threads(1, 1)
    id = 'fake'

    def __init__(self) -> None:
        self.compiled: list[Size] = []
        self.refreshers: dict[Size, DepthEngine] = {}
        self.glance: DepthEngine | None = None
        self.engines: Engines | None = None

    def in_half(self) -> 'FakeModel':
        return self

    def compile(self, size: Size, cancel: Event | None = None) -> Engines:
        self.compiled.append(size)
        self.engines = fake_engines(size)
        return self.engines

    def compile_sparse(self, size: Size, cancel: Event | None = None) -> SparseEngines:
        return fake_sparse_engines(size)

    def compile_depth(self, size: Size, cancel: Event | None = None) -> DepthEngine:
        self.refreshers[size] = fake_depth_engine(size)
        return self.refreshers[size]

    def compile_glance(self, size: Size, cancel: Event | None = None) -> DepthEngine:
        self.glance = fake_depth_engine(size)
        return self.glance
