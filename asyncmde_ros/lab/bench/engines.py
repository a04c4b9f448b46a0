"""The foundation model against one step of the spatial memory, under the same conditions.

And what a memory of depth is made with: a refresh in each of its sizes, and a glance.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from asyncmde_ros.engine.interface import Precision
from asyncmde_ros.engine.loader import Model, Threads
from asyncmde_ros.engine.validation import bind
from asyncmde_ros.lab.bench.options import BenchOptions
from asyncmde_ros.lab.bench.pictures import Pictures
from asyncmde_ros.lab.bench.progress import Work, in_turn
from asyncmde_ros.lab.bench.statistics import Summary
from asyncmde_ros.model.geometry import Size, size_text
from asyncmde_ros.model.preprocess import average, shrink, write_image
from asyncmde_ros.pipeline.refresher import DepthRefresher
from asyncmde_ros.pipeline.session import glance_size, refresh_sizes
from asyncmde_ros.pipeline.settings import FastPathModel

NOTE = ('The foundation model is Depth Anything V2 alone, for its depth, as a node without a fast '
        'path runs it. Both graphs are exported the same way, with the same exact rewrites, and '
        'compiled by the same backend for the same size, precision and thread count. They run in '
        'turn, A B A B, so that whatever else the machine does falls on both. A fast step here is '
        'the network of the spatial memory alone; motion estimation is the row "motion". A '
        'refresh and a glance are those of a memory of depth (fast_path.model: glance), from the '
        'picture to the depth map, in the same turns; a frame of that memory goes through no '
        'network, but through "move memory" or "mix glance" among the parts.')


@dataclass(frozen=True)
class Comparison:
    """Milliseconds of one frame through each graph, and the foundation model's over the fast's.

    The ratio of the medians is the headline; that of the minima is nearly free of disturbance by
    other programs.  ``refresh_ms`` is by the size, ``HxW``, of what the foundation model sees, and
    empty, ``glance_ms`` and ``glance_size`` None, where the fast path has no memory of depth.
    """

    backend: str
    precision: str
    threads: int
    foundation_ms: Summary
    fast_ms: Summary
    ratio_p50: float
    ratio_min: float
    refresh_ms: dict[str, Summary]
    glance_size: Size | None
    glance_ms: Summary | None


def compare(options: BenchOptions, pictures: Pictures) -> list[Comparison]:
    """Compare the graphs on one core and on all, in each precision that the backend has.

    What a memory of depth needs is left out where it is not the fast path: on a GPU it would be
    built for minutes.
    """
    return [_compare(model, threads, options, pictures)
            for model, threads in configurations(options)]


def configurations(options: BenchOptions) -> Iterator[tuple[Model, int]]:
    """Yield the models to compare: each precision on one thread and on all, with the count."""
    for threads in sorted({1, len(os.sched_getaffinity(0))}):
        for precision in Precision:
            model = Model(options.model, options.backend, precision, Threads(threads, threads))
            if model.on_gpu and threads > 1:
                continue  # the host's threads only wait
            if (model.backend == 'torch' and not model.on_gpu
                    and precision is not Precision.FP32):
                continue  # the reference computes in float32 whatever is asked
            yield model, threads


def _compare(model: Model, threads: int, options: BenchOptions, pictures: Pictures) -> Comparison:
    engines = model.compile(options.size)
    network = model.in_half().compile_depth(options.size)
    alone = network.engine
    picture = shrink(pictures.at(0), engines.size)
    _, fast = bind(engines, picture, picture)
    foundation = {'image': alone.allocate('image'), 'positions': network.positions,
                  'depth': alone.allocate('depth')}
    write_image(picture, foundation['image'].array)
    alone.run(foundation)
    works: dict[str, Work] = {'foundation': lambda: alone.run(foundation),
                              'fast': lambda: engines.fast.run(fast)}
    refreshed: Sequence[Size] = ()
    glanced = None
    if options.fast_path is FastPathModel.GLANCE:
        refreshed = refresh_sizes(options.size)
        glanced = glance_size(options.size)
        smaller = DepthRefresher(model.compile_depth(options.size))
        larger = DepthRefresher(model.compile_depth(refreshed[1]))
        small = DepthRefresher(model.compile_glance(glanced), average)
        seen = shrink(pictures.at(0), refreshed[1])
        works |= {size_text(each.size): partial(each.depth, seen) for each in (smaller, larger)}
        works['glance'] = partial(small.depth, seen)
    took = in_turn(works, options.seconds, f'engines, threads {threads}, {model.precision.value}')
    slower, faster = took['foundation'], took['fast']
    return Comparison(model.backend, model.precision.value, threads, slower, faster,
                      slower.p50 / faster.p50, slower.min / faster.min,
                      {size_text(size): took[size_text(size)] for size in refreshed},
                      glanced, took.get('glance'))
