"""The foundation model against one step of the fast path, under the same conditions."""

import os
from collections.abc import Iterator
from dataclasses import dataclass

from asyncmde_ros.bench.options import Options
from asyncmde_ros.bench.pictures import Pictures
from asyncmde_ros.bench.progress import rounds
from asyncmde_ros.bench.statistics import Summary, summarise, timed_ms
from asyncmde_ros.engine.interface import Precision
from asyncmde_ros.engine.loader import Model, Threads
from asyncmde_ros.engine.proof import bind
from asyncmde_ros.preprocess import shrink, write_image

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
            if model.on_gpu and threads > 1:
                continue  # the host's threads only wait
            if (model.backend == 'torch' and not model.on_gpu
                    and precision is not Precision.FP32):
                continue  # the reference computes in float32 whatever is asked
            yield model, threads


def _compare(model: Model, threads: int, options: Options, pictures: Pictures) -> Comparison:
    engines = model.compile(options.size)
    network = model.compile_depth(options.size)
    alone = network.engine
    picture = shrink(pictures.at(0), engines.size)
    _, fast = bind(engines, picture, picture)
    foundation = {'image': alone.allocate('image'), 'positions': network.positions,
                  'depth': alone.allocate('depth')}
    write_image(picture, foundation['image'].array)
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
