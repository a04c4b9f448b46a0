"""From a model's name to its two compiled engines."""

import copy
import hashlib
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event

import numpy as np
import numpy.typing as npt

from asyncmde_ros import weights
from asyncmde_ros.engine.choice import AUTO_BACKEND, choose
from asyncmde_ros.engine.interface import (
    DEFAULT_PRECISION,
    Buffer,
    DepthEngine,
    Engine,
    EngineOptions,
    Engines,
    Graph,
    Precision,
    Progress,
    SparseEngines,
    Specification,
)
from asyncmde_ros.engine.positions import resize_positions
from asyncmde_ros.engine.validation import validate, validate_depth
from asyncmde_ros.errors import EngineError, WeightsError
from asyncmde_ros.model.config import CONFIGS, DEFAULT_MODEL
from asyncmde_ros.model.geometry import Size, memory_sizes, patch_grid
from asyncmde_ros.model.graph_tensors import (
    FAST_OUTPUTS,
    KEYFRAME,
    TRUNK_OUTPUTS,
    fast_shapes,
)
from asyncmde_ros.model.patches import TAILS, Tail
from asyncmde_ros.resources import share_directory

FOUNDATION_PREFIX = 'foundation.'
POSITIONS_KEY = 'foundation.pretrained.pos_embed'
OUTPUT_CONV_KEY = 'fast.decoder.output_conv1.weight'
CONVOLUTION_AXES = 4

POINTS_AT_ONCE = 8
"""Blocks of pixels that one run decodes.  Measured on one thread: 8 and 16 take the same time a
block, 4 hardly more."""

FEW_CORES = 2

logger = logging.getLogger(__name__)


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

    def in_turn(self) -> 'Threads':
        """Return the counts for two networks that both run in the background, one at a time.

        All cores, so that each is done the sooner; of more than two one stays for what every frame
        needs, which is little.
        """
        cores = len(os.sched_getaffinity(0))
        most = cores if cores <= FEW_CORES else cores - 1
        return Threads(self.fast or most, self.slow or most)


def log_progress(what: str, fraction: float) -> None:
    """Tell the log how far a build is."""
    logger.info('%s: %.0f %%', what, 100 * fraction)


