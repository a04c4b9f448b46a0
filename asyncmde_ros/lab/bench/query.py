"""What depth at K points costs: T(K) = precompute + beta K, and from which K on a map is cheaper.
"""

import dataclasses
import threading
import time
from dataclasses import dataclass
from functools import partial

import numpy as np

from asyncmde_ros.engine.loader import Model
from asyncmde_ros.errors import EngineError
from asyncmde_ros.lab.bench.options import BenchOptions
from asyncmde_ros.lab.bench.pictures import Pictures
from asyncmde_ros.lab.bench.progress import rounds
from asyncmde_ros.lab.bench.statistics import Summary, summarise, timed_ms
from asyncmde_ros.pipeline.depth_pipeline import DepthPipeline
from asyncmde_ros.pipeline.settings import Settings
from asyncmde_ros.pipeline.slow_path import SlowPathState
from asyncmde_ros.pipeline.undecoded import COMPILER

NOTE = ('Precompute is a frame without a map: resizing, motion, evidence for the memory. A map is '
        'the same frame with its depth and trust for every pixel of the image, without a message. '
        'K points are asked of a frame without a map. All take turns, in the thread that a node '
        'has for its frames, with the background at rest. The straight line is fitted to the '
        'medians up to the crossover, by least squares; crossover is where it meets the map.')

COUNTS = (1, 16, 64, 256, 1024, 4096)

SETTLE_TIMEOUT_S = 60.0
"""Longest wait for a memory."""


@dataclass(frozen=True)
class QueryFigures:
    """Milliseconds of a frame with a map, of one without, and of K points of the latter.

    ``precompute_ms`` is the median of a frame without.  A query takes ``offset_ms`` and
    ``beta_us`` microseconds a point, with ``r_squared`` of the line; from ``crossover_k`` points
    on a map is cheaper.
    """

    note: str
    with_map_ms: Summary
    without_map_ms: Summary
    points_ms: dict[str, Summary]
    precompute_ms: float
    beta_us: float
    offset_ms: float
    r_squared: float
    crossover_k: float


def measure(options: BenchOptions, pictures: Pictures) -> QueryFigures:
    """Time frames with and without a map, and queries, in turn."""
    rng = np.random.default_rng(0)
    points = {count: rng.uniform(0, np.array(options.image[::-1]) - 1, (count, 2))
              for count in COUNTS}
    whole_ms: list[float] = []
    without_ms: list[float] = []
    points_ms: dict[int, list[float]] = {count: [] for count in COUNTS}
    # Nothing refreshes the memory while it is looked at: no cut may drop it.
    kept = Settings(cut_trust=0.0, cut_similarity=-1.0)
    model = Model(options.model, options.backend)
    with DepthPipeline(model, kept, options.size, fast_path=options.fast_path) as pipeline:
        frame = _settle(pipeline, options, pictures)

        def show(whole: bool) -> None:
            nonlocal frame
            frame += 1
            pipeline.process(pictures.at(frame), _stamp_ns(frame, options), whole=whole)
        for _ in rounds(options.seconds, 'query'):
            whole_ms.append(timed_ms(partial(show, True)))
            for count, pixels in points.items():
                # A frame each: of one frame the second query finds what the first one made.
                without_ms.append(timed_ms(partial(show, False)))
                points_ms[count].append(timed_ms(partial(pipeline.query, pixels)))
    return figures(whole_ms, without_ms, points_ms)


def _settle(pipeline: DepthPipeline, options: BenchOptions, pictures: Pictures) -> int:
    """Show frames until there is a memory, and the background rests; return the last one's index.
    """
    deadline, frame = time.monotonic() + SETTLE_TIMEOUT_S, 0
    while True:
        # Without a map: what such frames take less time by is made in the background.
        result = pipeline.process(pictures.at(frame), _stamp_ns(frame, options), whole=False)
        if result.keyframe is not None:
            pipeline.settings = dataclasses.replace(pipeline.settings, slow_path_enabled=False)
            glance = pipeline.status.glance
            paths = (pipeline.status.slow_path, *([glance] if glance else []))
            if all(path.state is SlowPathState.DISABLED for path in paths) and not any(
                    thread.name == COMPILER for thread in threading.enumerate()):
                return frame
        if time.monotonic() > deadline:
            raise EngineError(f'no memory within {SETTLE_TIMEOUT_S:g} s; the last error: '
                              f'{pipeline.status.slow_path.last_error or "none"}')
        time.sleep(options.period_s)
        frame += 1


def _stamp_ns(frame: int, options: BenchOptions) -> int:
    return round(frame * options.period_s * 1e9)


def figures(whole_ms: list[float], without_ms: list[float], points_ms: dict[int, list[float]]
            ) -> QueryFigures:
    """Summarise, and fit the line."""
    whole, without = summarise(whole_ms), summarise(without_ms)
    found = {count: summarise(times) for count, times in points_ms.items()}
    assert whole is not None and without is not None
    summaries = {count: summary for count, summary in found.items() if summary is not None}
    budget_ms = whole.p50 - without.p50
    # At least two: a line through less is none.
    below = [count for index, count in enumerate(sorted(summaries))
             if index < 2 or summaries[count].p50 < budget_ms]
    medians = np.array([summaries[count].p50 for count in below])
    slope, offset = np.polyfit(below, medians, 1)
    off = medians - (slope * np.array(below) + offset)
    spread = float(np.square(medians - medians.mean()).sum())
    return QueryFigures(
        NOTE, whole, without, {str(count): summary for count, summary in summaries.items()},
        without.p50, float(1e3 * slope), float(offset),
        1 - float(np.square(off).sum()) / spread if spread else 1.0,
        max(0.0, float((budget_ms - offset) / slope)) if slope > 0 else float(max(summaries)))
