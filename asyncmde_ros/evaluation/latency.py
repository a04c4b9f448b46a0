"""How long each path takes here, which decides what an asynchronous schedule looks like."""

import statistics
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from asyncmde_ros.engine.interface import Engines
from asyncmde_ros.engine.loader import Model, Threads
from asyncmde_ros.evaluation.predict import Foundation, Teacher, nowhere
from asyncmde_ros.geometry import Size
from asyncmde_ros.pipeline.fast_path import FastPath
from asyncmde_ros.pipeline.settings import Settings

RUNS = 5


@dataclass(frozen=True)
class Latencies:
    """Medians in milliseconds.

    ``slow_ms`` and ``fast_ms`` while both paths run at once, each with its share of the cores;
    ``alone_ms`` is the foundation model with every core to itself, what a node without a fast
    path would see.
    """

    slow_ms: float
    fast_ms: float
    alone_ms: float


def measure(model: Model, engines: Engines, size: Size) -> Latencies:
    """Measure on this machine, now; takes a few seconds."""
    picture = np.random.default_rng(0).integers(0, 255, (*size, 3), np.uint8)
    fast, held = FastPath(engines.fast), Teacher(engines).refresh(picture, 0)
    teacher = Teacher(engines)  # another's buffers: the fast path reads the first one's
    settings, fast_ms, done = Settings(), [], threading.Event()
    nothing = nowhere(size)

    def drive() -> None:
        while not done.is_set():
            started = time.perf_counter()
            fast.step(picture, held, nothing, nothing, settings.temporal_smoothing,
                      settings.gate_temperature)
            fast_ms.append(1e3 * (time.perf_counter() - started))

    thread = threading.Thread(target=drive, name='fast_path')
    thread.start()
    try:
        slow_ms = _median_ms(lambda: teacher.refresh(picture, 0))
    finally:
        done.set()
        thread.join()
    every = model.threads.fast + model.threads.slow
    alone = Foundation(model.with_threads(Threads(every, every)), size)
    return Latencies(slow_ms, statistics.median(fast_ms),
                     _median_ms(lambda: alone.depth(picture)))


def _median_ms(work: Callable[[], object]) -> float:
    times = []
    for _ in range(RUNS + 1):
        started = time.perf_counter()
        work()
        times.append(1e3 * (time.perf_counter() - started))
    return statistics.median(times[1:])  # the first one warms up