class Model:
    """Verified weights and graphs of one model, ready to be compiled for any size.

    ``choice`` is what computes and why; ``progress`` is told how far a build is.
    """

    def __init__(self, name: str = DEFAULT_MODEL, backend: str = AUTO_BACKEND,
                 precision: Precision = DEFAULT_PRECISION, threads: Threads = Threads(),
                 foundation: Path | None = None, fast: Path | None = None,
                 engines: Path | None = None, progress: Progress = log_progress,
                 glance: Path | None = None, adapter: Path | None = None) -> None:
        """Load and verify the weights.

        ``foundation``, ``fast`` and ``glance`` (an adapter) replace the registry's files,
        ``engines`` the folder of built TensorRT engines; ``progress`` is told of engines being
        built.  ``adapter`` turns the foundation model into one for other pictures, that of
        glances as well, and ``glance`` is then not used.  Raises WeightsError or EngineError with
        what to do about it.
        """
        self.name = name
        self.choice = choose(backend)
        self._engines, self.progress = engines, progress
        self.precision = precision
        self.threads, self.background = threads.resolved(), threads.in_turn()
        entry = weights.registry.model(name)
        self._graphs = {kind: share_directory() / 'models' / file for kind, file in (
            ('fast', entry.fast_graph), ('slow', entry.slow_graph),
            ('tail', entry.tail_graph), ('points', entry.points_graph))}
        if fast is None and entry.fast is None:
            raise EngineError(f'no fast network is shipped for {name!r}: train one and pass its '
                              'file (parameter model.fast_weights)')
        fast_path = weights.locate(entry.fast, fast)
        of_foundation = weights.load(weights.locate(entry.foundation, foundation))
        if adapter is not None:
            of_foundation = weights.adapter.apply(of_foundation, weights.load(adapter))
        self._weights: dict[str, npt.NDArray[np.floating]] = {
            **_prefixed('foundation', of_foundation), **_prefixed('fast', weights.load(fast_path))}
        self._glance = (
            None if adapter is not None or (glance is None and entry.glance is None) else
            weights.load(weights.locate(entry.glance, glance)))
        # What gives the memory its width; the backends name anything else that does not fit.
        if self._weights.get(OUTPUT_CONV_KEY, np.empty(0)).ndim != CONVOLUTION_AXES:
            raise WeightsError(f'{fast_path} holds no fast network: it has no convolution '
                               f'{OUTPUT_CONV_KEY.removeprefix("fast.")}.  Give another file; if '
                               'you gave none, install the package again')

    def digest(self, *graphs: Graph) -> str:
        """Return what tells ``graphs`` and their weights from others: a sha256 in hexadecimal."""
        files = {'fast' if graph is Graph.FAST else 'slow' for graph in graphs}
        kinds = {'fast.' if graph is Graph.FAST else FOUNDATION_PREFIX for graph in graphs}
        running = hashlib.sha256()
        for file in sorted(files):
            running.update(self._graphs[file].read_bytes())
        used = {name: value for name, value in self._weights.items()
                if name.startswith(tuple(kinds))}
        if Graph.GLANCE in graphs:
            used |= self._glance or {}
        for name, value in sorted(used.items()):
            running.update(name.encode() + value.tobytes())
        return running.hexdigest()

    def with_threads(self, threads: Threads) -> 'Model':
        """Return the same model with other thread counts; the weights are shared."""
        other = copy.copy(self)
        other.threads, other.background = threads.resolved(), threads.in_turn()
        return other

    def in_half(self) -> 'Model':
        """Return the same model without int8: the foundation model as others run it."""
        other = copy.copy(self)
        if other.precision is Precision.AUTO:
            other.precision = Precision.HALF
        return other

    @property
    def _tail(self) -> Tail:
        return TAILS[CONFIGS[self.name].decoder]

    @property
    def backend(self) -> str:
        """Return what computes: the backend chosen, if ``auto`` was asked for."""
        return self.choice.backend

    @property
    def on_gpu(self) -> bool:
        return self.choice.on_gpu

    @property
    def short_side(self) -> int:
        """Return the network's short side in pixels where nobody asks for one."""
        return self.choice.short_side

    @property
    def id(self) -> str:
        """Return what computes, in a few words."""
        return f'{self.name}, {self.backend}, {self.precision.value}'

    def log_choice(self) -> None:
        """Say in one line what computes, and why."""
        logger.info('backend %s (%s), precision %s', self.backend, self.choice.reason,
                    self.precision.value)

    def compile(self, size: Size, cancel: Event | None = None) -> Engines:
        """Compile both engines of the spatial memory for a network size (rows, cols).

        Takes seconds; minutes where TensorRT builds for the first time, which ``cancel`` set
        ends.  What it built is compared with the reference on a real picture before it is used.
        """
        fast = self._compile(Graph.FAST, size, self.threads.fast, cancel)
        slow = self._compile(Graph.SLOW, size, self.threads.slow, cancel)
        engines = Engines(size, fast, slow, self._positions(slow, size))
        if fast.pending_validation is not None or slow.pending_validation is not None:
            validate(engines, self._reference().compile(size))
        return engines

    def compile_sparse(self, size: Size, cancel: Event | None = None) -> SparseEngines:
        """Compile what serves frames of the spatial memory that no map is asked of; on a CPU.

        On ``threads.fast`` threads, like the fast path's own engine.
        """
        trunk, whole, points = (self._compile(graph, size, self.threads.fast, cancel)
                                for graph in (Graph.TRUNK, Graph.TAIL, Graph.POINTS))
        return SparseEngines(self._tail, trunk, whole, points)

    def compile_depth(self, size: Size, cancel: Event | None = None) -> DepthEngine:
        """Compile the foundation model alone, on ``background.slow`` threads, for its depth.

        A refresh of a memory of depth; what a node without a fast path runs.
        """
        return self._compile_depth(Graph.FOUNDATION, size, self.background.slow, cancel)

    def compile_glance(self, size: Size, cancel: Event | None = None) -> DepthEngine:
        """Compile the network of glances, on ``background.fast`` threads.

        The foundation model as it learned to see with few pixels, where that is shipped.
        """
        return self._compile_depth(Graph.GLANCE, size, self.background.fast, cancel)

    def _compile_depth(self, graph: Graph, size: Size, threads: int,
                       cancel: Event | None) -> DepthEngine:
        engine = self._compile(graph, size, threads, cancel)
        network = DepthEngine(size, engine, self._positions(engine, size))
        if engine.pending_validation is not None:
            validate_depth(network, self._reference()._compile_depth(graph, size, threads, cancel))
        return network

    def specification(self, graph: Graph, size: Size) -> Specification:
        """Return what a backend compiles for ``graph``; ValueError unless patches fit ``size``."""
        channels = self._weights[OUTPUT_CONV_KEY].shape[1]
        path: Path
        shapes: Mapping[str, tuple[int, ...]]
        outputs: tuple[str, ...] = ('depth',)
        if graph in (Graph.FAST, Graph.TRUNK):
            path, shapes = self._graphs['fast'], fast_shapes(size, channels)
            outputs = FAST_OUTPUTS if graph is Graph.FAST else TRUNK_OUTPUTS
        elif graph is Graph.TAIL:
            finest, _, _, _ = memory_sizes(patch_grid(size))
            path, shapes = self._graphs['tail'], {
                'undecoded': (1, *finest, self._tail.parts * channels)}
        elif graph is Graph.POINTS:
            path, shapes = self._graphs['points'], self._tail.shapes(POINTS_AT_ONCE, channels)
        else:
            embedding = self._weights[POSITIONS_KEY].shape[-1]
            path = self._graphs['slow']
            shapes = {'image': (1, 3, *size), 'positions': (1, *patch_grid(size), embedding)}
            if graph is Graph.SLOW:
                outputs = KEYFRAME
        return Specification(graph, self.name, size, path, self._weights_of(graph), shapes,
                             outputs)

    def _weights_of(self, graph: Graph) -> Mapping[str, npt.NDArray[np.floating]]:
        if graph is not Graph.GLANCE or self._glance is None:
            return self._weights
        # Not kept: an engine has its own copy, and these are as large as the foundation model.
        base = {name.removeprefix(FOUNDATION_PREFIX): value
                for name, value in self._weights.items() if name.startswith(FOUNDATION_PREFIX)}
        return self._weights | _prefixed('foundation', weights.adapter.apply(base, self._glance))

    def _compile(self, graph: Graph, size: Size, threads: int, cancel: Event | None) -> Engine:
        wanted = self.specification(graph, size)
        options = EngineOptions(self.precision, threads, self._engines, cancel or Event(),
                                self.progress)
        if self.backend in ('tensorrt', 'tensorrt_rtx'):
            from asyncmde_ros.engine import tensorrt
            return tensorrt.compile_graph(self.backend, wanted, options)
        if self.backend == 'torch' and self.choice.on_gpu:
            from asyncmde_ros.engine import torch_cuda
            return torch_cuda.compile_graph(wanted, options)
        if self.backend == 'torch':
            from asyncmde_ros.engine import torch
            return torch.compile_graph(wanted, options)
        from asyncmde_ros.engine import openvino
        return openvino.compile_graph(wanted, options)

    def _reference(self) -> 'Model':
        """Return the same networks in float32 on the CPU, by another runtime."""
        other = copy.copy(self)
        other.choice = choose('openvino')
        other.precision = Precision.FP32
        return other

    def _positions(self, engine: Engine, size: Size) -> Buffer:
        buffer = engine.allocate('positions')
        buffer.write(resize_positions(self._weights[POSITIONS_KEY], patch_grid(size)))
        return buffer


def _prefixed(prefix: str, tensors: Mapping[str, npt.NDArray[np.floating]]
              ) -> dict[str, npt.NDArray[np.floating]]:
    return {f'{prefix}.{name}': value for name, value in tensors.items()}
