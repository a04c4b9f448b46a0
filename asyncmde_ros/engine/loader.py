"""From a model's name to its two compiled engines."""

import copy
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from asyncmde_ros import weights
from asyncmde_ros.engine.interface import Buffer, Engine, Precision
from asyncmde_ros.engine.positions import resize_positions
from asyncmde_ros.errors import EngineError
from asyncmde_ros.geometry import Size, patch_grid
from asyncmde_ros.graph_tensors import KEYFRAME, fast_shapes
from asyncmde_ros.resources import share_directory

BACKENDS = ('auto', 'openvino', 'torch')
POSITIONS_KEY = 'foundation.pretrained.pos_embed'
OUTPUT_CONV_KEY = 'fast.decoder.output_conv1.weight'


@dataclass(frozen=True)
class Threads:
    """How many cores each path may use; 0 chooses by the machine."""

    fast: int = 0
    slow: int = 0

    def resolved(self) -> 'Threads':
        """Return the counts to use: half of the cores for each path, at least one.

        Apart, so that neither waits for the other's threads: with both on every core the fast
        path gained little and the slow path starved once anything else ran.
        """
        cores = len(os.sched_getaffinity(0))
        slow = self.slow or max(1, cores // 2)
        return Threads(self.fast or max(1, cores - slow), slow)


@dataclass(frozen=True)
class Engines:
    """Both paths, compiled for one image size.

    ``positions`` is the slow graph's resized positional embedding, bound on every run.
    """

    size: Size
    fast: Engine
    slow: Engine
    positions: Buffer


class Model:
    """Verified weights and graphs of one model, ready to be compiled for any size."""

    def __init__(self, name: str = 'vits', backend: str = 'auto',
                 precision: Precision = Precision.AUTO, threads: Threads = Threads(),
                 foundation: Path | None = None, fast: Path | None = None) -> None:
        """Load and verify the weights.

        ``foundation`` and ``fast`` replace the registry's files.  Raises WeightsError or
        EngineError with what to do about it.
        """
        if backend not in BACKENDS:
            raise EngineError(f'no backend {backend!r}; there are {", ".join(BACKENDS)}')
        self.name = name
        self.backend = 'openvino' if backend == 'auto' else backend
        self.precision = precision
        self.threads = threads.resolved()
        entry = weights.registry.model(name)
        self._graphs = {'fast': share_directory() / 'models' / entry.fast_graph,
                        'slow': share_directory() / 'models' / entry.slow_graph}
        if fast is None and entry.fast is None:
            raise EngineError(f'no fast network is shipped for {name!r}: train one and pass its '
                              'file (parameter model.fast_weights)')
        self._weights: dict[str, npt.NDArray[np.floating]] = {
            **_prefixed('foundation', weights.load(weights.locate(entry.foundation, foundation))),
            **_prefixed('fast', weights.load(weights.locate(entry.fast, fast)))}

    def digest(self) -> str:
        """Return what tells these weights and graphs from others: a sha256 in hexadecimal."""
        running = hashlib.sha256()
        for graph in self._graphs.values():
            running.update(graph.read_bytes())
        for name, value in sorted(self._weights.items()):
            running.update(name.encode() + value.tobytes())
        return running.hexdigest()

    def with_threads(self, threads: Threads) -> 'Model':
        """Return the same model with other thread counts; the weights are shared."""
        other = copy.copy(self)
        other.threads = threads.resolved()
        return other

    def compile(self, size: Size) -> Engines:
        """Compile both engines for a network size (rows, cols); takes seconds."""
        shapes = fast_shapes(size, self._weights[OUTPUT_CONV_KEY].shape[1])
        if self.backend == 'torch':
            from asyncmde_ros.engine import torch as backend
            from asyncmde_ros.model_config import CONFIGS
            config = CONFIGS[self.name]
            fast: Engine = backend.fast_engine(config, self._weights, shapes, self.threads.fast)
            slow: Engine = backend.slow_engine(config, self._weights, self._slow_shapes(size),
                                               self.threads.slow)
        else:
            from asyncmde_ros.engine.openvino import OpenVINOEngine
            fast = OpenVINOEngine(self._graphs['fast'], self._weights, shapes,
                                  self.threads.fast, self.precision)
            slow = OpenVINOEngine(self._graphs['slow'], self._weights, self._slow_shapes(size),
                                  self.threads.slow, self.precision, KEYFRAME)
        return Engines(size, fast, slow, self._positions(slow, size))

    def compile_foundation(self, size: Size) -> tuple[Engine, Buffer]:
        """Compile the foundation model alone, on the slow path's threads, for its depth.

        What a node without a fast path runs.  Returns the engine and its bound positions.
        """
        if self.backend == 'torch':
            from asyncmde_ros.engine import torch as backend
            from asyncmde_ros.model_config import CONFIGS
            engine: Engine = backend.foundation_engine(
                CONFIGS[self.name], self._weights, self._slow_shapes(size), self.threads.slow)
        else:
            from asyncmde_ros.engine.openvino import OpenVINOEngine
            engine = OpenVINOEngine(self._graphs['slow'], self._weights, self._slow_shapes(size),
                                    self.threads.slow, self.precision, ('depth',))
        return engine, self._positions(engine, size)

    def _slow_shapes(self, size: Size) -> dict[str, tuple[int, ...]]:
        embedding = self._weights[POSITIONS_KEY].shape[-1]
        return {'image': (1, 3, *size), 'positions': (1, *patch_grid(size), embedding)}

    def _positions(self, engine: Engine, size: Size) -> Buffer:
        buffer = engine.allocate('positions')
        buffer.array[...] = resize_positions(self._weights[POSITIONS_KEY], patch_grid(size))
        return buffer


def _prefixed(prefix: str, tensors: Mapping[str, npt.NDArray[np.floating]]
              ) -> dict[str, npt.NDArray[np.floating]]:
    return {f'{prefix}.{name}': value for name, value in tensors.items()}
