"""The foundation model against one step of the fast path, under the same conditions."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from asyncmde_ros.bench.options import Options
from asyncmde_ros.bench.pictures import Pictures
from asyncmde_ros.bench.progress import rounds
from asyncmde_ros.bench.statistics import Summary, summarise, timed_ms
from asyncmde_ros.engine.interface import Buffer, Engine, Precision
from asyncmde_ros.engine.loader import Engines, Model, Threads
from asyncmde_ros.preprocess import normalise, shrink

NOTE = ('The foundation model is Depth Anything V2 alone, for its depth, as a node without a fast '
        'path runs it. Both graphs are exported the same way, with the same exact rewrites, and '
        'compiled by the same backend for the same size, precision and thread count. They run in '
        'turn, A B A B, so that whatever else the machine does falls on both. A fast step here is '
        'the network alone; motion estimation is the row "motion".')


@dataclass(frozen=True)
class Comparison:
    """Milliseconds of one frame through each graph, and the foundation model's over the fast's.

    The ratio of the medians is the headline; that of the minima is nearly free of disturbance by
    other programs.
    """

    backend: str
    precision: str
    threads: int
    foundation_ms: Summary
    fast_ms: Summary
    ratio_p50: float
    ratio_min: float


def compare(options: Options, pictures: Pictures) -> list[Comparison]:
    """Compare the graphs on one core and on all, in each precision that the backend has."""
    return [_compare(model, threads, options, pictures)
            for model, threads in _configurations(options)]


def _configurations(options: Options) -> Iterator[tuple[Model, int]]:
    for threads in sorted({1, len(os.sched_getaffinity(0))}):
        for precision in Precision:
            model = Model(options.model, options.backend, precision, Threads(threads, threads))
            if model.backend == 'torch' and precision is not Precision.FP32:
                continue  # the reference computes in float32 whatever is asked
            yield model, threads


def _compare(model: Model, threads: int, options: Options, pictures: Pictures) -> Comparison:
    engines = model.compile(options.size)
    alone, positions = model.compile_foundation(options.size)
    refresh, fast = bind(engines, pictures)
    foundation = {'image': refresh['image'], 'positions': positions,
                  'depth': alone.allocate('depth')}
    alone.run(foundation)
    foundation_ms, fast_ms = [], []
    text = f'engines, threads {threads}, {model.precision.value}'
    for _ in rounds(options.seconds, text):
        foundation_ms.append(timed_ms(lambda: alone.run(foundation)))
        fast_ms.append(timed_ms(lambda: engines.fast.run(fast)))
    slower, faster = summarise(foundation_ms), summarise(fast_ms)
    assert slower is not None and faster is not None
    return Comparison(model.backend, model.precision.value, threads, slower, faster,
                      slower.p50 / faster.p50, slower.min / faster.min)


def bind(engines: Engines, pictures: Pictures) -> tuple[dict[str, Buffer], dict[str, Buffer]]:
    """Return bindings of the slow and of the fast engine, filled with a real step's values.

    The memory that the fast engine reads is the one that the foundation model computed from the
    same picture.  Both engines have run once afterwards.
    """
    slow = {**_allocate(engines.slow), 'positions': engines.positions}
    normalise(shrink(pictures.at(0), engines.size), slow['image'].array)
    engines.slow.run(slow)
    fast = _allocate(engines.fast)
    for name in set(engines.fast.inputs) & set(slow):
        fast[name].array[...] = slow[name].array
    for name in ('step', 'keyframe'):
        fast[name].array[...] = np.eye(3)
    for name, value in (('a2', 1), ('a3', 1), ('a4', 1), ('trust', 1), ('beta', 0.5), ('k', 4),
                        ('fresh', 0)):
        fast[name].array[...] = value
    engines.fast.run(fast)
    return slow, fast


def _allocate(engine: Engine) -> dict[str, Buffer]:
    return {name: engine.allocate(name) for name in (*engine.inputs, *engine.outputs)}
